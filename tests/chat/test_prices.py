"""Tokens and dollars, before and after the fact."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.chat import ChatModel, Prices, estimate
from mini_lima.chat.prices import (
    TokenCount,
    most_output,
    reported,
)

PRICES = Prices(input=0.5, output=1.5, cached_input=0.25, as_of="2026-11-23")

limits = st.none() | st.integers(1, 4096)
requests = st.builds(
    lambda texts, old, new: ChatModel("m", max_tokens=old, max_completion_tokens=new).request(
        ("user", text) for text in texts
    ),
    st.lists(st.text(max_size=60), max_size=3),
    limits,
    limits,
)
prices = st.builds(
    Prices,
    input=st.floats(0, 100),
    output=st.floats(0, 100),
    cached_input=st.none() | st.floats(0, 100),
    batch_input=st.none() | st.floats(0, 100),
    batch_output=st.none() | st.floats(0, 100),
)


def test_usage_is_read_as_servers_write_it():
    usual = {"prompt_tokens": 7, "completion_tokens": 5}
    for usage, tokens in (
        (None, None),
        ({"prompt_tokens": 7}, None),
        (usual | {"prompt_tokens": "7"}, None),
        (usual | {"prompt_tokens": -7}, None),
        (usual | {"prompt_tokens": 10**400}, None),
        (usual, TokenCount(7, 5)),
        ({"prompt_tokens": 7.0, "completion_tokens": 5.0}, TokenCount(7, 5)),
        (usual | {"total_tokens": 40}, TokenCount(7, 33)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, TokenCount(0, 0)),
        (usual | {"prompt_tokens_details": {"cached_tokens": 4}}, TokenCount(7, 5, 4)),
        (usual | {"prompt_tokens_details": None}, TokenCount(7, 5)),
        (usual | {"prompt_cache_hit_tokens": 6}, TokenCount(7, 5, 6)),
    ):
        assert reported(usage) == tokens


def test_cost_is_tokens_by_price_and_the_cached_part_is_cheaper():
    assert PRICES.cost(TokenCount(1_000_000, 2_000_000)) == 0.5 + 3.0
    assert PRICES.cost(TokenCount(1_000_000, 0, cached_input=400_000)) == 0.6 * 0.5 + 0.4 * 0.25
    without = Prices(input=0.5, output=1.5)
    assert without.cost(TokenCount(1_000_000, 0, cached_input=400_000)) == 0.5


@settings(max_examples=40)
@given(st.lists(requests, max_size=4), prices)
def test_an_estimate_is_a_range_and_no_single_call_can_pass_its_most(asked, price):
    found = estimate(asked, price)
    assert found.requests == len(asked)
    assert found.input_low <= found.input_high
    assert found.usd_low >= 0
    limited = all(most_output(request) for request in asked)
    assert (found.output_high is None) == (found.usd_high is None) == (not limited)
    if limited:
        assert found.output_low <= found.output_high
        most = math.fsum(price.most(request) for request in asked)
        assert found.usd_low <= found.usd_high * (1 + 1e-9)
        assert found.usd_high <= most * (1 + 1e-9)
