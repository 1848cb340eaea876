from collections.abc import Iterator

import pytest

from tests.sft.attempts import Attempts


@pytest.fixture(scope="session")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attempts]:
    made = Attempts(tmp_path_factory.mktemp("attempts"))
    yield made
    made.close()
