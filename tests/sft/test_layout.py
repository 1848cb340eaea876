"""What a micro-batch makes of its examples, against each alone, in architectures of every kind."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mini_lima.errors import UserError
from mini_lima.files import read_json
from mini_lima.sft.batches import Layout
from mini_lima.sft.layout import choose_layout
from mini_lima.sft.loss import summed_loss
from mini_lima.workers.progress import MARKER
from tests.sft.attempts import OPTIONS, TINY, Attempts
from tests.sft.padded import gradients, padded_loss
from tests.sft.test_attention import CONVERSATIONS, CPU
from tests.sft.test_loss import SIZE

ONE_BY_ONE = [[each] for each in CONVERSATIONS]
KINDS: dict[str, tuple[Layout, dict[str, Any]]] = {
    "llama": (Layout.flattened, SIZE),
    # Attention that does not pass on where sequences begin.
    "stablelm": (Layout.flattened, SIZE),
    # A head whose logits are computed with.
    "granite": (Layout.flattened, SIZE | {"logits_scaling": 8.0}),
    # Positions of its own: learnt, or as a bias.
    "xglm": (Layout.padded, {"vocab_size": 64, "d_model": 32, "ffn_dim": 64, "num_layers": 2}),
    "bloom": (Layout.padded, {"vocab_size": 64, "hidden_size": 32, "n_layer": 2, "n_head": 2}),
    # Layers that mix positions without attention.
    "lfm2": (Layout.padded, SIZE | {"layer_types": ["conv", "full_attention"]}),
    "mamba": (Layout.padded, {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2}),
}


def made(kind: str, **given: Any) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **given)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def whole(found: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([each.flatten() for each in found.values()])


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_the_architecture_gradients_are_those_of_each_example_alone(kind: str) -> None:
    expected_layout, given = KINDS[kind]
    model = made(kind, **given)
    alone = sum(padded_loss(model, one) for one in ONE_BY_ONE)
    assert isinstance(alone, torch.Tensor)
    expected = whole(gradients(model, alone))

    layout = choose_layout(model, CONVERSATIONS, CPU, micro=4)
    loss = summed_loss(model, layout.batch(CONVERSATIONS))

    assert layout is expected_layout
    assert loss.item() == pytest.approx(alone.item(), rel=1e-5)
    assert (whole(gradients(model, loss)) - expected).norm() <= 1e-5 * expected.norm()


def test_a_model_that_mixes_its_rows_is_trained_one_example_at_a_time_or_not_at_all() -> None:
    model = made("llama", **SIZE)
    norm = model.model.norm
    norm.register_forward_hook(lambda module, given, output: output + output.mean((0, 1)))

    with pytest.raises(UserError, match="micro_batch_size_per_gpu=1"):
        choose_layout(model, CONVERSATIONS, CPU, micro=2)


def test_weights_that_are_not_numbers_are_refused_before_training() -> None:
    model = made("llama", **SIZE)
    torch.nn.init.constant_(model.model.layers[0].mlp.up_proj.weight, float("nan"))

    with pytest.raises(UserError, match="NaN"):
        choose_layout(model, CONVERSATIONS, CPU, micro=2)


def test_a_recurrent_model_is_trained_alike_however_the_batch_is_divided(
    attempts: Attempts, tmp_path: Path
) -> None:
    folder = tmp_path / "lfm2"
    folder.mkdir()
    for file in TINY.iterdir():
        if file.name != "config.json":
            (folder / file.name).write_bytes(file.read_bytes())
    tiny = read_json(TINY / "config.json")
    _, given = KINDS["lfm2"]
    told = {**given, **{k: tiny[k] for k in ("vocab_size", "eos_token_id", "bos_token_id")}}
    AutoConfig.for_model("lfm2", **told).save_pretrained(folder)
    runs = [
        attempts.one(
            model=str(folder), micro_batch_size_per_gpu=micro, deepspeed=OPTIONS[zero], epochs=1
        )
        for micro, zero in ((1, "zero2_offload"), (8, "zero3"))
    ]

    one, several = (run.result() for run in runs)
    assert one.codes == several.codes == [0], one.raised + several.raised
    for mine, theirs in zip(one.rows, several.rows, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
    assert "padded" in (several.output_dir / "README.md").read_text()
    assert any(
        line.startswith(MARKER) and "padded" in line
        for line in (several.work_dir / "log-0.txt").read_text().splitlines()
    )
