"""``mini-lima dashboard``: the comparison workspace of a Weights & Biases project.

It is one view, found again by its name: made again, it is brought up to date, and what somebody
has made of it by hand in the meantime is replaced. The pictures with intervals are chart presets of
the entity, named after what is in them; a server that takes none costs these panels alone.
"""

import argparse
import hashlib
import json
from importlib.util import find_spec
from typing import Any

from mini_lima.errors import UserError
from mini_lima.report import charts_with_intervals as charts
from mini_lima.report import wandb_run

NAME = "Mini-LIMA: comparison"
VIEW = "minilimacomparison"
"""The view's place in the address, by which it is found again."""
LENGTH, WIN_RATE = "sft/avg_length", "sft/win_rate"
SET = ("model.name", "arm", "optimizer.lr", "sft.epochs", "sft.seed")
FOUND = ("data/mean_output_characters", "sft/loss", LENGTH, WIN_RATE)
"""What is set and what is found out: the axes of the parallel coordinates."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``dashboard`` to the command line."""
    parser = commands.add_parser(
        "dashboard",
        help="make the workspace that compares the runs of a Weights & Biases project",
        description="Make a workspace, or bring it up to date: win rates with their intervals, "
        "contrasts, win rate against length, run comparer, parallel coordinates and loss curves.",
    )
    parser.add_argument("project", help="PROJECT, or ENTITY/PROJECT for that of a team")
    parser.set_defaults(run=lambda options: make(options.project))


def make(project: str) -> str:
    """Make the workspace of ``project``, ``ENTITY/PROJECT`` or a project of one's own.

    Returns:
        Its address, and in further lines what could not be made.

    Raises:
        UserError: The package, a login, the network or the project is missing.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError(
            "the dashboard needs wandb-workspaces: pip install -c constraints.txt -e '.[dashboard]'"
        )
    if lacking := wandb_run.missing_login():
        raise UserError(f"the dashboard needs {lacking}")
    try:
        with wandb_run.library() as wandb:
            return wandb_run.within(wandb_run.SECONDS, lambda: _save(wandb, project))
    except Exception as error:  # of the library and of what it uses
        raise UserError(
            f"no dashboard of {project}: {' '.join(str(error).split())}; check the network,"
            " WANDB_BASE_URL if you have set it, and that the project is there (the first run that"
            " is tracked makes it)"
        ) from error


def _save(wandb: Any, project: str) -> str:
    import wandb_workspaces.workspaces as ws

    api = wandb.Api()
    entity, _, name = project.rpartition("/")
    if not (entity := entity or api.default_entity or ""):
        raise ValueError("the key belongs to no entity: give ENTITY/PROJECT")
    made = _found_or_new(api, entity, name)
    pictures, refused = _pictures(api, entity)
    made.sections = _sections(pictures)
    made.settings = ws.WorkspaceSettings(max_runs=100)
    made.save()
    return "\n".join([made.url, *refused])


def _found_or_new(api: Any, entity: str, project: str) -> Any:
    import wandb_workspaces.workspaces as ws

    try:
        return ws.Workspace.from_url(f"{api.settings['base_url']}/{entity}/{project}?nw={VIEW}")
    except ValueError as error:
        if "Workspace" not in str(error):
            raise
    new = ws.Workspace(entity=entity, project=project, name=NAME, auto_generate_panels=False)
    new._internal_name = f"nw-{VIEW}-v"  # it would draw one, and could not be found again
    return new


def _pictures(api: Any, entity: str) -> tuple[list[Any], list[str]]:
    """The panels with intervals, and lines about those that could not be made."""
    import wandb_workspaces.reports.v2 as wr

    panels, refused = [], []
    for table, columns, picture in (
        ("win_rates", charts.WIN_RATES, charts.win_rates()),
        ("contrasts", charts.CONTRASTS, charts.contrasts()),
    ):
        spec = json.dumps(picture)
        title = table.replace("_", " ")
        preset = f"mini-lima-{title}-{hashlib.sha256(spec.encode()).hexdigest()[:8]}".replace(
            " ", "-"
        )
        try:
            api.create_custom_chart(
                entity=entity,
                name=preset,
                display_name=f"Mini-LIMA: {title}",
                spec_type="vega2",
                access="private",
                spec=spec,
            )
        except Exception as error:  # it may be there from an earlier time: its name says which
            refused.append(f"the chart {preset} was not saved: {' '.join(str(error).split())}")
        panels.append(
            wr.CustomChart(
                query={"summaryTable": {"tableKey": table}},
                chart_name=f"{entity}/{preset}",
                chart_fields={column: column for column in columns},
            )
        )
    return panels, refused


def _sections(pictures: list[Any]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    bars = wr.BarPlot(
        title="Win rate by run, %",
        metrics=["baseline/win_rate", WIN_RATE],
        orientation="v",
        max_runs_to_show=100,
    )
    by_length = wr.ScatterPlot(
        title="Win rate and length of the answers",
        x=wr.SummaryMetric(LENGTH),
        y=wr.SummaryMetric(WIN_RATE),
        regression=True,
    )
    axes = [wr.ParallelCoordinatesPlotColumn(wr.Config(key)) for key in SET]
    axes += [wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(key)) for key in FOUND]
    curves = {"loss": "Loss", "learning_rate": "Learning rate", "grad_norm": "Norm of the gradient"}
    lines = [wr.LinePlot(title=title, x="Step", y=[f"sft/{key}"]) for key, title in curves.items()]
    side_by_side = [
        wr.ParallelCoordinatesPlot(title="From what is set to the win rate", columns=axes),
        wr.RunComparer(diff_only=True),
    ]
    sections = {
        "Win rates": [*pictures, bars, by_length],
        "Runs side by side": side_by_side,
        "Training": lines,
    }
    two_wide = ws.SectionLayoutSettings(columns=2, rows=2)
    return [
        ws.Section(name=name, panels=panels, is_open=True, layout_settings=two_wide)
        for name, panels in sections.items()
    ]
