"""``hydra/launcher=slurm``: every cell of a sweep is a job of one Slurm array.

hydra-submitit-launcher submits the cells and composes each in its job. Its own `launch` asks for
the results in turn, and the first job that was killed raises: the others would lose their summary.
Here all jobs are waited for, and what comes of each is read from its cell's record; a killed one
has a record like any other.

A job is stopped, by `scancel` or before its time is up, with SIGTERM: training then writes a
checkpoint. submitit alone would have the process that holds the cell ignore it.

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

from mini_lima.config import entry
from mini_lima.config.names import SWEEP_VARIABLE, SWEPT_VARIABLE
from mini_lima.errors import UserError
from mini_lima.experiment import cell, remote_jobs
from mini_lima.experiment.remote_jobs import Awaited
from mini_lima.workers import slurm

log = logging.getLogger("mini_lima.launcher")
Overrides = Sequence[Sequence[str]]


class SlurmLauncher(Submitit):  # type: ignore[misc]  # an untyped package
    """Submits cells, and waits for all of them.

    Attributes:
        variables: Those that name sweep and cells; a cluster need not pass variables on.
    """

    variables: dict[str, str]

    def __call__(self, *arguments: Any) -> JobReturn:
        """Be a job: run its cell."""
        os.environ |= self.variables
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        entry.register()
        returned: JobReturn = super().__call__(*arguments)
        return returned

    def launch(self, job_overrides: Overrides, initial_job_idx: int) -> list[JobReturn]:
        """Submit a cell for each of ``job_overrides``; return their win rates when all have ended.

        Raises:
            UserError: they cannot be submitted.
        """
        slurm.require()
        if self.params["nodes"] * self.params["tasks_per_node"] > 1:
            raise UserError("a job is one process on one node: for more see docs/clusters.md")
        self.variables = {name: os.environ[name] for name in (SWEEP_VARIABLE, SWEPT_VARIABLE)}
        cells = [self._expect(overrides) for overrides in job_overrides]
        jobs = self._submit(job_overrides, initial_job_idx)
        sent = {job.job_id: each for job, each in zip(jobs, cells, strict=True)}
        array = jobs[0].job_id.partition("_")[0]
        logs = {job.job_id: Path(job.paths.stdout) for job in jobs}
        rates: dict[str, float | None] = {}
        try:
            log.info("%d cells are Slurm job %s", len(jobs), array)
            for job, how in slurm.endings({job: each.folder.name for job, each in sent.items()}):
                record = sent[job].ended(f"Slurm job {job}: {how}", logs[job])
                if record.status != "finished":
                    cell.say(record.reason or record.status)
                rates[job] = cell.win_rate(record)
        except KeyboardInterrupt:
            log.warning("the jobs go on: scancel %s stops them", array)
            log.warning("mini-lima compare %s says how they ended", cells[0].folder.parent)
            raise
        return [
            JobReturn(list(overrides), status=JobStatus.COMPLETED, _return_value=rates[job])
            for overrides, job in zip(job_overrides, sent, strict=True)
        ]

    def _expect(self, overrides: Sequence[str]) -> Awaited:
        loader = self.hydra_context.config_loader
        composed = loader.load_sweep_config(self.config, list(overrides))
        plain, asked = entry.without_hydra(composed), list(composed.hydra.overrides.task)
        begun = cell.begun(entry.to_config(plain), entry.resolved(plain), asked)
        return remote_jobs.expect(entry.folder_of(composed, "cell"), begun)

    def _submit(self, job_overrides: Overrides, first: int) -> list[Any]:
        import submitit

        state = Singleton.get_state()
        arguments = [
            (list(overrides), "hydra.sweep.dir", index, str(index), state)
            for index, overrides in enumerate(job_overrides, first)
        ]
        ours = ("submitit_folder", "max_num_timeout")
        common = OmegaConf.structured(BaseQueueConf)
        asked = {
            key if key in common else f"slurm_{key}": value
            for key, value in self.params.items()
            if key not in ours
        }
        try:
            executor = submitit.AutoExecutor(self.params["submitit_folder"], cluster="slurm")
            executor.update_parameters(**asked)
            jobs: list[Any] = executor.map_array(self, *zip(*arguments, strict=True))
        except submitit.core.utils.FailedJobError as error:  # that of sbatch
            said = " ".join(str(error).split())
            raise UserError(f"Slurm refused the jobs: {said}; see hydra.launcher") from error
        return jobs
