"""Answers of a finished run travel to another store and make the same run there."""

import json

import pytest
from tests.chat.server import FakeOpenAI
from tests.composing import configured
from tests.data.teachers import Teacher

from mini_lima import pipeline
from mini_lima.chat import recordings
from mini_lima.cli import main
from mini_lima.errors import UserError
from mini_lima.store.stages import Store, walk


def data_sets(store, server_url):
    """The naive and the improved stage of a run with a live teacher."""
    config = configured(
        *("experiment=embedded", "teacher=local", "teacher.model=fake", f"store={store}"),
        *(
            f"teacher.base_url={server_url}",
            "data.steps.self_instruct.filters.near_duplicate=false",
        ),
        "tracking=disabled",
    )
    return [each for each in walk(pipeline.build_cell(config, {}).last) if each.name == "data"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folders of the two data sets, and their store."""
    root = tmp_path_factory.mktemp("here") / "store"
    with FakeOpenAI(Teacher()) as server:
        store = Store(root)
        return [store.build(stage) for stage in data_sets(root, server.base_url)], root


def test_a_run_is_replayed_elsewhere_byte_for_byte_under_the_same_fingerprints(ran, tmp_path):
    folders, root = ran
    cassette, elsewhere = tmp_path / "run.jsonl", tmp_path / "store"
    arguments = ["export", *map(str, folders), "--cache", str(root / "responses.sqlite")]
    assert main([*arguments, "--to", str(cassette)]) == 0
    assert main(["import", str(cassette), "--cache", str(elsewhere / "responses.sqlite")]) == 0
    for stage, before in zip(data_sets(elsewhere, "http://127.0.0.1:9/v1"), folders, strict=True):
        made = Store(elsewhere).build(stage)
        assert made.name == before.name, "the fingerprint is part of the name"
        files = {path.name for path in made.iterdir()} - {"ledger.json", "stage.json"}
        assert all((made / name).read_bytes() == (before / name).read_bytes() for name in files)
        assert json.loads((made / "ledger.json").read_text())["sent"] == 0
    again = tmp_path / "again.jsonl"
    recordings.export_cassette(folders, elsewhere / "responses.sqlite", again)
    assert again.read_bytes() == cassette.read_bytes()
    assert recordings.import_cassette(cassette, root / "responses.sqlite")["new"] == 0


def test_both_halves_of_a_line_are_of_the_batch_format(ran, tmp_path):
    folders, root = ran
    recordings.export_cassette(folders[:1], root / "responses.sqlite", tmp_path / "c.jsonl")
    for line in (tmp_path / "c.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert (row["method"], row["url"]) == ("POST", "/v1/chat/completions")
        assert row["body"].keys() >= {"model", "messages"}
        assert row["response"]["status_code"] == 200
        assert row["error"] is None


def test_a_cell_stands_for_all_of_its_stages(ran, tmp_path):
    folders, root = ran
    (tmp_path / "sweep" / "cell").mkdir(parents=True)
    record = {"stages": {str(number): str(folder) for number, folder in enumerate(folders)}}
    (tmp_path / "sweep" / "cell" / "cell.json").write_text(json.dumps(record))
    counts = [
        recordings.export_cassette(named, root / "responses.sqlite", tmp_path / "c.jsonl")
        for named in (folders, [tmp_path / "sweep"], [tmp_path / "sweep" / "cell"])
    ]
    assert len(set(counts)) == 1


def test_what_cannot_be_exported_whole_is_not_exported(ran, tmp_path):
    folders, root = ran
    with pytest.raises(UserError, match="no model was asked"):
        recordings.export_cassette([tmp_path], root / "responses.sqlite", tmp_path / "c.jsonl")
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        recordings.export_cassette(
            [tmp_path / "nowhere"], root / "responses.sqlite", tmp_path / "c.jsonl"
        )
    with pytest.raises(UserError, match="cannot be written"):
        recordings.export_cassette(
            folders, root / "responses.sqlite", root / "responses.sqlite" / "c.jsonl"
        )
    with pytest.raises(UserError, match="no such response cache"):
        recordings.export_cassette(folders, tmp_path / "nothing", tmp_path / "c.jsonl")
    recordings.export_cassette(folders[:1], root / "responses.sqlite", tmp_path / "part.jsonl")
    recordings.import_cassette(tmp_path / "part.jsonl", tmp_path / "part.sqlite")
    with pytest.raises(UserError, match="no answer of 'local' to request"):
        recordings.export_cassette(folders, tmp_path / "part.sqlite", tmp_path / "c.jsonl")
    assert not (tmp_path / "c.jsonl").exists()


def test_answers_of_nobody_in_particular_need_a_name(tmp_path):
    from tests.data.test_recorded_teacher import CASSETTE

    with pytest.raises(UserError, match="--endpoint"):
        recordings.import_cassette(CASSETTE, tmp_path / "cache")
    assert recordings.import_cassette(CASSETTE, tmp_path / "cache", "somebody")["new"] == 243
