"""SFT on a GPU, as the study ran it: python benchmarks/sft_gpu.py

The study's two models at their real size, with random weights, on a card whose memory is capped at
24 GB: bf16, the study's micro-batches (8 and 2), 16 examples of real lengths per optimizer step.
ZeRO-2 with the optimizer in the host's memory and without, against TRL with its best settings
(padding-free, bf16; alone, and under the same DeepSpeed configuration where it does not fit alone).
A contender that runs out of memory is listed as such. MFU is the share of the card's own rate of
matrix products that is reached by 6 × parameters × real tokens.

    --memory 24        gigabytes that a process may use
    --sizes 0.5b 1.8b
    --steps 10 --rounds 3
    --peers PATH       a folder with trl, if it is not installed
    --device cpu --sizes small    tries the script where there is no GPU
"""

import argparse
import random
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from sft_jobs import (
    Failed,
    examples,
    operations,
    picked,
    product_rate,
    run,
    save_model,
    tokens,
)

GLOBAL_BATCH = 16
MICRO_BATCHES = {"small": 8, "0.5b": 8, "1.8b": 2}
ON_CARD = {"zero_stage": 2, "offload_optimizer": False, "offload_parameters": False}
OFFLOADED = {**ON_CARD, "offload_optimizer": True}
ALONE, TOGETHER = "TRL, padding-free", "TRL, padding-free, DeepSpeed"
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mini-lima, ZeRO-2": ("mini-lima", ON_CARD),
    "mini-lima, ZeRO-2 offload": ("mini-lima", OFFLOADED),
    "TRL": (ALONE, ON_CARD),
    "TRL, ZeRO-2": (TOGETHER, ON_CARD),
    "TRL, ZeRO-2 offload": (TOGETHER, OFFLOADED),
}


def main() -> None:
    options = parsed()
    fraction = None
    if options.device == "cuda":
        import torch

        total = torch.cuda.get_device_properties(0).total_memory
        fraction = min(options.memory * 1e9 / total, 1.0)
        print(f"{torch.cuda.get_device_name(0)}, capped at {fraction * total / 1e9:.1f} GB")
    rows = examples()
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)
    batches = picked(rows, order, options.steps, GLOBAL_BATCH)
    work = sum(map(tokens, batches[1:]))
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            save_model(folder / "model", size)
            job = {"model": str(folder / "model"), "precision": "bf16", "device": options.device}
            job |= {"micro_batch_size": MICRO_BATCHES[size], "memory_fraction": fraction}
            job |= {"batches": batches}
            results = compared(job, folder, options)
        show(size, results, work, operations(size, batches[1:]), options.device)


def compared(
    job: dict[str, Any], folder: Path, options: argparse.Namespace
) -> dict[str, list[dict[str, Any]]]:
    """The results of each contender, in turn; none of one that does not fit."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    failed: dict[str, str] = {}
    for _ in range(options.rounds):
        for name in [each for each in CONTENDERS if each not in failed]:
            contender, zero = CONTENDERS[name]
            try:
                found = run(contender, {**job, "zero": zero}, folder, peers=options.peers)
            except Failed as error:
                failed[name] = str(error)
                reason = "out of memory" if "out of memory" in str(error).lower() else str(error)
                print(f"{name}: {reason}", flush=True)
                continue
            results[name].append(found)
    return {name: found for name, found in results.items() if name not in failed}


def show(
    size: str,
    results: dict[str, list[dict[str, Any]]],
    work: int,
    useful: float,
    device: str,
) -> None:
    """Print the table of one model."""
    reached = product_rate("bf16", device)
    clock = "processor_seconds" if device == "cpu" else "seconds"
    print(f"\n{size}, bf16: medians; matrix products at {reached / 1e12:.1f} TFLOP/s")
    print(f"{'':28}{'tokens/s':>9}{'MFU':>6}{'card':>10}{'host':>10}{'first loss':>12}")
    for name, found in results.items():
        rate = median(work / sum(each["seconds"][1:]) for each in found)
        mfu = median(useful / sum(each[clock][1:]) for each in found) / reached
        card, host = (max(each[key] for each in found) / 1e9 for key in ("gpu_memory", "memory"))
        print(
            f"{name:28}{rate:9.0f}{mfu:6.0%}{card:7.1f} GB{host:7.1f} GB"
            f"{found[0]['first_loss']:12.4f}"
        )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=MICRO_BATCHES, default=["0.5b", "1.8b"])
    parser.add_argument("--memory", type=float, default=24.0, help="gigabytes")
    parser.add_argument("--steps", type=int, default=10, help="measured, after one to warm up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--peers", type=Path, help="folder with trl, if it is not installed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
