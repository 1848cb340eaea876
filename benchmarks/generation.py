"""How fast answers are written: python benchmarks/generation.py

64 instructions, greedy, one thread, against alpaca_eval's own `huggingface_local_completions` on
the same model and prompts: as it comes (one prompt at a time) and with static batches. Both begin
with the model's folder and end with the texts, take turns, and the medians of their tokens per
second of processor time are compared; the texts must be the same. Two models with a vocabulary of
4,096: one whose answers end where they like, as those of a tuned model do, and the packaged
qwen-mini, whose untrained answers all run into the limit.
"""

import contextlib
import io
import logging
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

import mini_lima
from mini_lima.evaluation.generation import generate
from mini_lima.files import read_json, read_jsonl, write_json
from mini_lima.models.language_model import load_tokenizer
from mini_lima.models.rendering import ChatTemplate

ASSETS = Path(mini_lima.__file__).parent / "assets"
PROMPTS, REPEATS, BATCH = 64, 3, 64
STATIC = (1, 8, 32)
TARGET = 3.0


def make(folder, name, *, ends):
    """Save the packaged model ``name``, untrained; with ``ends`` it often writes the end token."""
    tokenizer = load_tokenizer(ASSETS / name, None)
    config = AutoConfig.from_pretrained(ASSETS / name)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    torch.manual_seed(0)
    if ends:
        config.tie_word_embeddings, config.initializer_range = False, 0.3
    network = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if ends:
        network.lm_head.weight.data.normal_(0, 0.3)
        network.lm_head.weight.data[end] *= 1.7
    network.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def instructions(folder):
    rows = read_json(ASSETS / "evaluation_set.json")
    again = [{**row, "instruction": f"Once more: {row['instruction']}"} for row in rows]
    write_json(folder / "rows.json", (rows + again)[:PROMPTS])
    return folder / "rows.json"


def ours(model, rows, limit):
    """Texts and tokens of the stage function, files included."""
    with tempfile.TemporaryDirectory() as name:
        output_dir, work_dir = Path(name, "outputs"), Path(name, "work")
        output_dir.mkdir()
        work_dir.mkdir()
        generate(
            output_dir,
            work_dir=work_dir,
            model=str(model),
            revision=None,
            init_seed=None,
            reference_outputs=rows,
            limit=None,
            max_new_tokens=limit,
            batch_size=BATCH,
            temperature=0.0,
            seed=0,
            precision="fp32",
            generator="ours",
            device="cpu",
        )
        texts = [row["output"] for row in read_json(output_dir / "model_outputs.json")]
        return texts, sum(row["tokens"] for row in read_jsonl(output_dir / "answers.jsonl"))


def theirs(model, rows, limit, batch_size):
    """Texts of alpaca_eval's decoder."""
    from alpaca_eval.decoders import huggingface_local

    class Loader:
        """Without a GPU the library passes options that transformers 5 has no more."""

        @staticmethod
        def from_pretrained(name, *, load_in_8bit, torch_dtype, **options):
            return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, **options)

    huggingface_local.AutoModelForCausalLM = Loader
    tokenizer = load_tokenizer(model, None)
    template = ChatTemplate(tokenizer)
    prompts = [tokenizer.decode(template.prompt(row["instruction"])) for row in read_json(rows)]
    return huggingface_local.huggingface_local_completions(
        prompts, str(model), batch_size=batch_size, max_new_tokens=limit
    )["completions"]


def timed(function, *arguments):
    """What ``function`` returns, quietly, and the seconds of processor time that it took."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        begun = time.process_time()
        return function(*arguments), time.process_time() - begun


def compare(title, model, rows, limit):
    seconds = {"ours": []} | {size: [] for size in STATIC}
    for _ in range(REPEATS):
        (texts, tokens), took = timed(ours, model, rows, limit)
        seconds["ours"].append(took)
        for size in STATIC:
            found, took = timed(theirs, model, rows, limit, size)
            seconds[size].append(took)
            same = sum(a.strip() == b.strip() for a, b in zip(texts, found, strict=True))
            assert same == PROMPTS, f"{PROMPTS - same} texts differ"
    speed = {name: tokens / median(each) for name, each in seconds.items()}
    print(f"{title}: {tokens} tokens in {PROMPTS} answers of at most {limit}, the same texts")
    for name, each in speed.items():
        label = "ours" if name == "ours" else f"alpaca_eval, batches of {name}"
        print(f"  {label:28}{each:8.0f} tokens/s   ours is {speed['ours'] / each:5.1f} ×")
    ratio = speed["ours"] / speed[1]
    print(f"  {'ok' if ratio >= TARGET else 'TOO SLOW'}: {ratio:.1f} × its default")


def main():
    torch.set_num_threads(1)
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "HF_HUB_OFFLINE": "1"}
    transformers.utils.logging.set_verbosity_error()
    logging.disable()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = instructions(folder)
        ending = make(folder / "ending", "qwen-tiny", ends=True)
        compare("answers that end, qwen-tiny", ending, rows, limit=384)
        endless = make(folder / "endless", "qwen-mini", ends=False)
        compare("answers that do not, qwen-mini", endless, rows, limit=64)
    print(f"one thread, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
