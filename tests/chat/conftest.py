import pytest

from mini_lima.chat import adaptation


@pytest.fixture(autouse=True)
def _nothing_learnt(monkeypatch):
    """Forget what models refuse: another test's server may get the same port."""
    monkeypatch.setattr(adaptation, "_known", {})


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "responses.sqlite"
