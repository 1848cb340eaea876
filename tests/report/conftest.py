import pytest

from mini_lima.report import wandb_run
from tests.report import tracked
from tests.report.recorder import KEY, Recorder


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server to which those who track are logged in; it shows rows within a second."""
    with Recorder() as recorder:
        monkeypatch.setenv("WANDB_BASE_URL", recorder.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "1")
        monkeypatch.setattr(wandb_run, "SECONDS_BETWEEN_LOOKS", 0.05)
        for limit in ("SECONDS", "SECONDS_TO_CONNECT", "SECONDS_TO_FINISH"):
            monkeypatch.setattr(wandb_run, limit, 600)  # a slow machine breaks no test
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
        (tmp_path / "temporary").mkdir()
        yield recorder


@pytest.fixture
def finished(tmp_path):
    """The inputs of the stage, as the stages before it leave them."""
    return tracked.finished_stages(tmp_path / "store")
