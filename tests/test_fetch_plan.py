"""Are the files that a request needs those that the archive has?"""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ParameterError
from data.fetch.plan import PUBLISHED, plan, span
from data.fetch.waiting import Patience, Waiter, retry_after

TODAY = date(2024, 3, 10)


def _paths(symbols: str, market: str, kinds: str, since: str, until: str | None = None) -> list[str]:
    return [one.path for one in plan(symbols.split(","), market, kinds.split(","), since, until, TODAY)]


@pytest.mark.parametrize(
    ("market", "symbol", "kind", "path"),
    [
        ("spot", "BTCUSDT", "aggTrades", "data/spot/monthly/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2023-05.zip"),
        ("spot", "BTCUSDT", "klines-1s", "data/spot/monthly/klines/BTCUSDT/1s/BTCUSDT-1s-2023-05.zip"),
        ("um", "BTCUSDT", "fundingRate", "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2023-05.zip"),
        (
            *("cm", "BTCUSD_PERP", "markPriceKlines-1mo"),
            "data/futures/cm/monthly/markPriceKlines/BTCUSD_PERP/1mo/BTCUSD_PERP-1mo-2023-05.zip",
        ),
    ],
)
def test_a_whole_month_is_one_file(market: str, symbol: str, kind: str, path: str) -> None:
    assert _paths(symbol, market, kind, "2023-05", "2023-05") == [path]


@pytest.mark.parametrize(
    ("market", "symbol", "kind", "path"),
    [
        ("um", "BTCUSDT", "metrics", "data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2023-07-31.zip"),
        ("um", "BTCUSDT", "bookDepth", "data/futures/um/daily/bookDepth/BTCUSDT/BTCUSDT-bookDepth-2023-07-31.zip"),
        ("um", "BTCUSDT", "bookTicker", "data/futures/um/daily/bookTicker/BTCUSDT/BTCUSDT-bookTicker-2023-07-31.zip"),
        (
            *("option", "BTCBVOLUSDT", "BVOLIndex"),
            "data/option/daily/BVOLIndex/BTCBVOLUSDT/BTCBVOLUSDT-BVOLIndex-2023-07-31.zip",
        ),
        ("option", "BTCUSDT", "EOHSummary", "data/option/daily/EOHSummary/BTCUSDT/BTCUSDT-EOHSummary-2023-07-31.zip"),
    ],
)
def test_what_is_published_by_the_day_is_a_file_a_day(market: str, symbol: str, kind: str, path: str) -> None:
    found = _paths(symbol, market, kind, "2023-07", "2023-07")
    assert (len(found), found[-1]) == (31, path)


def test_days_are_asked_for_where_a_month_is_not_over_or_not_whole() -> None:
    found = [path.rsplit("-1h-", 1)[1] for path in _paths("BTCUSDT", "um", "klines-1h", "2023-12-30")]
    days = [f"2024-03-{day:02d}.zip" for day in range(1, 10)]
    assert found == ["2023-12-30.zip", "2023-12-31.zip", "2024-01.zip", "2024-02.zip", *days]
    assert [path[-11:] for path in _paths("BTCUSDT", "um", "fundingRate", "2024-01-20")] == [
        *("2024-01.zip", "2024-02.zip", "2024-03.zip")
    ]
    assert [path[-11:] for path in _paths("BTCUSDT", "spot", "klines-1w", "2024-02-20")] == [
        "2024-02.zip",
        "2024-03.zip",
    ]


def test_the_newest_month_may_come_as_its_days() -> None:
    january, february = plan(["BTCUSDT"], "um", ["aggTrades"], "2024-01", "2024-02", TODAY)
    assert january.instead == ()
    assert [day.period for day in february.instead] == [f"2024-02-{day:02d}" for day in range(1, 30)]


def test_each_symbol_and_kind_is_asked_for_once() -> None:
    found = _paths("btcusdt,ETHUSDT,BTCUSDT", "um", "klines-1h,fundingRate", "2023", "2023")
    assert len(found) == len(set(found)) == 2 * 2 * 12


@pytest.mark.parametrize(
    ("market", "symbols", "kinds", "since", "said"),
    [
        ("coin", "BTCUSDT", "trades", "2024-01", "the market must be one of"),
        ("um", "BTC/USDT", "trades", "2024-01", "a symbol must be letters"),
        ("um", "../../x", "trades", "2024-01", "a symbol must be letters"),
        ("um", "BTCUSDT", "klines", "2024-01", "must name an interval"),
        ("um", "BTCUSDT", "klines-7h", "2024-01", "must name an interval"),
        ("um", "BTCUSDT", "trades-1h", "2024-01", "trades has no interval"),
        (
            "spot",
            "BTCUSDT",
            "fundingRate",
            "2024-01",
            "the spot market has klines, aggTrades, trades, got 'fundingRate'",
        ),
        ("um", "BTCUSDT", "trades", "2024-13", "a date must be given as"),
        ("um", "BTCUSDT", "trades", "2023-02-29", "a date must be given as"),
        ("um", "BTCUSDT", "trades", "last year", "a date must be given as"),
        ("um", "BTCUSDT", "trades", "2024-03-10", "the first day must be before the last"),
        ("um", "BTCUSDT", "trades", "2009-01", "the archive begins in 2017"),
        ("um", "", "trades", "2024-01", "a symbol must be letters"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(market: str, symbols: str, kinds: str, since: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        _paths(symbols, market, kinds, since)


def test_nothing_asked_for_is_refused() -> None:
    with pytest.raises(ParameterError, match="a symbol and a kind at least"):
        plan([], "um", ["trades"], "2024-01", None, TODAY)


@given(first=st.dates(date(2019, 9, 1), date(2024, 3, 8)), length=st.integers(0, 120))
def test_files_cover_every_day_once_and_no_other(first: date, length: int) -> None:
    last = min(date.fromordinal(first.toordinal() + length), date(2024, 3, 9))
    for kind in ("trades", "metrics"):
        files = plan(["BTCUSDT"], "um", [kind], first.isoformat(), last.isoformat(), TODAY)
        covered: list[date] = []
        for one in files:
            begin, end = span(one.period, one.period, date(2030, 1, 1))
            covered += [date.fromordinal(number) for number in range(begin.toordinal(), end.toordinal() + 1)]
        assert covered == [date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1)]
        assert PUBLISHED[kind].monthly or all(len(one.period) == 10 for one in files)


def test_patience_is_positive_and_dates_that_are_none_are_ignored() -> None:
    with pytest.raises(ParameterError, match="patience must be"):
        Patience(attempts=0)
    now = Waiter().timing.now()
    assert retry_after("Fri, 99 Foo", now) is None
    assert retry_after("Mon, 01 Jan 2001 00:00:00 GMT", now) == 0.0
