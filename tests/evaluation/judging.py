"""Annotation as tests ask for it."""

from mini_lima.chat import Chat, ChatModel, Endpoint, Reply
from mini_lima.evaluation.annotation import annotate, expected_requests
from mini_lima.evaluation.judges import Rule
from mini_lima.evaluation.pairs import read_annotations
from mini_lima.files import read_json, write_json, write_jsonl

LONGEST = Rule("longest", "mini_lima.evaluation.longest")


def answers(outputs, generator="m", instructions=None):
    instructions = instructions or [f"Instruction {k}." for k in range(len(outputs))]
    return [
        {"instruction": instruction, "output": output, "generator": generator, "dataset": "d"}
        for instruction, output in zip(instructions, outputs, strict=True)
    ]


def chat_of(server, cache, *, model="judge", prices=None, most_failed=0.1, **sampling):
    endpoint = Endpoint(
        "fake", server.base_url, max_retries=0, concurrency=2, most_failed=most_failed
    )
    return Chat(ChatModel(model, **sampling), endpoint, cache, prices=prices)


def judge(
    folder, models, references, choice=LONGEST, chat=None, planned=None, facts=None, **changes
):
    """Annotate two lists of rows in ``folder``, which must not exist; the rows and the board.

    The requests that a plan foresees are added to ``planned``; ``facts`` are rows of answers.jsonl.
    """
    (folder / "annotations").mkdir(parents=True)
    write_json(folder / "model_outputs.json", models)
    write_json(folder / "reference.json", references)
    if facts is not None:
        write_jsonl(folder / "answers.jsonl", facts)
    given = {
        "model_outputs": folder,
        "reference_outputs": folder / "reference.json",
        "limit": None,
        "judge": choice,
        "chat": chat,
        "orders": "random",
        "repeats": 1,
        "reading_attempts": 1,
        "most_failed": 0.02,
        "seed": 0,
        "bootstrap_samples": 100,
        "confidence": 0.95,
    } | changes
    if planned is not None:
        planned += expected_requests(**given)
    annotate(folder / "annotations", **given)
    found = folder / "annotations"
    return read_annotations(found), read_json(found / "leaderboard.json")


def reply(text, finish_reason="stop", logprobs=None):
    return Reply("", text, finish_reason, None, None, cached=False, logprobs=logprobs)
