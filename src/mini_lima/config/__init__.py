"""The configuration: what there is, what fits together, and Hydra's side of it.

`schema` is the one description, `checks` what single types cannot see, `keys` and `mistakes` say
what a person got wrong, `resolve` makes what stages are given, `names` what folders are called,
`entry` is called by Hydra and `run.py`.
"""
