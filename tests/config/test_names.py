import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.config.names import (
    LONGEST_NAME,
    cell_name,
    run_name,
    sweep_name,
)

keys = st.text(string.ascii_lowercase + "._", min_size=1).filter(
    lambda key: key not in {"model", "data", "experiment", "plan"} and key != "hydra"
)
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
changes = st.builds("{}={}".format, keys, values).filter(lambda each: not each.startswith("hydra."))
command_lines = st.lists(changes, max_size=5)


def usable(name):
    return (
        0 < len(name.encode()) <= LONGEST_NAME
        and name.isprintable()
        and not set(name) & set("/\\ \"'$*?[]{}()&;<>|:")
        and not name.startswith((".", "-"))
    )


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "qwen-tiny-naive"),
        (["model=qwen-tiny", "data=naive", "experiment=[grid,embedded]"], "qwen-tiny-naive"),
        (["sft.epochs=1", "plan=true"], "qwen-tiny-naive+sft.epochs=1"),
        (["optimizer.lr=1e-5", "seed=2"], "qwen-tiny-naive+seed=2+optimizer.lr=1e-5"),
        (["optimizer.lr=1e-5", "sft.seed=2"], "qwen-tiny-naive+optimizer.lr=1e-5+sft.seed=2"),
    ],
)
def test_a_cell_is_named_after_its_options_and_changes(overrides, name):
    assert cell_name("qwen-tiny", "naive", overrides) == name


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "run"),
        (["-m"], "run"),
        (["experiment=grid"], "grid"),
        (["experiment=[grid,embedded]"], "grid+embedded"),
        (["experiment=grid", "experiment=embedded"], "grid+embedded"),
        (["--multirun", "sft.seed=1,2", "experiment=embedded"], "embedded+sft.seed=1,2"),
        (["experiment=grid", "-m", "hydra/launcher=basic", "hydra.verbose=true"], "grid"),
        (["experiment=grid", "plan=true", "data=naive"], "grid+data=naive"),
        (["--config-dir", "mine", "experiment=grid"], "grid"),
    ],
)
def test_a_sweep_is_named_after_what_was_asked_for(arguments, name):
    assert sweep_name(arguments) == name


@given(command_lines)
def test_every_command_line_has_a_name_that_does_as_a_folder(overrides):
    for name in (
        cell_name("qwen-tiny", "naive", overrides),
        run_name("qwen-tiny", "naive", overrides),
        sweep_name(overrides),
    ):
        assert usable(name)


@given(command_lines, command_lines)
def test_different_command_lines_have_different_names(one, other):
    same = one == other
    assert (cell_name("m", "d", one) == cell_name("m", "d", other)) == same
    assert (sweep_name(one) == sweep_name(other)) == same


@given(command_lines)
def test_what_does_not_change_the_work_does_not_change_the_name(overrides):
    silent = ["-m", *overrides, "plan=true", "hydra.verbose=true", "+hydra.job.x=1"]
    assert sweep_name(silent) == sweep_name(overrides)
    assert cell_name("m", "d", silent[1:]) == cell_name("m", "d", overrides)
