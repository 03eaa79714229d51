"""Do the features of order flow and liquidity give what a hand computes?"""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import DataError, Floats, ParameterError
from data.compiled import plain
from data.flow import orderflow_kernels as kernel
from data.flow.liquidity import (
    amihud_illiquidity,
    depth_slope,
    effective_spread,
    kyle_lambda,
    quoted_spread,
    realised_spreads,
    roll_spread,
)
from data.flow.orderflow import (
    arrival_intensity,
    arrival_rate,
    bulk_buy_share,
    bulk_vpin,
    decayed_flow,
    exact_vpin,
    order_flow_events,
    order_flow_imbalance,
    signed_volume,
    trade_imbalance,
    volume_buckets,
    vpin,
)
from data.flow.pressure import basis, funding_pressure, liquidation_pressure, open_interest_change
from data.flow.windows import moments, window_mean, window_variance

START = np.datetime64("2024-03-01", "ns")
NAN = math.nan


def after(*seconds: float) -> Any:
    return START + np.round(np.array(seconds) * 1e9).astype("timedelta64[ns]")


def of(*values: float) -> Floats:
    return np.array(values, float)


QUOTES = (of(100, 100, 99, NAN, 99), of(5, 7, 3, 3, 3), of(101, 101, 101, 101, 101), of(4, 4, 6, 6, 6))


def test_order_flow_of_each_change_of_the_quotes() -> None:
    # Two more are bid; then the bid of seven is gone and two more are offered; an unknown quote has no flow beside it.
    assert order_flow_events(*QUOTES).tolist() == pytest.approx([NAN, 2, -7 - 6 + 4, NAN, NAN], nan_ok=True)


def test_flow_within_an_interval_leaves_its_end_to_the_next() -> None:
    time, events = after(1, 2, 3, 4), of(NAN, 2, -9, 5)
    told = order_flow_imbalance(time, events, after(-2, 0, 2, 4, 5), after(0, 2, 4, 5, 6))
    assert told.tolist() == pytest.approx([NAN, NAN, -7, 5, 0], nan_ok=True)


def test_signed_volume_and_imbalance() -> None:
    side = np.array([1, -1, 0, 1], np.int8)
    told = signed_volume(after(0, 1, 2, 60), of(1, 3, 5, 2), side, after(0, 60, 120), after(60, 120, 180))
    assert told.tolist() == [-2, 2, 0]
    assert trade_imbalance(of(3, 0, 0, NAN), of(1, 2, 0, 1)).tolist() == pytest.approx([0.5, -1, NAN, NAN], nan_ok=True)


def test_bulk_shares() -> None:
    assert bulk_buy_share(of(0, 1.96, -1.96), 1.0) == pytest.approx([0.5, 0.975, 0.025], abs=1e-4)
    assert np.isnan(bulk_buy_share(of(1, NAN), of(0, 1))).all()


def test_vpin_weighs_buckets_by_volume_and_needs_half_a_window() -> None:
    told = vpin(of(4, 1, 0, NAN, NAN), of(0, 1, 2, 1, 1), 2)
    assert told.tolist() == pytest.approx([NAN, 4 / 6, 2 / 4, 1.0, NAN], nan_ok=True)


def test_bulk_vpin_is_vpin_of_shares_by_the_deviation_of_the_window() -> None:
    close, volume = of(10, 11, 9, 12), np.full(4, 2.0)
    deviation, before = float(np.std([1, -2, 3], ddof=1)), float(np.std([1, -2], ddof=1))
    # At the last row the window of three has shares by the deviation of its own row: the row before's is unknown.
    share = bulk_buy_share(of(3), deviation)[0]
    assert bulk_vpin(close, volume, 3)[-1] == pytest.approx(
        np.mean([abs(2 * share - 1), abs(2 * bulk_buy_share(of(-2), before)[0] - 1)])
    )


def test_buckets_split_the_trade_that_overflows_one() -> None:
    told = volume_buckets(of(3, 4, 9, 1), np.array([1, -1, 1, 0], np.int8), 5.0)
    assert told.last.tolist() == [1, 2, 2]
    assert told.bought.tolist() == [3, 3, 5]
    assert told.sold.tolist() == [2, 2, 0]
    last, toxic = exact_vpin(of(3, 4, 9, 1), np.array([1, -1, 1, 0], np.int8), 5.0, 2)
    assert last.tolist() == [1, 2, 2]
    assert toxic.tolist() == pytest.approx([NAN, 0.2, 0.6], nan_ok=True)


def test_ten_tenths_fill_a_bucket_of_one_and_a_trade_of_unknown_size_none() -> None:
    sizes = np.append(np.full(10, 0.1), NAN)
    assert volume_buckets(sizes, np.ones(11, np.int8), 1.0).last.tolist() == [9]


