"""Which examples make up each global batch, and which process computes what of it.

The global batches follow from the seed and the epoch alone: a run on two devices sees those of a
run on one. (Left to accelerate, the last batch of an epoch would be filled up with examples that
the epoch has seen already, as soon as there are two processes.)

Within a global batch nothing depends on who computes what, since its loss is one mean. So its
examples are dealt out by length: processes that compute side by side have about equally many tokens
and rarely wait for each other, and the largest micro-batch, which decides how much memory is
needed, is about as small as can be.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mini_lima.sft.deepspeed_config import Batches


@dataclass(frozen=True)
class Order:
    """The order of the examples: drawn again for each epoch, the same however it is divided.

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


def balanced(members: Sequence[int], tokens: Sequence[int], batches: Batches) -> list[list[int]]:
    """Divide a global batch into micro-batches of about equally many tokens.

    The longest example goes first, and each goes where the fewest tokens are so far: the largest
    sum is at most 4/3 of the best possible one (Graham 1969), as long as no micro-batch is full.

    Args:
        members: The examples.
        tokens: Of every example of the data set.
        batches: How many examples a micro-batch has at most, and how many micro-batches are
            computed side by side.

    Returns:
        As few micro-batches as can be, but as many for each process; those side by side stand
        together and differ least. Some are empty where there are fewer examples than that.
    """
    steps = -(-len(members) // (batches.micro * batches.processes))
    parts: list[list[int]] = [[] for _ in range(steps * batches.processes)]
    loads = [0] * len(parts)
    for example in sorted(members, key=lambda each: (-tokens[each], each)):
        free = (at for at, part in enumerate(parts) if len(part) < batches.micro)
        chosen = min(free, key=lambda at: (loads[at], at))
        parts[chosen].append(example)
        loads[chosen] += tokens[example]
    return [parts[at] for at in sorted(range(len(parts)), key=lambda at: (-loads[at], at))]


class MicroBatches:
    """The micro-batches of one process in one epoch, as lists of indices: a PyTorch batch sampler.

    All processes have the same number of them, since they compute in step: where the examples of an
    epoch run out, a micro-batch may be short, or empty.
    """

    def __init__(self, order: Order, batches: Batches, tokens: Sequence[int], *, rank: int) -> None:
        """Deal out the examples of ``order`` to process ``rank`` of ``batches.processes``.

        Args:
            order: Which examples make up each global batch.
            batches: How a global batch is divided.
            tokens: Of every example.
            rank: The process.
        """
        assert len(tokens) == order.examples
        self.order = order
        self.tokens = tokens
        self.batches = batches
        self.rank = rank
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be that of ``epoch``."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.order.examples // (self.batches.micro * self.batches.processes))

    def __iter__(self) -> Iterator[list[int]]:
        for members in self.order.global_batches(self.epoch):
            yield from balanced(members, self.tokens, self.batches)[
                self.rank :: self.batches.processes
            ]
