"""Attempts at a training, each rank a fork of one process that has imported everything already.

Starting a worker costs ten seconds of imports, a fork none of them; what runs in it is the real
thing, `mini_lima.sft.training.train`, with the real DeepSpeed and real signals. (The launcher above
it is under test in test_launch.py and test_training.py.)
"""

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch.distributed import TCPStore

from mini_lima.config.sources import ASSETS
from mini_lima.files import read_jsonl, write_jsonl
from mini_lima.sft.ops import OPS, compiled_ops
from tests.processes import restarted

SECONDS_TO_NOTICE = 600
TINY = ASSETS / "qwen-tiny"
ADAMW = {
    "lr": 0.01,
    "betas": [0.8, 0.999],
    "eps": 1e-3,  # much larger than usual, or rounding decides about the sign of tiny gradients
    "weight_decay": 0.01,
}
WARMUP = {"warmup_min_lr": 0.0, "warmup_num_steps": 5, "warmup_type": "log"}
OPTIONS = {
    "zero0": {"zero_stage": 0, "offload_optimizer": False, "offload_parameters": False},
    "zero1": {"zero_stage": 1, "offload_optimizer": False, "offload_parameters": False},
    "zero2": {"zero_stage": 2, "offload_optimizer": False, "offload_parameters": False},
    "zero2_offload": {"zero_stage": 2, "offload_optimizer": True, "offload_parameters": False},
    "zero3": {"zero_stage": 3, "offload_optimizer": False, "offload_parameters": False},
    "zero3_offload": {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
}
LORA = {
    "method": "lora",
    "rank": 4,
    "alpha": 8,
    "dropout": 0.1,
    "target_modules": ["q_proj", "v_proj"],
}
EPOCHS, STEPS = 4, 8
SETTINGS: dict[str, Any] = {
    "model": str(TINY),
    "revision": None,
    "init_seed": 0,
    "optimizer": {"type": "AdamW", "params": ADAMW},
    "scheduler": {"type": "WarmupLR", "params": WARMUP},
    "deepspeed": OPTIONS["zero2_offload"],
    "adapter": None,
    "micro_batch_size_per_gpu": 2,
    "global_batch_size": 8,
    "epochs": EPOCHS,
    "max_length": 256,
    "overlong": "refuse",
    "turns": "all",
    "loss_reduction": "global_batch",
    "activation_checkpointing": False,
    "precision": "fp32",
    "gradient_clipping": 1.0,
    "held_out": 0.0,
    "seed": 3,
    "checkpoint_steps": None,
    "device": "cpu",
}
LAUNCH = {"processes": 1, "threads": 1, "nodes": 1, "rendezvous": None, "starter": None}
"""What `mini_lima.sft.train` takes besides."""
TIMINGS = {"tokens_per_second"}


Meanwhile = tuple[Callable[..., None], Any]


# A global batch of 8 and one of 1, which leaves a second process nothing to do.
EXAMPLES = [
    {
        "id": f"number-{i}",
        "instruction": "Write the number as often as it says. " * (1 + i % 3) + str(i),
        "input": "",
        "output": f"{i} " * (1 + i),
    }
    for i in range(9)
]


@dataclass(frozen=True)
class Attempt:
    """What an attempt left: how each rank ended, what was raised, first things first."""

    output_dir: Path
    work_dir: Path
    codes: list[int]
    raised: list[str]
    checkpoints: list[str]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return without_timings(read_jsonl(self.output_dir / "metrics.jsonl"))

    @property
    def weights(self) -> dict[str, Any]:
        with safe_open(self.output_dir / "model.safetensors", "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def without_timings(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in TIMINGS} for row in rows]


class Attempts:
    """Attempts, two of them side by side."""

    def __init__(self, root: Path) -> None:
        """Begin them in folders below ``root``."""
        self._root = root
        self.context = _server()
        self._side_by_side = ThreadPoolExecutor(2)
        self._whole: dict[str, Future[Attempt]] = {}
        self._number = 0
        self.data = root / "data"
        self.data.mkdir()
        write_jsonl(self.data / "examples.jsonl", EXAMPLES)

    def whole(self, processes: int = 1, **changes: Any) -> "Future[Attempt]":
        """One that nothing happens to; the same for the same settings."""
        key = repr((processes, sorted(changes.items())))
        if key not in self._whole:
            self._whole[key] = self.one(processes, **changes)
        return self._whole[key]

    def one(
        self, processes: int = 1, meanwhile: Meanwhile | None = None, **changes: Any
    ) -> "Future[Attempt]":
        """One that something happens to."""
        work_dir = self._folder()
        return self._side_by_side.submit(self._make, work_dir, processes, meanwhile, changes)

    def chain(
        self, meanwhile: Sequence[Meanwhile], processes: int = 1, **changes: Any
    ) -> "Future[list[Attempt]]":
        """One after the other in the same folder; something happens to each but the last."""
        work_dir = self._folder()

        def make() -> list[Attempt]:
            each = [*meanwhile, None]
            return [self._make(work_dir, processes, what, changes) for what in each]

        return self._side_by_side.submit(make)

    def again(self, work_dir: Path, **changes: Any) -> Attempt:
        """One that finds what is in ``work_dir``."""
        return self._make(work_dir, 1, None, changes)

    def close(self) -> None:
        self._side_by_side.shutdown(cancel_futures=True)

    def _folder(self) -> Path:
        self._number += 1
        folder = self._root / f"work-{self._number}"
        folder.mkdir()
        return folder

    def _make(
        self, work_dir: Path, processes: int, meanwhile: Meanwhile | None, changes: dict[str, Any]
    ) -> Attempt:
        output_dir = self._folder()
        folders = {"data": self.data, "work_dir": work_dir, "output_dir": output_dir}
        keywords = {**SETTINGS, **folders, **changes}
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        ranks = [
            self.context.Process(
                target=_rank, args=(rank, processes, store.port, meanwhile, keywords)
            )
            for rank in range(processes)
        ]
        for rank in ranks:
            rank.start()
        _wait_for(ranks)
        raised = sorted(output_dir.glob("raised-*"), key=lambda path: path.stat().st_mtime_ns)
        return Attempt(
            output_dir,
            work_dir,
            [rank.exitcode for rank in ranks],
            [path.read_text() for path in raised],
            sorted(path.name for path in work_dir.glob("checkpoint-*")),
        )


def _wait_for(ranks: Sequence[Any]) -> None:
    """Until all have ended; once one has failed, the others get some time to notice, as under torch.

    A rank that fails before it has met the others would have them wait for ever.
    """
    waiting, seconds = list(ranks), None
    while waiting:
        ended = wait([rank.sentinel for rank in waiting], seconds)
        if not ended:
            for rank in waiting:
                rank.kill()
        waiting = [rank for rank in waiting if rank.sentinel not in ended]
        if any(rank.exitcode for rank in ranks if rank not in waiting):
            seconds = SECONDS_TO_NOTICE
    for rank in ranks:
        rank.join()


def _server() -> Any:
    """Start the process that the attempts are forks of."""
    surroundings = {
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        "MINI_LIMA_WORKER": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        **compiled_ops("cpu", sorted(OPS.keys() - {"FusedLionBuilder"})),
    }
    return restarted(["tests.sft.attempts_preloaded"], surroundings)


def _rank(rank: int, processes: int, port: int, meanwhile: Any, keywords: dict[str, Any]) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(processes),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    log = os.open(keywords["work_dir"] / f"log-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from mini_lima.sft import training

    code = 0
    try:
        if meanwhile:
            meanwhile[0](rank, meanwhile[1])
        training.train(**keywords)
    except BaseException as error:
        traceback.print_exc()
        (keywords["output_dir"] / f"raised-{rank}").write_text(f"{type(error).__name__}: {error}")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


# What may happen to an attempt meanwhile: called in each rank before it begins.


def on_step(rank: int, given: tuple[int, int, Callable[[], None]]) -> None:
    """Rank ``who`` acts after ``step`` optimizer steps, before the next one."""
    from mini_lima.sft.training_log import TrainingLog

    who, step, act = given
    begin = TrainingLog.on_step_begin

    def on_step_begin(self: Any, args: Any, state: Any, *others: Any, **more: Any) -> None:
        if rank == who and state.global_step == step:
            act()
        begin(self, args, state, *others, **more)

    TrainingLog.on_step_begin = on_step_begin


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def allow_files_of_a_megabyte() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))


def allow_no_more_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    allowed = pages * resource.getpagesize() + 50_000_000
    resource.setrlimit(resource.RLIMIT_AS, (allowed, resource.RLIM_INFINITY))


def killed_while_writing(rank: int, given: tuple[int, int]) -> None:
    """Rank ``who`` dies with half of its file of the checkpoint of ``step`` written."""
    import torch

    who, step = given
    save = torch.save

    def half(document: Any, path: Any, *others: Any, **more: Any) -> None:
        save(document, path, *others, **more)
        if rank == who and f"global_step{step}" in str(path) and "optim_states" in str(path):
            os.truncate(path, os.path.getsize(path) // 2)
            kill()

    torch.save = half


def killed_before(rank: int, given: tuple[str, str]) -> None:
    """The first rank dies where it would call ``function`` of ``module`` on a checkpoint."""
    module, function = given
    module_ = sys.modules[module]
    call = getattr(module_, function)

    def die(path: Any, *others: Any, **more: Any) -> Any:
        if rank == 0 and Path(path).name.startswith("checkpoint-") and Path(path).exists():
            kill()
        return call(path, *others, **more)

    setattr(module_, function, die)


def saving_gradients(rank: int, file: Path) -> None:
    """What the optimizer of the last step is given is saved, whole, by the first rank."""
    from deepspeed import DeepSpeedEngine
    from deepspeed.utils import safe_get_full_grad
    from safetensors.torch import save_file

    update = DeepSpeedEngine.step

    def step(engine: Any, *others: Any, **more: Any) -> None:
        found = {n: safe_get_full_grad(p) for n, p in engine.module.named_parameters()}
        if rank == 0:
            save_file(found, file)
        update(engine, *others, **more)

    DeepSpeedEngine.step = step


def without_deepspeed(rank: int, given: None) -> None:
    os.environ["ACCELERATE_USE_CPU"] = "true"
