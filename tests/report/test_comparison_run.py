"""The run of a sweep's comparison, in the real client's words."""

import json

from mini_lima.cli import main
from mini_lima.experiment.sweep import summarise
from mini_lima.files import read_json, write_json
from mini_lima.report import wandb_run
from tests.report import finished
from tests.report.recorder import KEY


def swept(folder, mode="online", models=("qwen-0.5b", "other"), seeds=(1,)):
    """A finished sweep whose cells are tracked; a key has found its way into what they say."""
    sweep = finished.build(folder, models=models, questions=6, seeds=seeds)
    for path in sweep.glob("*/cell.json"):
        cell = read_json(path)
        tracking = {"mode": mode, "project": "study", "entity": None, "group": "grid"}
        endpoint = {"api_key_env": "WANDB_API_KEY", "base_url": f"https://{KEY}@{path.parent.name}"}
        cell["config"] |= {"tracking": tracking, "teacher": endpoint}
        write_json(path, cell)
    return sweep


def table(server, name):
    *_, sent = [json.loads(body) for file, body in server.uploads.items() if f"{name}.t" in file]
    return [dict(zip(sent["columns"], row, strict=True)) for row in sent["data"]]


def test_a_sweep_ends_with_one_run_that_holds_what_no_cell_knows(server, tmp_path, capsys):
    sweep = swept(tmp_path)
    summarise([sweep], into=sweep)
    [(identity, run)] = server.runs.items()
    assert (run["jobType"], run["groupName"], run["project"]) == ("comparison", "grid", "study")
    assert f"http://127.0.0.1:{server.url.rpartition(':')[2]}/someone/study/runs/{identity}" in (
        capsys.readouterr().out
    )
    assert server.exits[identity] == [0]

    report = read_json(sweep / "report.json")
    names = [each["name"] for each in report["contrasts"]]
    assert any("improved − naive): " in name for name in names), "there is no interaction"
    assert [row["name"] for row in table(server, "contrasts")] == names
    rates = table(server, "comparison")
    first, second = ("win rate by judge-1", "win rate by judge-2")
    assert [(row["measure"], row["model"], row["arm"]) for row in rates] == [
        (measure, model, arm)
        for measure in (first, second)
        for model in ("other", "qwen-0.5b")
        for arm in ("baseline", "naive", "improved")
    ]
    assert {
        (row["value"], row["low"], row["high"], row["failed"])
        for row in rates
        if row["measure"] == first
    } == {(8.25, 3.25, 13.25, 2), (14.75, 9.75, 19.75, 2)}
    assert {row["measure"] for row in table(server, "measures")} == {first, second, "strict"}
    first = report["contrasts"][0]
    for figure in ("difference", "low", "high", "p_holm", "family", "n", "verdict"):
        assert server.summary[identity][f"{first['name']}/{figure}"] == first[figure]
    page = (sweep / "report.html").read_text(encoding="utf-8")
    assert KEY in page, "nothing is there that could be hidden"
    assert server.uploads["report.html"].decode() == page.replace(KEY, "(hidden)")
    assert [body for body in server.requests if KEY.encode() in body] == []

    before = len(server.requests)
    summarise([sweep], into=sweep)
    assert len(server.requests) == before, "what has not changed was sent again"
    forget(sweep / "other-naive" / "cell.json")
    assert main(["compare", str(sweep)]) == 0
    assert len(server.requests) == before, "it was not asked to"
    assert main(["compare", str(sweep), "--track"]) == 0
    assert list(server.runs) == [identity]
    assert len(table(server, "comparison")) == 2 * 5


def forget(path):
    failed = {"status": "failed", "reason": "killed", "result": None}
    write_json(path, read_json(path) | failed)


def test_a_server_that_hangs_costs_neither_the_report_nor_the_run(
    server, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(wandb_run, "SECONDS_TO_CONNECT", 1)
    server.hang_at = "UpsertBucket"
    sweep = swept(tmp_path, models=("other",))
    summarise([sweep], into=sweep)
    assert "not in Weights & Biases: CommError" in capsys.readouterr().out
    assert (sweep / "report.html").is_file()
    assert list(sweep.glob("tracking/wandb/offline-run-*"))
    server.live_again()
    summarise([sweep], into=sweep)
    assert server.exits == {read_json(sweep / "tracking" / "run.json")["id"]: [0]}
    assert not list(sweep.glob("tracking/wandb/*")), "the offline run would be synced again"
