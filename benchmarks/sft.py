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
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
VOCABULARY = 151_936
BATCH = 8
SIZES = {
    "small": {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    },
    "0.5b": {
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
    },
}
TARGETS = {
    ("small", "fp32"): {"Trainer": 4.2, "the best of the others": 2.2},
    ("0.5b", "fp32"): {"Trainer": 2.4},
    ("0.5b", "bf16"): {"Trainer": 3.5},
}
ZERO = {"zero_stage": 0, "offload_optimizer": False, "offload_parameters": False}
LF = "LLaMA-Factory"

Rows = list[dict[str, list[int]]]


def examples() -> Rows:
    """1,300 examples of real lengths and random tokens."""
    draw, made = random.Random(0), []
    for line in (HERE / "sft_lengths.txt").read_text(encoding="utf-8").splitlines():
        prompt, response = map(int, line.split())
        ids = [draw.randrange(VOCABULARY - 1000) for _ in range(prompt + response)]
        made.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return made


def tokens(batch: Rows) -> int:
    return sum(len(row["input_ids"]) for row in batch)


def supervised(batch: Rows) -> int:
    return sum(len(row["input_ids"]) - row["labels"].count(-100) for row in batch)


def picked(rows: Rows, order: list[int], steps: int) -> list[Rows]:
    """Of the global batches of ``order``, ``steps`` that stand for all, and one to warm up.

    Of 500 random choices it is the one that is most like the whole epoch in its tokens, those that
    are supervised, and those that padding would make of them.
    """
    whole = range(0, len(order) - BATCH + 1, BATCH)
    batches = [[rows[i] for i in order[at : at + BATCH]] for at in whole]

    def character(chosen: list[Rows]) -> list[float]:
        padded = sum(len(each) * max(len(row["input_ids"]) for row in each) for each in chosen)
        sums = [sum(map(tokens, chosen)), sum(map(supervised, chosen)), padded]
        return [each / len(chosen) for each in sums]

    def strangeness(chosen: list[Rows]) -> float:
        return max(abs(a / b - 1) for a, b in zip(character(chosen), usual, strict=True))

    usual, draw = character(batches), random.Random(0)
    first, *rest = draw.sample(batches, len(batches))
    return [first, *min((draw.sample(rest, steps) for _ in range(500)), key=strangeness)]


def grouped(rows: Rows) -> list[int]:
    """The order of Trainer's length-grouped sampler."""
    import torch
    from transformers.trainer_pt_utils import get_length_grouped_indices

    lengths = [len(row["input_ids"]) for row in rows]
    generator = torch.Generator().manual_seed(0)
    return list(get_length_grouped_indices(lengths, BATCH, generator=generator))


def save_model(folder: Path, size: str) -> None:
    """Random weights, and a tokenizer, of which the contenders need the padding alone."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from mini_lima.sources import ASSETS

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
        max_position_embeddings=32768,
        eos_token_id=0,
        **SIZES[size],
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(ASSETS / "qwen-tiny").save_pretrained(folder)


def operations(size: str, batches: list[Rows]) -> float:
    """6 × parameters × tokens: the head's for the supervised tokens, the others' for all."""
    shape = SIZES[size]
    width, layers = shape["hidden_size"], shape["num_hidden_layers"]
    body = layers * (4 * width**2 + 3 * width * shape["intermediate_size"])
    head = VOCABULARY * width
    return sum(6.0 * (body * tokens(each) + head * supervised(each)) for each in batches)


def product_rate(precision: str) -> float:
    """Operations per second of this machine's matrix products, as large as the models' own."""
    kind = {"fp32": "float32", "bf16": "bfloat16"}[precision]
    program = (
        f"import time, torch; a = torch.randn(1024, 2816, dtype=torch.{kind});"
        "b = torch.randn(2816, 4096, dtype=a.dtype); a @ b; times = []\n"
        "for _ in range(9):\n"
        "    began = time.perf_counter(); a @ b; times.append(time.perf_counter() - began)\n"
        "print(2 * 1024 * 2816 * 4096 / sorted(times)[4])"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return float(shown.stdout)


def run(
    name: str, job: dict[str, Any], folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Let a contender do ``job`` in a process of its own."""
    files = [folder / "job.json", folder / "result.json"]
    files[0].write_text(json.dumps(job), encoding="utf-8")
    files[1].unlink(missing_ok=True)
    python = options.llamafactory if name == LF else sys.executable
    variables = {
        **os.environ,
        "OMP_NUM_THREADS": str(os.cpu_count()),
        "GOMP_SPINCOUNT": "1000",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "DISABLE_VERSION_CHECK": "1",
    }
    if name.startswith("TRL") and options.peers:
        ahead = [str(options.peers), os.environ.get("PYTHONPATH", "")]
        variables["PYTHONPATH"] = os.pathsep.join(ahead)
    if name == "mini-lima":
        from mini_lima.sft.ops import compiled_ops

        offloads = job["zero"]["offload_optimizer"]
        variables |= {"DS_ACCELERATOR": job["device"]}
        variables |= compiled_ops(job["device"], offload_optimizer=offloads)
    command = [python, str(HERE / "sft_contenders.py"), name, *map(str, files)]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if not files[1].exists():
        sys.exit(f"{name} failed:\n{ended.stdout[-2000:]}{ended.stderr[-4000:]}")
    return dict(json.loads(files[1].read_text(encoding="utf-8")))


