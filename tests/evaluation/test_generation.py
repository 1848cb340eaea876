"""Generation for real: the embedded model, and small models made so that their answers end."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

import mini_lima
from mini_lima.errors import UserError
from mini_lima.evaluation import generation
from mini_lima.evaluation.decoding import Generation
from mini_lima.files import read_json, read_jsonl, write_json
from mini_lima.models.language_model import load_tokenizer
from mini_lima.models.rendering import ChatTemplate
from tests.processes import preloaded

ASSETS = Path(mini_lima.__file__).parent / "assets"
TINY, SHIPPED_SET = ASSETS / "qwen-tiny", ASSETS / "evaluation_set.json"
CONTEXT = preloaded("mini_lima.evaluation.generation", "transformers.models.qwen2.modeling_qwen2")
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
    """Generate as the only process; returns the model outputs and how they ended."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    runs = iter(range(99))

    def run(model, *, ranks=1, die_after=None, **changes):
        number = next(runs)
        given = keywords(model, tmp_path / f"run{number}", tmp_path / f"work{number}") | changes
        folder = given["output_dir"]
        folder.mkdir()
        given["work_dir"].mkdir(exist_ok=True)
        if ranks == 1 and die_after is None:
            generation.generate(**given)
        else:
            store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            each = [(rank, ranks, store.port, given, die_after) for rank in range(ranks)]
            processes = [CONTEXT.Process(target=one_of_several, args=args) for args in each]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            ended = 0 if die_after is None else -signal.SIGKILL
            assert [process.exitcode for process in processes] == [ended] * ranks
            if ended:
                return list(folder.iterdir())
        return read_json(folder / "model_outputs.json"), read_jsonl(folder / "answers.jsonl")

    return run


