"""Are bars what their trades add up to?"""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from data import Clock, DataError, HistoryError, ParameterError
from data.flow.bar_rules import BarRule, DollarBars, ImbalanceBars, TickBars, TimeBars, VolumeBars
from data.flow.tape import fold
from data.flow.tape_files import COLUMNS
from data.records import BARS, Records
from tapes import SIX, START, assert_same_bits, in_parts, random_tape, trades


def test_six_trades_by_hand() -> None:
    bars = fold([SIX], TimeBars("1min"))
    assert_array_equal(bars.time - START, np.array([60, 120, 240], "timedelta64[s]"))
    assert_array_equal(bars.time - bars.opened, np.full(3, np.timedelta64(60, "s")))
    assert_array_equal(
        [bars.open, bars.high, bars.low, bars.close], [[100, 102, 99], [101, 102, 99], [100, 102, 99], [100, 102, 99]]
    )
    assert_array_equal(bars.volume, [6, 9, 6])
    assert_array_equal(bars.quote_volume, [602, 918, 594])
    assert_allclose(bars.vwap, [602 / 6, 102, 99], rtol=1e-15)
    assert_array_equal(bars.signed_volume, [-1, 9, -6])
    assert_array_equal([bars.buy_volume, bars.buy_quote_volume], [[1, 9, 0], [100, 918, 0]])
    assert_array_equal([bars.count, bars.buys, bars.unsigned], [[3, 2, 1], [1, 2, 0], [1, 0, 0]])
    assert_array_equal(bars.unsigned_volume, [3, 0, 0])
    up, down, last = math.log(1.01), math.log(1.02), math.log(99 / 102)
    assert_allclose(bars.upside_variance, [up**2, down**2, 0], rtol=1e-13)
    assert_allclose(bars.downside_variance, [up**2, 0, last**2], rtol=1e-13)
    assert_allclose(bars.realised_variance, [2 * up**2, down**2, last**2], rtol=1e-13)
    # The first return of a bar has the last of the bar before as its neighbour; 102 to 102 is a return of 0.
    assert_allclose(bars.bipower_variation, np.pi / 2 * np.array([up**2, up * down, 0]), rtol=1e-13)


def test_sampled_returns_by_hand() -> None:
    bars = fold([SIX], TimeBars("1min", sampled="30s"))
    # Prices before 00:30, 01:00, 01:30 and on: 101, 100, 102, 102, 102, 102, 99 from 100 at first; none between 90 and
    # 180 s, so that the move to 99 has a zero before it.
    moves = np.log([101 / 100, 100 / 101, 102 / 100, 99 / 102])
    assert_allclose(bars.realised_variance, [moves[0] ** 2 + moves[1] ** 2, moves[2] ** 2, moves[3] ** 2], rtol=1e-13)
    assert_allclose(
        bars.bipower_variation, np.pi / 2 * np.array([-moves[0] * moves[1], -moves[1] * moves[2], 0]), rtol=1e-13
    )


@pytest.mark.parametrize(
    ("rule", "counts"),
    [
        (VolumeBars(3.0), [2, 1, 1, 1, 1]),
        (DollarBars(600.0), [3, 2]),
        (TickBars(4), [4]),
        (ImbalanceBars(trades=2.0, flow=0.5), [1, 1, 2, 1, 1]),
    ],
)
def test_other_bars_of_the_six_end_with_the_trade_that_fills_them(rule: BarRule, counts: list[int]) -> None:
    bars = fold([SIX], rule)
    assert_array_equal(bars.count, counts)
    ends = np.cumsum(counts)
    assert_array_equal(bars.time, SIX["time"][ends - 1])
    assert_array_equal(bars.opened, SIX["time"][ends - counts])
    assert_array_equal(bars.close, SIX["price"][ends - 1])


def test_sizes_that_add_up_to_a_little_less_fill_a_bar() -> None:
    tape = trades(range(30), [100.0] * 30, [0.1] * 30, [1] * 30)
    assert sum([0.1] * 10) < 1.0
    assert_array_equal(fold([tape], VolumeBars(1.0)).count, [10, 10, 10])


