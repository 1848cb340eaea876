"""Tokens and dollars, before and after the fact."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chat.asked import MODEL

from mini_lima.chat import ChatModel, ChatRequest, Prices, estimate
from mini_lima.chat.prices import (
    TokenCount,
    large_input,
    least_input,
    most_input,
    reported,
    usual_input,
)
from mini_lima.errors import UserError

PRICES = Prices(input=0.5, output=1.5, cached_input=0.25, as_of="2026-11-23")

requests = st.builds(
    ChatRequest,
    model=st.just("m"),
    messages=st.lists(st.tuples(st.just("user"), st.text(max_size=200)), max_size=3).map(tuple),
    max_tokens=st.none() | st.integers(1, 4096),
    max_completion_tokens=st.none() | st.integers(1, 4096),
)
prices = st.builds(
    Prices,
    input=st.floats(0, 100),
    output=st.floats(0, 100),
    cached_input=st.none() | st.floats(0, 100),
    batch_input=st.none() | st.floats(0, 100),
    batch_output=st.none() | st.floats(0, 100),
)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, None),
        ({}, None),
        ({"prompt_tokens": 7}, None),
        ({"prompt_tokens": "7", "completion_tokens": 5}, None),
        ({"prompt_tokens": -7, "completion_tokens": 5}, None),
        ({"prompt_tokens": 7, "completion_tokens": 5}, TokenCount(7, 5)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, TokenCount(0, 0)),
        (
            {
                "prompt_tokens": 7,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
            TokenCount(7, 5, 4),
        ),
        (
            {"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": None},
            TokenCount(7, 5),
        ),
        (
            {"prompt_tokens": 7, "completion_tokens": 5, "prompt_cache_hit_tokens": 6},
            TokenCount(7, 5, 6),
        ),
    ],
)
def test_usage_is_read_as_servers_write_it(usage, tokens):
    assert reported(usage) == tokens


@given(st.dictionaries(st.text(), st.integers() | st.none() | st.text() | st.lists(st.integers())))
def test_no_usage_makes_the_reader_fail(usage):
    reported(usage)


@given(requests)
def test_the_figures_for_a_prompt_are_in_order(request):
    figures = [least_input(request), usual_input(request), large_input(request)]
    assert figures == sorted(figures)
    # The last two meet only for a prompt without text.
    assert large_input(request) <= most_input(request)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # Counts by the tokenizers of GPT-4, GPT-4o, Claude 2 and DeepSeek-V3, without frames.
        ("The quick brown fox jumps over the lazy dog. " * 20, (201, 201, 201, 201)),
        ("自然语言处理是人工智能和语言学领域的分支学科。" * 10, (250, 160, 240, 120)),
        ('{"name": "x", "instances": [{"input": "", "output": "y"}]}', (20, 20, 20, 23)),
    ],
)
def test_real_counts_lie_within_the_range(text, tokens):
    request = MODEL.request([("user", text)])
    assert least_input(request) - 6 <= min(tokens)
    assert max(tokens) <= large_input(request)


def test_cost_is_tokens_by_price_and_the_cached_part_is_cheaper():
    assert PRICES.cost(TokenCount(1_000_000, 2_000_000)) == 0.5 + 3.0
    assert PRICES.cost(TokenCount(1_000_000, 0, cached_input=400_000)) == 0.6 * 0.5 + 0.4 * 0.25
    without = Prices(input=0.5, output=1.5)
    assert without.cost(TokenCount(1_000_000, 0, cached_input=400_000)) == 0.5


def test_a_batch_has_its_own_prices_where_they_are_known():
    half = Prices(input=1, output=2, cached_input=0.1, batch_input=0.5, batch_output=1)
    tokens = TokenCount(1_000_000, 1_000_000, cached_input=500_000)
    assert half.cost(tokens, batch=True) == 1.5
    assert Prices(input=1, output=2).cost(tokens, batch=True) == 3


@pytest.mark.parametrize(
    "wrong",
    [{"input": -1}, {"output": math.nan}, {"output": math.inf}, {"as_of": "last week"}],
)
def test_prices_that_cannot_be_are_refused(wrong):
    with pytest.raises(UserError, match="prices: "):
        Prices(**{"input": 1, "output": 1, **wrong})


@given(st.lists(requests), prices)
def test_an_estimate_is_a_range_and_no_single_call_can_pass_its_most(asked, price):
    found = estimate(asked, price)
    assert found.requests == len(asked)
    assert found.input_low <= found.input_high
    assert found.usd_low >= 0
    limited = all(r.max_tokens or r.max_completion_tokens for r in asked)
    assert (found.output_high is None) == (found.usd_high is None) == (not limited)
    if limited:
        assert found.output_low <= found.output_high
        most = math.fsum(price.most(request) for request in asked)
        assert found.usd_low <= found.usd_high * (1 + 1e-9)
        assert found.usd_high <= most * (1 + 1e-9)


@given(st.lists(requests), st.lists(requests), prices)
def test_estimates_add_up(one, other, price):
    both, parts = estimate(one + other, price), estimate(one, price) + estimate(other, price)
    assert (both.requests, both.input_low, both.input_high) == (
        parts.requests,
        parts.input_low,
        parts.input_high,
    )
    assert (both.output_low, both.output_high) == (parts.output_low, parts.output_high)
    assert both.usd_low == pytest.approx(parts.usd_low)
    assert both.usd_high == (None if parts.usd_high is None else pytest.approx(parts.usd_high))


def test_without_a_length_limit_there_is_no_upper_end():
    endless = ChatModel("m").request([("user", "hello")])
    assert estimate([endless], PRICES).usd_high is None
    assert PRICES.most(endless) == math.inf
    assert Prices(input=1, output=0).most(endless) < math.inf


def test_without_prices_tokens_are_estimated_all_the_same():
    found = estimate([MODEL.request([("user", "hello")])], None)
    assert found.usd_low is found.usd_high is None
    assert found.output_high == 64
