"""A job that builds a small study in a store, run as a process of its own by test_stages.py.

    python stage_job.py '{"store": DIR, "seeds": FILE, "calls": FILE, ...}'

It says "ready" and waits for a line, so that several start together. Every stage that runs appends
its label to ``calls``. With "hold" it stops in the middle of that stage, says "holding", and waits
for a line that never comes; with "fork" a forked child of it waits too.
"""

import json
import logging
import os
import resource
import sys
from pathlib import Path
from typing import Any

from mini_lima.store.stages import Stage, Store, walk


def work(output_dir: Path, *, calls: Path, label: str, hold: str, fork: bool, **given: Any) -> None:
    with calls.open("ab", buffering=0) as file:
        file.write(f"{label}\n".encode())
    (output_dir / "result.json").write_text("half of")
    if label == hold:
        if fork and os.fork() == 0:
            sys.stdin.readline()
            os._exit(0)
        print("holding", flush=True)
        sys.stdin.readline()
    known = {key: _content(value) for key, value in given.items()}
    (output_dir / "result.json").write_text(json.dumps({label: known}))


def _content(value: Any) -> Any:
    if not isinstance(value, Path):
        return value
    return json.loads((value / "result.json" if value.is_dir() else value).read_text())


def study(
    seeds: Path,
    calls: Path,
    *,
    hold: str = "",
    fork: bool = False,
    learning_rate: float = 1e-5,
    annotator: str = "longest",
) -> Stage:
    """Eleven stages: two data sets, two trainings, three answers and verdicts, a report."""

    def stage(name: str, data: str = "", files: Any = None, params: Any = None, **inputs: Stage):
        label = f"{name} {data}".strip()
        settings = {"calls": calls, "hold": hold, "fork": fork}
        # A label in the params too: it makes `work` another work for each.
        named = {"label": label, **(params or {})}
        return Stage(name, data or name, work, named, inputs, files or {}, settings)

    naive = stage("data", "naive", files={"seeds": seeds})
    improved = stage("data", "improved", naive=naive)
    verdicts = {}
    for label, data in {"baseline": None, "naive": naive, "improved": improved}.items():
        rate = {"learning_rate": learning_rate}
        model = {"model": stage("sft", label, params=rate, data_set=data)} if data else {}
        outputs = stage("outputs", label, **model)
        judge = {"annotator": annotator}
        verdicts[label] = stage("annotations", label, params=judge, outputs=outputs)
    return stage("report", **verdicts)


def main(options: dict[str, Any]) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print("ready", flush=True)
    sys.stdin.readline()
    if limit := options.get("file_limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    held = {"hold": options.get("hold", ""), "fork": options.get("fork", False)}
    stages = walk([study(Path(options["seeds"]), Path(options["calls"]), **held)])
    store = Store(Path(options["store"]))
    first = options.get("first", 0)
    for stage in stages[first:] + stages[:first]:
        store.build(stage)
    fingerprints = [stage.fingerprint for stage in stages]
    print(json.dumps({"executed": len(store.executed), "fingerprints": fingerprints}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