@given(st.lists(st.tuples(st.floats(0.0, 50.0), st.sampled_from([-1, 0, 1])), max_size=60), st.floats(0.5, 20.0))
def test_buckets_hold_all_that_was_traded_but_the_last_rest(trades: list[tuple[float, int]], volume: float) -> None:
    size, side = of(*(size for size, _ in trades)), np.array([side for _, side in trades], np.int8)
    told = volume_buckets(size, side, volume)
    rest = size.sum() - volume * len(told.last)
    assert -1e-6 <= rest < volume + 1e-6
    assert told.bought + told.sold == pytest.approx(np.full(len(told.last), volume))
    assert (np.diff(told.last) >= 0).all()


def test_arrivals_count_and_decay() -> None:
    time, at = after(0, 10, 10, 50), after(10, 60, 71)
    assert arrival_rate(time, at, "1min").tolist() == pytest.approx([3 / 60, 3 / 60, 1 / 60])
    beta = math.log(2) / 10
    told = arrival_intensity(time, after(-1, 10, 60), "10s")
    assert told.tolist() == pytest.approx([0, beta * 2.5, beta * (2**-6 + 2 * 2**-5 + 0.5)])


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(-10, 10)), max_size=40), st.integers(1, 3000))
def test_decayed_flow_is_the_sum_it_says(events: list[tuple[int, float]], half_life: int) -> None:
    events = sorted(events)
    time, amount = after(*(float(t) for t, _ in events)), of(*(a for _, a in events))
    at = after(*np.linspace(0, 12_000, 25))
    beta = math.log(2) / half_life
    age = (at[:, None] - time[None, :]) / np.timedelta64(1, "s")
    slow = np.where(age >= 0, amount * beta * np.exp(-beta * np.maximum(age, 0)), 0).sum(axis=1)
    assert decayed_flow(time, amount, at, f"{half_life}s") == pytest.approx(slow, rel=1e-6, abs=1e-9)


def test_liquidations_press_by_their_side() -> None:
    told = liquidation_pressure(after(0, 0), of(100, 30), np.array([-1, 1], np.int8), after(0, 3600), "1h")
    assert told.tolist() == pytest.approx([-70 * math.log(2) / 3600, -35 * math.log(2) / 3600])


def test_kyle_lambda_is_the_slope_through_the_window() -> None:
    flow = of(1, -2, 3, 0, 4)
    told = kyle_lambda(0.5 * flow + 7, flow, 3)
    assert told.tolist() == pytest.approx([NAN, NAN, 0.5, 0.5, 0.5], nan_ok=True)
    assert np.isnan(kyle_lambda(of(1, 2, 3), of(2, 2, 2), 3)).all()


def test_amihud_leaves_rows_without_volume_out() -> None:
    told = amihud_illiquidity(of(-0.01, 0.02, 0.03), of(100, 0, 300), 2)
    assert told.tolist() == pytest.approx([NAN, 1e-4, 1e-4], nan_ok=True)


def test_roll_is_undefined_where_prices_trend() -> None:
    bouncing, trending = of(100, 101, 100, 101, 100, 101), of(100, 101, 103, 106, 110, 115)
    told = roll_spread(np.stack([bouncing, trending], axis=1), 5)
    assert told.covariance[-1].tolist() == pytest.approx([-4 / 3, 5 / 3])
    assert told.spread[-1].tolist() == pytest.approx([2 * math.sqrt(4 / 3), NAN], nan_ok=True)
    assert told.undefined[-1].tolist() == [False, True]
    assert not told.undefined[:3].any()


def test_roll_looks_back_its_window_of_changes_and_no_further() -> None:
    price = of(100, 107, 90, 91, 90, 91, 91)
    change = np.diff(price)[-4:]
    assert roll_spread(price, 4).covariance[-1] == pytest.approx(np.cov(change[1:], change[:-1])[0, 1])


def test_spreads() -> None:
    assert quoted_spread(of(99, 101, NAN), of(101, 99, 1)).tolist() == pytest.approx([0.02, NAN, NAN], nan_ok=True)
    side = np.array([1, -1, 0], np.int8)
    assert effective_spread(of(101, 99.5, 99), side, of(100, 100, 100)).tolist() == pytest.approx(
        [0.02, 0.01, NAN], nan_ok=True
    )


def test_a_realised_spread_is_known_after_its_delay() -> None:
    quoted, mid = after(0, 30), of(100, 100.5)
    told = realised_spreads(after(10, 0, 10), of(101, 101, 99), np.array([1, 1, -1], np.int8), quoted, mid, "30s", "1h")
    assert (told.known == after(40, 30, 40)).all()
    # The mid of the very instant of a trade may be its own doing: the second trade had none before it.
    assert told.spread.tolist() == pytest.approx([0.01, NAN, 0.03], nan_ok=True)
    stale = realised_spreads(after(10), of(101), np.array([1], np.int8), quoted, mid, "2min", "1min")
    assert np.isnan(stale.spread).all()


