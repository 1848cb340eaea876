"""Evaluation files and model outputs, brought together by instruction."""

import json

import pytest

from mini_lima.data import Example
from mini_lima.data.overlap import read_instructions
from mini_lima.errors import UserError
from mini_lima.evaluation.annotation import Presentation
from mini_lima.evaluation.metrics import check_fields
from mini_lima.evaluation.pairs import read_pairs, read_rows
from mini_lima.files import write_json
from mini_lima.models.rendering import user_text
from tests.evaluation.judging import answers

TWO_CHECKS = {
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"num_words": 3, "relation": "at least"}],
}
METRICS = "mini_lima.evaluation.metrics"


@pytest.fixture
def pairs(tmp_path):
    def read(models, references, limit=None):
        write_json(tmp_path / "models.json", models)
        write_json(tmp_path / "references.json", references)
        found = read_pairs(tmp_path / "references.json", tmp_path / "models.json", limit)
        return [(pair.reference.output, pair.model.output) for pair in found]

    return read


def test_rows_are_paired_by_instruction_and_in_order_where_it_repeats(pairs):
    asked = ["twice", "once", "twice"]
    models = answers(["a", "bbb", "ccc"], "m", ["once", "twice", "twice"])
    found = pairs(models, answers(["bb", "aa", "dddd"], "r", asked))
    assert found == [("bb", "bbb"), ("aa", "a"), ("dddd", "ccc")]


def test_outputs_that_do_not_fit_are_refused_with_file_row_and_field(pairs, tmp_path):
    for models, complaint in (
        (answers(["a", "b"], instructions=["Instruction 0."] * 2), "lacks 1"),
        ([], "no row"),
        ({"instruction": "x"}, "row 1: output"),
        ("x", "a list of rows"),
        ([{"instruction": "x", "output": None}], "row 1: output: text is needed, found None"),
        ([{"instruction": "x", "output": ["y"]}], "row 1: output: .* found"),
        ([{"output": "y"}], "row 1: instruction: field required"),
        (["x"], "row 1: an object"),
        ([{"instruction": "x", "input": ["y"], "output": ""}], "row 1: input: text was expected"),
        ([{"instruction": "x", "history": [["a", "b"]], "output": ""}], "row 1: history: "),
        ([{"instruction": "x", "system": "Be brief.", "output": ""}], "row 1: system: "),
    ):
        with pytest.raises(UserError, match=complaint):
            pairs(models, answers(["a", "b"]))
    bad = tmp_path / "bad.json"
    with pytest.raises(UserError, match=r"bad\.json: it cannot be read"):
        read_rows(bad)
    bad.write_text('[{"instruction": "x", "output": "\\ud83d"}]')
    with pytest.raises(UserError, match=r"bad\.json, row 1: .* surrogate"):
        read_rows(bad)


def test_an_evaluation_file_may_be_json_lines_with_prompts_and_no_outputs(tmp_path):
    path = tmp_path / "input.jsonl"
    rows = [{"key": 7, "prompt": "Say\u2028it.", **TWO_CHECKS}, {"key": 8, "prompt": "No."}]
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    first, second = read_rows(path)
    assert (first.instruction, first.output, second.output) == ("Say\u2028it.", None, None)
    assert first.fields == {"key": 7, **TWO_CHECKS}
    metrics = [f"{METRICS}.instructions_followed"]
    check_fields(path, [first, second], metrics)
    path.write_text('{"prompt": "One."}\n{"prompt": "Two."')
    with pytest.raises(UserError, match=r"input\.jsonl.*line 2"):
        read_rows(path)
    path.write_text('{"prompt": "One."}\n{"prompt": "Two.", "instruction_id_list": ["x"]}')
    with pytest.raises(UserError, match=r"input\.jsonl, row 2: kwargs"):
        check_fields(path, read_rows(path), metrics)
    check_fields(path, read_rows(path), [f"{METRICS}.words"])


def test_an_input_is_a_part_of_the_question_for_model_judge_metrics_and_contamination(
    tmp_path, caplog
):
    caplog.set_level("INFO")
    path = tmp_path / "references.json"
    rows = [
        {"instruction": "Translate.", "input": "Der Hafen.", "output": "The harbour.", "level": 1},
        {"instruction": "Translate.", "input": "Der Turm.", "output": "The tower.", "level": 2},
        {"instruction": "Wait.", "input": " ", "output": "Yes.", "note": "", "prompt": "?"},
    ]
    write_json(path, rows)
    found = read_rows(path)
    asked = ["Translate.\n\nDer Hafen.", "Translate.\n\nDer Turm.", "Wait."]
    trained_on = Example("a", rows[0]["instruction"], "x", input=rows[0]["input"])
    assert [row.instruction for row in found] == asked == read_instructions(path)
    assert asked[0] == user_text(trained_on.instruction, trained_on.input)
    # What a model has answered is paired by the whole question, and shown to judges with it.
    write_json(tmp_path / "models.json", answers(["1", "2", "3"], "m", asked)[::-1])
    paired = read_pairs(path, tmp_path / "models.json")
    shown = [Presentation(pair, 0, True, 0).shown for pair in paired]
    assert [(s.instruction, s.first) for s in shown] == list(zip(asked, "123", strict=True))
    for _ in range(2):
        check_fields(path, found, [f"{METRICS}.words"])
    (line,) = caplog.messages
    assert "level (2), prompt (1)" in line
    assert "note" not in line


def test_a_limit_takes_the_first_instructions_and_wants_no_other_answered(pairs):
    references = answers(["reference"] * 4, "r")
    models = answers(["a longer answer", "short"], "m")
    assert [model for _, model in pairs(models, references, 2)] == ["a longer answer", "short"]
    with pytest.raises(UserError, match="adds 1 of the instructions"):
        pairs(answers(["a", "b", "c"]), references, 2)
    with pytest.raises(UserError, match="lacks 2 of the instructions"):
        pairs(models, references)
