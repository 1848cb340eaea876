"""Text on its way out: secrets in every spelling, and what terminals and Markdown would obey."""

import base64
import html
import json
import logging
import re
import sys
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mini_lima import text

KEY = "sk-T3st/+key \"quoted\" 'é'"
CONTROL = "\x1b]0;t\x07\x1b[2J\r\x08\x9b1m\u202e\u2066\u2028\x00"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (text.HIDE, "NETRC", "HF_HOME", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


@given(before=st.text(), after=st.text())
def test_a_secret_is_hidden_in_every_spelling_and_within_base64(before, after):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_API_KEY", KEY)
        said = f"{before}{KEY}{after}"
        raw = said.encode("utf-8", "surrogatepass")
        encoded = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()
        for spelled in (said, json.dumps(said), repr(said), html.escape(said)):
            assert "T3st" not in text.redacted(spelled)
        for spelled in encoded:
            hidden = text.redacted(f"Basic {spelled} end")
            assert hidden == "Basic (hidden) end"
        assert text.redacted(quote_plus(KEY)) == text.HIDDEN
        assert text.redacted(quote(KEY, safe="").replace("-", "%2D")) == text.HIDDEN
        lower = re.sub("%..", lambda code: code[0].lower(), quote(KEY, safe=""))
        assert text.redacted(lower) == text.HIDDEN
        assert text.redacted({KEY: [KEY, 1, None, (True, f"a {KEY}")]}) == {
            text.HIDDEN: [text.HIDDEN, 1, None, (True, f"a {text.HIDDEN}")]
        }


def test_secrets_are_known_by_the_names_of_their_variables_or_by_being_kept_as_such(
    monkeypatch, tmp_path
):
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password of-netrc-0")
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / ".cache" / "huggingface" / "token").write_text("hf_of_login\n")
    named = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "MYAPIKEY_2", "OTHER")
    for number, name in enumerate(named):
        monkeypatch.setenv(name, f"secret-{number} \n")
    for name, value in {
        "MONKEY": "not-a-secret-1",
        "SHORT_KEY": "EMPT1",
        "WORD_KEY": "not-needed",
        "OTHER_KEY": "ollama",
        "MAX_TOKENS": "100000",
        "FILE_TOKEN": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    text.hide_values_of(["OTHER"])
    text.hide_values_of(["ABSENT"])
    monkeypatch.setenv("HTTPS_PROXY", "http://me:of%2Fproxy-0@host:80")
    found = {*(f"secret-{number}" for number in range(5)), "of-netrc-0", "hf_of_login"}
    monkeypatch.setenv("LONG_KEY", "supersecret")
    found |= {"supersecret", "me:of%2Fproxy-0", "of/proxy-0"}
    assert {*text.secrets()} >= found
    ordinary = {"not-a-secret-1", "EMPT1", "not-needed", "ollama", "100000", str(tmp_path)}
    assert not {*text.secrets()} & ordinary


def test_an_address_with_a_login_or_a_key_is_told_from_one_without():
    for address in (
        "https://user:pw@host/v1",
        "serve --at http://token@host",
        "https://host/v1?api-key=1",
        "https://host/f?x=1&X-Amz-Signature=2",
        "https://host/f?api%5Fkey=1",
        "https://host/#access_token=1",
    ):
        assert text.has_credentials(address)
    for address in ("https://host/a@b?download=true#sha256=1", "hub:a/b@main", "me@host?key=1"):
        assert not text.has_credentials(address)


@given(st.text() | st.just(CONTROL))
def test_nothing_that_is_said_or_logged_is_obeyed_by_a_terminal(said):
    record = logging.LogRecord("name", logging.INFO, "", 0, "%s", (said,), None)
    for shown in (text.visible(said), text.LogFormatter().format(record)):
        assert [c for c in shown if not c.isprintable() and c not in "\n\t" and ord(c) < 0xA0] == []
        assert not {*shown} & {*"\u202a\u202d\u202e\u2066\u2069\u200f\u2028"}
        shown.encode()
    assert "\n" not in text.as_line(said)


def test_a_log_has_neither_forged_lines_nor_secrets_in_its_tracebacks(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", KEY)
    try:
        raise ValueError(f"{KEY} at http://user:pw@proxy\n12:00:00 all is well")
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    said = text.LogFormatter().format(record)
    assert KEY not in said
    assert "user:pw" not in said
    assert all(line.startswith("  ") for line in said.split("\n")[1:])


def test_a_command_says_no_sequence_but_its_own(capsys):
    text.say(f"⟦green⟧{''.join(text.GREEN)}", green=("⟦", "⟧"))
    text.say("wrong\nfurther", error=True)
    said, error = capsys.readouterr()
    assert said == "\x1b[32mgreen\x1b[0m\\x1b[32m\\x1b[0m\n"
    assert error == "wrong\n  further\n"


def test_markdown_shows_a_text_and_does_not_obey_it():
    markdown = MarkdownIt("gfm-like", {"linkify": False})
    for said in (
        "![x](http://evil/x.png) [y](http://evil) <img src=x onerror=1>",
        "a | b `c` **d** ~~e~~ _f_ snake_case [20.0, 30.5] a\\|b &amp;",
        "1. one",
        "- [ ] task",
        "# head",
        "[x]: http://evil",
        "---",
    ):
        tokens = markdown.parse(text.as_markdown(said))
        assert [each.type for each in tokens] == ["paragraph_open", "inline", "paragraph_close"]
        assert {each.type for each in tokens[1].children} <= {"text", "text_special"}
        assert "".join(each.content for each in tokens[1].children) == said
        row = markdown.parse(f"| a | b |\n|---|---|\n| {text.as_markdown(said)} | b |")
        assert [each.content for each in row if each.type == "inline"][3] == "b"
        coded = markdown.parse(f"- {text.as_code(said)}")
        [inline] = [each for each in coded if each.type == "inline"]
        assert [each.type for each in inline.children] == ["code_inline"]
        fenced = markdown.parse(text.as_block(f"```\n{said}\n````"))
        assert [each.type for each in fenced] == ["fence"]
