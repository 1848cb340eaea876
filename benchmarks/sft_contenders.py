"""The contenders of sft.py and sft_gpu.py, each run in a process of its own.

    python sft_contenders.py CONTENDER JOB.json RESULT.json

A job names a folder with a model, the global batches as rows of ``input_ids`` and ``labels``, the
precision and the device. Every contender takes one optimizer step per global batch, in that order,
with AdamW. The result has the seconds of each step, the first loss, and the peak of the memory.
"""

import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

LEARNING_RATE = 1e-5
PADDING = 0


@dataclass(frozen=True)
class Job:
    """What all contenders of a comparison are given."""

    model: str
    batches: list[list[dict[str, list[int]]]]
    precision: str
    device: str
    zero: dict[str, Any]
    micro_batch_size: int
    memory_fraction: float | None = None
    activation_checkpointing: bool = False

    @property
    def rows(self) -> list[dict[str, list[int]]]:
        return [row for batch in self.batches for row in batch]


def ours(job: Job) -> Any:
    """Our own trainer under DeepSpeed, as a run of the sft stage sets it up."""
    from mini_lima.models.rendering import Conversation
    from mini_lima.sft.deepspeed_config import Batches

    load_extensions(job)
    from deepspeed import init_distributed
    from transformers import TrainingArguments

    from mini_lima.sft.order import MicroBatches, Order
    from mini_lima.sft.trainer import SftTrainer

    class AsGiven(Order):
        """The global batches of the job in place of an order that is drawn."""

        def global_batches(self, epoch: int) -> list[list[int]]:
            size = self.global_batch_size
            return [list(range(at, at + size)) for at in range(0, self.examples, size)]

    size, count = len(job.batches[0]), len(job.rows)
    division = Batches(job.micro_batch_size, size // job.micro_batch_size, 1)
    conversations = []
    for row in job.rows:
        prompt = row["labels"].count(-100)
        conversations.append(Conversation(row["input_ids"][:prompt], row["input_ids"][prompt:]))
    settings = TrainingArguments(**arguments(job), **under_deepspeed(job))
    init_distributed()
    tokens = [each.tokens for each in conversations]
    return SftTrainer(
        micro_batches=MicroBatches(AsGiven(count, size, 0), division, tokens, rank=0),
        model=network(job, half=True),
        args=settings,
        train_dataset=conversations,
    )


def trainer(job: Job) -> Any:
    """transformers' Trainer with the collator for sequences of unequal length."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    return Trainer(
        model=network(job),
        args=TrainingArguments(**arguments(job), train_sampling_strategy="sequential"),
        train_dataset=data_set(job),
        data_collator=DataCollatorForSeq2Seq(tokenizer(job)),
    )


def trl(job: Job, *, packed: bool = False, deepspeed: bool = False, **options: Any) -> Any:
    """TRL's SFTTrainer; ``packed``: each global batch in one row by its own `pack_dataset`."""
    from trl import SFTConfig, SFTTrainer

    if deepspeed:
        load_extensions(job)
        options |= under_deepspeed(job)
    if packed:
        options |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    settings = SFTConfig(
        **{**arguments(job), **options},
        max_length=None,
        shuffle_dataset=False,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    data = data_set(job)
    if packed:
        from datasets import concatenate_datasets
        from trl import pack_dataset

        size = len(job.batches[0])
        together = [data.select(range(at, at + size)) for at in range(0, len(data), size)]
        longest = max(sum(len(row["input_ids"]) for row in batch) for batch in job.batches)
        data = concatenate_datasets([pack_dataset(each, longest, "bfd") for each in together])
    return SFTTrainer(
        model=network(job, half=deepspeed),
        args=settings,
        train_dataset=data,
        processing_class=tokenizer(job),
    )


def llamafactory(job: Job, callback: Any) -> None:
    """LLaMA-Factory's full fine-tuning, from the same tokens."""
    import logging

    import transformers  # noqa: F401 - looks for torchaudio itself, and must not find the stand-in
    from datasets import DatasetDict

    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError):  # PyPI's needs CUDA; of text alone nothing needs torchaudio
        sys.modules["torchaudio"] = ModuleType("torchaudio")
    from llamafactory.train.tuner import run_exp

    logging.disable(logging.INFO)
    folder = Path(job.model).parent / "tokens"
    masked = data_set(job).map(lambda row: {"attention_mask": [1] * len(row["input_ids"])})
    DatasetDict({"train": masked}).save_to_disk(folder)
    not_there = ("remove_unused_columns", "activation_checkpointing")
    run_exp(
        {
            **{key: value for key, value in arguments(job).items() if key not in not_there},
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "full",
            "model_name_or_path": job.model,
            "template": "empty",
            "dataset": "unused",
            "tokenized_path": str(folder),
            "disable_shuffling": True,
            "overwrite_output_dir": True,
        },
        callbacks=[callback],
    )


CONTENDERS = {
    "mini-lima": ours,
    "Trainer": trainer,
    "Trainer, by length": trainer,
    "TRL": trl,
    "TRL, padding-free": lambda job: trl(job, padding_free=True),
    "TRL, packed": lambda job: trl(job, packed=True, padding_free=True),
    "TRL, padding-free, DeepSpeed": lambda job: trl(job, deepspeed=True, padding_free=True),
}


def arguments(job: Job) -> dict[str, Any]:
    """What every contender's own TrainingArguments are given."""
    return {
        "output_dir": str(Path(job.model).parent / "out"),
        "use_cpu": job.device == "cpu",
        "bf16": job.precision == "bf16",
        "per_device_train_batch_size": job.micro_batch_size,
        "gradient_accumulation_steps": len(job.batches[0]) // job.micro_batch_size,
        "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": job.device == "cuda",
        "activation_checkpointing": job.activation_checkpointing,
    }


def under_deepspeed(job: Job) -> dict[str, Any]:
    """The rest of the TrainingArguments of a contender under DeepSpeed."""
    from mini_lima.sft.deepspeed_config import Batches, deepspeed_config
    from mini_lima.sft.optimizers import Choice

    engine = deepspeed_config(
        optimizer=adamw(),
        scheduler=Choice(
            {"warmup_min_lr": 0.0, "warmup_num_steps": 2, "warmup_type": "linear"}, type="WarmupLR"
        ),
        total_steps=len(job.batches),
        zero=job.zero,
        batches=Batches(job.micro_batch_size, len(job.batches[0]) // job.micro_batch_size, 1),
        precision=job.precision,
        gradient_clipping=1.0,
        device=job.device,
    )
    return {"deepspeed": engine, "warmup_steps": 2, "weight_decay": 0.0}


def adamw() -> Any:
    from mini_lima.sft.optimizers import Choice

    params = {"lr": LEARNING_RATE, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}
    return Choice(params, type="AdamW")


def load_extensions(job: Job) -> None:
    from mini_lima.sft import ops
    from mini_lima.sft.optimizers import Choice

    offload = job.zero["offload_optimizer"]
    needed = Choice({}, type="AdamW").builders(offload=offload, device=job.device)
    ops.load(job.device, needed)


def network(job: Job, *, half: bool = False) -> Any:
    """The model; in float32 unless the contender keeps a float32 copy of its own."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if half and job.precision == "bf16" else torch.float32
    return AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype)


def data_set(job: Job) -> Any:
    from datasets import Dataset

    return Dataset.from_list(job.rows)


def tokenizer(job: Job) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(job.model)


def stopwatch() -> Any:
    """A callback of Trainer that times its steps and keeps its first loss."""
    import torch
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.processor_seconds: list[float] = []
            self.first_loss: float | None = None
            self._began = (0.0, 0.0)

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self._began = self._now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            wall, processor = self._now()
            self.seconds.append(wall - self._began[0])
            self.processor_seconds.append(processor - self._began[1])

        def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
            if logs and "loss" in logs and self.first_loss is None:
                self.first_loss = float(logs["loss"])

        def _now(self) -> tuple[float, float]:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            return time.perf_counter(), time.process_time()

    return Stopwatch()


def main(name: str, job_file: str, result_file: str) -> None:
    job = Job(**json.loads(Path(job_file).read_text(encoding="utf-8")))
    if name == "mini-lima" or name.endswith("DeepSpeed"):
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        os.environ.update(alone | {"MASTER_PORT": "0"})
    import torch

    if job.memory_fraction is not None:
        torch.cuda.set_per_process_memory_fraction(job.memory_fraction)
    watch = stopwatch()
    if name == "LLaMA-Factory":
        llamafactory(job, watch)
    else:
        made = CONTENDERS[name](job)
        made.add_callback(watch)
        made.train()
    gpu = torch.cuda.max_memory_allocated() if job.device == "cuda" else 0
    result = {
        "seconds": watch.seconds,
        "processor_seconds": watch.processor_seconds,
        "first_loss": watch.first_loss,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "gpu_memory": gpu,
    }
    Path(result_file).write_text(json.dumps(result), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
