"""SFT against its peers, side by side: python benchmarks/sft.py

Every contender trains in a process of its own, from the same weights, on the same global batches of
8 examples, in turn; the figures are medians over the rounds. The lengths are those of 1,300 real
instruction examples (sft_lengths.txt: tokens of prompt and response under Qwen1.5's tokenizer and
ChatML), the tokens are random, the vocabulary is Qwen1.5's. A round takes few optimizer steps, so
its global batches are picked to stand for the whole epoch. "By length" has batches of Trainer's own
length-grouped sampler instead.

What a contender gains by computing something else does not count: its first loss must be ours for
the same examples, to 1e-3.

On a machine with other work the time that each process had on the processor says more than the time
on the clock, so the ratio is shown by both.

    --size 0.5b        Qwen1.5-0.5B itself instead of the small model
    --precision bf16
    --peers PATH       a folder with trl, if it is not installed
    --llamafactory PYTHON   the interpreter of an environment with llamafactory, which wants other
                            versions of transformers, datasets and trl than everyone else
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from sft_jobs import (
    BATCH,
    LLAMA_FACTORY,
    Rows,
    examples,
    grouped,
    operations,
    picked,
    product_rate,
    run,
    save_model,
    tokens,
)

OURS, BY_LENGTH = "mini-lima", "Trainer, by length"
NAMES = [OURS, "Trainer", BY_LENGTH, "TRL", "TRL, padding-free", "TRL, packed"]
TARGETS = {
    ("small", "fp32"): {"Trainer": 4.2, "the best of the others": 2.2},
    ("0.5b", "fp32"): {"Trainer": 2.4},
    ("0.5b", "bf16"): {"Trainer": 3.5},
}
SHARDING = {"offload_optimizer": False, "offload_parameters": False}
STAGES = {"fp32": 0, "bf16": 1}  # 0 would add up gradients in bf16, and is refused by us

Result = dict[str, Any]


def main() -> None:
    options = parsed()
    rows = examples()
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)
    batches = {name: picked(rows, order, options.steps) for name in (*NAMES, LLAMA_FACTORY)}
    batches[BY_LENGTH] = picked(rows, grouped(rows), options.steps)
    names = NAMES + [LLAMA_FACTORY] * bool(options.llamafactory)
    names = [name for name in names if name in (OURS, *(options.only or names))]
    results: dict[str, list[Result]] = {name: [] for name in names}
    products = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_model(folder / "model", options.size)
        job = {"model": str(folder / "model"), "precision": options.precision, "device": "cpu"}
        job |= {"zero": SHARDING | {"zero_stage": STAGES[options.precision]}}
        job |= {"micro_batch_size": BATCH}

        def take(name: str, given: list[Rows]) -> Result:
            where = {"peers": options.peers, "llamafactory": options.llamafactory}
            return run(name, {**job, "batches": given}, folder, **where)

        by_length = take(OURS, batches[BY_LENGTH][:1])["first_loss"]
        for turn in range(options.rounds):
            products.append(product_rate(options.precision))
            for name in names:
                found = take(name, batches[name])
                results[name].append(found)
                wanted = by_length if name == BY_LENGTH else results[OURS][0]["first_loss"]
                if not abs(found["first_loss"] - wanted) <= 1e-3 * wanted:
                    sys.exit(f"{name}: its first loss is {found['first_loss']}, ours {wanted}")
                rate = rates(results, batches, "seconds")[name][-1]
                print(f"round {turn + 1}  {name:20}{rate:8.1f} tokens/s", flush=True)
    show(options, results, batches)
    own = operations(options.size, batches[OURS][1:])
    seconds = median(sum(each["processor_seconds"][1:]) for each in results[OURS])
    share = own / seconds / median(products)
    print(f"mini-lima reaches {share:.0%} of the rate of matrix products of the same processor")


def rates(
    results: dict[str, list[Result]], batches: dict[str, list[Rows]], clock: str
) -> dict[str, list[float]]:
    """Real tokens per second of each contender in each round; the first step is to warm up."""
    work = {name: sum(map(tokens, batches[name][1:])) for name in results}
    return {
        name: [work[name] / sum(each[clock][1:]) for each in found]
        for name, found in results.items()
    }


def ratios(found: dict[str, list[float]]) -> dict[str, float]:
    """How many times as fast as each contender we are: the median over the rounds."""

    def ratio(theirs: list[float]) -> float:
        return median(ours / each for ours, each in zip(found[OURS], theirs, strict=True))

    return {name: ratio(each) for name, each in found.items()}


def show(
    options: argparse.Namespace, results: dict[str, list[Result]], batches: dict[str, list[Rows]]
) -> None:
    """Print the table and whether the targets are kept."""
    print(
        f"\n{options.size}, {options.precision}: {options.steps} steps of {BATCH} examples, median"
        f" of {options.rounds} rounds, {time.strftime('%Y-%m-%d')},"
        f" load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    print(f"{'':20}{'tokens/s':>9}{'ours is':>9}{'by processor time':>19}{'peak memory':>14}")
    by_clock = rates(results, batches, "seconds")
    faster = ratios(by_clock)
    by_processor = ratios(rates(results, batches, "processor_seconds"))
    memory = {name: max(each["memory"] for each in found) for name, found in results.items()}
    for name, found in by_clock.items():
        print(
            f"{name:20}{median(found):9.1f}{faster[name]:7.2f} ×"
            f"{by_processor[name]:17.2f} ×{memory[name] / 1e9:11.2f} GB"
        )
    for peer, target in TARGETS.get((options.size, options.precision), {}).items():
        by = [least(each, peer) for each in (faster, by_processor)]
        if by[0] is not None:
            verdict = "kept" if by[0] >= target else "MISSED"
            print(f"target of {target} × {peer}: {by[0]:.2f}, {verdict}; by processor {by[1]:.2f}")
    peers = [used for name, used in memory.items() if name != OURS]
    if peers:
        print(f"less memory than all: {'kept' if memory[OURS] < min(peers) else 'MISSED'}")


def least(found: dict[str, float], peer: str) -> float | None:
    """The ratio to Trainer, or to the fastest of those that are neither it nor we."""
    chosen = [peer] if peer == "Trainer" else [n for n in found if n not in (OURS, "Trainer")]
    return min((found[name] for name in chosen if name in found), default=None)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=("small", "0.5b"), default="small")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--steps", type=int, default=4, help="measured, after one to warm up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of contenders")
    parser.add_argument("--peers", type=Path, help="folder with trl, if it is not installed")
    parser.add_argument("--llamafactory", help="interpreter of an environment with llamafactory")
    return parser.parse_args()


if __name__ == "__main__":
    main()
