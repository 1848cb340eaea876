"""How many worker processes there are to be: one per device."""

import subprocess
import sys
from functools import cache

from mini_lima.errors import UserError

AUTO = "auto"


def process_count(processes: int | str, device: str) -> int:
    """Return the number that ``processes`` stands for on this machine.

    Args:
        processes: A number, or ``auto``: one for each visible GPU, on a CPU one.
        device: ``cuda`` or ``cpu``.

    Raises:
        UserError: ``auto`` without any GPU.
    """
    if processes != AUTO:
        return int(processes)
    if device != "cuda":
        return 1
    if not cuda_devices():
        raise UserError("launch.processes=auto: torch finds no CUDA GPU on this machine")
    return cuda_devices()


@cache
def cuda_devices() -> int:
    """Return how many GPUs torch finds; CUDA_VISIBLE_DEVICES hides some from it."""
    # In a process of its own: this one must not hold GPU memory, nor pay for importing torch.
    program = "import torch; print(torch.cuda.device_count())"
    asked = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    return int(asked.stdout.split()[-1]) if asked.returncode == 0 else 0
