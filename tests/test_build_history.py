"""Do records on a clock say what they said as records, and nothing where they said nothing?"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from record_sets import cut, keep

from data import HistoryError, MarketHistory
from data.build_history import history_from, usual_features
from data.catalog import name_records
from data.errors import DataError, ParameterError
from data.flow.panels import Series, Timing
from data.garbage import collect_garbage
from data.records import BARS, DEPTH, FUNDING, METRICS, Records
from data.snapshot import freeze, load, name_snapshot

DAY = np.datetime64("2024-03-01", "ns")
MINUTE, HOUR = np.timedelta64(60 * 10**9, "ns"), np.timedelta64(3600 * 10**9, "ns")


def _bars(closes: Any, width: np.timedelta64 = HOUR, start: np.datetime64 = DAY, **more: Any) -> Records:
    """Bars one after another from `start`, but for those whose close is NaN."""
    close = np.asarray(closes, dtype=float)
    kept = ~np.isnan(close)
    opened = start + np.arange(len(close)) * width
    columns = {"time": opened + width, "opened": opened, "open": close, "close": close}
    columns |= {"high": close + 1, "low": close * 0.5, "volume": np.full(len(close), 2.0)}
    columns |= {name: np.asarray(values, dtype=float) for name, values in more.items()}
    return Records(BARS, "venue", "BTC", columns, np.arange(1, len(close) + 1)).where(kept)


def _funding(seconds: Any, rates: Any, symbol: str = "BTC") -> Records:
    time = DAY + np.round(np.asarray(seconds) * 1e9).astype("timedelta64[ns]")
    return Records(FUNDING, "venue", symbol, {"time": time, "rate": np.asarray(rates)}, np.arange(1, len(time) + 1))


def _kept(store: Path, **sets: Records) -> None:
    for name, records in sets.items():
        name_records(name, keep(store, records).hash, store)


def test_bars_of_the_clock_become_prices_and_a_missing_one_a_hole(tmp_path: Path) -> None:
    _kept(tmp_path, bars=_bars([10, 11, np.nan, 13]))
    history = history_from(tmp_path, {"BTC": "bars"}, "1h")
    assert history.underlyings == ("BTC",)
    np.testing.assert_array_equal(history.time, DAY + np.arange(1, 5) * HOUR)
    np.testing.assert_array_equal(history.spot[:, 0], [10, 11, np.nan, 13])
    assert history.high is not None
    assert history.volume is not None
    np.testing.assert_array_equal(history.high[:, 0], [11, 12, np.nan, 14])
    np.testing.assert_array_equal(history.volume[:, 0], [2, 2, np.nan, 2])
    assert history.funding is None


def test_narrow_bars_fold_into_wide_rows_as_pandas_does(tmp_path: Path) -> None:
    closes = 100 + np.random.default_rng(1).normal(size=3 * 24 * 60).cumsum() * 0.01
    records = _bars(closes, MINUTE)
    name_records("bars", keep(tmp_path, *cut(records, [1, 777, 3000])).hash, tmp_path)
    history = history_from(tmp_path, {"BTC": "bars"}, "4h")
    frame = pd.DataFrame({name: records[name] for name in ("close", "high", "low", "volume")}, records["time"])
    groups = frame.resample("4h", closed="right", label="right")
    expected = groups.agg({"close": "last", "high": "max", "low": "min", "volume": "sum"})
    for mine, theirs in {"spot": "close", "high": "high", "low": "low", "volume": "volume"}.items():
        np.testing.assert_array_equal(getattr(history, mine)[:, 0], expected[theirs])
    assert (history.time == expected.index).all()


def test_a_step_with_a_bar_missing_has_a_close_but_no_high_low_or_volume(tmp_path: Path) -> None:
    _kept(tmp_path, bars=_bars([1, 2, np.nan, 4, 5, 6, 7, np.nan], MINUTE * 30))
    history = history_from(tmp_path, {"BTC": "bars"}, "1h")
    np.testing.assert_array_equal(history.spot[:, 0], [2, 4, 6])
    assert history.high is not None
    np.testing.assert_array_equal(history.high[:, 0], [3, np.nan, 7])


def test_fundings_belong_to_their_instant_and_add_up(tmp_path: Path) -> None:
    _kept(tmp_path, bars=_bars(np.arange(1.0, 49.0)))
    paid = _funding([8 * 3600 + 0.003, 16 * 3600, 24 * 3600 + 59, 32 * 3600 + 61], [0.1, 0.2, 0.4, 0.8])
    _kept(tmp_path, funding=paid)
    hourly = history_from(tmp_path, {"BTC": "bars"}, "1h", funding={"BTC": "funding"}).funding
    assert hourly is not None
    rows = np.flatnonzero(~np.isnan(hourly[:, 0]))
    assert (rows + 1).tolist() == [8, 16, 24, 33]
    np.testing.assert_array_equal(hourly[rows, 0], [0.1, 0.2, 0.4, 0.8])
    daily = history_from(tmp_path, {"BTC": "bars"}, "1D", funding={"BTC": "funding"}).funding
    assert daily is not None
    np.testing.assert_allclose(daily[:, 0], [0.7, 0.8])


def test_two_underlyings_share_the_clock_and_marks_depth_and_features_join(tmp_path: Path) -> None:
    late = _bars([5, 6], start=DAY + 2 * HOUR)
    _kept(tmp_path, bars=_bars([1, 2, 3, 4]), late=late, other=_bars([1.5, 2.5, 3.5, 4.5]))
    stamps = DAY + np.array([3590, 7190]).astype("timedelta64[s]")
    metrics = {"time": stamps, "mark": np.array([1.25, 2.25])}
    offered = {"time": np.repeat(stamps, 2), "band": np.array([-0.01, 0.01] * 2), "size": np.ones(4)}
    offered["notional"] = np.array([10.0, 20.0, 30.0, 40.0])
    _kept(tmp_path, metrics=Records(METRICS, "venue", "BTCUSDT", metrics, np.array([1, 2])))
    _kept(tmp_path, depth=Records(DEPTH, "venue", "BTC", offered, np.arange(1, 5)))
    series = Series("vix", "percent", "ETH", stamps, np.array([12.0, 13.0]), Timing("0s", "1D"))
    history = history_from(
        tmp_path,
        {"BTC": "bars", "ETH": "late"},
        "1h",
        marks={"BTC-PERP": "other", "BTC-M": "metrics"},
        depth={"BTC": "depth"},
        series=[series],
    )
    np.testing.assert_array_equal(history.spot, [[1, np.nan], [2, np.nan], [3, 5], [4, 6]])
    assert history.marks is not None
    assert history.listed == ("BTC-PERP", "BTC-M")
    np.testing.assert_array_equal(history.marks[:, 0], [1.5, 2.5, 3.5, 4.5])
    np.testing.assert_array_equal(history.marks[:, 1], [1.25, 2.25, np.nan, np.nan])
    assert history.depth is not None
    np.testing.assert_array_equal(history.depth[:2, 0, :, 0], [[10, 20], [30, 40]])
    assert history.features is not None
    np.testing.assert_array_equal(history.features[:, 1, 0], [12, 13, 13, 13])


def test_a_default_is_a_price_of_zero(tmp_path: Path) -> None:
    _kept(tmp_path, bars=_bars([4, 3, 2, 1]))
    history = history_from(tmp_path, {"LUNA": "bars"}, "1h", defaults={"LUNA": "2024-03-01T03:00"})
    np.testing.assert_array_equal(history.spot[:, 0], [4, 3, 0, 0])


def test_a_window_cuts_the_rows_and_keeps_the_bars_before_the_first(tmp_path: Path) -> None:
    _kept(tmp_path, bars=_bars(np.arange(1.0, 13.0), MINUTE * 30))
    cut_out = history_from(tmp_path, {"BTC": "bars"}, "1h", start="2024-03-01T02:00", stop="2024-03-01T05:00")
    whole = history_from(tmp_path, {"BTC": "bars"}, "1h")
    assert len(cut_out) == 3
    for panel in ("time", "spot", "high", "low", "volume"):
        np.testing.assert_array_equal(getattr(cut_out, panel), getattr(whole, panel)[1:4])
    assert len(history_from(tmp_path, {"BTC": "bars"}, "1h", start="1970-01-01")) == len(whole)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    _kept(tmp_path, bars=_bars([1, 2, 3]), shifted=_bars([1, 2], start=DAY + MINUTE), paid=_funding([0], [0.1]))
    _kept(tmp_path, unknown=_funding([3600], [np.nan]), wide=_bars([1, 2], 3 * HOUR))
    mixed = keep(tmp_path, _bars([1, 2]), _bars([3], 2 * HOUR, DAY + 2 * HOUR))
    twice = keep(tmp_path, _bars([1, 2]), _bars([3], HOUR, DAY + HOUR))
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"bars": {"BTC": "shifted"}}, HistoryError, "one width that fits the clock"),
        ({"bars": {"BTC": "wide"}}, HistoryError, "one width that fits the clock"),
        ({"bars": {"BTC": mixed.hash}}, HistoryError, "one width that fits the clock"),
        ({"bars": {"BTC": twice.hash}}, DataError, "expected one bar to end at 2024-03-01T02"),
        ({"bars": {"BTC": "paid"}}, ParameterError, "expected a record set of bars, got"),
        ({"bars": {}}, ParameterError, "must be of underlyings with bars"),
        ({"funding": {"ETH": "paid"}}, ParameterError, "must be of underlyings with bars"),
        ({"funding": {"BTC": "bars"}}, ParameterError, "expected a record set of funding"),
        ({"funding": {"BTC": "unknown"}}, DataError, "expected a rate at row 1"),
        ({"clock": "1B"}, ParameterError, "sessions are read from tables"),
        ({"start": "2025-01-01"}, HistoryError, "expected an instant of the clock"),
        ({"stop": "soon"}, ParameterError, "expected an instant in UTC"),
    ]
    for change, error, why in refused:
        with pytest.raises(error, match=why):
            history_from(tmp_path, **({"bars": {"BTC": "bars"}, "clock": "1h"} | change))


def test_a_frozen_history_knows_its_record_sets_which_stay(tmp_path: Path) -> None:
    _kept(tmp_path, bars=_bars([1, 2, 3]))
    lone = keep(tmp_path, _funding([3600], [0.1]))
    history = history_from(tmp_path, {"BTC": "bars"}, "1h", funding={"BTC": lone.hash})
    assert history.source.split()[2] == lone.hash
    folder = tmp_path / "snapshots"
    assert [one.hash for one in collect_garbage(tmp_path)] == [lone.hash]
    name_snapshot("mine", freeze(history, folder), folder)
    assert collect_garbage(tmp_path) == []
    assert load("mine", folder).source == history.source


def test_contracts_are_no_volume(tmp_path: Path) -> None:
    base = _bars([10.0, 11, 12])
    _kept(tmp_path, coin=Records(BARS, "binance-delivery", "BTCUSD_PERP", base.columns, base.row), base=base)
    history = history_from(tmp_path, {"COIN": "coin", "BTC": "base"}, "1h")
    assert history.volume is not None
    np.testing.assert_array_equal(history.volume, [[np.nan, 2.0]] * 3)
    assert history_from(tmp_path, {"COIN": "coin"}, "1h").volume is None


def test_closes_alone_make_a_history_without_high_low_and_volume(tmp_path: Path) -> None:
    blank: dict[str, Any] = {name: np.full(4, np.nan) for name in ("open", "high", "low", "volume")}
    _kept(tmp_path, bars=_bars([10, 11, 12, 13.0], **blank))
    history = history_from(tmp_path, {"BTC": "bars"}, "2h")
    assert (history.high, history.low, history.volume) == (None, None, None)
    np.testing.assert_array_equal(history.spot[:, 0], [11, 13])


def test_a_clock_too_fine_to_be_held_is_refused(tmp_path: Path) -> None:
    _kept(tmp_path, bars=_bars([10, 11.0]))
    with pytest.raises(HistoryError, match="at most 50,000,000"):
        history_from(tmp_path, {"BTC": "bars"}, "1ns")


def test_features_come_from_the_rows_the_takers_and_the_fundings(tmp_path: Path) -> None:
    closes = 100 + np.random.default_rng(2).normal(size=200).cumsum()
    flow: dict[str, Any] = {"quote_volume": 2 * closes, "taker_buy_volume": np.linspace(0, 2, 200)}
    flow["taker_buy_quote_volume"] = flow["taker_buy_volume"] * closes
    _kept(tmp_path, bars=_bars(closes, **flow), paid=_funding(np.arange(1, 25) * 8 * 3600.0, np.full(24, 0.001)))
    sets: tuple[dict[str, str], dict[str, str]] = ({"BTC": "bars"}, {"BTC": "paid"})
    history = history_from(tmp_path, sets[0], "1h", funding=sets[1])
    full = usual_features(history, tmp_path, *sets)
    assert {"close_to_close", "taker_imbalance", "funding_pressure"} <= set(full.feature_names)
    np.testing.assert_allclose(_feature(full, "taker_imbalance"), np.linspace(0, 2, 200) - 1, atol=1e-12)
    plain = usual_features(history_from(tmp_path, {"BTC": "bars"}, "4h"), tmp_path, {"BTC": "bars"})
    np.testing.assert_array_equal(_feature(plain, "taker_imbalance"), _feature(full, "taker_imbalance")[3::4])


def _feature(history: MarketHistory, name: str) -> Any:
    assert history.features is not None
    return history.features[:, 0, history.feature_names.index(name)]
