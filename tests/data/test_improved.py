"""The improved method: the naive set with other outputs, and nothing else."""

from dataclasses import replace

import pytest

from mini_lima.data.examples import Earlier
from mini_lima.errors import UserError
from tests.chat.server import Answer, completion
from tests.data.conftest import DataSet, Study
from tests.data.teachers import Teacher, good_rewriting


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
    worse = Teacher(longer=lambda prompt: bad if "'Done: 1.'" in prompt else good_rewriting(prompt))
    with study.taught_by(worse) as endpoint:
        after = study.improved(before, endpoint)
    (reject,) = after.rejects
    assert (reject["reason"], reject["asked_for"]) == (reason, "seed_task_1.0")
    assert "'Done: 1.'" in after.exchanges()[reject["request"]][0]
    kept = [each.id for each in before.examples if each.id != reject["asked_for"]]
    assert [each.id for each in after.examples] == kept
    assert all(each.startswith("Longer, as ") for each in after.outputs)


def test_nothing_usable_is_an_error_that_counts_why(study: Study, before: DataSet) -> None:
    with (
        study.taught_by(Teacher(longer=lambda prompt: "")) as endpoint,
        pytest.raises(UserError, match="24"),
    ):
        study.improved(before, endpoint)
