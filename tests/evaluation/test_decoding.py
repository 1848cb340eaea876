"""The batched decoder against transformers' own generation of each prompt alone."""

import random

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from mini_lima.errors import UserError
from mini_lima.evaluation import decoding
from mini_lima.evaluation.decoding import Prompt, decode

VOCABULARY = 96
STOPS = frozenset(range(1, 7))
LIMIT = 24
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2}
ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
WIDE = {"initializer_range": 0.4, "tie_word_embeddings": False}
NETWORKS = {
    "grouped heads": lambda: Qwen2ForCausalLM(Qwen2Config(**SMALL, **ATTENTION, **WIDE)),
    "a sliding window": lambda: MistralForCausalLM(
        MistralConfig(**SMALL, **ATTENTION, **WIDE, sliding_window=8)
    ),
    "learned positions": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, initializer_range=0.4)
    ),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def networks():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return {name: make().eval() for name, make in NETWORKS.items()}


def prompts(count=40):
    draw = random.Random(0)
    return [
        Prompt(
            number=number,
            ids=[draw.randrange(8, VOCABULARY) for _ in range(draw.randrange(1, 60))],
            limit=draw.choice([1, 5, LIMIT]),
            seed=f"seed {number}",
        )
        for number in range(count)
    ]


def answers(network, asked, *, batch_size, temperature=0.0):
    found = list(
        decode(network, asked, stops=STOPS, temperature=temperature, batch_size=batch_size)
    )
    assert sorted(each.number for each in found) == sorted(each.number for each in asked)
    return {each.number: (each.ids, each.cut) for each in found}


def alone(network, prompt):
    """What transformers writes for a batch of one."""
    settings = GenerationConfig(
        max_new_tokens=prompt.limit, eos_token_id=sorted(STOPS), pad_token_id=0, do_sample=False
    )
    ids = torch.tensor([prompt.ids])
    with torch.inference_mode():
        written = network.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=settings
        )
    new = written[0, len(prompt.ids) :].tolist()
    return (new, True) if new[-1] not in STOPS else (new[:-1], False)


@pytest.mark.parametrize("kind", NETWORKS)
def test_greedy_answers_are_those_of_each_prompt_alone(networks, kind):
    network, asked = networks[kind], prompts()
    expected = {each.number: alone(network, each) for each in asked}
    cut = [cut for _, cut in expected.values()]
    assert 5 < sum(cut) < 35, "some must end and some must not for this to say anything"
    assert len({len(ids) for ids, _ in expected.values()}) > 5
    for batch_size in (1, 3, 16, 64):
        assert answers(network, asked, batch_size=batch_size) == expected


def test_sampled_answers_depend_on_their_own_seed_alone(networks):
    network, asked = networks["grouped heads"], prompts()
    expected = answers(network, asked, batch_size=1, temperature=1.0)
    assert expected != answers(network, asked, batch_size=1)
    for batch_size in (4, 64):
        assert answers(network, asked, batch_size=batch_size, temperature=1.0) == expected
    few = answers(network, asked[11:17], batch_size=4, temperature=1.0)
    assert few == {number: expected[number] for number in few}
    twins = [Prompt(number, asked[0].ids, LIMIT, seed=str(number)) for number in range(6)]
    written = answers(network, twins, batch_size=6, temperature=1.0)
    assert len({tuple(ids) for ids, _ in written.values()}) > 4


OTHERS = {
    "mamba": {"state_size": 8},
    "lfm2": {**ATTENTION, "layer_types": ["conv", "full_attention"], "initializer_range": 0.4},
    # Learned positions that follow from the column, wherever a prompt begins.
    "bart": {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "init_std": 0.4},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_model_that_a_batch_would_disturb_answers_one_prompt_after_the_other(kind, caplog):
    torch.manual_seed(1)
    given = SMALL | {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0} | OTHERS[kind]
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **given)).eval()
    network.generation_config.repetition_penalty = 2.0  # comes with the model, and does not count
    asked = prompts(6)
    found = answers(network, asked, batch_size=3)
    assert "one at a time" in caplog.text
    assert found == {each.number: alone(network, each) for each in asked}
    sampled = answers(network, asked, batch_size=3, temperature=1.0)
    assert sampled == answers(network, asked[::-1], batch_size=1, temperature=1.0) != found


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_diverged_is_told_from_one_that_writes_badly(temperature):
    network = NETWORKS["grouped heads"]().eval()
    network.lm_head.weight.data[5] = torch.nan
    with pytest.raises(UserError, match="diverged"):
        answers(network, prompts(3), batch_size=2, temperature=temperature)


def test_tokens_are_drawn_as_often_as_they_are_probable():
    logits = torch.tensor([[0.0, 1.0, -20.0, 2.5, -1.0]])
    chances, many = torch.Generator().manual_seed(0), 20_000
    for temperature in (0.5, 1.0, 2.0):
        drawn = decoding._sampled(logits.expand(many, -1), temperature, [chances] * many)
        shares = drawn.bincount(minlength=5) / many
        expected = (logits[0] / temperature).softmax(dim=-1)
        deviation = (expected * (1 - expected) / many).sqrt()
        assert ((shares - expected).abs() <= 4 * deviation + 1e-9).all()


def test_prompts_that_are_read_a_few_at_a_time_have_the_same_answers(networks, monkeypatch):
    expected = answers(networks["grouped heads"], prompts(), batch_size=64)
    monkeypatch.setattr(decoding, "PREFILL_TOKENS", 100)
    assert answers(networks["grouped heads"], prompts(), batch_size=64) == expected
