"""Which files of Binance's public archive does a request need?

Paths as the archive has them (data.binance.vision, described at github.com/binance/binance-public-data): whole months
where they are over, days otherwise, and days alone for what is published by the day.
"""

import calendar
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from data.errors import ParameterError

BASE = "https://data.binance.vision/"
MARKETS = {"spot": "spot", "um": "futures/um", "cm": "futures/cm", "option": "option"}
DAILY_INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
INTERVALS = (*DAILY_INTERVALS, "3d", "1w", "1mo")
FIRST_YEAR = 2017  # of the archive
_DAY = timedelta(days=1)
_SYMBOL = re.compile(r"\w[\w-]{0,63}")


@dataclass(frozen=True)
class Published:
    """One kind of files: which markets have it, by the month or the day, and whether each interval has its own."""

    markets: tuple[str, ...]
    monthly: bool = True
    daily: bool = True
    by_interval: bool = False


_FUTURES = ("um", "cm")
PUBLISHED = {
    "klines": Published(("spot", *_FUTURES), by_interval=True),
    "indexPriceKlines": Published(_FUTURES, by_interval=True),
    "markPriceKlines": Published(_FUTURES, by_interval=True),
    "premiumIndexKlines": Published(_FUTURES, by_interval=True),
    "aggTrades": Published(("spot", *_FUTURES)),
    "trades": Published(("spot", *_FUTURES)),
    "fundingRate": Published(_FUTURES, daily=False),
    "bookDepth": Published(_FUTURES, monthly=False),
    "bookTicker": Published(_FUTURES, monthly=False),
    "metrics": Published(_FUTURES, monthly=False),
    "liquidationSnapshot": Published(("cm",), monthly=False),
    "BVOLIndex": Published(("option",), monthly=False),
    "EOHSummary": Published(("option",), monthly=False),
}


@dataclass(frozen=True)
class Wanted:
    """One file of the archive.

    Parameters
    ----------
    group : symbol and kind, as they were asked for.
    period : "2024-01" or "2024-01-05".
    path : below the archive's address, and below the folder that is fetched to.
    instead : the days that a month has where its own file is not published yet.
    """

    group: str
    period: str
    path: str
    instead: tuple["Wanted", ...] = ()


def first_day(text: str) -> date:
    """The first day of "2024", "2024-02" or "2024-02-09"; ParameterError otherwise.

    >>> first_day("2024-02"), last_day("2024-02")
    (datetime.date(2024, 2, 1), datetime.date(2024, 2, 29))
    """
    match = re.fullmatch(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?", text.strip(), re.ASCII)
    try:
        return date(*(int(part or 1) for part in match.groups())) if match else _no_date(text)
    except ValueError:
        return _no_date(text)


def last_day(text: str) -> date:
    """The last day of "2024", "2024-02" or "2024-02-09"; ParameterError otherwise."""
    first, parts = first_day(text), text.count("-")
    month = 12 if parts == 0 else first.month
    return first if parts == 2 else date(first.year, month, calendar.monthrange(first.year, month)[1])


def _no_date(text: str) -> date:
    raise ParameterError(f"a date must be given as 2024-01 or 2024-01-31, got {text!r}")


def span(since: str, until: str | None, today: date) -> tuple[date, date]:
    """First and last day of what is asked for; up to yesterday, which is the last that is over.

    Raises
    ------
    ParameterError
        If one is no date, or nothing lies between them.
    """
    first, last = first_day(since), min(last_day(until) if until else today, today - _DAY)
    if first > last:
        raise ParameterError(f"the first day must be before the last, and over, got {since} to {until or today}")
    return first, last


def plan(
    symbols: Sequence[str], market: str, kinds: Sequence[str], since: str, until: str | None, today: date
) -> list[Wanted]:
    """The files of some symbols and kinds between two dates, both included, symbol by symbol.

    Parameters
    ----------
    symbols : "BTCUSDT", "BTCUSD_PERP", "BTCBVOLUSDT"; capitals or not.
    market : a key of MARKETS.
    kinds : of PUBLISHED, those of bars with their interval: "klines-1h".
    since, until : "2024-01" or "2024-01-31"; up to yesterday where `until` is None.
    today : in UTC.

    Raises
    ------
    ParameterError
        If one of them is not as described, or the market has no such kind.

    >>> [wanted.path for wanted in plan(["btcusdt"], "um", ["klines-1h"], "2024-01", "2024-01", date(2024, 3, 1))]
    ['data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip']
    """
    if market not in MARKETS:
        raise ParameterError(f"the market must be one of {[*MARKETS]}, got {market!r}")
    first, last = span(since, until, today)
    if first.year < FIRST_YEAR:
        raise ParameterError(f"the archive begins in {FIRST_YEAR}, got {since}")
    asked = [(_symbol(symbol), _kind(kind, market)) for symbol in symbols for kind in kinds]
    if not asked:
        raise ParameterError("a symbol and a kind at least must be asked for, got none")
    found = (
        wanted
        for symbol, (kind, interval) in asked
        for wanted in _files(symbol, market, kind, interval, first, last, today)
    )
    return list(dict.fromkeys(found))


def _symbol(text: str) -> str:
    if not _SYMBOL.fullmatch(text.strip()):
        raise ParameterError(f"a symbol must be letters, digits, _ and -, such as BTCUSDT, got {text!r}")
    return text.strip().upper()


def _kind(text: str, market: str) -> tuple[str, str]:
    """A kind and its interval, "" for those without."""
    name, _, interval = text.strip().partition("-")
    here = [kind for kind, published in PUBLISHED.items() if market in published.markets]
    if name not in here:
        raise ParameterError(f"the {market} market has {', '.join(here)}, got {text!r}")
    if PUBLISHED[name].by_interval and interval not in INTERVALS:
        raise ParameterError(f"{name} must name an interval of {', '.join(INTERVALS)}, such as {name}-1h, got {text!r}")
    if interval and not PUBLISHED[name].by_interval:
        raise ParameterError(f"{name} has no interval, got {text!r}")
    return name, interval


def _files(
    symbol: str, market: str, kind: str, interval: str, first: date, last: date, today: date
) -> Iterator[Wanted]:
    def one(period: str, every: str) -> Wanted:
        folder = f"data/{MARKETS[market]}/{every}/{kind}/{symbol}"
        name = f"{symbol}-{interval or kind}-{period}.zip"
        group = f"{symbol} {kind}-{interval}" if interval else f"{symbol} {kind}"
        return Wanted(group, period, f"{folder}/{interval}/{name}" if interval else f"{folder}/{name}")

    published = PUBLISHED[kind]
    daily = published.daily and (not interval or interval in DAILY_INTERVALS)
    for begin, end in _months(first, last):
        days = tuple(one(day.isoformat(), "daily") for day in _days(max(begin, first), min(end, last))) if daily else ()
        whole = begin >= first and end <= last
        if published.monthly and (whole or not daily):
            newest = today - end <= timedelta(days=31)
            yield replace(one(f"{begin:%Y-%m}", "monthly"), instead=days if newest else ())
        else:
            yield from days


def _months(first: date, last: date) -> Iterator[tuple[date, date]]:
    """First and last day of each month that has days between two."""
    begin = first.replace(day=1)
    while begin <= last:
        end = begin.replace(day=calendar.monthrange(begin.year, begin.month)[1])
        yield begin, end
        begin = end + _DAY


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + number * _DAY
