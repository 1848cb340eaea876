from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from mini_lima.sft.deepspeed_config import Batches
from mini_lima.sft.order import MicroBatches, Order

sizes = st.integers(1, 5)


def orders(
    examples: int, batches: Batches, *, epoch: int = 0, seed: int = 0
) -> list[list[list[int]]]:
    """The micro-batches of every process."""
    size = batches.micro * batches.accumulation * batches.processes
    found = []
    for rank in range(batches.processes):
        micro_batches = MicroBatches(Order(examples, size, seed), batches, rank=rank)
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
def test_an_epoch_visits_every_example_once(
    examples: int, micro: int, accumulation: int, processes: int
) -> None:
    per_process = orders(examples, Batches(micro, accumulation, processes))

    visited = chain.from_iterable(micro for order in per_process for micro in order)
    assert sorted(visited) == list(range(examples))


@given(st.integers(1, 60), sizes, sizes, sizes)
def test_processes_have_equally_many_micro_batches_and_none_is_too_large(
    examples: int, micro: int, accumulation: int, processes: int
) -> None:
    per_process = orders(examples, Batches(micro, accumulation, processes))

    assert len({len(order) for order in per_process}) == 1
    assert all(len(batch) <= micro for order in per_process for batch in order)


@given(st.integers(1, 60), sizes, sizes, sizes)
def test_the_division_does_not_change_what_a_global_batch_is_made_of(
    examples: int, micro: int, accumulation: int, processes: int
) -> None:
    size = micro * accumulation * processes

    divided = steps_of(orders(examples, Batches(micro, accumulation, processes)), accumulation)
    assert divided == [set(each) for each in Order(examples, size, seed=0).global_batches(epoch=0)]


def test_the_order_follows_from_seed_and_epoch() -> None:
    batches = Batches(micro=4, accumulation=2, processes=1)

    again = orders(50, batches, epoch=1, seed=3)
    assert again == orders(50, batches, epoch=1, seed=3)
    assert again != orders(50, batches, epoch=2, seed=3)
    assert again != orders(50, batches, epoch=1, seed=4)
