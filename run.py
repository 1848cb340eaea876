"""The entry point: compose → validate → plan or build → one summary."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from mini_lima.config import entry, names
from mini_lima.config.mistakes import Refused, one_line

if TYPE_CHECKING:
    from mini_lima.plan import Plan

codes: list[int] = []
sweeps: set[Path] = set()
plans: list["Plan"] = []


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(composed: DictConfig) -> None:
    """Plan or build one cell."""
    from mini_lima import cell
    from mini_lima.plan import Plan

    config, resolved = entry.to_config(composed), entry.resolved(composed)
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    if config.plan:
        plans[:] = plans or [Plan()]
        codes.append(cell.plan(config, resolved, folder.name, onto=plans[0]))
        return
    codes.append(cell.run(config, resolved, list(job.overrides.task), folder))
    sweeps.add(folder.parent if job.mode is RunMode.MULTIRUN else folder)


if __name__ == "__main__":
    sys.argv[1:] = names.with_experiments_joined(sys.argv[1:])
    os.environ.setdefault(names.SWEEP_VARIABLE, names.sweep_name(sys.argv[1:]))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors arrive here, to be said in one line
    entry.register()
    try:
        main()
        for plan in plans:
            plan.show()
        if sweeps and min(codes) < 2:  # otherwise nothing was built, and why has been said
            from mini_lima.sweep import summarise

            for folder in sweeps:
                summarise([folder], into=folder)
    except (Exception, Refused) as error:
        said = one_line(error)
        if said is None:
            raise
        print(f"mini-lima: {said}", file=sys.stderr)
        codes.append(2)
    sys.exit(max(codes, default=0))
