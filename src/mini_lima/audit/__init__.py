"""The audit of finished AlpacaEval runs, made here or anywhere: what is the win rate worth?

rows         the library's files, as they are found
folder       a result folder, whatever its version and variant
leaderboard  does the leaderboard follow from the annotations?
order        who was shown first
missing      verdicts that are not there
checks       back-ends, reused and wordy verdicts
answers      signs of illness in the model's answers
single       all of that for one folder
several      do runs of the same outputs fit one judge?
findings     what stands out
words        every figure, named
text, page, document  the same for a terminal, for a browser, for programs
"""
