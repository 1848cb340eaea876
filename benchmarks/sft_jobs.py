"""What the contenders of sft.py and sft_gpu.py are given, and how they are run."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from mini_lima.workers.launch import LIBRARIES

HERE = Path(__file__).parent
VOCABULARY = 151_936
BATCH = 8
LLAMA_FACTORY = "LLaMA-Factory"
SIZES = {
    "small": {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "tie_word_embeddings": True,
    },
    "0.5b": {
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "tie_word_embeddings": True,
    },
    "1.8b": {
        "hidden_size": 2048,
        "intermediate_size": 5504,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "tie_word_embeddings": False,
    },
}
"""The shapes of the small model, and of Qwen1.5's two."""
Rows = list[dict[str, list[int]]]


class Failed(Exception):  # noqa: N818
    """A contender ended without a result."""


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


def picked(rows: Rows, order: list[int], steps: int, size: int = BATCH) -> list[Rows]:
    """Of the global batches of ``order``, one to warm up and ``steps`` that stand for all.

    Of 500 random choices it is the one that is most like the whole epoch in its tokens, those that
    are supervised, and those that padding would make of them.
    """
    whole = range(0, len(order) - size + 1, size)
    batches = [[rows[i] for i in order[at : at + size]] for at in whole]

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

    from mini_lima.config.sources import ASSETS

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
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


def product_rate(precision: str, device: str = "cpu") -> float:
    """Operations of matrix products of the models' own sizes per second: of processor time on a
    CPU, where other work on the machine would count otherwise."""
    kind = {"fp32": "float32", "bf16": "bfloat16"}[precision]
    program = f"""
import time, torch
clock = time.process_time if "{device}" == "cpu" else time.perf_counter
a, b = (torch.randn(*shape, dtype=torch.{kind}, device="{device}")
        for shape in ((1024, 2816), (2816, 4096)))
def seconds(times):
    began = clock()
    for _ in range(times):
        a @ b
    if "{device}" == "cuda":
        torch.cuda.synchronize()
    return (clock() - began) / times
seconds(3)
print(2 * 1024 * 2816 * 4096 / min(seconds(5) for _ in range(5)))
"""
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return float(shown.stdout)


def run(
    name: str,
    job: dict[str, Any],
    folder: Path,
    *,
    peers: Path | None = None,
    llamafactory: str | None = None,
) -> dict[str, Any]:
    """Let a contender do ``job`` in a process of its own.

    Args:
        name: The contender.
        job: See `sft_contenders.Job`.
        folder: For files.
        peers: A folder with trl, if it is not installed.
        llamafactory: The interpreter for LLaMA-Factory.

    Raises:
        Failed: it did not get through.
    """
    files = [folder / "job.json", folder / "result.json"]
    files[0].write_text(json.dumps(job), encoding="utf-8")
    files[1].unlink(missing_ok=True)
    python = (llamafactory if name == LLAMA_FACTORY else None) or sys.executable
    variables = {
        **os.environ,
        "OMP_NUM_THREADS": str(os.cpu_count()),
        "GOMP_SPINCOUNT": LIBRARIES["GOMP_SPINCOUNT"],
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "DISABLE_VERSION_CHECK": "1",
    }
    if name.startswith("TRL") and peers:
        ahead = [str(peers), os.environ.get("PYTHONPATH", "")]
        variables["PYTHONPATH"] = os.pathsep.join(ahead)
    if name == "mini-lima" or name.endswith("DeepSpeed"):
        from mini_lima.sft import surroundings
        from mini_lima.sft.optimizers import Choice

        offloads = job["zero"]["offload_optimizer"]
        variables |= LIBRARIES | surroundings(
            job["device"], Choice({}, type="AdamW"), offload_optimizer=offloads
        )
    command = [python, str(HERE / "sft_contenders.py"), name, *map(str, files)]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if not files[1].exists():
        raise Failed(f"{name}:\n{ended.stdout[-2000:]}{ended.stderr[-4000:]}")
    return dict(json.loads(files[1].read_text(encoding="utf-8")))