def one_of_several(rank, ranks, port, given, die_after):
    """What a worker process does; it is killed where it would get one answer more."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    torch.set_num_threads(1)
    decode = generation.decode

    def dying(*asked, **more):
        for number, answer in enumerate(decode(*asked, **more)):
            if number == die_after:
                os.kill(os.getpid(), signal.SIGKILL)
            yield answer

    generation.decode = dying
    generation.generate(**given)


def keywords(model, output_dir, work_dir):
    return {
        "output_dir": output_dir,
        "work_dir": work_dir,
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
        "most_failed": 0.1,
    }


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


def test_the_embedded_model_answers_the_shipped_set_in_alpaca_evals_format(run):
    references = read_json(SHIPPED_SET)[:8]
    outputs, facts = run(TINY, limit=8, temperature=1.0)
    assert [row["instruction"] for row in outputs] == [row["instruction"] for row in references]
    assert {tuple(row) for row in outputs} == {("instruction", "output", "generator", "dataset")}
    assert {row["generator"] for row in outputs} == {"mine"}
    assert [row["dataset"] for row in outputs] == [row["dataset"] for row in references]
    assert [fact["row"] for fact in facts] == list(range(1, 9))


def test_a_thought_is_no_part_of_an_answer_and_alone_it_is_none(run, tmp_path):
    tokenizer = load_tokenizer(TINY, None)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})

    def written(text, cut):
        return generation._output(tokenizer, Generation(0, tokenizer.encode(text), cut))

    whole = written("[THINK]Hm, so[/THINK]It is four.<|im_start|>", cut=False)
    assert (whole.text, whole.error) == ("It is four.", None)
    assert whole.tokens == len(tokenizer.encode("It is four."))
    alone = written("[THINK]Hm, it is four.", cut=True)
    assert (alone.text, alone.error) == ("", "only_thought")


def test_a_model_that_comes_to_no_answer_has_no_outputs(run, ending, monkeypatch):
    def thinking(network, prompts, **more):
        ids = load_tokenizer(ending, None).encode("<think>\nHm.")
        yield from (Generation(each.number, ids, cut=True) for each in prompts)

    monkeypatch.setattr(generation, "decode", thinking)
    with pytest.raises(UserError, match=r"12 of 12 .*thoughts .*max_new_tokens"):
        run(ending)
    _, facts = run(ending, most_failed=1.0)
    assert {fact["error"] for fact in facts} == {"only_thought"}


def test_greedy_answers_and_their_order_do_not_depend_on_the_batch(run, ending):
    alone = run(ending, batch_size=1)
    assert run(ending, batch_size=5) == run(ending, batch_size=99) == alone
    assert run(TINY, batch_size=4, limit=6) == run(TINY, batch_size=1, limit=6)


def test_two_processes_give_the_answers_of_one_and_go_on_with_what_it_left(run, ending, tmp_path):
    settings = {"temperature": 1.0, "batch_size": 2}
    outputs, facts = run(ending, **settings, work_dir=tmp_path / "work")
    assert len(set(texts(outputs))) > 4
    [left] = (tmp_path / "work").iterdir()
    before = journal_lines(left)[:4]
    left.write_text("\n".join(before) + '\n{"number": 5, "i')
    assert run(ending, ranks=2, **settings, work_dir=tmp_path / "work") == (outputs, facts)
    files = list((tmp_path / "work").glob("answers-*.jsonl"))
    assert len(files) == 2
    assert journal_lines(left)[:4] == before
    assert numbers(files) == list(range(12)), "none was made twice"


def journal_lines(path):
    return [line for line in path.read_text().split("\n") if line]


def numbers(journals):
    lines = [line for journal in journals for line in journal_lines(journal)]
    return sorted(json.loads(line)["number"] for line in lines if line.endswith("}"))


def test_a_killed_run_is_gone_on_with_where_it_was(run, ending, tmp_path):
    settings = {"temperature": 1.0, "batch_size": 2, "limit": 30}
    work_dir = tmp_path / "work"
    assert run(ending, **settings, work_dir=work_dir, die_after=6) == []
    [journal] = work_dir.iterdir()
    before = journal_lines(journal)
    assert len(before) == 6

    outputs = run(ending, **settings, work_dir=work_dir)
    assert outputs == run(ending, **settings)
    assert journal_lines(journal)[:6] == before
    assert numbers([journal]) == list(range(30)), "none was made twice"


def test_what_does_not_fit_the_context_is_found_before_anything_is_generated(
    run, ending, tmp_path, monkeypatch
):
    context = 128
    model = shutil.copytree(ending, tmp_path / "model")
    config = read_json(model / "config.json")
    write_json(model / "config.json", {**config, "max_position_embeddings": context})
    template = ChatTemplate(load_tokenizer(model, None))
    around = len(template.prompt("a")) - 1
    rows = [
        {"instruction": " ".join("a" * (context - around - room)), "output": "b"}
        for room in (40, LIMIT - 5, 0, -9)
    ]
    assert [len(template.prompt(row["instruction"])) for row in rows] == [88, 121, 128, 137]
    write_json(tmp_path / "rows.json", rows)
    given = {"reference_outputs": tmp_path / "rows.json", "limit": None}
    with monkeypatch.context() as patch:
        patch.setattr(generation, "load_model", None)
        with pytest.raises(UserError, match=r"row 3, 4 \(2 of 4\).* 137 tokens .* 128"):
            run(model, **given)

    outputs, facts = run(model, **given | {"limit": 2})
    assert len(outputs) == 2
    assert [fact["room"] for fact in facts] == [LIMIT, LIMIT - 5]
    assert all(fact["tokens"] <= fact["room"] for fact in facts)


def test_too_little_memory_says_what_to_change():
    with pytest.raises(UserError, match="batch_size=8"), generation._memory_errors(8):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_the_seed_decides_what_is_sampled_and_no_draw_is_used_twice(run, ending, tmp_path):
    write_json(tmp_path / "rows.json", [{"instruction": "Say it.", "output": ""}] * 4)
    given = {"temperature": 1.0, "batch_size": 1, "reference_outputs": tmp_path / "rows.json"}
    one, other = (texts(run(ending, seed=seed, **given)[0]) for seed in (1, 2))
    assert len({*one, *other}) == 8
    torch.rand(5)
    assert texts(run(ending, seed=1, **given)[0]) == one


def test_the_end_tokens_that_a_models_own_files_name_end_its_answers_too(run, tmp_path):
    favoured = ["<|im_start|>", "<|endoftext|>"]
    model = make_model(tmp_path / "model", favoured)
    start, end = load_tokenizer(model, None).convert_tokens_to_ids(favoured)
    expected = written_by_hand(model, [*favoured, "<|im_end|>"])
    lengths = [len(ids) for ids, _ in expected]
    assert sum(lengths) < sum(len(ids) for ids, _ in written_by_hand(model, ["<|im_end|>"]))

    GenerationConfig(eos_token_id=[start, end]).save_pretrained(model)
    _, facts = run(model)
    assert [fact["tokens"] for fact in facts] == lengths

    GenerationConfig(eos_token_id=start).save_pretrained(model)
    tokenizer = load_tokenizer(model, None)
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(model)
    _, facts = run(model)
    assert [fact["tokens"] for fact in facts] == lengths


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_sampling_settings_that_come_with_a_model_are_not_in_force(
    run, ending, tmp_path, temperature
):
    own = {"do_sample": True, "temperature": 0.1, "top_p": 0.1, "top_k": 1, "min_new_tokens": 9}
    own |= {"repetition_penalty": 9.0, "no_repeat_ngram_size": 2, "max_length": 5}
    model = make_model(tmp_path / "opinionated", ["<|im_end|>"], **own)
    assert read_json(model / "generation_config.json").items() >= own.items()
    assert run(model, temperature=temperature) == run(ending, temperature=temperature)


def test_answers_end_at_the_end_of_turn_and_those_that_never_get_there_are_counted(run, ending):
    expected = written_by_hand(ending, ["<|im_end|>"])
    outputs, facts = run(ending)
    decode = load_tokenizer(ending, None).decode
    assert texts(outputs) == [decode(ids, skip_special_tokens=True) for ids, _ in expected]
    assert 0 < sum(cut for _, cut in expected) < len(expected), "else the test says nothing"
    assert [(fact["tokens"], fact["cut"]) for fact in facts] == [
        (len(ids), cut) for ids, cut in expected
    ]


def test_a_baseline_can_be_asked_in_a_way_of_its_own(run, ending, tmp_path, monkeypatch):
    template, asked = tmp_path / "plain.jinja", []
    template.write_text(
        "{% for message in messages %}{{ message.content }}"
        "{{ '\\n\\nAnswer:' if message.role == 'user' else '<|endoftext|>' }}{% endfor %}"
    )
    write_json(tmp_path / "rows.json", [{"instruction": "Who?", "output": "Me."}])

    def seen(network, prompts, *, stops, **more):
        asked.append((prompts[0].ids, stops))
        yield Generation(prompts[0].number, [], cut=False)

    monkeypatch.setattr(generation, "decode", seen)
    run(ending, template=str(template), reference_outputs=tmp_path / "rows.json")
    [(ids, stops)] = asked
    tokenizer = load_tokenizer(ending, None)
    assert tokenizer.decode(ids) == "Who?\n\nAnswer:"
    assert stops >= {*tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])}
