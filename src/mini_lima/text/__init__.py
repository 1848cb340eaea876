"""Text on its way out: without secrets, and without what a terminal or Markdown would obey.

Names, answers and errors come from models, servers and files of other people. Every line of a log
goes through `LogFormatter`, everything that a command prints through `say`, what is put into
Markdown through `as_markdown`, `as_code` or `as_block`; records, and what is sent elsewhere, through
`redacted`.

A secret is the value of a variable of the environment whose name ends as those of keys do
(``…KEY``, ``…TOKEN``, ``…SECRET``, ``…PASSWORD``) or stands in ``MINI_LIMA_HIDE``; a password in
``.netrc``, or in the address of a proxy; and the token that ``hf auth login`` has kept. What has
fewer than six characters is none, nor are numbers, short words and what people write where no key
is needed (``not-needed``): hidden, they would spoil every text.
"""

import contextlib
import html
import io
import itertools
import json
import logging
import netrc
import os
import re
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "(hidden)"
HIDE = "MINI_LIMA_HIDE"
"""Names further variables whose values are secrets, separated by commas; workers inherit it."""
NAMES_A_SECRET = re.compile(
    r"(^|.*_|.*api)(key|token|secret|passw(or)?d|passphrase|credential)s?(_?\d+)?", re.IGNORECASE
)
SHORTEST, SHORTEST_WORD = 6, 8
"""Characters of a secret, and of one that consists of letters alone."""
PLACEHOLDERS = (
    *("anything", "changeme", "dummy-key", "fake-key", "lm-studio", "localhost", "no-key"),
    *("no-key-required", "no-key-needed", "not-needed", "not-required", "not-used", "placeholder"),
)
"""What people write where a server wants a key and asks for none."""
WORDS = re.compile(r"[A-Za-z][a-z]*(?:[-_ .][a-z]+)*|[A-Z]+|[\d.,]+")
LONGEST_WORDS = 15
BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")
LOGIN = re.compile(r"(?<=://)[^\s/?#'\"]+@")
PARAMETER = re.compile(r"[?&;#]([^\s=&;?#/]+)=")
SIGNED = ("sig", "x_amz_signature", "x_goog_signature", "signature", "auth", "code", "pwd", "pass")

OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but for tab and newline
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # the order of writing, ends of lines
    "\ud800-\udfff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"  # halves of characters, tags
)
GREEN = ("\x1b[32m", "\x1b[0m")
MARKUP = re.compile(
    r"[\\`*|~]|\[(?![\s\d+−–])|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|:(?=//)|@"
    r"|(?<=www)\.",
    re.IGNORECASE,
)
BEGINS_A_BLOCK = re.compile(r"^(\d*)([-+#.)])(?=[\s#-]|$)")


def hide_values_of(names: Iterable[str]) -> None:
    """Take the values of those variables that there are for secrets from now on, in workers too."""
    known = os.environ.get(HIDE, "").split(",")
    if listed := {*filter(None, known), *filter(os.environ.__contains__, names)}:
        os.environ[HIDE] = ",".join(sorted(listed))


def secrets() -> list[str]:
    """Return all that are known, the longest first."""
    named = os.environ.get(HIDE, "").split(",")
    values = [
        value
        for name, value in os.environ.items()
        if name in named or NAMES_A_SECRET.fullmatch(name)
    ]
    home = Path(os.path.expanduser("~"))
    values += itertools.chain.from_iterable(map(_logins, os.environ.values()))
    values += _netrc_passwords(Path(os.environ.get("NETRC") or home / ".netrc"))
    hub = Path(os.environ.get("HF_HOME") or home / ".cache" / "huggingface")
    values += _contents(Path(os.environ.get("HF_TOKEN_PATH") or hub / "token"))
    found = dict.fromkeys(value.strip() for value in values)
    return sorted(filter(is_secret, found), key=len, reverse=True)


def has_credentials(address: str) -> bool:
    """Whether a URL in ``address`` has a user, a password, or a parameter that is called as keys are."""
    if "://" not in address:
        return False
    parameters = (unquote(each).replace("-", "_") for each in PARAMETER.findall(address))
    return bool(LOGIN.search(address)) or any(
        NAMES_A_SECRET.fullmatch(each) or each.lower() in SIGNED for each in parameters
    )


def is_secret(value: str) -> bool:
    """Whether ``value``, which a key variable holds, can be told from ordinary texts and places."""
    if len(value) < (SHORTEST_WORD if value.isalpha() else SHORTEST):
        return False
    if value.lower() in PLACEHOLDERS or (value.isdigit() and is_ordinary(value)):
        return False
    return not (value.startswith("/") and os.path.exists(value))


def is_ordinary(value: str) -> bool:
    """Whether ``value`` is a number or a word or two, such as a part of an address often is."""
    return len(value) <= LONGEST_WORDS and WORDS.fullmatch(value) is not None


