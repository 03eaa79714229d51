"""Does a panel say what was known, and no more?"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import DataError, Floats, HistoryError, MarketHistory, ParameterError
from data.flow.bar_rules import TimeBars
from data.flow.feature_sets import (
    depth_features,
    funding_features,
    liquidation_features,
    metrics_features,
    quote_features,
    taker_features,
    tape_features,
)
from data.flow.history_features import ohlcv_features, surface_features
from data.flow.panels import (
    ALL,
    RATES,
    TIMINGS,
    VIX,
    FeaturePanel,
    Series,
    Timing,
    as_of,
    feature_panel,
    next_session,
    on_rows,
    series_of,
    with_features,
)
from data.flow.tape import fold
from data.records import BARS, DEPTH, FUNDING, KINDS, LIQUIDATIONS, METRICS, QUOTES, Kind, Records
from markets import coins_with_options, two_coins
from tapes import SIX

START = np.datetime64("2024-03-01", "ns")
NAN = math.nan


def after(*seconds: float) -> Any:
    return START + np.round(np.array(seconds) * 1e9).astype("timedelta64[ns]")


def of(*values: float) -> Floats:
    return np.array(values, float)


def records(kind: Kind, time: Any, **columns: Any) -> Records:
    return Records(kind, "venue", "X", {"time": time, **columns}, np.arange(1, len(time) + 1))


def series(seconds: list[float], values: list[float], timing: Timing, **more: Any) -> Series:
    return Series("x", "unit", "BTC", after(*seconds), of(*values), timing, **more)


def told(of_series: list[Series]) -> dict[str, list[float]]:
    return {one.name: one.values.tolist() for one in of_series}


def test_a_figure_is_known_after_its_latency_and_until_it_is_stale() -> None:
    one = series([0, 60], [1, 2], Timing("10s", "100s"))
    values, known = as_of(one, after(9, 10, 69, 70, 160, 161))
    assert values.tolist() == pytest.approx([NAN, 1, 1, 2, 2, NAN], nan_ok=True)
    assert (known[1:5] == after(10, 10, 70, 70)).all()
    assert np.isnat(known[[0, 5]]).all()


def test_a_late_figure_counts_once_received_and_never_hides_a_newer_one() -> None:
    received = after(50, 20, 0)
    received[2] = np.datetime64("NaT")
    one = series([0, 10, 30], [1, 2, 3], Timing("5s", "1h"), received=received)
    values, known = as_of(one, after(19, 20, 34, 35, 60))
    assert values.tolist() == pytest.approx([NAN, 2, 2, 3, 3], nan_ok=True)
    assert (known[1:] == after(20, 20, 35, 35)).all()


def test_a_hole_is_no_figure_and_order_does_not_matter() -> None:
    values, _ = as_of(series([20, 0, 10], [NAN, 1, 2], Timing("0s", "1h")), after(0, 15, 25))
    assert values.tolist() == [1, 2, 2]
    assert np.isnan(as_of(series([], [], Timing("0s", "1h")), after(0, 1))[0]).all()


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 30), st.integers(-9, 9)), max_size=15, unique_by=lambda x: x[0]
    )
)
def test_as_of_is_what_a_reader_would_have_noted(rows: list[tuple[int, int, int]]) -> None:
    time, lag, values = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    known = [t + max(2, late) for t, late in zip(time, lag, strict=True)]
    received = after(*[t + late for t, late in zip(time, lag, strict=True)])
    got, since = as_of(series(time, values, Timing("2s", "25s"), received=received), after(*range(70)))
    for now in range(70):
        seen = [(t, v, k) for t, v, k in zip(time, values, known, strict=True) if k <= now]
        newest = max(seen, default=(-99, 0, 0))
        fresh = now - newest[0] <= 25
        assert got[now] == pytest.approx(newest[1] if fresh else NAN, nan_ok=True)
        assert since[now] == after(newest[2])[0] if fresh else np.isnat(since[now])


def test_a_panel_lays_series_by_underlying_and_what_concerns_all() -> None:
    clock = after(0, 3600, 86400)
    vix = Series("vix", "percent", ALL, after(-86400), of(20.0), VIX)
    btc, eth = (
        Series("oi", "ln", name, after(0), of(value), TIMINGS["metrics"])
        for name, value in (("BTC", 1.0), ("ETH", 2.0))
    )
    panel = feature_panel(clock, ("BTC", "ETH"), [btc, vix, eth])
    assert panel.names == ("oi", "vix")
    assert panel.units == ("ln", "percent")
    assert panel.values[:, :, 0].ravel().tolist() == pytest.approx([NAN, NAN, 1, 2, NAN, NAN], nan_ok=True)
    assert panel.values[:, :, 1].tolist() == [[20, 20]] * 3
    assert (panel.known_at[1, :, 0] == after(300)).all()
    assert "oi, vix" in repr(panel)


def test_a_rate_of_a_friday_is_known_on_monday_and_one_before_a_holiday_after_it() -> None:
    # 2024-03-01 is a Friday; its date ends a day later, and Monday 22:00 is 94 hours after START.
    friday, hours = after(86400), after(*(3600.0 * hour for hour in (48, 93, 94, 117, 118)))
    rate = Series("dgs10", "percent", ALL, friday, of(4.2), RATES, next_session(friday))
    assert as_of(rate, hours)[0].tolist() == pytest.approx([NAN, NAN, 4.2, 4.2, 4.2], nan_ok=True)
    later = replace(rate, received=next_session(friday, holidays=("2024-03-04",)))
    assert as_of(later, hours)[0].tolist() == pytest.approx([NAN, NAN, NAN, NAN, 4.2], nan_ok=True)


def test_every_kind_of_records_has_a_timing() -> None:
    assert TIMINGS.keys() == KINDS.keys()
    assert all(timing.delay >= np.timedelta64(0) and timing.age > timing.delay for timing in TIMINGS.values())


def test_ohlcv_features_by_hand() -> None:
    closes = pd.DataFrame({"X": [100.0, 110.0, 99.0]}, index=pd.date_range("2024-01-01", periods=3))
    history = MarketHistory.from_frame(
        closes, high=closes * 1.1, low=closes * 0.95, volume=closes * 0 + np.array([[1], [2], [5]])
    )
    panel = ohlcv_features(history, 3)
    last = dict(zip(panel.names, panel.values[-1, 0], strict=True))
    up, down = math.log(1.1), math.log(0.9)
    assert last["close_to_close"] == pytest.approx((up - down) / math.sqrt(2))
    # The third bar opens at the close before, 110, above its own high of 108.9.
    first, second = math.log(121 / 100), math.log(110 / 94.05)
    assert last["parkinson"] == pytest.approx(math.sqrt((first**2 + second**2) / 2 / (4 * math.log(2))))
    assert last["close_location"] == pytest.approx((2 - 1.1 - 0.95) / 0.15)
    assert last["volume_change"] == pytest.approx(math.log(5 / (8 / 3)))
    assert last["amihud"] == pytest.approx((up / 220 - down / 495) / 2)
    assert last["amihud_change"] == pytest.approx(math.log(-down / 495 / last["amihud"]))
    assert math.isnan(last["roll"])  # one pair has no covariance
    assert ohlcv_features(MarketHistory.from_frame(closes), 3).names == ("close_to_close", "roll", "roll_undefined")


def test_features_go_with_a_history_and_survive_its_cuts() -> None:
    history = two_coins()
    panel = ohlcv_features(history)
    with_them = with_features(history, panel)
    assert with_them.feature_names == panel.names
    assert with_them.rows(100, 150).features is not None
    np.testing.assert_array_equal(with_them.rows(100, 150).features, panel.values[100:150])
    with pytest.raises(DataError, match="do not fit"):
        with_features(history.rows(0, 100), panel)


def test_surface_features_of_a_smile_that_is_known() -> None:
    history = coins_with_options(210)
    panel = surface_features(history)
    values = dict(zip(panel.names, np.moveaxis(panel.values, 2, 0), strict=True))
    known = np.isfinite(history.spot).all(axis=1)
    assert np.isfinite(panel.values[known]).all()
    assert np.isnan(panel.values[~known]).all()
    # At the money of an SVI smile with m = 0: w = a + b s, w' = b rho.
    assert history.surfaces is not None
    tenor, _, a, b, rho, _, s = np.moveaxis(history.surfaces[known][:, :, 1], -1, 0)
    level = np.sqrt((a + b * s) / tenor)
    assert values["implied_level"][known] == pytest.approx(level, rel=1e-6)
    assert values["implied_slope"][known] == pytest.approx(b * rho / (2 * level * tenor), rel=1e-3)
    assert (values["implied_skew"][known] > 0).all()
    assert (values["implied_wings"][known] > 0).all()
    with pytest.raises(HistoryError, match="need a history with surfaces"):
        surface_features(two_coins())


def klines() -> Records:
    volume, close = of(10, 20, 30), of(100, 101, 99)
    bought = of(6, 5, 30)
    columns = {
        "opened": after(0, 60, 120),
        **dict.fromkeys(("open", "high", "low", "close"), close),
        "volume": volume,
        "quote_volume": volume * close,
        "count": of(1, 2, 6),
        "taker_buy_volume": bought,
        "taker_buy_quote_volume": bought * close,
    }
    return records(BARS, after(60, 120, 180), **columns)


def test_taker_features_by_hand() -> None:
    got = told(taker_features(klines(), "X", 3))
    assert got["taker_imbalance"] == pytest.approx([0.2, -0.5, 1.0])
    assert got["vpin"] == pytest.approx([NAN, NAN, (2 + 10 + 30) / 60], nan_ok=True)
    assert got["trades_change"] == pytest.approx([NAN, NAN, math.log(2)], nan_ok=True)
    moves, flow = np.diff(np.log(of(100, 101, 99))), of(-10 * 101, 30 * 99)
    assert got["kyle_lambda"][-1] == pytest.approx((moves[1] - moves[0]) / (flow[1] - flow[0]))


def test_bars_of_a_tape_tell_more() -> None:
    bars = fold([SIX], TimeBars("1min"))
    got = told(tape_features(bars, "X", 3))
    assert got["realised_variance"] == pytest.approx(bars.realised_variance)
    assert got["downside_share"][0] == pytest.approx(bars.downside_variance[0] / bars.realised_variance[0])
    assert told(taker_features(bars, "X", 3))["taker_imbalance"] == pytest.approx(
        [NAN, 1, -1], nan_ok=True
    )  # one unsigned


def test_quote_depth_and_metric_features_by_hand() -> None:
    quotes = records(
        QUOTES, after(1, 2, 70), bid=of(99, 99, 98), ask=of(101, 101, 101), bid_size=of(5, 8, 1), ask_size=of(4, 4, 3)
    )
    got = told(quote_features(quotes, "X", after(-60, 0, 60), after(0, 60, 120)))
    assert got["order_flow_imbalance"] == pytest.approx([NAN, NAN, -8 - 3 + 4], nan_ok=True)
    assert got["quoted_spread"] == pytest.approx([NAN, 0.02, 3 / 99.5], nan_ok=True)
    assert got["depth_imbalance"] == pytest.approx([NAN, 1 / 3, -0.5], nan_ok=True)
    bands = of(-0.02, -0.01, 0.01, 0.02)
    depth = records(DEPTH, after(5, 5, 5, 5), band=bands, size=of(1, 1, 1, 1), notional=of(200, 100, 30, 60))
    assert told(depth_features(depth, "X")) == {
        "bid_slope": pytest.approx([10_000]),
        "ask_slope": pytest.approx([3_000]),
    }
    metrics = records(METRICS, after(0, 300), mark=of(101, 99), index=of(100, 100), open_interest=of(10, 5))
    got = told(metrics_features(metrics, "X", 1))
    assert got["basis"] == pytest.approx([0.01, -0.01])
    assert got["open_interest_change"] == pytest.approx([NAN, -math.log(2)], nan_ok=True)


def test_funding_and_liquidations_by_hand() -> None:
    funding = records(FUNDING, after(0, 8 * 3600), rate=of(1e-4, 2e-4), interval=of(8, 4))
    assert told(funding_features(funding, "X", 2))["funding_pressure"] == pytest.approx([NAN, 7.5e-4], nan_ok=True)
    forced = records(LIQUIDATIONS, after(0), price=of(100), size=of(2), side=np.array([-1], np.int8))
    pressure = told(liquidation_features(forced, "X", after(0, 60), "1min"))["liquidation_pressure"]
    assert pressure == pytest.approx([-200 * math.log(2) / 60, -100 * math.log(2) / 60])


def test_contracts_need_what_one_is_worth() -> None:
    def forced(venue: str, symbol: str) -> Records:
        columns = {"time": after(0), "price": of(100), "size": of(2), "side": np.array([-1], np.int8)}
        return Records(LIQUIDATIONS, venue, symbol, columns, np.arange(1, 2))

    coin = forced("binance-delivery", "BTCUSD_PERP")
    with pytest.raises(DataError, match="BTCUSD_PERP count contracts"):
        liquidation_features(coin, "X", after(0))
    with pytest.raises(DataError, match="contracts"):
        liquidation_features(forced("deribit", "BTC-PERPETUAL"), "X", after(0))
    with pytest.raises(ParameterError, match="above 0"):
        liquidation_features(coin, "X", after(0), multiplier=0.0)
    with pytest.raises(ParameterError, match="inverse"):
        liquidation_features(coin, "X", after(0), inverse=True)
    a_second = math.log(2) / 60
    worth = {"inverse": (True, 100.0, 200), "linear": (False, 0.01, 2)}  # two of 100 dollars, two of a hundredth
    for inverse, multiplier, notional in worth.values():
        (told_,) = liquidation_features(coin, "X", after(0), "1min", multiplier=multiplier, inverse=inverse)
        assert told_.values == pytest.approx([-notional * a_second])


def test_a_quote_grows_old_from_its_own_instant() -> None:
    quotes = records(QUOTES, after(0, 50), bid=of(99, 99), ask=of(101, 101), bid_size=of(1, 1), ask_size=of(3, 3))
    ends = after(60, 120, 180, 240)
    told_ = quote_features(quotes, "X", after(0, 60, 120, 180), ends, Timing("0s", "100s"))
    panel = feature_panel(ends, ("X",), told_)
    spread, flow = (panel.values[:, 0, panel.names.index(name)] for name in ("quoted_spread", "order_flow_imbalance"))
    assert spread == pytest.approx([0.02, 0.02, NAN, NAN], nan_ok=True)
    assert flow == pytest.approx([NAN, 0.0, NAN, NAN], nan_ok=True)
    later = feature_panel(after(145, 155), ("X",), told_)
    assert later.values[:, 0, later.names.index("quoted_spread")] == pytest.approx([0.02, NAN], nan_ok=True)


def test_a_column_of_records_keeps_its_unit_and_when_it_was_received() -> None:
    funding = records(FUNDING, after(0, 60), rate=of(1, 2), received=after(1, 600))
    one = series_of(funding, "rate", "BTC")
    assert (one.unit, one.timing) == (FUNDING.columns[1].unit, TIMINGS["funding"])
    assert (one.known == after(60, 600)).all()
    doubled = one.told(one.values * 2, "twice", "unit")
    assert (doubled.name, doubled.values.tolist()) == ("twice", [2, 4])
    assert (doubled.known == one.known).all()


def panel_of(value: float, known: Any) -> FeaturePanel:
    return FeaturePanel(after(0), ("X",), ("f",), ("u",), np.full((1, 1, 1), value), np.array(known).reshape(1, 1, 1))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: panel_of(1.0, after(1)), DataError, "known by then, got 1.0 known at 2024-03-01T00:00:01"),
        (lambda: panel_of(1.0, np.datetime64("NaT", "ns")), DataError, "known by then"),
        (lambda: panel_of(math.inf, after(0)), DataError, "finite or NaN"),
        (lambda: panel_of(1.0, after(0)).beside(panel_of(1.0, after(0))), DataError, "names that differ"),
        (lambda: replace(panel_of(1.0, after(0)), units=()), DataError, "features must be"),
        (lambda: series([0], [1], Timing("-1s", "1h")), ParameterError, "latency must be a positive duration"),
        (lambda: series([0], [1], Timing("0s", "soon")), ParameterError, "stale must be a duration"),
        (lambda: series([0, 1], [1], Timing("0s", "1h")), DataError, "must be one"),
        (
            lambda: Series("x", "", "X", np.array(["NaT"], "datetime64[ns]"), of(1), VIX),
            DataError,
            "every figure needs its instant",
        ),
        (
            lambda: feature_panel(after(1), ("BTC",), [series([0], [1], VIX), series([0], [2], VIX)]),
            DataError,
            r"told once of each of \('BTC',\), got it again for \['BTC'\]",
        ),
        (lambda: feature_panel(after(1), ("ETH",), [series([0], [1], VIX)]), DataError, "told once of each"),
        (
            lambda: feature_panel(
                after(1), ("BTC",), [series([0], [1], VIX), replace(series([0], [1], VIX), unit="other")]
            ),
            DataError,
            "must have one unit",
        ),
        (lambda: on_rows(two_coins(), {}), ParameterError, "got none"),
        (lambda: taker_features(klines().where(slice(None, None, -1)), "X"), DataError, "must rise in time"),
        (lambda: metrics_features(klines(), "X"), DataError, "need metrics"),
        (
            lambda: quote_features(records(QUOTES, after(0), bid=of(1), ask=of(2)), "X", after(0), after(1)),
            DataError,
            "without .'bid_size', 'ask_size'.",
        ),
    ],
)
def test_what_cannot_be_is_refused(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()
