"""Two pictures that W&B's own panels lack: win rates, and contrasts, each with its interval.

They are Vega-Lite over tables that runs log. W&B puts the rows of all runs that are shown into the
data set ``wandb``, where a baseline that several cells have in common is several times over: what
has the same figures is one mark. ``${field:x}`` is how W&B has a column named.
"""

from collections.abc import Sequence
from typing import Any

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
ARMS = ["baseline", "naive", "improved"]
"""The first ones; whatever arms there are follow them."""
COLOURS = {"range": ["#5b6570", "#b3470a", "#0a66c2", "#7a3fa0", "#1a6b34", "#946200", "#a8201a"]}
VERDICTS = {
    "domain": ["better", "worse", "higher", "lower", "cannot tell"],
    "range": ["#1a6b34", "#a8201a", "#0a66c2", "#0a66c2", "#5b6570"],
}
WIN_RATES = ("model", "arm", "measure", "value", "low", "high", "n", "failed")
CONTRASTS = (
    *("name", "measure", "unit", "difference", "low", "high"),
    *("p_holm", "by_length_alone", "verdict"),
)
Encoding = dict[str, Any]


def win_rates() -> dict[str, Any]:
    """Return bars per model and arm with their intervals, over the columns `WIN_RATES`."""
    place = {
        "x": {**_column("model"), "type": "nominal", "title": None, "axis": {"labelAngle": 0}},
        "xOffset": {**_column("arm"), "sort": ARMS},
    }
    rate: Encoding = {"type": "quantitative", "title": "win rate, %"}
    interval = {"y": {**_column("low"), **rate}, "y2": _column("high")}
    return _chart(
        WIN_RATES,
        _layer(
            {"type": "bar", "opacity": 0.75},
            **place,
            y={**_column("value"), "aggregate": "mean", **rate},
            color={**_column("arm"), "sort": ARMS, "scale": COLOURS, "title": None},
        ),
        _layer({"type": "rule", "strokeWidth": 2}, **place, **interval, tooltip=_all(WIN_RATES)),
        _layer(
            {"type": "point", "filled": True, "color": "black", "opacity": 1},
            **place,
            y={**_column("value"), **rate},
        ),
    )


def contrasts() -> dict[str, Any]:
    """Return a line per contrast, over the columns `CONTRASTS`; of percentages alone.

    What has another unit would need an axis of its own. A diamond is where the difference would be
    if the longer answer always won.
    """
    points: Encoding = {"type": "quantitative", "title": "difference, points"}
    names = {"type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 320}}
    place = {"y": {**_column("name"), **names}, "yOffset": _column("measure")}
    verdict = {**_column("verdict"), "type": "nominal", "scale": VERDICTS, "title": None}
    interval = {"x": {**_column("low"), **points}, "x2": _column("high")}
    dot = {"type": "point", "filled": True, "size": 60, "opacity": 1}
    of_percentages = {"filter": f"datum['{_column('unit')['field']}'] === 'points'"}
    return _chart(
        CONTRASTS,
        _layer({"type": "rule"}, x={"datum": 0, **points}),
        _layer({"type": "rule", "strokeWidth": 2}, **place, **interval, color=verdict),
        _layer(
            dot,
            **place,
            x={**_column("difference"), **points},
            color=verdict,
            tooltip=_all(CONTRASTS),
        ),
        _layer(
            {"type": "point", "shape": "diamond", "color": "black"},
            **place,
            x={**_column("by_length_alone"), **points},
        ),
        only=[of_percentages],
    )


def _layer(mark: dict[str, Any], **encoding: Any) -> dict[str, Any]:
    return {"mark": mark, "encoding": encoding}


def _column(name: str) -> Encoding:
    return {"field": f"${{field:{name}}}"}


def _all(columns: Sequence[str]) -> list[Encoding]:
    return [{**_column(name), "title": name.replace("_", " ")} for name in columns]


def _chart(
    columns: Sequence[str], *layers: dict[str, Any], only: Sequence[dict[str, str]] = ()
) -> dict[str, Any]:
    groups = [_column(name)["field"] for name in columns]
    return {
        "$schema": SCHEMA,
        "data": {"name": "wandb"},
        "transform": [{"aggregate": [{"op": "count", "as": "times"}], "groupby": groups}, *only],
        "width": "container",
        "height": "container",
        "autosize": {"type": "fit", "contains": "padding"},
        "layer": list(layers),
    }
