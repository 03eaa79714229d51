"""Are splices, made-up stretches, wrong units and shifted zones found, in made-up series and in real files?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.check_results import Ledger
from data.checking import RecordChecker
from data.errors import SourceError
from data.imports import check_paths
from data.records import BARS, FUNDING, METRICS, Records
from data.series_checks import _least as least
from data.sources.recognise import read_records
from data.sources.samples import load
from records_made import HOUR, START, bars, checked, funding, levels, struck

SHARED = Path(__file__).parents[2] / "shared" / "data"
NEEDS_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason="no reference folder beside the checkout")


def scaled(records: Records, rows: Any, factor: float) -> Records:
    """Prices times a factor in some rows, volumes so that the money stays."""
    columns = {name: values.copy() for name, values in records.columns.items()}
    for name in ("open", "high", "low", "close", "value", "rate"):
        if name in columns:
            columns[name][rows] *= factor
    for name in ("volume", "taker_buy_volume"):
        if name in columns:
            columns[name][rows] /= factor
    return Records(records.kind, records.venue, records.symbol, columns, records.row)


def shifted(records: Records, by: np.timedelta64) -> Records:
    columns = {n: values + by if values.dtype.kind == "M" else values for n, values in records.columns.items()}
    return Records(records.kind, records.venue, records.symbol, columns, records.row)


def quarantined(records: Records) -> dict[str, int]:
    return {name: count for name, (count, outcome) in struck(records).items() if outcome == "quarantine"}


@pytest.mark.parametrize("make", [bars, levels])
def test_a_splice_takes_away_all_that_follows(make: Any) -> None:
    assert quarantined(scaled(make(), slice(40, None), 20_000.0)) == {"splice": 20}
    assert quarantined(scaled(make(), slice(40, None), 5.0)) == {}
    assert quarantined(scaled(make(), slice(40, None), 1 / 20_000)) == {}  # a crash is no splice
    assert struck(scaled(make(), slice(40, None), 1 / 20_000))["jump"] == (1, "accept")


@pytest.mark.parametrize("factor", [1000.0, 0.01, 1e-8])
def test_another_unit_from_some_row_on(factor: float) -> None:
    assert quarantined(scaled(bars(), slice(40, None), factor)) == {"unit change": 20}


@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_one_level_at_0_switches_no_check_off(wrong: float) -> None:
    records = scaled(levels(200), [50], 100.0)
    records["value"][120] = wrong
    assert quarantined(records) == {"not above 0": 1, "spike": 1}
    records = scaled(levels(200), slice(150, None), 0.01)
    records["value"][120] = wrong
    assert quarantined(records) == {"not above 0": 1, "unit change": 50}


def test_a_rate_may_come_to_0_and_a_volatility_may_not() -> None:
    records = levels(200)
    rate = np.round(np.cumsum(np.random.default_rng(3).normal(0, 0.1, 200)), 2)
    records["value"][:] = rate - rate.min() - 0.05
    assert 0 < (records["value"] <= 0).sum() < 4
    assert quarantined(records) == {}
    records["value"][:] = np.where(np.arange(200) < 150, 0.25, 0.0)  # a policy rate that is cut
    assert "not above 0" not in struck(records)
    records["value"][:] = np.where(np.arange(200) < 150, levels(200)["value"], 0.0)
    named = Records(records.kind, "cboe", "VIX", dict(records.columns), records.row)
    assert quarantined(named) == {"not above 0": 50}


def test_payments_beyond_what_any_venue_asks_and_stretches_in_percent() -> None:
    assert quarantined(funding(80, rate={40: 50.0})) == {"implausible rate": 1}
    assert quarantined(funding(80, rate={40: -0.051})) == {"implausible rate": 1}
    assert quarantined(funding(80, rate={40: 0.049})) == {}
    for rows in (slice(50, None), slice(0, 30), slice(25, 55)):
        assert quarantined(scaled(funding(80), rows, 100.0)) == {"stretch in percent": 30}
    assert quarantined(scaled(funding(80), slice(50, None), 10.0)) == {}


@pytest.mark.parametrize("name", ["mark", "index", "open_interest"])
def test_what_a_venue_publishes_beside_its_trades_does_not_leap_and_come_back(name: str) -> None:
    records = levels(200)
    columns = {"time": records["time"], "mark": records["value"].copy(), "index": records["value"].copy()}
    columns["open_interest"] = records["value"] * 1e4
    columns["index"][10:20] = np.nan
    metrics = Records(METRICS, "v", "s", columns, records.row)
    assert quarantined(metrics) == {}
    columns[name][90] *= 1000
    assert quarantined(metrics) == {"spike": 1}


@pytest.mark.parametrize(("rows", "count"), [([30], 1), ([30, 31], 2)])
@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_a_spike_that_is_back_at_once(rows: list[int], count: int, factor: float) -> None:
    assert quarantined(scaled(bars(), rows, factor)) == {"spike": count}
    assert quarantined(scaled(bars(), rows, 2.0)) == {}
    assert quarantined(scaled(bars(), slice(30, 40), 5.0)) == {}


def test_a_rebound_in_a_crash_is_no_spike() -> None:
    records, calm = levels(), levels()
    records["value"][40:52] = [40.0, 20, 9, 4, 2.2, 0.9, 3.1, 1.0, 0.4, 0.8, 0.3, 0.12]
    records["value"][52:] = 0.1
    assert quarantined(records) == {}
    assert struck(records)["jump"][1] == "accept"
    calm["value"][45] *= 3.4  # the same rebound on a quiet day
    assert quarantined(calm) == {"spike": 1}


def test_a_stretch_on_a_straight_line_is_made_up() -> None:
    records = bars()
    for name in ("open", "high", "low", "close", "volume"):
        values = records[name]
        values[20:31] = np.linspace(values[20], values[30], 11)
    for paid, size in (("quote_volume", "volume"), ("taker_buy_quote_volume", "taker_buy_volume")):
        records[paid][20:31] = records[size][20:31] * records["close"][20:31]
    records["taker_buy_volume"][20:31] = records["volume"][20:31] * 0.4
    records["taker_buy_quote_volume"][20:31] = records["quote_volume"][20:31] * 0.4
    assert quarantined(records) == {"interpolated": 9}
    flat = levels()
    flat["value"][20:26] = flat["value"][20]
    assert struck(flat) == {}
    flat["value"][20:50] = flat["value"][20]
    assert struck(flat) == {"stale": (10, "accept")}


def test_days_that_are_copied() -> None:
    records = bars()
    copied = {name: values.copy() for name, values in records.columns.items()}
    for name in set(copied) - {"time", "opened"}:
        copied[name][30:54] = copied[name][6:30]
    assert quarantined(Records(BARS, "v", "s", copied, records.row)) == {"copied bars": 24}


def test_bars_that_are_too_long_or_begin_off_the_grid() -> None:
    assert quarantined(bars(time={9: START + 12 * HOUR})) == {"long bar": 1}
    assert quarantined(bars(opened={9: START + 9 * HOUR + HOUR // 3})) == {"long bar": 1}
    found = struck(bars(time={9: START + 9 * HOUR + HOUR // 3}))
    assert found == {"short bar": (1, "repair")}


def test_holes_are_told() -> None:
    kept = np.array([*range(20), *range(25, 60)])
    assert struck(bars().where(kept)) == {"gap": (1, "accept")}
    assert struck(levels().where(kept)) == {"gap": (1, "accept")}


def test_a_daily_bar_of_another_zone_is_told() -> None:
    daily = bars(10)
    columns = {
        **daily.columns,
        "opened": START + np.arange(10) * 24 * HOUR,
        "time": START + np.arange(1, 11) * 24 * HOUR,
    }
    records = Records(BARS, "v", "s", columns, daily.row)
    assert struck(records) == {}
    assert struck(shifted(records, -3 * HOUR)) == {"day elsewhere": (10, "accept")}


def test_funding_in_percent_and_funding_in_another_zone() -> None:
    assert quarantined(scaled(funding(), slice(None), 100.0)) == {"percent": 30}
    quiet = scaled(funding(), slice(None), 10.0)
    quiet["rate"][::4] = 0.01
    assert quarantined(quiet) == {"percent": 30}
    assert quarantined(scaled(funding(), slice(None), 20.0)) == {}  # a squeeze: 0.2 % in eight hours, on end
    assert quarantined(shifted(funding(), 3 * HOUR)) == {"shifted zone": 30}
    assert struck(shifted(funding(), 4 * HOUR)) == {}
    late = funding(time={9: START + 73 * HOUR})
    assert struck(late) == {"off the hours": (1, "accept")}


def test_nothing_hides_between_two_files() -> None:
    records = scaled(bars(), slice(40, None), 20_000.0)
    checker, first, second = RecordChecker(), Ledger(), Ledger()
    list(checker.check([records.where(slice(0, 40))], first))
    (told,) = checker.check([records.where(slice(40, None))], second)
    assert first.quarantined == 0
    assert len(told.accepted) == 0
    assert [(one.check.name, one.count) for one in second.results()] == [("splice", 20)]
    assert second.results()[0].runs == ((41, 60),)


def of_file(path: str) -> tuple[list[Records], dict[str, tuple[int, str]]]:
    accepted, ledger = checked(*read_records(SHARED / path), now=np.datetime64("2026-11-21", "ns"))
    return accepted, {one.check.name: (one.count, one.check.outcome) for one in ledger.results()}


@pytest.mark.shared
@NEEDS_SHARED
def test_luna_ends_where_its_successor_begins() -> None:
    (accepted,), found = of_file("RobBudaghyan+mark6/data/LUNAUSDT.csv")
    assert found["splice"] == (26619, "quarantine")
    assert [name for name, (_, outcome) in found.items() if outcome == "quarantine"] == ["splice"]
    assert (len(accepted), accepted["close"][-1]) == (11916, 0.00005)
    assert accepted["opened"][-1] == np.datetime64("2022-05-13")


@pytest.mark.shared
@NEEDS_SHARED
@pytest.mark.parametrize("coin", ["BTC", "ETH", "SOL"])
def test_the_coins_beside_luna_are_whole(coin: str) -> None:
    (accepted,), found = of_file(f"RobBudaghyan+mark6/data/{coin}USDT.csv")
    assert set(found) <= {"gap", "closes alone"}
    assert found["gap"] == (7, "accept")
    assert len(accepted) in (38971, 38972)


@pytest.mark.shared
@NEEDS_SHARED
def test_interpolated_maintenance_hours_become_holes() -> None:
    (accepted,), found = of_file("filipenovais+MarketGuessingGame/data/BTCUSDT_1h.csv")
    assert {name for name, (_, outcome) in found.items() if outcome != "accept"} == {"interpolated"}
    assert found["interpolated"] == (128, "quarantine")  # as many as with volumes, which nobody says whose they are
    halted = (accepted["opened"] > np.datetime64("2018-02-08T00")) & (
        accepted["opened"] < np.datetime64("2018-02-09T09")
    )
    assert not halted.any()
    crash = accepted["opened"].astype("datetime64[D]") == np.datetime64("2020-03-12")
    assert crash.sum() == 24  # the crash itself is kept


@pytest.mark.shared
@NEEDS_SHARED
@pytest.mark.parametrize("venue", ["binance", "bybit", "htx", "kucoin", "mexc", "gate", "dydx"])
def test_funding_stamped_three_hours_late(venue: str) -> None:
    (path,) = (SHARED / "supervik+historical-funding-rates-fetcher/data/BTC-USDT").glob(f"*_{venue}_*")
    _, found = of_file(str(path.relative_to(SHARED)))
    away = {name: count for name, (count, outcome) in found.items() if outcome == "quarantine"}
    if venue in ("gate", "dydx"):
        assert not away
    else:
        assert set(away) == {"shifted zone"}
        assert away["shifted zone"] > 3000


@pytest.mark.shared
@NEEDS_SHARED
def test_funding_in_percent() -> None:
    (records,) = read_records(SHARED / "kalyar197+eth-dashboard/historical_data/funding_rate_btc.json")
    assert records.kind is FUNDING
    assert quarantined(records) == {"percent": 3316}


@pytest.mark.shared
@NEEDS_SHARED
@pytest.mark.parametrize(("coin", "rows"), [("BTC", 2924), ("ETH", 2924), ("LTC", 2924), ("XRP", 2801), ("DOGE", 2374)])
def test_daily_klines_are_kept_whole(coin: str, rows: int) -> None:
    (accepted,), found = of_file(f"djienne+Hurst_Crypto/data/{coin}USDT.csv")
    assert len(accepted) == rows
    assert {name for name, (_, outcome) in found.items() if outcome == "quarantine"} == set()
    assert ("short bar" in found) == (coin in ("BTC", "ETH", "LTC"))  # halted on 2018-02-08 at 00:28
    assert (accepted["time"] == accepted["opened"] + 24 * HOUR).all()
    assert set(accepted.columns) <= set(BARS.names)  # what stands past the twelfth column is not there
    if coin == "XRP":
        assert found["wick"] == (3, "accept")
        assert found["sharp reversal"] == (3, "accept")


@pytest.mark.network
def test_the_wick_of_2017_is_told() -> None:
    try:
        history = load("coins-30min", progress=False)
    except SourceError as error:
        if "no network?" not in str(error):
            raise
        pytest.skip(str(error))
    place = list(history.underlyings).index("XRP")
    close = np.asarray(history.spot)[:, place]
    day = history.time.astype("datetime64[D]") == np.datetime64("2017-12-22")
    time = history.time[day]
    known = ~np.isnan(close[day])
    columns = {"time": time[known], "opened": time[known] - HOUR // 2}
    columns |= dict.fromkeys(("open", "high", "low", "close"), close[day][known])
    records = Records(BARS, "sample", "XRP", columns, np.arange(1, known.sum() + 1))
    assert struck(records)["sharp reversal"][0] >= 1


@pytest.mark.shared
@NEEDS_SHARED
def test_hand_made_nanoseconds_are_read_rightly_or_not_at_all() -> None:
    folder = SHARED / "nautechsystems+nautilus_trader/crates/adapters/tardis/test_data/csv"
    for name, day in (("deltas_1.csv", "2020-04-01"), ("trades_1.csv", "2020-03-01")):
        (report,) = check_paths([folder / name]).files
        assert report.rows == 2
        assert report.accepted + report.quarantined == 2
        assert not report.accepted or report.first.startswith(day)


@pytest.mark.shared
@NEEDS_SHARED
def test_numbers_given_to_two_trades_that_differ() -> None:
    _, found = of_file("freqtrade+freqtrade/tests/testdata/orderflow/public_trades_list_simple_example.csv")
    assert found["conflict"] == (4, "quarantine")


@pytest.mark.shared
@NEEDS_SHARED
@pytest.mark.parametrize(
    "path",
    [
        "freqtrade+freqtrade/tests/testdata/XRP_ETH-trades.json.gz",
        "freqtrade+freqtrade/tests/testdata/orderflow/public_trades_list.csv",
        "nautechsystems+nautilus_trader/tests/test_data/binance/btcusdt-trades.parquet",
        "nautechsystems+nautilus_trader/tests/test_data/tardis/bitmex_trades_XBTUSD.csv",
        "nautechsystems+nautilus_trader/tests/test_data/tardis/huobi-dm-swap_quotes_BTC-USD.csv",
        "nautechsystems+nautilus_trader/tests/test_data/tardis/binance-futures_book_snapshot_5_BTCUSDT.csv",
        "lukmol+gamlss-btc-VaR/data/funding_rates.csv",
        "nkaz001+hftbacktest/examples/spot/btcusdt_20240808.gz",
    ],
)
def test_clean_files_raise_nothing(path: str) -> None:
    report = check_paths([SHARED / path])
    assert report.exit_code == 0
    for file in report.files:
        assert file.rows == file.accepted > 0
        assert not file.results


def priced(records: Records, *names: str) -> Records:
    """Only these columns beside the instants."""
    columns = {name: records[name] for name in ("time", "opened", *names)}
    return Records(records.kind, records.venue, records.symbol, columns, records.row)


@pytest.mark.parametrize("scale", [np.linspace, np.geomspace])
@pytest.mark.parametrize(("names", "made_up"), [(("open", "high", "low", "close"), 1), (("close",), 3)])
def test_a_made_up_stretch_is_found_without_volume(scale: Any, names: tuple[str, ...], made_up: int) -> None:
    records = bars(400)
    for name in names:
        records[name][100 : 102 + made_up] = scale(records[name][100], records[name][101 + made_up], made_up + 2)
    if len(names) == 1:
        for name in ("open", "high", "low"):
            records[name][:] = records["close"]
    assert quarantined(priced(records, "open", "high", "low", "close")) == {"interpolated": made_up}


def test_what_chance_makes_straight_is_not_made_up() -> None:
    assert least([0.001] * 4, 50_000) == 1
    assert least([0.2] * 4, 50_000) == 2  # prices of few ticks
    assert least([0.2], 50_000) == 4
    assert least([0.001], 50_000) == 3


def test_low_funding_in_percent_is_known_by_the_base_rate() -> None:
    rate = np.random.default_rng(5).normal(0.0, 0.002, 200).round(6)
    calm = funding(200, rate=dict(enumerate(rate.tolist())))
    assert quarantined(calm) == {}
    calm["rate"][::20] = 0.01
    assert quarantined(calm) == {"percent": 200}
    shares = funding(200)
    shares["rate"][::2], shares["rate"][1::40] = 0.0001, 0.01
    assert quarantined(shares) == {}


def coarse(rows: int = 4000) -> Records:
    """Hours of a coin at some twenty ticks, mostly at rest."""
    rng = np.random.default_rng(13)
    close = 20 + rng.integers(-1, 2, rows).cumsum() % 8
    records = bars(rows)
    records["close"][:], records["open"][:] = close, np.append(20, close[:-1])
    records["high"][:] = np.maximum(records["open"], close) + rng.integers(0, 2, rows)
    records["low"][:] = np.minimum(records["open"], close) - rng.integers(0, 2, rows)
    return records


def test_bars_of_few_ticks_repeat_and_go_straight_by_chance() -> None:
    assert quarantined(priced(coarse(), "open", "high", "low", "close")) == {}
    closes = levels(4000)
    closes["value"][:] = coarse()["close"]
    assert quarantined(closes) == {}


def test_a_stretch_copied_among_bars_of_few_ticks_is_found_where_it_is_long() -> None:
    records = coarse()
    for name in ("open", "high", "low", "close", "volume"):
        records[name][1000:1060] = records[name][100:160]
    told = Records(
        records.kind,
        records.venue,
        records.symbol,
        {name: records[name] for name in ("time", "opened", "open", "high", "low", "close", "volume")},
        records.row,
    )
    (found,) = quarantined(told).items()
    assert found[0] == "copied bars"
    assert 50 <= found[1] <= 60  # a bar that came before the original as well ends a run


def test_rates_that_are_high_are_noted() -> None:
    calm = funding(200, rate=dict(enumerate(np.random.default_rng(5).normal(0.0, 0.002, 200).round(6).tolist())))
    assert struck(calm) == {"high rates": (200, "accept")}
