"""The sft stage at the real size of Qwen1.5-0.5B, anywhere: python benchmarks/sft_stage.py

The whole stage as a run starts it (launcher, worker process, DeepSpeed's engine, saving), with the
study's settings but for the number of steps: random weights in the model's real shape, and texts
that ship with the package, so nothing is downloaded. It needs about 12 GB of memory.

    --precision fp32   the default is the study's bf16
    --deepspeed zero2  the default is the study's zero2_offload
    --steps 3 --threads N
"""

import argparse
import json
import os
import resource
import shutil
import tempfile
from pathlib import Path

from sft_jobs import SIZES, VOCABULARY

from mini_lima import sft
from mini_lima.config.sources import ASSETS
from mini_lima.files import read_json, read_jsonl, write_json, write_jsonl

STUDY = {
    "optimizer": {
        "type": "AdamW",
        "params": {"lr": 1e-5, "betas": [0.8, 0.999], "eps": 1e-8, "weight_decay": 3e-7},
    },
    "scheduler": {
        "type": "WarmupLR",
        "params": {"warmup_min_lr": 0.0, "warmup_num_steps": 100, "warmup_type": "log"},
    },
    "held_out": 0.0,
    "micro_batch_size_per_gpu": 8,
    "global_batch_size": 16,
    "gradient_clipping": 1.0,
    "max_length": 1024,
    "turns": "all",
}
GLOBAL_BATCH = 16


def main() -> None:
    options = parsed()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        model, data, output, work = (root / name for name in ("model", "data", "out", "work"))
        shutil.copytree(ASSETS / "qwen-tiny", model)
        config = read_json(model / "config.json") | SIZES["0.5b"] | {"vocab_size": VOCABULARY}
        config["layer_types"] = ["full_attention"] * SIZES["0.5b"]["num_hidden_layers"]
        write_json(model / "config.json", config)
        for folder in (data, output, work):
            folder.mkdir()
        write_jsonl(data / "examples.jsonl", texts(options.steps * GLOBAL_BATCH))
        sft.train(
            output,
            work_dir=work,
            model=str(model),
            revision=None,
            init_seed=0,
            data=data,
            deepspeed={
                "zero_stage": int(options.deepspeed[4]),
                "offload_optimizer": options.deepspeed.endswith("offload"),
                "offload_parameters": options.deepspeed == "zero3_offload",
            },
            adapter=None,
            epochs=1,
            overlong="drop",
            precision=options.precision,
            seed=0,
            loss_reduction="global_batch",
            activation_checkpointing=False,
            checkpoint_steps=None,
            device="cpu",
            processes=1,
            threads=options.threads,
            nodes=1,
            rendezvous=None,
            starter=None,
            **STUDY,
        )
        summary, rows = read_json(output / "summary.json"), read_jsonl(output / "metrics.jsonl")
    for row in rows:
        rate = f"{row['tokens_per_second']:.1f} tokens/s"
        print(f"step {row['step']}: loss {row['loss']:.4f}, {row['tokens']} tokens, {rate}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(
        f"{summary['parameters'] / 1e6:.0f}M parameters, {options.precision}, {options.deepspeed}:"
        f" {len(rows)} steps, peak memory {peak / 1e9:.1f} GB,"
        f" load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def texts(count: int) -> list[dict[str, str]]:
    """Instructions with answers, those of the evaluation set again and again."""
    there = json.loads((ASSETS / "evaluation_set.json").read_text(encoding="utf-8"))
    return [
        {
            "id": str(number),
            "instruction": each["instruction"],
            "input": "",
            "output": each["output"],
        }
        for number in range(count)
        for each in [there[number % len(there)]]
    ]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    stages = ["zero1", "zero2", "zero2_offload", "zero3", "zero3_offload"]
    parser.add_argument("--deepspeed", choices=stages, default="zero2_offload")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    main()
