"""Files of whoever wrote them: read as what they should be, or refused in a line."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.chat import export_cassette
from mini_lima.errors import UserError
from mini_lima.experiment.cell import stages_before
from mini_lima.files import parse, write_text
from mini_lima.results import cost_of, read_cell, read_result
from mini_lima.store import contents, index
from tests.harm import BAD

NAMES = st.sampled_from(
    ["version", "model", "stages", "config", "value", "warnings", "contents", "endpoint", "keys"]
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just("\ud83d")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(NAMES, st.text()), inner, max_size=4)
    ),
)


def refuse_or_read(path):
    """Put ``path`` before all who read what may be anybody's."""
    said = []
    for read in (read_cell, read_result, cost_of, index.stages_in):
        try:
            read(path)
        except UserError as error:
            said.append(str(error))
    assert all(str(path) in each and len(each.splitlines()) == 1 for each in said)


@given(JSON)
def test_any_json_is_a_record_or_refused_in_a_line(tmp_path_factory, document):
    folder = tmp_path_factory.mktemp("records")
    for name in ("cell.json", "stage.json", "requests.json"):
        (folder / name).write_text(json.dumps(document))
    refuse_or_read(folder / "cell.json")
    contents.damage(folder)
    stages_before(folder)
    (folder / "cache").touch()
    with pytest.raises(UserError):
        export_cassette([folder], folder / "cache", folder / "to")


@pytest.mark.parametrize("harm", BAD.values(), ids=BAD.keys())
def test_what_is_no_file_of_json_is_refused_in_a_line(tmp_path, harm):
    harm(tmp_path / "stage.json")
    refuse_or_read(tmp_path / "stage.json")
    assert contents.damage(tmp_path) is None or contents.damage(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 200 + "]" * 200, "nested"),
        ("[" * 100_000, "nested"),
        ('{"a": 1, "a": 2}', "twice"),
        (r'{"a": "\ud83d"}', "surrogate"),
        ("9" * 5_000, "digits"),
    ],
)
def test_json_that_could_not_be_used_or_written_again_is_refused(text, told):
    with pytest.raises(ValueError, match=told):
        parse(text)
    assert parse(r'["\ud83d\ude00"]') == ["😀"]


def test_a_device_or_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is not a regular file"):
        write_text(tmp_path / "pipe", "text")
    assert [each.is_fifo() for each in tmp_path.iterdir()] == [True]
