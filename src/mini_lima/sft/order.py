"""Which examples make up each global batch, and which process computes what of it.

The global batches follow from the seed and the epoch alone: a run on two devices sees those of a
run on one. (Left to accelerate, the last batch of an epoch would be filled up with examples that
the epoch has seen already, as soon as there are two processes.)
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from mini_lima.sft.deepspeed_config import Batches


@dataclass(frozen=True)
class Order:
    """The order of the examples: drawn anew for each epoch, the same however it is divided.

    Attributes:
        examples: How many there are.
        global_batch_size: How many make an optimizer step; the last of an epoch may have fewer.
        seed: What the order is drawn from.
    """

    examples: int
    global_batch_size: int
    seed: int

    def global_batches(self, epoch: int) -> list[list[int]]:
        """Return the indices of the examples of each optimizer step of ``epoch``, from 0 on."""
        order = list(range(self.examples))
        random.Random(f"{self.seed} {epoch}").shuffle(order)
        size = self.global_batch_size
        return [order[start : start + size] for start in range(0, self.examples, size)]


class MicroBatches:
    """The micro-batches of one process in one epoch, as lists of indices: a PyTorch batch sampler.

    All processes have the same number of them, since they compute in step: where the examples of an
    epoch run out, a micro-batch may be short, or empty.
    """

    def __init__(self, order: Order, batches: Batches, *, rank: int) -> None:
        """Deal out the examples of ``order`` to process ``rank`` of ``batches.processes``."""
        self.order = order
        self.batches = batches
        self.rank = rank
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be that of ``epoch``."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.order.examples // (self.batches.micro * self.batches.processes))

    def __iter__(self) -> Iterator[list[int]]:
        side_by_side = self.batches.micro * self.batches.processes
        for members in self.order.global_batches(self.epoch):
            for start in range(0, len(members), side_by_side):
                together = members[start : start + side_by_side]
                yield together[self.rank :: self.batches.processes]
