"""Standard output and error that no reader, disk or encoding can make fail.

What was worked out is on the disk by the time it is printed. Then a reader that leaves (``| head``),
a full disk behind ``>``, a closed stream (``>&-``) or a terminal that knows ASCII alone must change
neither that nor the exit code.
"""

import codecs
import errno
import io
import os
import sys

SPELLED = {"−": "-", "–": "-", "…": "...", "±": "+/-", "×": "x", "≥": ">=", "·": "*", "Δ": "d"}
"""What stands for figures and words of ours where an encoding does not have them."""
LINES = {"─": "-", "━": "-", "│": "|", "┃": "|"}
BOXES = range(0x2500, 0x2580)


class _Lasting(io.TextIOWrapper):
    """A stream that goes on into nothing once it cannot be written to."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)
        if error.errno != errno.EPIPE and self is sys.stdout:
            sys.stderr.write(f"mini-lima: the output cannot be written: {error.strerror}\n")


def make_lasting() -> None:
    """Give this process such streams, in place of those that it was started with."""
    codecs.register_error("spelled", _spelled)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)  # else the next file that is opened would take its place
            file = io.FileIO(number, "w", closefd=False)
            stream = io.TextIOWrapper(io.BufferedWriter(file), encoding="utf-8")
        lasting = _Lasting(
            stream.detach(),
            encoding=stream.encoding,
            errors="spelled",
            line_buffering=stream.line_buffering,
        )
        for each in (name, f"__{name}__"):
            setattr(sys, each, lasting)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Say in ASCII what cannot be encoded: as what it looks like, else by its number."""
    assert isinstance(error, UnicodeEncodeError)
    told = ""
    for character in error.object[error.start : error.end]:
        box = "+" if ord(character) in BOXES else ascii(character)[1:-1]
        told += SPELLED.get(character) or LINES.get(character) or box
    return told, error.end
