"""The audit on one folder in many forms: what is written in another way is read all the same."""

from tests.audit.audited import (
    in_rows,
    preference_as,
    report,
    said,
)
from tests.audit.folders import Made


def in_bytes(change):
    def apply(folder):
        for path in folder.glob("*.*"):
            path.write_bytes(change(path.read_bytes()))

    return apply


def without(*names):
    return in_rows(lambda row: {k: v for k, v in row.items() if k not in names})


def with_empty_columns(folder):
    in_rows(lambda row: {**row, "output_1": None, "output_2": None})(folder)


def by_columns_alone(folder):
    without("output_1", "output_2", "generator_1", "generator_2", "annotator")(folder)


def board(text):
    def write(folder):
        header, figures = (folder / "leaderboard.csv").read_text().splitlines()
        lines = text.format(h=header, f=figures, hn=header[1:], fn=figures.split(",", 1)[1])
        (folder / "leaderboard.csv").write_text(lines)

    return write


SAME = {
    "Windows line endings": in_bytes(lambda text: text.replace(b"\n", b"\r\n")),
    "a byte order mark": in_bytes(lambda text: b"\xef\xbb\xbf" + text),
    "NaN": preference_as(lambda p: float("nan") if p is None else p),
    "whole numbers": preference_as(lambda p: p and int(p)),
    "numbers as text": preference_as(lambda p: p and f" {p} "),
    "no names and no outputs": by_columns_alone,
    "outputs that are null": with_empty_columns,
    "no dataset, no dates": without("dataset", "preference_time_per_example"),
    "leaderboard with a named index": board("model{h}\n{f}\n"),
    "leaderboard of pandas without an index": board("Unnamed: 0{h}\n{f}\n"),
    "leaderboard without names": board("{hn}\n{fn}\n"),
    "leaderboard with the name last": board("{hn},generator\n{fn},our model\n"),
    "leaderboard of many": board("{h}\nother,1,1,1,1,1,1,1,1\n{f}\n"),
    "leaderboard of Windows with an empty line": board("\ufeff{h}\r\n{f}\r\n\r\n"),
    "leaderboard with other metrics": board("{h},kappa,mode\n{f},0.3,community\n"),
}


def test_the_form_of_the_files_changes_nothing(tmp_path):
    usual = None
    for number, (form, change) in enumerate(SAME.items()):
        folder = Made(n=60).into(tmp_path / str(number))
        usual = usual or report(folder)
        change(folder)
        found = report(folder)
        for part in ("found", "stated", "missing", "order", "consistency"):
            assert getattr(found, part) == getattr(usual, part), (form, part)
        assert len(found.stated) > 6
        assert said(found, "alarm") == said(usual, "alarm")


def test_a_leaderboard_that_could_be_anyones_is_not_compared(tmp_path):
    for number, (text, remark) in enumerate(
        (
            ("{hn}\n{fn}\n{fn}\n", "no row for our model, only for no name, no name"),
            ("{h}\n{f}\n{f}\n", "2 rows for our model"),
            ("{h}\nx,1\ny,2\n", "no row for our model, only for x, y"),
            ("{h}\nx,1\n" + "y,2\n" * 200, "only for x, y, y, and 198 more"),
        )
    ):
        folder = Made(n=20).into(tmp_path / str(number))
        board(text)(folder)
        found = report(folder)
        assert found.stated == []
        assert remark in said(found)
