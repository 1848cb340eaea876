import random
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from mini_lima.sft.deepspeed_config import Batches
from mini_lima.sft.order import MicroBatches, Order

sizes = st.integers(1, 5)
lengths = st.lists(st.integers(1, 2048), min_size=1, max_size=60)


def orders(
    examples: int, batches: Batches, *, epoch: int = 0, seed: int = 0
) -> list[list[list[int]]]:
    """The micro-batches of every process."""
    tokens = random.Random(examples).choices(range(1, 2048), k=examples)
    size = batches.micro * batches.accumulation * batches.processes
    found = []
    for rank in range(batches.processes):
        micro_batches = MicroBatches(Order(examples, size, seed), batches, tokens, rank=rank)
        micro_batches.set_epoch(epoch)
        assert len(micro_batches) == len(list(micro_batches))
        found.append(list(micro_batches))
    return found


def steps_of(per_process: list[list[list[int]]], accumulation: int) -> list[set[int]]:
    """The examples of each optimizer step: so many micro-batches of every process in turn."""
    return [
        {i for order in per_process for micro in order[at : at + accumulation] for i in micro}
        for at in range(0, len(per_process[0]), accumulation)
    ]


@given(st.integers(1, 60), sizes, sizes, sizes)
def test_an_epoch_visits_every_example_once_in_the_global_batches_however_they_are_divided(
    examples: int, micro: int, accumulation: int, processes: int
) -> None:
    per_process = orders(examples, Batches(micro, accumulation, processes))
    size = micro * accumulation * processes

    visited = chain.from_iterable(micro for order in per_process for micro in order)
    assert sorted(visited) == list(range(examples))
    assert len({len(order) for order in per_process}) == 1
    assert all(len(batch) <= micro for order in per_process for batch in order)
    whole = Order(examples, size, seed=0).global_batches(epoch=0)
    assert steps_of(per_process, accumulation) == [set(each) for each in whole]


def test_the_order_follows_from_seed_and_epoch() -> None:
    batches = Batches(micro=4, accumulation=2, processes=1)

    again = orders(50, batches, epoch=1, seed=3)
    assert again == orders(50, batches, epoch=1, seed=3)
    assert again != orders(50, batches, epoch=2, seed=3)
    assert again != orders(50, batches, epoch=1, seed=4)


def loads(parts: list[list[int]], tokens: list[int]) -> list[int]:
    return [sum(tokens[i] for i in part) for part in parts]
