"""The entry point: compose → validate → plan or build → one summary."""

import os
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mini_lima.config import entry, names
from mini_lima.config.mistakes import Refused, one_line
from mini_lima.text import say
from mini_lima.text.streams import make_lasting


def start() -> None:
    """Run one cell, or a sweep of them; `mini_lima.experiment.callback` is what happens around."""
    logged: set[str] = set()

    @hydra.main(version_base="1.3", config_path="conf", config_name="config")
    def main(composed: DictConfig) -> float | None:
        """Build one cell; return the win rate of its tuned model, for sweepers that search."""
        from mini_lima.experiment import cell

        job = HydraConfig.get()
        composed = entry.named(composed, job.runtime.choices)
        config, resolved = entry.to_config(composed), entry.resolved(composed)
        folder = Path(job.runtime.output_dir)
        return cell.run(config, resolved, entry.as_typed(job.overrides.task), folder, logged)

    main()


if __name__ == "__main__":
    make_lasting()
    given = sys.argv[1:]
    sys.argv[1:] = names.completed(given)
    beside = names.packages_beside(given)
    sys.path += beside  # for the functions that a configuration names, in workers and jobs too
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [os.environ.get("PYTHONPATH"), *beside])
    )
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors arrive here, to be said in one line
    try:
        start()
    except KeyboardInterrupt:
        sys.exit(130)  # what a shell reports of a process that Ctrl-C has ended
    except (Exception, Refused) as error:
        if said := one_line(error, given):
            say(f"mini-lima: {said}", error=True)
            sys.exit(2)
        if "submitit" not in sys.modules:
            say(traceback.format_exc(), error=True)
            sys.exit(1)
        # Of Slurm, or of a job: the plugin raises on the first one that was killed.
        say(f"mini-lima: {type(error).__name__}: {' '.join(str(error).split())}", error=True)
        sys.exit(1)
