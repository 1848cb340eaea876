"""Make the embedded models' configurations and their tokenizer from the texts that ship.

    python tools/make_embedded_models.py

The tokenizer is a byte-level BPE, like Qwen's, trained on the seed tasks, the recorded completions
and the beginning of the evaluation set; with the same texts it comes out the same. The weights are
not shipped: they follow from `model.init_seed`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Config, Qwen2Tokenizer

ASSETS = Path(__file__).parent.parent / "src/mini_lima/assets"
VOCABULARY = 4096
OF_EVALUATION_SET = 48
"""Instructions in the set when the tokenizer was trained; those of later are behind them."""
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SIZES = {
    "qwen-tiny": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3},
    "qwen-mini": {"hidden_size": 256, "intermediate_size": 640, "num_hidden_layers": 4},
}


def texts() -> Iterator[str]:
    """Every text of the package that a model reads or writes."""
    for line in (ASSETS / "seed_tasks.jsonl").read_text(encoding="utf-8").splitlines():
        task = json.loads(line)
        yield task["instruction"]
        yield from (each[side] for each in task["instances"] for side in ("input", "output"))
    for line in (ASSETS / "recorded_teacher.jsonl").read_text(encoding="utf-8").split("\n"):
        if line:
            yield json.loads(line)["response"]["body"]["choices"][0]["message"]["content"]
    evaluated = json.loads((ASSETS / "evaluation_set.json").read_text(encoding="utf-8"))
    for item in evaluated[:OF_EVALUATION_SET]:
        yield item["instruction"]
        yield item["output"]


def main() -> None:
    """Write ``assets/qwen-tiny`` and ``assets/qwen-mini``."""
    raw = Tokenizer(models.BPE())
    raw.normalizer = normalizers.NFC()
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts(), trainer)
    model = json.loads(raw.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        additional_special_tokens=SPECIAL,
    )
    tokenizer.chat_template = CHATML
    end, pad = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    for name, size in SIZES.items():
        config = Qwen2Config(
            vocab_size=VOCABULARY,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            eos_token_id=end,
            pad_token_id=pad,
            bos_token_id=None,
            architectures=["Qwen2ForCausalLM"],
            **size,
        )
        config.save_pretrained(ASSETS / name)
        tokenizer.save_pretrained(ASSETS / name)
        print(name, len(tokenizer))


if __name__ == "__main__":
    main()
