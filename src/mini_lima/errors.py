"""The one exception that is addressed to the person at the keyboard."""


class UserError(Exception):
    """Something a person can put right: what was found, where, and what to do, in one line.

    The entry point prints its text without a traceback and exits with code 2. Work that fails for
    any other reason raises what it likes and ends with code 1.
    """
