"""Attempts at a training, each rank a fork of one process that has imported everything already.

Starting a worker costs ten seconds of imports, a fork none of them; what runs in it is the real
thing, `mini_lima.sft.training.train`, with the real DeepSpeed and real signals. (The launcher above
it is under test in test_launch.py and test_training.py.)
"""

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from mini_lima.files import read_jsonl, write_json, write_jsonl
from mini_lima.sft.ops import compiled_ops
from mini_lima.sources import ASSETS

TINY = ASSETS / "qwen-tiny"
OPTIMIZER = {
    "lr": 0.01,
    "betas": [0.8, 0.999],
    "eps": 1e-3,  # much larger than usual, or rounding decides about the sign of tiny gradients
    "weight_decay": 0.01,
    "warmup_min_lr": 0.0,
    "warmup_num_steps": 5,
    "warmup_type": "log",
}
OPTIONS = {
    "zero0": {"zero_stage": 0, "offload_optimizer": False, "offload_parameters": False},
    "zero1": {"zero_stage": 1, "offload_optimizer": False, "offload_parameters": False},
    "zero2": {"zero_stage": 2, "offload_optimizer": False, "offload_parameters": False},
    "zero2_offload": {"zero_stage": 2, "offload_optimizer": True, "offload_parameters": False},
    "zero3": {"zero_stage": 3, "offload_optimizer": False, "offload_parameters": False},
    "zero3_offload": {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
}
LORA = {"method": "lora", "r": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["q_proj", "v_proj"]}
EPOCHS, STEPS = 4, 8
SETTINGS: dict[str, Any] = {
    "model": str(TINY),
    "revision": None,
    "init_seed": 0,
    "optimizer": OPTIMIZER,
    "deepspeed": OPTIONS["zero2_offload"],
    "adapter": None,
    "micro_batch_size_per_gpu": 2,
    "global_batch_size": 8,
    "epochs": EPOCHS,
    "max_length": 256,
    "overlong": "refuse",
    "precision": "fp32",
    "gradient_clipping": 1.0,
    "seed": 3,
    "checkpoint_steps": None,
    "device": "cpu",
}
TIMINGS = {"tokens_per_second"}


def write_data(folder: Path) -> Path:
    """A global batch of 8 and one of 1, which leaves a second process nothing to do."""
    folder.mkdir()
    examples = [
        {
            "id": f"number-{i}",
            "instruction": "Write the number as often as it says. " * (1 + i % 3) + str(i),
            "input": "",
            "output": f"{i} " * (1 + i),
        }
        for i in range(9)
    ]
    write_jsonl(folder / "examples.jsonl", examples)
    return folder


@dataclass(frozen=True)
class Attempt:
    """What an attempt left: how each rank ended, what it raised, and its folders."""

    output_dir: Path
    work_dir: Path
    codes: list[int]
    said: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return without_timings(read_jsonl(self.output_dir / "metrics.jsonl"))

    @property
    def weights(self) -> dict[str, Any]:
        with safe_open(self.output_dir / "model.safetensors", "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    @property
    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in self.work_dir.glob("checkpoint-*"))


def without_timings(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in TIMINGS} for row in rows]


def begin() -> multiprocessing.context.ForkServerContext:
    """Start the process that the attempts are forks of."""
    surroundings = {
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        "MINI_LIMA_WORKER": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        **compiled_ops("cpu", offload_optimizer=True),
        **compiled_ops("cpu", offload_optimizer=False),
    }
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.sft.attempts_preloaded"])
    before = dict(os.environ)
    os.environ.update(surroundings)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def attempt(
    context: Any,
    work_dir: Path,
    output_dir: Path,
    data: Path,
    *,
    processes: int = 1,
    meanwhile: tuple[Callable[..., None], Any] | None = None,
    **changes: Any,
) -> Attempt:
    """Train in ``processes`` forks; ``meanwhile`` is a function of this module and its argument.

    The function is called in each rank before it begins, and can arrange for its end.
    """
    from torch.distributed import TCPStore

    work_dir.mkdir(exist_ok=True)
    output_dir.mkdir()
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    keywords = {
        **SETTINGS,
        **changes,
        "data": data,
        "work_dir": work_dir,
        "output_dir": output_dir,
    }
    ranks = [
        context.Process(target=_rank, args=(rank, processes, store.port, meanwhile, keywords))
        for rank in range(processes)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    said = sorted(output_dir.glob("raised-*"), key=lambda path: path.stat().st_mtime_ns)
    return Attempt(
        output_dir,
        work_dir,
        [rank.exitcode for rank in ranks],
        said[0].read_text() if said else "",
    )


def _rank(
    rank: int, processes: int, port: int, meanwhile: Any, keywords: dict[str, Any]
) -> None:
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
