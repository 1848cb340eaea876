"""The improved method: the naive set with other outputs, and nothing else."""

from dataclasses import replace

import pytest

from mini_lima.chat import Endpoint
from mini_lima.data.examples import Earlier
from mini_lima.errors import UserError
from tests.chat.server import Answer, Call, FakeOpenAI, completion
from tests.data.conftest import FEW_SHOT, LENGTHEN, DataSet, Study
from tests.data.teachers import Teacher

LONG_ENOUGH = "Well, there is much more to say about this than was said before!"


@pytest.fixture
def before(study: Study) -> DataSet:
    return study.naive_by(Teacher())


def test_only_outputs_and_their_lineage_change(study: Study, before: DataSet) -> None:
    with study.taught_by(Teacher()) as endpoint:
        after = study.improved(before, endpoint)
    assert len(after.examples) == len(before.examples) == 24
    for old, new in zip(before.examples, after.examples, strict=True):
        assert new == replace(
            old,
            output=new.output,
            source="lengthen",
            request=new.request,
            earlier=(Earlier(old.output, old.source, old.request),),
        )
        assert new.output != old.output
    assert after.rejects == []
    assert after.stats["before"]["mean_output_characters"] == before.stats["mean_output_characters"]


def test_every_example_names_the_request_that_showed_it_and_holds_its_output(
    study: Study, before: DataSet
) -> None:
    with study.taught_by(Teacher()) as endpoint:
        after = study.improved(before, endpoint)
    exchanges = after.exchanges()
    for old, new in zip(before.examples, after.examples, strict=True):
        assert new.request
        prompt, reply = exchanges[new.request]
        assert prompt == LENGTHEN.read_text().removesuffix("\n").format(
            ex_name=FEW_SHOT.name,
            ex_instr=FEW_SHOT.instruction,
            ex_input=FEW_SHOT.input,
            ex_output=FEW_SHOT.output,
            ex_expanded=FEW_SHOT.expanded,
            name=old.name,
            instr=old.instruction,
            input=old.input,
            output=old.output,
        )
        assert reply.text.strip() == new.output


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("", "empty reply"),
        (" \n\t", "empty reply"),
        (completion(None), "empty reply"),
        (completion("", finish_reason="length"), "empty reply"),
        (completion("It was a dark and", finish_reason="length"), "cut_off"),
    ],
)
def test_an_empty_or_cut_reply_leaves_its_example_out_and_says_which(
    study: Study, before: DataSet, bad: str | Answer, reason: str
) -> None:
    worse = Teacher(longer=lambda prompt: bad if "'Done: 1.'" in prompt else LONG_ENOUGH)
    with study.taught_by(worse) as endpoint:
        after = study.improved(before, endpoint)
    (reject,) = after.rejects
    assert (reject["reason"], reject["asked_for"]) == (reason, "seed_task_1.0")
    assert "'Done: 1.'" in after.exchanges()[reject["request"]][0]
    kept = [each.id for each in before.examples if each.id != reject["asked_for"]]
    assert [each.id for each in after.examples] == kept
    assert after.outputs == [LONG_ENOUGH] * 23


def test_nothing_usable_is_an_error_that_counts_why(study: Study, before: DataSet) -> None:
    with (
        study.taught_by(Teacher(longer=lambda prompt: "")) as endpoint,
        pytest.raises(UserError, match="24"),
    ):
        study.improved(before, endpoint)


def test_an_output_is_taken_as_it_is_written(study: Study, before: DataSet) -> None:
    text = '```python\ndef F():\n\treturn {"é": "\\n"}\n```\n\n{name} \\1 Ω'
    with study.taught_by(Teacher(longer=lambda prompt: f"\n{text}\n")) as endpoint:
        assert set(study.improved(before, endpoint).outputs) == {text}


def test_a_second_build_asks_nothing_and_order_does_not_matter(
    study: Study, before: DataSet
) -> None:
    def other_way_round(call: Call) -> str | Answer:
        return Teacher()(call)

    with FakeOpenAI(other_way_round) as server:
        wide = Endpoint("fake", server.base_url, concurrency=16, max_retries=0)
        first = study.improved(before, wide)
        asked = len(server.calls)
        again = study.improved(before, wide)
        assert len(server.calls) == asked == len(before.examples)
        fresh = study.improved(before, replace(wide, concurrency=1), cache="another")
        assert len(server.calls) == 2 * asked
    assert first.files == again.files == fresh.files