def grouped(tape: Records, rule: TimeBars) -> pd.DataFrame:
    """Time bars of a tape as pandas makes them."""
    frame = pd.DataFrame({name: tape[name] for name in COLUMNS})
    before = frame["price"].shift(1)
    move = ((frame["price"] - before) / before).fillna(0.0).map(math.log1p)
    frame = frame.assign(
        bar=frame["time"].dt.floor(rule.width),
        quote=frame["price"] * frame["size"],
        signed=frame["size"] * frame["side"],
        bought=frame["size"].where(frame["side"] > 0, 0.0),
        up=move.clip(lower=0) ** 2,
        down=move.clip(upper=0) ** 2,
        bipower=np.pi / 2 * move.abs() * move.abs().shift(1).fillna(0.0),
    )
    sums = {name: (name, "sum") for name in ("size", "quote", "signed", "bought", "up", "down", "bipower")}
    ends = {"open": ("price", "first"), "high": ("price", "max"), "low": ("price", "min"), "close": ("price", "last")}
    return frame.groupby("bar").agg(**ends, **sums, count=("price", "size"))


def test_bars_are_those_of_an_independent_group_by() -> None:
    tape = random_tape(200_000, seed=1, step=0.5)
    rule = TimeBars("1min")
    bars, frame = fold(in_parts(tape, [70_000, 70_001, 199_000]), rule), grouped(tape, rule)
    assert_array_equal(bars.opened, frame.index.to_numpy())
    for name in ("open", "high", "low", "close", "count"):
        assert_array_equal(getattr(bars, name), frame[name])
    for name, theirs in {
        "volume": "size",
        "quote_volume": "quote",
        "buy_volume": "bought",
        "upside_variance": "up",
        "downside_variance": "down",
        "bipower_variation": "bipower",
    }.items():
        assert_allclose(getattr(bars, name), frame[theirs], rtol=1e-12, atol=1e-18, err_msg=name)
    assert_allclose(bars.signed_volume, frame["signed"], atol=1e-12 * frame["size"].max())
    assert_allclose(bars.vwap, frame["quote"] / frame["size"], rtol=1e-12)


