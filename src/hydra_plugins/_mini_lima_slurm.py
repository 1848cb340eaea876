"""``hydra/launcher=slurm``: every cell of a sweep is a job of one Slurm array.

hydra-submitit-launcher submits the cells and composes each in its job. Its own `launch` asks for
the results in turn, and the first job that was killed raises: the others would lose their summary.
Here all jobs are waited for, a killed one is a record like any other, and the summary is made where
the command was typed. Nothing is sent back but what stands in the records.

A job is stopped, by `scancel` or before its time is up, with SIGTERM: training then writes a
checkpoint. submitit would have the process that waits for it ignore SIGTERM.

Hydra instantiates launchers from this package alone, and at every start imports the modules in it
that do not begin with an underscore. This one is registered by `mini_lima.config.entry`.
"""

import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as Submitit
from omegaconf import OmegaConf

from mini_lima import cell, slurm
from mini_lima.config import entry
from mini_lima.config.names import SWEEP_VARIABLE
from mini_lima.errors import UserError

log = logging.getLogger("mini_lima.launcher")


class SlurmLauncher(Submitit):
    """Submits cells, and waits for all of them."""

    sweep: str
    """What `SWEEP_VARIABLE` says where the jobs are submitted; clusters need not pass it on."""

    def __call__(self, *arguments: Any) -> JobReturn:
        """Be a job: run its cell."""
        os.environ[SWEEP_VARIABLE] = self.sweep
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        entry.register()
        return super().__call__(*arguments)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit a cell for each of ``job_overrides``; return their win rates when all have ended.

        Raises:
            UserError: they cannot be submitted.
        """
        slurm.require()
        self.sweep = os.environ[SWEEP_VARIABLE]
        folders, begun, before = [], [], []
        for overrides in job_overrides:
            composed = self.hydra_context.config_loader.load_sweep_config(
                self.config, list(overrides)
            )
            folders.append(entry.folder_of(composed, "cell"))
            task = list(composed.hydra.overrides.task)
            plain = entry.without_hydra(composed)
            begun.append(cell.begun(entry.to_config(plain), entry.resolved(plain), task))
            before.append(slurm.expect(folders[-1], begun[-1]))
        jobs = self._submit(job_overrides, initial_job_idx)
        at = {job.job_id: index for index, job in enumerate(jobs)}
        array = jobs[0].job_id.partition("_")[0]
        log.info("%d cells are Slurm job %s", len(jobs), array)
        returns = [JobReturn(overrides=list(each)) for each in job_overrides]
        try:
            for job, how in slurm.endings({job: folders[at[job]].name for job in at}):
                index = at[job]
                record = slurm.ended(
                    folders[index],
                    before[index],
                    begun[index],
                    reason=f"Slurm job {job}: {how}",
                    log=Path(jobs[index].paths.stdout),
                )
                if record["status"] != "finished":
                    cell.say(record["reason"])
                returns[index].status = JobStatus.COMPLETED
                returns[index].return_value = cell.win_rate(record)
        except KeyboardInterrupt:
            where = folders[0].parent
            log.warning(
                "the jobs go on: scancel %s stops them, mini-lima compare %s says how they ended",
                *(array, where),
            )
            raise
        return returns

    def _submit(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Any]:
        import submitit

        ours = ("submitit_folder", "max_num_timeout")
        common = OmegaConf.structured(BaseQueueConf).keys()
        given = {key: value for key, value in self.params.items() if key not in ours}
        state = Singleton.get_state()
        arguments = [
            (list(overrides), "hydra.sweep.dir", index, str(index), state)
            for index, overrides in enumerate(job_overrides, first)
        ]
        try:
            executor = submitit.AutoExecutor(self.params["submitit_folder"], cluster="slurm")
            executor.update_parameters(
                **{key if key in common else f"slurm_{key}": given[key] for key in given}
            )
            jobs: list[Any] = executor.map_array(self, *zip(*arguments, strict=True))
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as e:
            said = " ".join(str(e).split())
            raise UserError(f"Slurm refused the jobs: {said}; see hydra.launcher") from e
        return jobs