def _logins(address: str) -> Iterator[str]:
    """The login in an address, such as that of a proxy, and the password in it, also as it is sent."""
    for login in LOGIN.findall(address):
        password = login[:-1].partition(":")[2]
        yield from (login[:-1], password, unquote(password))


@cache
def _netrc_passwords(path: Path) -> tuple[str, ...]:
    try:
        found = netrc.netrc(path).hosts.values()
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return ()  # who needs it, says what is wrong with it
    return tuple(password for _, _, password in found if password)


@cache
def _contents(path: Path) -> tuple[str, ...]:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (path.read_text(encoding="utf-8"),)
    return ()


def redacted(value: Any, *further: str) -> Any:
    """Return ``value``, a text or JSON types around texts, with every secret in it hidden.

    Also where it is quoted for a URL, for JSON, for HTML, or stands in something in base64.

    Args:
        value: Is not changed.
        further: Secrets that are not in the environment.
    """
    return _without(value, [*secrets(), *filter(is_secret, further)])


def _without(value: Any, known: list[str]) -> Any:
    if isinstance(value, str):
        for secret in known:
            value = _hide(value, secret)
        return value
    if isinstance(value, Mapping):
        return {_without(key, known): _without(each, known) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_without(each, known) for each in value)
    return value


def _hide(text: str, secret: str) -> str:
    for form in _spellings(secret):
        text = text.replace(form, HIDDEN)
    for core in _cores_in_base64(secret):
        while (at := text.find(core)) >= 0:
            begin, end = at, at + len(core)
            while begin > 0 and text[begin - 1] in BASE64:
                begin -= 1
            while end < len(text) and text[end] in BASE64:
                end += 1
            text = f"{text[:begin]}{HIDDEN}{text[end:]}"
    return text


@cache
def _spellings(secret: str) -> list[str]:
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    quoted.add(re.sub("[-._~]", lambda mark: f"%{ord(mark[0]):02X}", quote(secret, safe="")))
    quoted |= {re.sub("%..", lambda code: code[0].lower(), each) for each in quoted}
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    escaped |= {repr(secret)[1:-1], html.escape(secret)}
    return sorted({secret} | quoted | escaped, key=len, reverse=True)


@cache
def _cores_in_base64(secret: str) -> list[str]:
    """What any text with ``secret`` in it has in its base64, by where the secret begins in it."""
    cores = []
    for before in range(3):
        raw = b"\0" * before + secret.encode(errors="replace")
        known = slice(-(-before * 8 // 6), len(raw) * 8 // 6)
        cores += [encode(raw).decode()[known] for encode in (b64encode, urlsafe_b64encode)]
    return list(dict.fromkeys(cores))


def visible(text: str) -> str:
    r"""Return ``text`` with all that a terminal would obey written out, such as ``\x1b``.

    Escape sequences, backspaces, marks that turn the order of writing round. Newlines and tabs stay.
    """
    return OBEYED.sub(_written_out, text.replace("\r\n", "\n"))


def _written_out(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def as_line(text: object) -> str:
    """Return ``text`` as one visible line: no name or message can pretend to be further lines."""
    return visible(" ".join(str(text).split()))


def fit_to_print(text: str) -> str:
    """Return ``text`` without secrets, visible: what may be printed or logged."""
    return visible(LOGIN.sub(f"{HIDDEN}@", str(redacted(text))))


def say(text: str, *, error: bool = False, green: tuple[str, str] | None = None) -> None:
    """Print ``text``, on standard error if it is an ``error``.

    Args:
        text: Anything.
        error: Its further lines are indented.
        green: Marks in it, before and after what is shown in green instead.
    """
    shown = fit_to_print(text)
    for mark, colour in zip(green or (), GREEN, strict=False):
        shown = shown.replace(mark, colour)
    if error:
        print(shown.replace("\n", "\n  "), file=sys.stderr)
    else:
        print(shown)


def laid_out(*parts: Any, width: int | None = None) -> str:
    """Return tables of rich, and texts that are wrapped, as they fit a terminal or ``width``."""
    from rich.console import Console

    written = io.StringIO()
    console = Console(
        file=written, width=width, highlight=False, markup=False, emoji=False, color_system=None
    )
    for part in parts:
        console.print(part)
    return written.getvalue().rstrip("\n")


class LogFormatter(logging.Formatter):
    """Formats every line of every log; what is logged over several lines is indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, tracebacks included."""
        return fit_to_print(super().format(record)).replace("\n", "\n  ")


def as_markdown(text: object) -> str:
    """Return ``text`` as one line of Markdown that shows it: no table, tag, link or picture."""
    shown = MARKUP.sub(r"\\\g<0>", as_line(text))
    return BEGINS_A_BLOCK.sub(r"\1\\\2", html.escape(shown, quote=False))


def as_code(text: object) -> str:
    """Return ``text`` as code within a line of Markdown, outside of tables."""
    plain = as_line(text).replace("`", "'")
    return f"`{plain or ' '}`"


def as_block(text: str) -> str:
    """Return ``text`` as a block of code, whose fence is longer than any in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{visible(text)}\n{fence}"