def test_depth_slope_of_a_book_even_on_every_level() -> None:
    offered = np.array([[10, 20, 30], [10, NAN, 60], [10, NAN, NAN]], float)
    assert depth_slope(of(0.01, 0.02, 0.03), offered).tolist() == pytest.approx([1000, 1900, NAN], nan_ok=True)


def test_funding_basis_and_open_interest() -> None:
    assert funding_pressure(of(1e-4, 3e-4, 1e-4), of(8, 8, 4), 2).tolist() == pytest.approx(
        [NAN, 6e-4, 7.5e-4], nan_ok=True
    )
    assert basis(of(101, 0, 5), of(100, 100, 0)).tolist() == pytest.approx([0.01, NAN, NAN], nan_ok=True)
    assert open_interest_change(of(10, 20, 0, 5)).tolist() == pytest.approx([NAN, math.log(2), NAN, NAN], nan_ok=True)


@settings(max_examples=50)
@given(st.lists(st.one_of(st.floats(-100, 100), st.just(NAN)), min_size=1, max_size=30), st.integers(2, 6))
def test_window_figures_are_those_of_each_window_alone(values: list[float], window: int) -> None:
    x = of(*values)
    mean, variance = window_mean(x, window), window_variance(x, window)
    for t in range(len(x)):
        known = x[max(t + 1 - window, 0) : t + 1]
        known = known[np.isfinite(known)]
        full = t + 1 >= window
        enough = full and len(known) >= (window + 1) // 2
        assert mean[t] == pytest.approx(known.mean() if enough else NAN, nan_ok=True, abs=1e-12)
        spread = np.var(known, ddof=1) if enough and len(known) >= 2 else NAN
        assert variance[t] == pytest.approx(spread, nan_ok=True, abs=1e-9)


def _outputs(compiled: bool) -> list[Any]:
    """Every kernel on the same input, compiled or as written."""
    rng = np.random.default_rng(2)

    def run(function: Any, *arguments: Any) -> Any:
        return (function if compiled else plain(function))(*arguments)

    x, y = rng.normal(size=(2, 40, 2))
    x[rng.random(x.shape) < 0.2] = NAN
    outs = [np.zeros(40), np.zeros(3), np.zeros((40, 2, 6)), np.zeros(5), np.zeros(30)]
    last = np.zeros(30, np.int64)
    run(kernel.quote_flow, *np.round(rng.normal(size=(4, 40)), 1), outs[0])
    run(kernel.sums_between, x[:, 0].copy(), np.array([0, 5, 9]), np.array([5, 5, 40]), outs[1])
    run(kernel.window_moments, x, y, 7, 4, outs[2])
    run(kernel.decayed_sums, np.arange(40) * 10, y[:, 0].copy(), np.arange(5) * 70, 0.01, outs[3])
    found = run(kernel.equal_volume_buckets, rng.exponential(1, 40), rng.random(40), 3.0, last, outs[4])
    return [*outs, last, found]


def test_kernels_do_what_their_loops_say() -> None:
    for fast, slow in zip(_outputs(True), _outputs(False), strict=True):
        assert fast == pytest.approx(slow, nan_ok=True, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: window_mean(of(1), 0), ParameterError, "at least 1 rows, got 0"),
        (lambda: moments(of(1, 2), of(1), 2), ParameterError, "one shape"),
        (lambda: kyle_lambda(of(1, 2), of(1, 2), 2), ParameterError, "at least 3 rows, got 2"),
        (lambda: order_flow_events(of(1), of(1), of(1), of(1, 2)), ParameterError, "four columns"),
        (lambda: volume_buckets(of(1), np.ones(1, np.int8), 0.0), ParameterError, "volume > 0 and finite, got 0.0"),
        (lambda: volume_buckets(of(-1), np.ones(1, np.int8), 1.0), DataError, "sizes must be >= 0, got -1.0"),
        (lambda: arrival_rate(after(2, 1), after(3)), DataError, "sorted and known"),
        (lambda: arrival_rate(after(1), after(3), "0s"), ParameterError, "positive duration"),
        (lambda: order_flow_imbalance(after(1), of(1), after(3), after(2)), DataError, "begin before they end"),
        (lambda: depth_slope(of(0.0), np.ones((1, 1))), ParameterError, "must be > 0"),
        (
            lambda: realised_spreads(after(1), of(1), np.ones(1, np.int8), after(2, 1), of(1, 1)),
            DataError,
            "must be sorted",
        ),
    ],
)
def test_what_cannot_be_is_refused(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()
