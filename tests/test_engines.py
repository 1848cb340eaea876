"""How the choice of an engine, a reference and a template enters the stages of a cell."""

import json

import pytest

from mini_lima import pipeline
from mini_lima.config.sources import ASSETS
from mini_lima.errors import UserError
from mini_lima.evaluation.pairs import digest_of_answers, read_answers
from mini_lima.experiment import preflight
from mini_lima.files import read_json
from mini_lima.store.stages import walk
from tests.composing import configured

SHIPPED = ASSETS / "evaluation_set.json"


def outputs(*overrides):
    """The stages of model outputs: the baseline's and the tuned model's."""
    cell = pipeline.build_cell(configured("experiment=embedded", *overrides), resolved={})
    baseline, tuned = (stage for stage in walk(cell.last) if stage.name == "outputs")
    return baseline, tuned


def fingerprints(*overrides):
    return [stage.fingerprint for stage in outputs(*overrides)]


def test_a_reference_that_is_another_file_than_meant_is_refused():
    sha256 = "0" * 64
    config = configured("experiment=embedded", f"evaluation.reference_outputs_sha256={sha256}")
    [line] = preflight.missing(config, set(), pipeline.lookups(config))
    assert sha256 in line
    with pytest.raises(UserError, match="reference_outputs_sha256"):
        configured(
            "evaluation.reference_outputs=https://example.org/rows.json",
            "evaluation.reference_outputs_sha256=null",
        )


@pytest.mark.parametrize(
    "wrong",
    [
        ["evaluation.engine.base_url=null"],
        ["evaluation.engine.command=vllm serve"],
        ["evaluation.engine.base_url=null", "evaluation.engine.command='vllm \"serve'"],
        ["evaluation.engine.base_url=null", "evaluation.engine.command=''"],
        ["evaluation.engine.max_retries=-1"],
        ["evaluation.engine.concurrency=0"],
    ],
)
def test_a_server_is_there_or_is_started(wrong):
    with pytest.raises(UserError, match=r"evaluation\.engine"):
        configured("evaluation/engine=openai", *wrong)


def test_a_reference_with_other_answers_than_meant_is_refused_whatever_its_layout(tmp_path):
    rows = read_json(SHIPPED)
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows, indent=4))
    same = digest_of_answers(read_answers(SHIPPED, unnamed="reference"))
    own = ("experiment=embedded", f"evaluation.reference_outputs={file}")
    pinned = f"evaluation.reference_answers_sha256={same}"
    pipeline.build_cell(configured(*own, pinned), {})
    rows[3]["output"] += "!"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(rows))
    config = configured("experiment=embedded", f"evaluation.reference_outputs={other}", pinned)
    with pytest.raises(UserError, match=r"other\.json.*reference_answers_sha256"):
        pipeline.build_cell(config, {})
