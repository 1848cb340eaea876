"""The audit of finished AlpacaEval runs, made here or anywhere: what is the win rate worth?

files        the library's files, as they are found
folder       a result folder, whatever its version and variant
order        who was shown first
checks       missing, mixed, reused and wordy verdicts; signs of illness in the answers
single       all of that for one folder, and whether its leaderboard follows from it
several      do runs of the same outputs fit one judge?
findings     every figure, named, and what stands out: for a terminal and for programs
page         the same for a browser
"""
