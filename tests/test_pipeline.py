"""How the configuration becomes stages."""

import pytest

from mini_lima import pipeline
from mini_lima.errors import UserError
from mini_lima.store.stages import walk
from tests.composing import configured


def stages(tmp_path, *overrides):
    config = configured("experiment=embedded", f"store={tmp_path / 'store'}", *overrides)
    return {
        (each.name, each.label): each for each in walk([pipeline.build_cell(config, {}).result])
    }


def test_another_chat_template_is_another_sft_and_another_baseline_of_the_same_data(tmp_path):
    file = tmp_path / "template.jinja"
    file.write_text("{{ messages }}", encoding="utf-8")
    plain, other = stages(tmp_path), stages(tmp_path, f"model.chat_template={file}")

    same = {key for key in plain if plain[key].fingerprint == other[key].fingerprint}
    shared = {("data", "self_instruct"), ("data", "lengthen"), ("contamination", "lengthen")}
    assert same == shared
    given = {(each.name, keyword) for each in other.values() for keyword in each.files}
    assert {each for each in given if "template" in each[1]} == {
        ("sft", "chat_template"),
        ("outputs", "template"),
    }
    # The tuned model brings it along in its tokenizer.
    assert "template" not in other["outputs", "qwen-tiny-improved"].files


@pytest.mark.parametrize(
    "override", ["sft.loss_reduction=micro_batch", "sft.activation_checkpointing=true"]
)
def test_how_the_loss_and_its_gradients_are_computed_is_part_of_the_identity(tmp_path, override):
    plain, other = stages(tmp_path), stages(tmp_path, override)
    differing = {key for key in plain if plain[key].fingerprint != other[key].fingerprint}
    assert ("sft", "qwen-tiny-improved") in differing
    assert ("outputs", "qwen-tiny-baseline") not in differing


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        (["sft.checkpoint_steps=7", "launch.processes=auto", "launch.threads=1"], False),
        (["adapter=lora"], True),
        (["adapter.rank=4"], False),
    ],
)
def test_how_a_training_is_run_is_no_part_of_its_identity_and_an_adapter_is(
    tmp_path, overrides, changed
):
    plain, other = stages(tmp_path), stages(tmp_path, *overrides)
    key = ("sft", "qwen-tiny-improved")
    assert (plain[key].fingerprint != other[key].fingerprint) == changed


def test_what_judges_is_part_of_the_identity_of_the_verdicts_and_of_nothing_else(tmp_path):
    prompt = tmp_path / "mine.txt"

    def judged(*overrides, text="{instruction} (a) {output_1} (b) {output_2}"):
        prompt.write_text(text, encoding="utf-8")
        return stages(tmp_path, "annotator=chatgpt", f"annotator.prompt={prompt}", *overrides)

    first = judged()
    for other in (
        judged(text="(a) {output_1} (b) {output_2} {instruction}"),
        judged("annotator.chat.temperature=1"),
    ):
        changed = {key[0] for key in first if first[key].fingerprint != other[key].fingerprint}
        assert changed == {"annotations", "result"}
    ruled = stages(
        tmp_path, "annotator=chatgpt", "+annotator.rule._target_=mini_lima.evaluation.coin"
    )
    assert {each.params["chat"] for each in ruled.values() if each.name == "annotations"} == {None}


def test_another_metric_measures_again_and_generates_and_judges_nothing_again(tmp_path):
    plain = stages(tmp_path)
    other = stages(tmp_path, "+metric@metrics.mine=tokens")
    differing = {key for key in plain if plain[key].fingerprint != other[key].fingerprint}
    assert {name for name, _ in differing} == {"metrics", "result"}


def test_a_set_that_judges_or_metrics_cannot_use_is_said_before_anything_runs(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "One."}\n', encoding="utf-8")
    given = f"evaluation.reference_outputs={file}"
    with pytest.raises(UserError, match=r"rows\.jsonl, row 1: there is no output.*annotator=none"):
        stages(tmp_path, given)
    other = tmp_path / "checked.jsonl"
    other.write_text(
        '{"prompt": "One.", "output": "", "instruction_id_list": ["no"], "kwargs": [{}]}\n',
        encoding="utf-8",
    )
    with pytest.raises(UserError, match=r"checked\.jsonl, row 1: instruction_id_list\[0\]='no'"):
        stages(tmp_path, f"evaluation.reference_outputs={other}")
