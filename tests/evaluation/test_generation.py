"""Generation for real: the embedded model, and small models made so that their answers end."""

import re
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

import mini_lima
from mini_lima import launch
from mini_lima.evaluation import generation
from mini_lima.evaluation.annotation import annotate
from mini_lima.files import read_json, write_json
from mini_lima.language_model import load_tokenizer
from mini_lima.rendering import ChatTemplate

ASSETS = Path(mini_lima.__file__).parent / "assets"
TINY, SHIPPED_SET = ASSETS / "qwen-tiny", ASSETS / "evaluation_set.json"
VOCABULARY = 4096
LIMIT = 12


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """More would only wait for each other over models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Generate as the only process; returns the model outputs and their health."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    runs = iter(range(99))

    def run(model, *, workers=None, **changes):
        folder = tmp_path / f"run{next(runs)}"
        folder.mkdir()
        given = {
            "output_dir": folder,
            "model": str(model),
            "revision": None,
            "init_seed": 0 if model == TINY else None,
            "reference_outputs": SHIPPED_SET,
            "limit": 12,
            "max_new_tokens": LIMIT,
            "batch_size": 5,
            "temperature": 0.0,
            "seed": 0,
            "precision": "fp32",
            "generator": "mine",
            "device": "cpu",
        } | changes
        if workers is None:
            generation.generate(**given)
        else:
            module = "mini_lima.evaluation.generation"
            launch.run(module, processes=workers, threads=1, **given)
        return read_json(folder / "model_outputs.json"), read_json(folder / "health.json")

    return run


def texts(outputs):
    return [row["output"] for row in outputs]


def make_model(folder, favoured=(), *, head=0.5, **generation_config):
    """Save a model of random weights that often writes the ``favoured`` special tokens."""
    tokenizer = load_tokenizer(TINY, None)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        initializer_range=0.3,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Qwen2ForCausalLM(config)
        network.lm_head.weight.data.normal_(0, head)
    for token in favoured:
        network.lm_head.weight.data[tokenizer.convert_tokens_to_ids(token)] *= 3
    network.generation_config = GenerationConfig(**generation_config)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def ending(tmp_path_factory):
    """A model of whose answers some end and some do not."""
    return make_model(tmp_path_factory.mktemp("ending"), ["<|im_end|>"])


def written_by_hand(model, stops, limit=12):
    """Greedy answers token by token, each prompt alone, without a cache: (ids, whether cut)."""
    tokenizer = load_tokenizer(model, None)
    network = Qwen2ForCausalLM.from_pretrained(model)
    stops = tokenizer.convert_tokens_to_ids(list(stops))
    answers = []
    for row in read_json(SHIPPED_SET)[:limit]:
        prompt = ChatTemplate(tokenizer).prompt(row["instruction"])
        ids = []
        while len(ids) < LIMIT and not (ids and ids[-1] in stops):
            with torch.inference_mode():
                logits = network(torch.tensor([prompt + ids])).logits[0, -1]
            ids.append(int(logits.argmax()))
        cut = ids[-1] not in stops
        answers.append((ids if cut else ids[:-1], cut))
    return answers


def test_the_embedded_model_answers_the_shipped_set_in_alpaca_evals_format(run, tmp_path):
    references = read_json(SHIPPED_SET)[:8]
    outputs, health = run(TINY, limit=8, temperature=1.0)
    assert [row["instruction"] for row in outputs] == [row["instruction"] for row in references]
    assert {tuple(row) for row in outputs} == {("instruction", "output", "generator", "dataset")}
    assert {row["generator"] for row in outputs} == {"mine"}
    assert [row["dataset"] for row in outputs] == [row["dataset"] for row in references]
    assert health["n"] == 8
    assert health["mean_length_characters"] == sum(map(len, texts(outputs))) / 8

    write_json(tmp_path / "model_outputs.json", outputs)
    (tmp_path / "annotations").mkdir()
    annotate(
        tmp_path / "annotations",
        model_outputs=tmp_path,
        reference_outputs=SHIPPED_SET,
        limit=8,
        annotator="longest",
        chat=None,
        orders="both",
        repeats=1,
        reading_attempts=1,
        most_failed=0.02,
        seed=0,
        bootstrap_samples=10,
        confidence=0.9,
    )
    assert read_json(tmp_path / "annotations/leaderboard.json")["n_total"] == 16


def test_answers_end_at_the_end_of_turn_and_those_that_never_get_there_are_counted(run, ending):
    expected = written_by_hand(ending, ["<|im_end|>"])
    outputs, health = run(ending)
    decode = load_tokenizer(ending, None).decode
    assert texts(outputs) == [decode(ids, skip_special_tokens=True) for ids, _ in expected]
    cut = [cut for _, cut in expected]
    assert 0 < sum(cut) < len(cut), "the model must do both for this test to say anything"
    assert health["cut_at_limit"] == sum(cut)
    assert health["empty"] == sum(not text.strip() for text in texts(outputs))
    assert health["mean_length_tokens"] == sum(len(ids) for ids, _ in expected) / len(expected)


def test_greedy_answers_and_their_order_do_not_depend_on_the_batch(run, ending):
    alone = run(ending, batch_size=1)
    assert run(ending, batch_size=5) == run(ending, batch_size=99) == alone
    assert run(TINY, batch_size=4, limit=6) == run(TINY, batch_size=1, limit=6)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_two_processes_give_the_answers_of_one(run, ending, temperature):
    settings = {"temperature": temperature, "batch_size": 2, "limit": 7}
    outputs, health = run(ending, **settings)
    assert len(set(texts(outputs))) > 4
    assert run(ending, workers=2, **settings) == (outputs, health)


def test_the_seed_decides_what_is_sampled_and_no_draw_is_used_twice(run, ending, tmp_path):
    write_json(tmp_path / "rows.json", [{"instruction": "Say it.", "output": ""}] * 4)
    given = {"temperature": 1.0, "batch_size": 1, "reference_outputs": tmp_path / "rows.json"}
    one, other = (texts(run(ending, seed=seed, **given)[0]) for seed in (1, 2))
    assert len({*one, *other}) == 8
    torch.rand(5)
    assert texts(run(ending, seed=1, **given)[0]) == one


def test_at_temperature_1_every_token_can_be_sampled(run, tmp_path):
    model = make_model(tmp_path / "nearly-uniform", head=1e-4)
    write_json(tmp_path / "rows.json", [{"instruction": "Say it.", "output": ""}] * 200)
    outputs, _ = run(
        model,
        temperature=1.0,
        max_new_tokens=1,
        batch_size=200,
        limit=None,
        reference_outputs=tmp_path / "rows.json",
    )
    # Of 4,096 tokens; transformers by itself would sample from the 50 likeliest.
    assert len(set(texts(outputs))) > 100


def test_special_tokens_inside_an_answer_do_not_appear_in_its_text(run, tmp_path):
    favoured = ["<|im_start|>", "<|endoftext|>"]
    model = make_model(tmp_path / "special", favoured)
    tokenizer = load_tokenizer(model, None)
    expected = written_by_hand(model, ["<|im_end|>"])
    inside = set(tokenizer.convert_ids_to_tokens([id for ids, _ in expected for id in ids]))
    assert inside >= set(favoured), "the model must write them for this test to say anything"
    outputs, health = run(model)
    assert not any(re.search(r"<\|\w+\|>", text) for text in texts(outputs))
    assert health["mean_length_tokens"] == sum(len(ids) for ids, _ in expected) / len(expected)


def test_the_end_tokens_that_a_models_own_files_name_end_its_answers_too(run, tmp_path):
    favoured = ["<|im_start|>", "<|endoftext|>"]
    model = make_model(tmp_path / "model", favoured)
    start, end = load_tokenizer(model, None).convert_tokens_to_ids(favoured)
    expected = written_by_hand(model, [*favoured, "<|im_end|>"])
    lengths = [len(ids) for ids, _ in expected]
    assert sum(lengths) < sum(len(ids) for ids, _ in written_by_hand(model, ["<|im_end|>"]))

    GenerationConfig(eos_token_id=[start, end]).save_pretrained(model)
    _, health = run(model)
    assert health["mean_length_tokens"] == sum(lengths) / len(lengths)

    GenerationConfig(eos_token_id=start).save_pretrained(model)
    tokenizer = load_tokenizer(model, None)
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(model)
    _, health = run(model)
    assert health["mean_length_tokens"] == sum(lengths) / len(lengths)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_sampling_settings_that_come_with_a_model_are_not_in_force(
    run, ending, tmp_path, temperature
):
    own = {"do_sample": True, "temperature": 0.1, "top_p": 0.1, "top_k": 1, "min_new_tokens": 9}
    own |= {"repetition_penalty": 9.0, "no_repeat_ngram_size": 2, "max_length": 5}
    model = make_model(tmp_path / "opinionated", ["<|im_end|>"], **own)
    assert read_json(model / "generation_config.json").items() >= own.items()
    assert run(model, temperature=temperature) == run(ending, temperature=temperature)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_set_as_alpaca_eval_ships_it_is_answered(run, ending, tmp_path, precision):
    rows = [
        {"dataset": "koala", "instruction": "Who?", "output": "No one.", "generator": "gpt4_turbo",
         "datasplit": "eval"},
        {"instruction": "A longer question than that?\n", "output": "Yes.", "generator": "gpt4"},
        {"instruction": "Who?", "output": "Again.", "dataset": None},
        {"instruction": "", "output": ""},
    ]  # fmt: skip
    write_json(tmp_path / "rows.json", rows)
    outputs, health = run(
        ending, reference_outputs=tmp_path / "rows.json", limit=None, precision=precision
    )
    assert [row["instruction"] for row in outputs] == [row["instruction"] for row in rows]
    assert [row["dataset"] for row in outputs] == ["koala", None, None, None]
    assert outputs[0]["output"] == outputs[2]["output"]
    assert health["n"] == 4
