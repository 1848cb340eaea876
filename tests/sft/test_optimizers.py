"""Every optimizer and scheduler that ships, and a user's own: what it does, and that it resumes."""

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from mini_lima.config.resolve import optimizer_and_scheduler
from mini_lima.errors import UserError
from mini_lima.sft import optimizers, trial
from mini_lima.sft.optimizers import Choice, Place
from tests.composing import configured
from tests.sft.attempts import OPTIONS, STEPS, Attempt, Attempts, Meanwhile
from tests.sft.by_hand import furthest, plain_loop

MINE = "tests.sft.my_optimizers"
NOTHING: Meanwhile = (print, None)
CPU = ["experiment=embedded", "launch.device=cpu"]


class Lion(torch.optim.Optimizer):
    """As Chen et al. 2023 write it, algorithm 2."""

    def __init__(self, params: Any, betas: tuple[float, float], weight_decay: float) -> None:
        super().__init__(params, {"lr": 0.0, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        [group] = self.param_groups
        first, second = group["betas"]
        for each in group["params"]:
            mean = self.state[each].setdefault("mean", torch.zeros_like(each))
            way = (first * mean + (1 - first) * each.grad).sign()
            each -= group["lr"] * (way + group["weight_decay"] * each)
            mean.mul_(second).add_(each.grad, alpha=1 - second)


def decaying(update: int) -> float:
    done = max(update - 2, 0)
    return done / 3 if done < 3 else (STEPS - done) / (STEPS - 3)


def cosine(update: int) -> float:
    done = max(update - 2, 0)
    if done < 3:
        return done / 3
    return 1e-4 + (1 - 1e-4) * (1 + math.cos(math.pi * min((done - 2) / (STEPS - 3), 1))) / 2


# Name: what is composed, the share of the rate at each update, and the same optimizer by torch.
CASES: dict[str, tuple[str, str, Callable[[int], float], Callable[[list[torch.Tensor]], Any]]] = {
    "adam, decaying": (
        "optimizer=adam optimizer.lr=0.01 optimizer.eps=1e-3 optimizer.weight_decay=0.1"
        " scheduler=warmup_decay scheduler.warmup_num_steps=3",
        "zero2_offload",
        decaying,
        lambda p: torch.optim.Adam(p, betas=(0.8, 0.999), eps=1e-3, weight_decay=0.1),
    ),
    "lion, as a cosine": (
        "optimizer=lion optimizer.lr=1e-3 optimizer.weight_decay=0.1"
        " scheduler=warmup_cosine scheduler.warmup_num_steps=3",
        "zero2_offload",
        cosine,
        lambda p: Lion(p, (0.9, 0.99), 0.1),
    ),
    "sgd, constant": (
        "optimizer=sgd optimizer.lr=0.02 scheduler=constant",
        "zero3",
        lambda update: 1.0,
        lambda p: torch.optim.SGD(p, momentum=0.9),
    ),
    "torch's own": (
        "optimizer=custom optimizer._target_=torch.optim.RMSprop optimizer.lr=1e-3"
        " optimizer.alpha=0.9 optimizer.eps=1e-3 scheduler=custom"
        f" scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR scheduler.T_max={STEPS}"
        " ~scheduler.warmup_num_steps",
        "zero2_offload",
        lambda update: (1 + math.cos(math.pi * (update - 1) / STEPS)) / 2,
        lambda p: torch.optim.RMSprop(p, alpha=0.9, eps=1e-3),
    ),
    "a user's own functions": (
        f"optimizer=custom optimizer._target_={MINE}.signs optimizer.lr=1e-3"
        f" scheduler=custom scheduler._target_={MINE}.halving scheduler.times=3"
        " ~scheduler.warmup_num_steps",
        "zero1",
        lambda update: 0.5 ** (3 * (update - 1) // STEPS),
        lambda p: Lion(p, (0.9, 0.9), 0.0),
    ),
}


RESUMED = ["lion, as a cosine", "torch's own", "a user's own functions"]


@pytest.fixture(scope="module")
def runs(attempts: Attempts) -> dict[str, Future[list[Attempt]]]:
    """Each to its end, and some again from the checkpoint on that the first has left."""

    def started(name: str, overrides: str, option: str) -> Any:
        composed = configured(*CPU, f"deepspeed={option}", *overrides.split())
        optimizer, scheduler = map(asdict, optimizer_and_scheduler(composed))
        chosen = {"optimizer": optimizer, "scheduler": scheduler, "deepspeed": OPTIONS[option]}
        again = [NOTHING] * (name in RESUMED)
        return attempts.chain(again, checkpoint_steps=5, **chosen)

    return {
        name: started(name, overrides, option) for name, (overrides, option, *_) in CASES.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_a_plain_loop_does_with_the_rate_that_is_logged(
    name: str, runs: dict[str, Future[list[Attempt]]]
) -> None:
    overrides, _, share, make = CASES[name]
    highest = float(configured(*CPU, *overrides.split()).optimizer["lr"])
    run, *_ = runs[name].result()
    losses, weights = plain_loop(make=make, rate=lambda update: highest * share(update))

    assert run.codes == [0], run.raised
    assert [row["learning_rate"] for row in run.rows] == pytest.approx(
        [highest * share(update) for update in range(1, STEPS + 1)]
    )
    assert [row["loss"] for row in run.rows] == pytest.approx(losses, rel=2e-3)
    # Where an update is a sign alone, rounding decides about that of a tiny gradient.
    signs_alone = make([torch.nn.Parameter(torch.zeros(1))]).__class__ is Lion
    if not signs_alone:
        assert furthest(run.weights, weights) < 1e-4


@pytest.mark.parametrize("name", RESUMED)
def test_it_goes_on_from_a_checkpoint_with_the_same_bits(
    name: str, runs: dict[str, Future[list[Attempt]]]
) -> None:
    whole, resumed = runs[name].result()

    assert resumed.codes == [0], resumed.raised
    assert resumed.checkpoints == ["checkpoint-00000005"]
    assert resumed.rows == whole.rows
    expected = whole.weights
    assert all(torch.equal(tensor, expected[key]) for key, tensor in resumed.weights.items())


ADAMW = Choice({"lr": 1e-3}, type="AdamW")
WARMUP = Choice({}, type="WarmupLR")


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "stage", "said"),
    [
        ("torch.optim.Sgd", None, 2, "torch.optim has no Sgd"),
        ("torch.nn.Linear", None, 2, "out_features"),
        ("torch.optim.LBFGS", None, 2, "closure"),
        ("torch.optim.Muon", None, 2, "2D"),
        ("torch.optim.Adagrad", None, 3, "deepspeed=zero2"),
        ("torch.optim.Adafactor", None, 2, "deepspeed=zero0"),
        (f"{MINE}.normed", None, 1, "deepspeed=zero0"),
        (f"{MINE}.nothing", None, 2, "must return a torch.optim.Optimizer, not a int"),
        (None, "torch.optim.lr_scheduler.ReduceLROnPlateau", 2, "metrics"),
        (None, "torch.optim.lr_scheduler.CosineAnnealingLR", 2, "scheduler.T_max has no value"),
        (None, f"{MINE}.signs", 2, "scheduler.lr has no value"),
    ],
)
def test_what_cannot_train_is_said_in_a_line(
    optimizer: str | None, scheduler: str | None, stage: int, said: str
) -> None:
    named = Choice({"lr": 1e-3}, target=optimizer) if optimizer else ADAMW
    schedule = Choice({}, target=scheduler) if scheduler else WARMUP

    with pytest.raises(UserError, match=said) as refused:
        trial.tried(named, schedule, Place(stage, False, "fp32", "cpu"))
    assert "\n" not in str(refused.value)


def test_one_that_looks_at_whole_tensors_is_allowed_where_there_are_whole_tensors() -> None:
    place = Place(0, False, "fp32", "cpu")
    trial.tried(Choice({"lr": 1e-3}, target=f"{MINE}.normed"), WARMUP, place)


def test_a_keyword_is_held_to_the_function_s_own_annotation() -> None:
    for params, said in (({"memry": 0.5}, "did you mean memory"), ({"memory": 0}, "memory=0")):
        choice = Choice({"lr": 1e-3, **params}, target=f"{MINE}.signs")
        with pytest.raises(UserError, match=f"optimizer.{next(iter(params))}.*{said}|{said}"):
            trial.tried(choice, WARMUP, Place(2, False, "fp32", "cpu"))


def test_an_edited_function_is_another_optimizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by its shortest name."""
    package = tmp_path / "my_optimizers_package"
    package.mkdir()
    (package / "__init__.py").write_text("from my_optimizers_package.descent import descent\n")
    source = "import torch\ndef descent(params, *, lr): return torch.optim.SGD(params, lr=lr)\n"
    monkeypatch.syspath_prepend(tmp_path)
    named = Choice({"lr": 0.1}, target="my_optimizers_package.descent.descent")
    found = []
    for edited in (source, f"{source}# edited\n"):
        (package / "descent.py").write_text(edited)
        found.append(optimizers.found(optimizers.OPTIMIZER, named))

    # The package's own descent is the module, which hides the function.
    assert [each.target for each in found] == ["my_optimizers_package.descent.descent"] * 2
    assert found[0].code != found[1].code
