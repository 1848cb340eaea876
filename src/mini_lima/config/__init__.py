"""The configuration: what there is, what fits together, and Hydra's side of it.

`schema` is the one description with its ranges, `checks` says what is out of range or contradicts
itself, `mistakes` what a person got wrong, `resolve` makes what stages are given, `sources` finds files and models, `names` what
folders are called, `entry` turns Hydra's composition into a `Config`.
"""
