import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.workers import progress as module
from mini_lima.workers.progress import MARKER, WORKER, WorkerOutput, progress

worker_log = logging.getLogger("worker")


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between the lines of a piped output."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)


def as_a_worker(
    work: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """The lines that ``work`` prints in a worker."""
    with monkeypatch.context() as patch:
        patch.setenv(WORKER, "1")
        work()
    return capsys.readouterr().out.splitlines()


def train() -> None:
    with progress("SFT", total=2) as bar:
        bar.advance(1, loss=2.5, learning_rate=1e-5)
        bar.advance(1, loss=1.25, learning_rate=2e-5)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == module.__name__]


def test_a_pipe_gets_lines_with_the_figures(
    every_step: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    train()

    first, last = messages(caplog)
    assert first.startswith("SFT: 1 of 2, ")
    assert first.endswith(", loss 2.5, learning rate 1e-05")
    assert last == "SFT: 2 of 2, loss 1.25, learning rate 2e-05"


def test_a_worker_s_progress_is_drawn_by_its_parent_as_if_it_were_its_own(
    every_step: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    output = WorkerOutput(worker_log)
    for line in as_a_worker(train, monkeypatch, capsys):
        output.feed(line)
    output.close()

    assert messages(caplog)[-1] == "SFT: 2 of 2, loss 1.25, learning rate 2e-05"
    assert [r for r in caplog.records if r.name == "worker"] == []


marker_like = st.sampled_from(["", "{}", "[1]", "null", '{"label": "x"}', '{"label"', "nonsense"])


@given(st.text(), marker_like)
def test_text_is_kept_word_for_word_even_if_it_looks_like_a_marker(text: str, rest: str) -> None:
    kept = Kept()
    log = logging.Logger("isolated", logging.DEBUG)
    log.addHandler(kept)
    output = WorkerOutput(log)

    output.feed(text)
    output.feed(MARKER + rest)

    assert kept.lines == [text, MARKER + rest]
