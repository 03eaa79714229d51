"""Are columns that have changed places found, and coarse, quiet or wild markets left alone?"""

from typing import Any

import numpy as np
import pytest

from data.records import DEPTH, INDEX, OPTIONS, QUOTES, TRADES, Records
from records_made import HOUR, START, bars, levels, quotes, struck, trades

ROWS = 400
BANDS = (-0.05, -0.01, 0.01, 0.05)


def swapped(records: Records, one: str, other: str) -> Records:
    columns = {**records.columns, one: records[other], other: records[one]}
    return Records(records.kind, records.venue, records.symbol, columns, records.row)


def priced(records: Records, **columns: Any) -> Records:
    told = {**records.columns, **columns}
    return Records(records.kind, records.venue, records.symbol, told, records.row)


def depth(scale: float = 1.0, venue: str = "binance-futures") -> Records:
    """Ten instants of a book that offers as much at every price, at mids around 0.2."""
    mid = np.repeat(0.2 * np.exp(np.random.default_rng(4).normal(0, 0.01, 10).cumsum()), len(BANDS))
    band = np.tile(BANDS, 10)
    size = 1e5 * np.abs(band)
    columns = {
        "time": START + np.repeat(np.arange(10), len(BANDS)) * np.timedelta64(30 * 10**9, "ns"),
        "band": band * scale,
        "size": size,
        "notional": size * mid * (1 + band / 2),
    }
    return Records(DEPTH, venue, "X", columns, np.arange(1, len(mid) + 1))


def test_open_and_close_that_changed_places_are_set_aside() -> None:
    assert struck(swapped(bars(), "open", "close")) == {"open for close": (60, "quarantine")}


def test_bars_that_open_away_from_the_last_close_are_let_alone() -> None:
    """As of a market with sessions: half of the day's variance is over night."""
    rng, records = np.random.default_rng(2), bars(200)
    level = np.log(records["close"])
    opened = level - rng.normal(0, 0.01, 200)
    prices = {
        "open": np.exp(opened),
        "high": np.exp(np.maximum(opened, level)),
        "low": np.exp(np.minimum(opened, level)),
    }
    plain = {name: records[name] for name in ("time", "opened", "close")}
    assert struck(Records(records.kind, records.venue, records.symbol, {**plain, **prices}, records.row)) == {}


@pytest.mark.parametrize("records", [trades(ROWS), trades(ROWS).where(np.arange(ROWS)[::-1])])
def test_sizes_for_prices_are_set_aside_to_the_last(records: Records) -> None:
    told = struck(swapped(records, "price", "size"))
    assert told["restless prices"][0] + sum(told.get(name, (0,))[0] for name in ("lone price",)) == ROWS


def test_two_assets_that_take_turns_are_set_aside_or_noted() -> None:
    turns = np.where(np.random.default_rng(3).random(ROWS) < 0.5, 1.0, 0.8)
    assert struck(priced(trades(ROWS), price=trades(ROWS)["price"] * turns)) == {
        "restless prices": (ROWS, "quarantine")
    }
    near = np.where(turns == 1.0, 1.0, 0.97)
    assert struck(priced(trades(ROWS), price=trades(ROWS)["price"] * near)) == {"bouncing prices": (ROWS, "accept")}
    both = {name: quotes(ROWS)[name] * turns for name in ("bid", "ask")}
    assert struck(priced(quotes(ROWS), **both)) == {"restless prices": (ROWS, "quarantine")}


@pytest.mark.parametrize("kind", [TRADES, QUOTES])
def test_prices_of_three_or_four_ticks_may_step_by_a_third(kind: Any) -> None:
    ticks = np.random.default_rng(5).integers(3, 5, ROWS) * 1e-8
    if kind is TRADES:
        assert struck(priced(trades(ROWS), price=ticks)) == {}
    else:
        assert struck(priced(quotes(ROWS), bid=ticks, ask=ticks + 1e-8)) == {}


def test_options_and_a_crash_may_step() -> None:
    wild = trades(ROWS)["price"] * np.exp(np.random.default_rng(6).normal(0, 0.3, ROWS))
    option = Records(
        TRADES, "deribit", "BTC-27JUN25-50000-C", {**trades(ROWS).columns, "price": wild}, trades(ROWS).row
    )
    assert "restless prices" not in struck(option)
    crash = np.exp(-0.02 * np.minimum(np.arange(ROWS), 100))  # -86 % in 100 prints
    assert struck(priced(trades(ROWS), price=trades(ROWS)["price"] * crash)) == {}


def test_depth_whose_columns_changed_places_or_whose_bands_are_shares() -> None:
    assert struck(depth()) == {}
    assert struck(swapped(depth(), "size", "notional")) == {"depth for notional": (40, "quarantine")}
    assert struck(depth(0.01)) == {"depth for notional": (40, "quarantine")}
    flat = depth(0.01)
    flat["notional"][:] = flat["size"]
    assert struck(flat) == {"narrow bands": (40, "quarantine")}
    assert struck(swapped(depth(venue="binance-delivery"), "size", "notional")) == {}


def test_columns_that_most_bars_disprove_are_right_in_none() -> None:
    """A count in the place of a volume fits a bar here and there by chance."""
    records = swapped(bars(200), "volume", "count")
    records["volume"][7], records["quote_volume"][7] = 100.0, 100.0 * records["close"][7]
    told = struck(records)
    assert told["average price"][0] + told.get("taker volume", (0,))[0] == 200


def chain(names: list[str], strikes: list[float], calls: list[bool], volatility: float = 0.6) -> Records:
    rows = len(names)
    columns = {
        "time": np.full(rows, START),
        "symbol": np.array(names, dtype=object),
        "underlying": np.full(rows, "BTC", dtype=object),
        "strike": np.array(strikes),
        "expiry": np.full(rows, START + 600 * HOUR),
        "call": np.array(calls),
        "mark_iv": np.full(rows, volatility),
    }
    return Records(OPTIONS, "deribit", "options", columns, np.arange(1, rows + 1))


def test_an_option_is_what_its_name_says() -> None:
    names = ["BTC-26JAN24-30000-C", "XRP_USDC-30JUN23-0d515-P", "BTC-240126-30000.5-C", "somebody's own"]
    strikes, calls = [30_000.0, 0.515, 30_000.5, 7.0], [True, False, True, True]
    assert struck(chain(names, strikes, calls)) == {}
    assert struck(chain(names, [300.0, *strikes[1:]], calls)) == {"another name": (1, "quarantine")}
    assert struck(chain(names, strikes, [not call for call in calls])) == {"another name": (3, "quarantine")}


def test_volatilities_that_are_a_hundredth_are_set_aside() -> None:
    one, strike, call = ["BTC-26JAN24-30000-C"], [30_000.0], [True]
    assert struck(chain(one, strike, call, 0.006)) == {"small volatility": (1, "quarantine")}
    assert struck(chain(one * 1, strike, call, 0.05)) == {}
    index = levels()
    for symbol, share in (("BTC_DVOL", True), ("VIX", True), ("BTCUSDT_INDEX", False)):
        told = Records(INDEX, "made-up", symbol, {**index.columns, "value": index["value"] / 100}, index.row)
        assert struck(told) == ({"volatility as a share": (60, "quarantine")} if share else {})
        assert struck(Records(INDEX, "made-up", symbol, index.columns, index.row)) == {}