def main() -> None:
    options = parsed()
    rows = examples()
    drawn = list(range(len(rows)))
    random.Random(0).shuffle(drawn)
    batches = picked(rows, drawn, options.steps)
    by_length = picked(rows, grouped(rows), options.steps)
    names = [
        "mini-lima",
        "Trainer",
        "Trainer, by length",
        "TRL",
        "TRL, padding-free",
        "TRL, packed",
    ]
    names += [LF] if options.llamafactory else []
    names = [name for name in names if name in ("mini-lima", *(options.only or names))]
    rates: dict[str, list[float]] = {name: [] for name in names}
    processor: dict[str, list[float]] = {name: [] for name in names}
    memory, shares = dict.fromkeys(names, 0), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = folder / "model"
        save_model(model, options.size)
        given = {"model": str(model), "precision": options.precision, "device": "cpu"}
        given |= {"zero": ZERO, "micro_batch_size": BATCH}
        expected = {}
        for each in (batches, by_length):
            alone = run("mini-lima", {**given, "batches": each[:1]}, folder, options)
            expected[id(each)] = alone["first_loss"]
        for turn in range(options.rounds):
            reached = product_rate(options.precision)
            for name in names:
                used = by_length if name == "Trainer, by length" else batches
                found = run(name, {**given, "batches": used}, folder, options)
                wanted = expected[id(used)]
                if not abs(found["first_loss"] - wanted) <= 1e-3 * wanted:
                    sys.exit(f"{name}: its first loss is {found['first_loss']}, ours {wanted}")
                seconds = sum(found["seconds"][1:])
                rates[name].append(sum(map(tokens, used[1:])) / seconds)
                processor[name].append(
                    sum(map(tokens, used[1:])) / sum(found["processor_seconds"][1:])
                )
                memory[name] = max(memory[name], found["memory"])
                if name == "mini-lima":
                    shares.append(operations(options.size, used[1:]) / seconds / reached)
                print(f"round {turn + 1}  {name:20}{rates[name][-1]:8.1f} tokens/s", flush=True)
    show(options, rates, processor, memory, median(shares) if shares else None)


def show(
    options: argparse.Namespace,
    rates: dict[str, list[float]],
    processor: dict[str, list[float]],
    memory: dict[str, int],
    share: float | None,
) -> None:
    """Print the table and whether the targets are kept."""
    print(
        f"\n{options.size}, {options.precision}: {options.steps} steps of {BATCH} examples, median"
        f" of {options.rounds} rounds, {time.strftime('%Y-%m-%d')},"
        f" load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    print(f"{'':20}{'tokens/s':>9}{'ours is':>9}{'by processor time':>19}{'peak memory':>14}")
    ratios, ratios_of_processor = (ratios_to(each) for each in (rates, processor))
    for name, found in rates.items():
        print(
            f"{name:20}{median(found):9.1f}{ratios[name]:7.2f} ×"
            f"{ratios_of_processor[name]:17.2f} ×{memory[name] / 1e9:11.2f} GB"
        )
    if share is not None:
        print(f"mini-lima reaches {share:.0%} of the machine's rate of matrix products")
    others = [ratio for name, ratio in ratios.items() if name not in ("mini-lima", "Trainer")]
    best = min(others, default=None)
    reached = {"Trainer": ratios.get("Trainer"), "the best of the others": best}
    for peer, target in TARGETS.get((options.size, options.precision), {}).items():
        if (ratio := reached[peer]) is not None:
            verdict = "kept" if ratio >= target else "MISSED"
            print(f"target of {target} × {peer}: {ratio:.2f}, {verdict}")
    peers = [used for name, used in memory.items() if name != "mini-lima"]
    if peers and "mini-lima" in memory:
        print(f"less memory than all: {'kept' if memory['mini-lima'] < min(peers) else 'MISSED'}")


def ratios_to(rates: dict[str, list[float]]) -> dict[str, float]:
    """How many times as fast as each contender we are: the median over the rounds."""
    mine = rates["mini-lima"]
    pairs = {name: zip(mine, theirs, strict=True) for name, theirs in rates.items()}
    return {name: median(ours / each for ours, each in both) for name, both in pairs.items()}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--steps", type=int, default=4, help="measured, after one to warm up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of contenders")
    parser.add_argument("--peers", type=Path, help="folder with trl, if it is not installed")
    parser.add_argument("--llamafactory", help="interpreter of an environment with llamafactory")
    return parser.parse_args()


if __name__ == "__main__":
    main()
