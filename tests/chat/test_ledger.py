"""The ledger says what happened, adds up, and survives its file."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.chat import (
    Ledger,
    Prices,
    complete,
    warnings,
    write_ledger,
)
from mini_lima.chat.ledger import Cost, merged, read_ledger
from tests.chat.asked import endpoint_of, questions
from tests.chat.server import FakeOpenAI, completion, refusal

PRICES = Prices(input=100, output=1000)
USUAL = 7 * 100e-6 + 5 * 1000e-6

counts = st.integers(0, 1000)
dollars = st.integers(0, 2**20).map(lambda number: number / 1024)  # add up without rounding
names = st.sampled_from(["a", "b", "c"])
costs = st.builds(Cost, counts, counts, counts, counts, dollars, counts)


def test_what_is_spent_and_what_the_replies_are_worth_are_two_things(cache):
    first, second = Ledger(), Ledger()
    with FakeOpenAI() as server:
        options = {"endpoint": endpoint_of(server), "cache": cache, "label": "x", "prices": PRICES}
        complete(questions(*"abc"), ledger=first, **options)
        complete(questions(*"abcdd"), ledger=second, **options)
    assert (first.requests, first.from_cache, first.sent) == (3, 0, 3)
    assert first.spent == first.value
    assert first.spent.usd == pytest.approx(3 * USUAL)
    assert (second.requests, second.from_cache, second.sent) == (4, 3, 1)
    assert (second.spent.replies, second.value.replies) == (1, 4)
    assert second.spent.usd == pytest.approx(USUAL)
    assert second.value.usd == pytest.approx(4 * USUAL)
    assert (second.value.input_tokens, second.value.output_tokens) == (28, 20)
    assert sum(second.latency.classes.values()) == 4
    assert warnings(second) == []


def test_a_run_that_is_stopped_has_its_ledger_all_the_same(cache):
    ledger = Ledger()
    bad = refusal(401, "invalid_api_key")
    with FakeOpenAI(lambda call: bad if call.last_message == "c" else "ok") as server:
        endpoint = endpoint_of(server, concurrency=1)
        with pytest.raises(Exception, match="refuses every request"):
            complete(questions(*"abcd"), endpoint=endpoint, cache=cache, label="x", ledger=ledger)
    assert ledger.sent == 3
    assert ledger.spent.replies == 2


def told_of(cache, name, reply):
    ledger = Ledger()
    with FakeOpenAI(reply) as server:
        endpoint = endpoint_of(server, name=name)
        complete(questions(*"abcd"), endpoint=endpoint, cache=cache, label="x", ledger=ledger)
    return ledger, warnings(ledger)


def test_several_models_behind_one_name_are_a_warning(cache):
    for names in (["gpt-x-1"], ["gpt-x-1", "llama"], ["gpt-x-1", None]):
        ledger, told = told_of(
            cache,
            f"{names}",
            lambda call, names=names: completion("ok", model=names[call.number % len(names)]),
        )
        counts = {name or "(not said)": 4 // len(names) for name in names}
        assert ledger.served_models == {"gpt-x": counts}
        assert len(told) == (len(names) > 1)
        assert all(f"{names[1] or '(not said)'} (2)" in each for each in told)


@settings(max_examples=25, deadline=None)
@given(*[st.builds(Ledger, retries=st.dictionaries(names, counts), spent=costs)] * 3)
def test_ledgers_add_up_in_any_order_and_grouping_and_survive_their_file(
    tmp_path_factory, one, two, three
):
    total = merged([merged([one, two]), three])
    assert total == merged([one, merged([three, two])])
    assert total.spent.usd == one.spent.usd + two.spent.usd + three.spent.usd
    path = tmp_path_factory.getbasetemp() / "ledger.json"
    write_ledger(path, total)
    assert read_ledger(path) == total
