"""`mini-lima dashboard` with the real client and wandb-workspaces."""

import json
import re
import sys
from dataclasses import fields, is_dataclass
from typing import get_origin

from mini_lima.cli import main
from mini_lima.config.schema import Config
from mini_lima.report import comparison_run
from tests.report.tracked import RUN, track


def found_in(document, key):
    """Every value of ``key`` anywhere in ``document``."""
    if isinstance(document, dict):
        yield from (value for name, value in document.items() if name == key)
        document = list(document.values())
    if isinstance(document, list):
        for each in document:
            yield from found_in(each, key)


def test_the_workspace_shows_what_cells_have_logged(server, finished, capsys):
    track(finished, artifacts="none")
    kinds = {artifact["artifactTypeName"] for artifact in server.artifacts.values()}
    assert kinds == {"run_table"}, "there are artifacts, which were not wanted"
    assert main(["dashboard", "study"]) == 0
    [view] = server.views.values()
    assert capsys.readouterr().out.strip() == f"{server.url}/someone/study?nw=minilimacomparison"
    assert (view["entityName"], view["projectName"]) == ("someone", "study")
    spec = json.loads(view["spec"])
    assert set(found_in(spec, "viewType")) == {
        *("Vega2", "Bar Chart", "Scatter Plot", "Parallel Coordinates Plot", "Run Comparer"),
        "Run History Line Plot",
    }
    logged = server.summary[RUN.id]
    shown = [metric for metrics in found_in(spec, "metrics") for metric in metrics]
    axes = [*found_in(spec, "accessor"), *found_in(spec, "xAxis"), *found_in(spec, "yAxis")]
    shown += [axis.removeprefix("summary:") for axis in axes if axis.startswith("summary:")]
    assert {"sft/win_rate", "sft/avg_length", "sft/loss"} <= set(shown)
    assert [name for name in shown if name not in logged and name != "sft/grad_norm"] == []
    keys = [axis.removeprefix("config:") for axis in axes if axis.startswith("config:")]
    assert "arm.value" in keys
    settings = [f"{key}.".replace(".value.", ".").rstrip(".") for key in keys]
    assert [setting for setting in settings if not is_setting(setting)] == []

    tables = json.loads((finished["output"] / "tables.json").read_text())
    columns = {"win_rates": tables["win_rates"]["columns"], "contrasts": comparison_run.COLUMNS}
    vega = [each for each in found_in(spec, "config") if "panelDefId" in each]
    assert len(vega) == len(server.charts) == 2
    for panel in vega:
        chart = server.charts[panel["panelDefId"].removeprefix("someone/")]
        [(_, table)] = [
            argument.values() for [argument, *rest] in found_in(panel, "args") if not rest
        ]
        used = set(re.findall(r"\$\{field:(\w+)\}", chart["spec"]))
        assert {"low", "high"} < used
        assert used <= set(columns[table])
        assert panel["fieldSettings"] == {column: column for column in used}

    assert main(["dashboard", "someone/study"]) == 0
    assert len(server.views) == 1, "made again, it is another"
    assert next(iter(server.views.values()))["id"] == "id-nw-minilimacomparison-v"


def is_setting(key, within=Config):
    name, _, rest = key.partition(".")
    found = {each.name: each.type for each in fields(within)}.get(name)
    if found is None or not rest or get_origin(found) is dict:
        return found is not None
    return is_dataclass(found) and is_setting(rest, found)


def lacks(capsys, project="study"):
    """What the command says that it lacks, in one line, with exit code 2."""
    assert main(["dashboard", project]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    return line


def test_what_is_missing_is_said_in_a_line_with_what_to_do(server, capsys, monkeypatch):
    assert "`someone/nothing` not found" in lacks(capsys, "nothing")
    with monkeypatch.context() as patched:
        patched.delenv("WANDB_API_KEY")
        assert "wandb login" in lacks(capsys)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "wandb_workspaces", None)
        assert "pip install" in lacks(capsys)
    assert server.views == {}
