"""Examples that are kept from training, and what the model makes of them after each epoch.

Whole tasks are held out: examples of one task are much alike, and one that was trained on would
give its siblings away. Which tasks depends on nothing but their names and the share, so that all
arms of a sweep hold out the same, whatever they have made of them.

The loss on them says when a model begins to learn its examples by heart. It is looked at by people
alone: nothing is stopped or chosen by it.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mini_lima.errors import UserError
from mini_lima.models.rendering import Conversation
from mini_lima.sft.batches import Rendered
from mini_lima.sft.deepspeed_config import Batches
from mini_lima.sft.order import balanced

if TYPE_CHECKING:
    from mini_lima.sft.trainer import SftTrainer


def held_out_tasks(tasks: Collection[str], share: float) -> set[str]:
    """Return about ``share`` of ``tasks``: at least one, and never all of them.

    A task is held out if its hash, as a number from 0 to 1, is below the share: whatever the other
    tasks are, and also under a larger share. Where this is true of none (or of all), it is the one
    with the smallest number (or all but that with the largest).

    Raises:
        UserError: there is but one.
    """
    places = sorted({(_place(task), task) for task in tasks})
    if len(places) < 2:
        raise UserError(
            f"sft.held_out={share}: the data set has {len(places)} task, and one must be left to"
            " train on: set sft.held_out=0"
        )
    below = [task for place, task in places[:-1] if place < share]
    return set(below or [places[0][1]])


def divide(rendered: Rendered, tasks: Mapping[str, str], share: float) -> tuple[Rendered, Rendered]:
    """Return what is trained on and what is held out, each in the order of the data set.

    Args:
        rendered: All examples.
        tasks: The task of each, by the example's id.
        share: Of the tasks; 0 holds nothing out.
    """
    held = held_out_tasks([tasks[id_] for id_ in rendered.ids], share) if share else set()

    def part(wanted: bool) -> Rendered:
        at = [i for i, id_ in enumerate(rendered.ids) if (tasks[id_] in held) is wanted]
        conversations = [rendered.conversations[i] for i in at]
        return replace(rendered, ids=[rendered.ids[i] for i in at], conversations=conversations)

    return part(False), replace(part(True), dropped=0)


class HeldOutLoss:
    """−ln p per supervised token of the conversations that are held out."""

    def __init__(
        self,
        conversations: Sequence[Conversation],
        batches: Batches,
        rank: int,
        trainer: Callable[[], "SftTrainer"],
    ) -> None:
        """Share ``conversations`` out as a training does.

        Args:
            conversations: Those held out.
            batches: How many are computed at a time, and by how many processes.
            rank: Of this process.
            trainer: Returns the one whose model and layout it is computed with.
        """
        lengths = [each.tokens for each in conversations]
        shared_out = balanced(range(len(lengths)), lengths, batches)[rank :: batches.processes]
        self._micro_batches = [[conversations[i] for i in members] for members in shared_out]
        self._tokens = sum(each.supervised for each in conversations)
        self._trainer = trainer

    def __call__(self) -> float:
        """Compute it; every process calls this."""
        import torch

        from mini_lima.sft.loss import summed_loss

        trainer = self._trainer()
        engine: Any = trainer.model_wrapped
        total = torch.zeros((), dtype=torch.float64, device=engine.device)
        engine.eval()
        with torch.no_grad():
            for members in self._micro_batches:
                batch = {
                    key: value.to(engine.device) if torch.is_tensor(value) else value
                    for key, value in trainer.layout.batch(members).items()
                }
                total += summed_loss(engine, batch)
        engine.train()
        torch.distributed.all_reduce(total)
        return total.item() / self._tokens


def _place(task: str) -> float:
    return int.from_bytes(hashlib.sha256(task.encode()).digest()[:8]) / 2**64
