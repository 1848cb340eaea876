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


SERVED = ("evaluation/engine=openai", "evaluation.engine.base_url=http://127.0.0.1:1/v1")


def test_how_the_answers_are_made_is_no_part_of_their_identity_and_what_is_asked_is(tmp_path):
    here, served = fingerprints(), fingerprints(*SERVED)
    assert fingerprints("evaluation.batch_size=3", "launch.threads=1") == here
    assert fingerprints(*SERVED, "evaluation.engine.concurrency=1") == served
    others = fingerprints("evaluation.seed=1")
    assert len({*here, *served, *others}) == 6
    template = tmp_path / "plain.jinja"
    template.write_text("{{ messages }}")
    baseline, tuned = fingerprints(f"model.baseline_template={template}")
    assert tuned == here[1]
    template.write_text("{{ messages }}!")
    assert fingerprints(f"model.baseline_template={template}")[0] not in (baseline, here[0])
