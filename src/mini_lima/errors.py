"""What is addressed to the person at the keyboard: exceptions, and lists that stay short."""

from collections.abc import Sequence

MOST_LISTED = 10
"""Faults, names or rows that are told one by one."""


def listed(items: Sequence[object], most: int = MOST_LISTED) -> list[str]:
    """Return the first ``most`` of ``items`` as texts and, last, how many more there are, if any."""
    more = [f"and {len(items) - most} more"] if len(items) > most else []
    return [*map(str, items[:most]), *more]


class UserError(Exception):
    """Something a person can put right: what was found, where, and what to do, in one line.

    The entry point prints its text without a traceback and exits with code 2. Work that fails for
    any other reason raises what it likes and ends with code 1.
    """


class Stopped(SystemExit):
    """The end that SIGTERM asked for, and not a failure: the same command goes on from there.

    As a `SystemExit` it ends a whole sweep, not only the cell that was running.
    """

    CODE = 143
    """What a shell reports of a process that SIGTERM has ended: 128 + 15."""

    def __init__(self, message: str) -> None:
        """Say ``message``: where the work stopped, and how it goes on."""
        super().__init__(self.CODE)
        self.message = message

    def __str__(self) -> str:
        """Return what is said."""
        return self.message
