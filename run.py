"""The entry point: compose → validate → plan or build → one summary."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mini_lima.config import entry, names
from mini_lima.config.mistakes import Refused, one_line

if TYPE_CHECKING:
    from mini_lima.experiment.plan import Plan

plans: list["Plan"] = []


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(composed: DictConfig) -> float | None:
    """Plan or build one cell; return the win rate of its tuned model, for sweepers that search."""
    from mini_lima.experiment import cell
    from mini_lima.experiment.plan import Plan

    job = HydraConfig.get()
    composed = entry.named(composed, job.runtime.choices)
    config, resolved = entry.to_config(composed), entry.resolved(composed)
    folder = Path(job.runtime.output_dir)
    if config.plan:
        plans[:] = plans or [Plan()]
        cell.plan(config, resolved, folder.name, onto=plans[0])
        return None
    return cell.run(config, resolved, list(job.overrides.task), folder)


if __name__ == "__main__":
    sys.argv[1:] = names.with_experiments_joined(sys.argv[1:])
    beside = names.packages_beside(sys.argv[1:])
    sys.path += beside  # for the functions that a configuration names, in workers and jobs too
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [os.environ.get("PYTHONPATH"), *beside])
    )
    os.environ.setdefault(names.SWEEP_VARIABLE, names.sweep_name(sys.argv[1:]))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors arrive here, to be said in one line
    entry.register()
    code = 0
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # what a shell reports of a process that Ctrl-C has ended
    except (Exception, Refused) as error:
        if said := one_line(error):
            print(f"mini-lima: {said}", file=sys.stderr)
            sys.exit(2)
        if not entry.folders:
            raise
        print(f"mini-lima: the sweep broke off: {type(error).__name__}: {error}", file=sys.stderr)
        code = 1  # the cells that ended are worth their summary
    for plan in plans:
        from mini_lima.experiment import plan_table

        plan_table.show(plan)
        code = max(code, plan.exit_code)
    for folder in entry.folders:
        from mini_lima.experiment.sweep import finish

        code = max(code, finish(folder))
    sys.exit(code)
