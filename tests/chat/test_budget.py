"""A budget is never passed, and running out of it loses nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.chat import Budget, ChatModel, Ledger, Prices, complete, warnings
from mini_lima.chat.prices import TokenCount, most_input
from mini_lima.errors import UserError
from tests.chat.asked import endpoint_of, questions
from tests.chat.server import Answer, FakeOpenAI, completion, refusal, storm

PRICES = Prices(input=1000, output=10_000)
TEXTS = [f"question {number:02}" for number in range(40)]
USUAL = PRICES.cost(TokenCount(7, 5))
MOST = PRICES.most(questions(TEXTS[0])[0])


def dearest(call):
    """The reply that costs as much as a call can."""
    (asked,) = questions(call.last_message)
    usage = {"prompt_tokens": most_input(asked), "completion_tokens": asked.max_tokens}
    return completion("dear", usage=usage)


def ask(cache, reply, texts=TEXTS, *, budget, concurrency=1, **options):
    with FakeOpenAI(reply) as server:
        endpoint = endpoint_of(server, max_retries=10, concurrency=concurrency)
        options |= {"endpoint": endpoint, "cache": cache, "label": "x", "prices": PRICES}
        complete(questions(*texts), budget=budget, **options)


def test_the_run_stops_before_the_call_that_could_pass_the_budget(cache):
    budget, ledger = Budget(10 * USUAL + MOST * 1.001), Ledger()
    with FakeOpenAI() as server:
        options = {"endpoint": endpoint_of(server, concurrency=1), "cache": cache, "label": "x"}
        options |= {"prices": PRICES}
        with pytest.raises(UserError) as caught:
            complete(questions(*TEXTS), budget=budget, ledger=ledger, **options)
        assert server.asked == TEXTS[:11]
        assert budget.spent_usd == pytest.approx(11 * USUAL)
        assert ledger.spent.usd == pytest.approx(budget.spent_usd)
        told = str(caught.value)
        for part in ("x: ", f"${11 * USUAL:.4f}", "11 of 40", "other 29"):
            assert part in told
        assert "\n" not in told

        server.calls.clear()
        replies = complete(questions(*TEXTS), budget=Budget(100), ledger=Ledger(), **options)
    assert server.asked == TEXTS[11:]
    assert [reply.cached for reply in replies] == [True] * 11 + [False] * 29


@pytest.mark.parametrize("reply", [dearest, storm(dearest), storm(lambda call: "cheap")])
@pytest.mark.parametrize("calls", [0.5, 3.5, 7.01])
def test_calls_in_flight_count_in_full(cache, reply, calls):
    budget, ledger = Budget(calls * MOST), Ledger()
    with pytest.raises(UserError, match="stopped before"):
        ask(cache, reply, budget=budget, ledger=ledger, concurrency=8)
    assert budget.spent_usd + budget.lost_usd <= budget.limit_usd
    assert not budget.in_flight
    assert calls > 1 or ledger.sent == 0


def test_a_tight_budget_slows_the_calls_down_and_holds_for_all_calls_of_a_run(cache):
    budget = Budget(len(TEXTS) * USUAL + MOST)
    ask(cache, lambda call: "ok", budget=budget, concurrency=8)
    assert budget.spent_usd == pytest.approx(len(TEXTS) * USUAL)
    with pytest.raises(UserError, match="1 of 5"):
        ask(cache, lambda call: "ok", ["more 01", *"abcd"], budget=budget)


def test_what_a_call_came_to_is_what_it_is_counted_with(cache):
    busy = refusal(429, "rate_limit_exceeded")
    zero = {"prompt_tokens": 0, "completion_tokens": 0}
    for text, reply, spent in (
        ("question aa", lambda call: busy if call.number < 5 else "ok", USUAL),
        ("question bb", lambda call: completion("ok", usage=None), MOST),
        ("question cc", lambda call: completion("ok", usage=zero), MOST),
    ):
        budget = Budget(1.5 * MOST)
        ask(cache, reply, [text], budget=budget)
        assert (budget.spent_usd, budget.lost_usd) == (pytest.approx(spent), 0)
    budget, ledger = Budget(2.5 * MOST), Ledger()
    with pytest.raises(UserError, match="lost calls"):
        ask(cache, lambda call: None, ["question dd"], budget=budget, ledger=ledger)
    assert ledger.sent == ledger.lost == 2
    assert (budget.spent_usd, budget.lost_usd) == (0, pytest.approx(2 * MOST))


HUGE = {"prompt_tokens": 10**8, "completion_tokens": 5}


@pytest.mark.parametrize("reply", [completion("dear", usage=HUGE), Answer(200, {"usage": HUGE})])
def test_a_run_ends_once_more_was_billed_than_its_budget_and_says_both_sums(cache, reply):
    budget, ledger = Budget(3 * MOST), Ledger()
    usd = PRICES.cost(TokenCount(10**8, 5))
    with pytest.raises(UserError) as caught:
        ask(cache, lambda call: reply, budget=budget, ledger=ledger)
    assert f"${usd:.4f}" in str(caught.value)
    assert f"budget_usd={3 * MOST:g}" in str(caught.value)
    assert (ledger.sent, budget.spent_usd) == (1, pytest.approx(usd))
    assert any("more than prices and length limits" in line for line in warnings(ledger))


def test_an_answer_dear_in_output_alone_ends_the_run_too(cache):
    usage = {"prompt_tokens": 0, "completion_tokens": 10**8}
    with pytest.raises(UserError, match=r"stopped, because .* 1 of 40 requests are answered"):
        ask(cache, lambda call: completion("dear", usage=usage), budget=Budget(3 * MOST))


@pytest.mark.parametrize(
    ("prices", "model", "complaint"),
    [
        (None, ChatModel("gpt-x", max_tokens=5), "prices of gpt-x are not"),
        (PRICES, ChatModel("gpt-x"), "set max_tokens"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused_before_the_first_call(
    cache, prices, model, complaint
):
    with FakeOpenAI() as server:
        options = {"endpoint": endpoint_of(server), "cache": cache, "label": "x"}
        with pytest.raises(UserError, match=complaint):
            complete(questions("a", model=model), prices=prices, budget=Budget(1000), **options)
        assert server.calls == []
        complete(questions("a", model=model), **options)
        (kept,) = complete(questions("a", model=model), prices=prices, budget=Budget(0), **options)
    assert kept.cached


@given(
    limit=st.floats(0, 100),
    calls=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 1), st.booleans())),
)
def test_charges_up_to_what_was_set_aside_never_pass_the_limit(limit, calls):
    budget = Budget(limit)
    for most, share, is_lost in calls:
        if not budget.fits(most):
            continue
        with budget.call(most) as charge:
            assert budget.in_flight
            if not is_lost:
                charge.settle(most * share)
    assert not budget.in_flight
    assert budget.spent_usd + budget.lost_usd <= limit * (1 + 1e-9)