def test_imbalance_bars_grow_with_the_flow_that_past_bars_had() -> None:
    count = 20_000
    rng = np.random.default_rng(5)
    one_sided = np.arange(count) < count // 2
    side = np.where(one_sided | (rng.random(count) < 0.5), 1, -1)
    bars = fold([trades(range(count), [100.0] * count, [1.0] * count, side)], ImbalanceBars(10.0, 1.0, half_life=5.0))
    # All buy: what is expected is what comes, ten trades a bar, for ever.
    assert_array_equal(bars.count[: count // 2 // 10], np.full(count // 2 // 10, 10))
    assert bars.count[-20:].mean() > 20.0
    assert np.abs(bars.signed_volume).min() >= 1.0


def test_realised_variance_is_the_truth_and_bipower_does_not_see_a_jump() -> None:
    rng = np.random.default_rng(7)
    minutes, per_minute, deviation, jump = 400, 600, 1e-4, 0.05
    moves = rng.normal(0.0, deviation, minutes * per_minute)
    moves[200 * per_minute + 300] += jump
    seconds = np.arange(minutes * per_minute) * (60.0 / per_minute)
    tape = trades(seconds, 100.0 * np.exp(np.cumsum(moves)), np.ones(len(moves)), np.ones(len(moves)))
    bars = fold([tape], TimeBars("1min"))
    truth = per_minute * deviation**2
    quiet = np.arange(minutes) != 200
    # One minute has a relative error of sqrt(2 / 600); the mean over 399 of them one of 0.3 %.
    assert_allclose(bars.realised_variance[quiet].mean(), truth, rtol=0.015)
    assert_allclose(bars.bipower_variation[quiet].mean(), truth, rtol=0.015)
    assert bars.realised_variance[200] > 400 * truth
    assert bars.bipower_variation[200] < 6 * truth
    assert bars.upside_variance[200] > 100 * bars.downside_variance[200]


def test_sampling_takes_the_bounce_between_bid_and_ask_out() -> None:
    rng = np.random.default_rng(8)
    count, deviation, half_spread = 60_000, 2e-5, 5e-4
    middle = 100.0 * np.exp(np.cumsum(rng.normal(0.0, deviation, count)))
    side = rng.choice([-1, 1], count)
    tape = trades(np.arange(count) * 0.1, middle * (1 + half_spread * side), np.ones(count), side)
    truth = count * deviation**2
    ticks = fold([tape], TimeBars("20min")).realised_variance.sum()
    sampled = fold([tape], TimeBars("20min", sampled="5min")).realised_variance.sum()
    assert ticks > 100 * truth
    assert sampled < ticks / 100


@pytest.mark.parametrize(
    "make",
    [
        lambda: TimeBars("0s"),
        lambda: TimeBars("1min", sampled="7s"),
        lambda: VolumeBars(0.0),
        lambda: DollarBars(math.inf),
        lambda: TickBars(0),
        lambda: ImbalanceBars(10.0, 0.0),
        lambda: ImbalanceBars(10.0, 1.0, limit=1.0),
    ],
)
def test_rules_refuse_what_makes_no_bar(make: Any) -> None:
    with pytest.raises(ParameterError):
        make()


def test_a_clock_lays_empty_minutes_with_nothing_traded() -> None:
    bars = fold([SIX], TimeBars("1min"))
    first = START + np.timedelta64(0, "s")
    laid = bars.on_clock(Clock("1min"), first=first)
    assert_array_equal(laid.time, Clock("1min").grid(first, bars.time[-1]))
    assert_array_equal(laid.count, [0, 3, 2, 0, 1])
    assert_array_equal(laid.volume, [0, 6, 9, 0, 6])
    assert_array_equal(laid.close, [np.nan, 100, 102, np.nan, 99])
    assert_array_equal(laid.last, [np.nan, 100, 102, 102, 99])
    assert_array_equal(laid.vwap[[0, 3]], [np.nan, np.nan])
    assert_array_equal(laid.realised_variance[[0, 3]], [0, 0])
    assert_array_equal(laid.time - laid.opened, np.full(5, np.timedelta64(60, "s")))
    assert_same_bits(bars.on_clock(Clock("1min"), last=bars.time[-1]), bars.on_clock(Clock("1min")))


@pytest.mark.parametrize("clock", [Clock("2min"), Clock("30s"), Clock("1B")])
def test_a_clock_of_another_step_is_refused(clock: Clock) -> None:
    with pytest.raises(HistoryError):
        fold([SIX], TimeBars("1min")).on_clock(clock)


def test_bars_that_are_no_time_bars_or_off_the_span_are_refused_on_a_clock() -> None:
    with pytest.raises(HistoryError, match="span one step"):
        fold([SIX], TickBars(2)).on_clock(Clock("1min"))
    with pytest.raises(HistoryError, match="must end on a clock"):
        fold([SIX], TimeBars("1min")).on_clock(Clock("1min"), last=START)
    with pytest.raises(HistoryError, match="must end on a clock"):
        fold([SIX], TimeBars("1min")).on_clock(Clock("1min"), first=START + np.timedelta64(30, "s"))


def test_bars_become_records_and_a_frame() -> None:
    bars = fold([SIX], TimeBars("1min")).on_clock(Clock("1min"))
    records = bars.to_records()
    assert records.kind is BARS
    assert_array_equal(records["count"], [3, 2, 1])
    assert_array_equal(records["taker_buy_volume"], [np.nan, 9, 0])  # a trade of the first had no side
    frame = bars.to_frame()
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert str(frame.index.tz) == "UTC"
    assert_array_equal(frame["vwap"], bars.vwap)
    assert "2024-03-01" in bars._repr_html_()
    assert repr(bars) == "Bars(venue X: 4, 2024-03-01T00:00:00..2024-03-01T00:04:00 UTC; 6 trades)"


@pytest.mark.parametrize(("venue", "symbol"), [("binance-delivery", "BTCUSD_PERP"), ("bitmex", "XBTUSD")])
def test_dollar_bars_of_contracts_need_their_worth(venue: str, symbol: str) -> None:
    tape = Records(SIX.kind, venue, symbol, SIX.columns, SIX.row)
    with pytest.raises(DataError, match=rf"{venue} {symbol} count contracts: expected DollarBars with the multiplier"):
        fold([tape], DollarBars(600.0))
    assert fold([tape], DollarBars(600.0, 100.0, inverse=True)).count.tolist() == [3, 2, 1]  # 1+2+3, 4+5 and 6 of them
    linear = fold([tape], DollarBars(600.0, 0.5))
    assert linear.count.tolist() == fold([SIX], DollarBars(1200.0)).count.tolist()
    with pytest.raises(ParameterError, match="multiplier must be > 0"):
        DollarBars(600.0, inverse=True)
