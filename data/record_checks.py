"""May this row be believed, as it stands in its file?

Every rule looks at one row, or at its neighbours; what only a whole series can tell is in data/series_checks.py. A row
that breaks a rule is set aside with the reason, never mended by a guess.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from data.arrays import Bools, Floats
from data.check_results import Check, Outcome, Rule
from data.column_checks import COLUMN_RULES
from data.option_names import is_option, misnamed
from data.quality import SPIKE
from data.records import (
    BARS,
    BOOK,
    DEPTH,
    FUNDING,
    INDEX,
    LIQUIDATIONS,
    METRICS,
    OPTIONS,
    QUOTES,
    TRADES,
    UNKNOWN,
    Kind,
    Records,
)

Instant = np.datetime64
_NEVER = Instant("NaT", "ns")
PERCENT = 5.0  # a median volatility of more, 500 % a year, was written in percent
LEAST = 0.02  # a median volatility below, 2 % a year, was a share that a reader took for percent
WICK = 1.5  # times
ROUNDING = 1e-9
AVERAGE_ROUNDING = 1e-3  # venues round volumes to a few digits, and Deribit's charts are off by 2e-4
WIDE = 2.0  # times the bid: an ask beyond is of another unit, or of an empty book
FORTUNE = 1e15  # of quote currency: no trade and no offer was worth as much, in rupiah neither
GREAT = 1e6  # times the median size of its batch
INTERVALS = (1 / 60, 24.0)  # hours between fundings, the least and the most
_SLACK = np.timedelta64(5, "m")  # a file of a day may end with the first instant of the next

_PRICES = {
    **{TRADES: ("price",), BOOK: ("price",), LIQUIDATIONS: ("price",), QUOTES: ("bid", "ask")},
    **{BARS: ("open", "high", "low", "close"), METRICS: ("mark", "index", "last")},
    **{OPTIONS: ("strike", "forward", "spot"), DEPTH: (), FUNDING: (), INDEX: ()},
}
_SIZES = {
    **dict.fromkeys((TRADES, BOOK, LIQUIDATIONS), ("size",)),
    **{QUOTES: ("bid_size", "ask_size"), DEPTH: ("size", "notional"), INDEX: (), FUNDING: ("interval",)},
    BARS: ("volume", "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume"),
    METRICS: ("open_interest", "open_interest_value", "taker_ratio", "long_short_ratio"),
    OPTIONS: ("bid", "ask", "mark", "last", "bid_iv", "ask_iv", "mark_iv", "open_interest", "volume"),
}


@dataclass(frozen=True)
class Scope:
    """What a row is judged by, beside itself.

    Parameters
    ----------
    now : the instant after which nothing can have happened.
    period : first instant and end of what the file's name says it holds, if it says so.
    newest : of the rows accepted before; NaT before the first.
    price : the last one accepted before; NaN before the first.
    """

    now: Instant
    period: tuple[Instant, Instant] | None = None
    newest: Instant = _NEVER
    price: float = np.nan


def _figures(records: Records) -> dict[str, Floats]:
    return {name: values for name, values in records.columns.items() if values.dtype.kind == "f"}


def _any(records: Records, columns: tuple[str, ...], wrong: Callable[[Floats], Bools]) -> Bools:
    struck = np.zeros(len(records), dtype=bool)
    for name in columns:
        if name in records.columns:
            struck |= wrong(records[name])
    return struck


def _torn(records: Records) -> Bools:
    torn = np.isnat(records["time"])
    for values in _figures(records).values():
        torn = torn & np.isnan(values)
    return np.asarray(torn)


def _misread(records: Records) -> Bools:
    """All rows, where most are torn: then the line that the file was recognised by is the odd one."""
    return np.full(len(records), bool(_torn(records).mean() > 0.5))


def _empty(records: Records) -> Bools:
    empty = np.ones(len(records), dtype=bool)
    for values in _figures(records).values():
        empty &= np.isnan(values)
    return empty & ~_carries(records)


def _carries(records: Records) -> Bools:
    """Messages of a book without any level, which carry its numbering on: a row of no side each."""
    if records.kind is not BOOK or "last_update" not in records.columns:
        return np.zeros(len(records), dtype=bool)
    nothing = np.isnan(records["price"]) & np.isnan(records["size"]) & (records["side"] == 0)
    return np.asarray(nothing & (records["last_update"] != UNKNOWN))


def _undated(records: Records) -> Bools:
    wrong = np.zeros(len(records), dtype=bool)
    for column in records.kind.columns:
        if column.required and column.dtype.startswith("datetime"):
            wrong |= np.isnat(records[column.name])
    return wrong


def _future(scope: Scope, records: Records) -> Bools:
    late = records["time"] > scope.now
    return np.asarray(late | (records["received"] > scope.now) if "received" in records.columns else late)


def _off_period(scope: Scope, records: Records) -> Bools:
    if scope.period is None:
        return np.zeros(len(records), dtype=bool)
    time = records["opened"] if records.kind is BARS else records["time"]
    return np.asarray((time < scope.period[0] - _SLACK) | (time > scope.period[1] + _SLACK))


def _unknown(records: Records) -> Bools:
    required = tuple(name for name in records.kind.required if records[name].dtype.kind == "f")
    if _closes_alone(records):
        required = ("close",)
    return _any(records, required, np.isnan) & ~_carries(records)


def _closes_alone(records: Records) -> bool:
    """Whether a table of bars has closes and nothing of how they came about."""
    return records.kind is BARS and all(bool(np.isnan(records[name]).all()) for name in ("open", "high", "low"))


def _unshaped(records: Records) -> Bools:
    return np.full(len(records), _closes_alone(records))


def _infinite(records: Records) -> Bools:
    return _any(records, tuple(_figures(records)), np.isinf)


def _priceless(records: Records) -> Bools:
    return _any(records, _PRICES[records.kind], lambda values: values <= 0)


def _negative(records: Records) -> Bools:
    return _any(records, _SIZES[records.kind], lambda values: values < 0)


def _sideless(records: Records) -> Bools:
    sides = (-1, 0, 1) if records.kind is TRADES else (-1, 1)
    return np.isin(records["side"], sides, invert=True) & ~_carries(records)


def _high(records: Records) -> Bools:
    return np.asarray(records["high"] * (1 + ROUNDING) < np.maximum(records["open"], records["close"]))


def _low(records: Records) -> Bools:
    return np.asarray(records["low"] * (1 - ROUNDING) > np.minimum(records["open"], records["close"]))


def _backwards(records: Records) -> Bools:
    return np.asarray(records["time"] <= records["opened"])


def _more_taken(records: Records) -> Bools:
    pairs = (("taker_buy_volume", "volume"), ("taker_buy_quote_volume", "quote_volume"))
    struck = np.zeros(len(records), dtype=bool)
    for part, whole in pairs:
        if {part, whole} <= set(records.columns):
            struck |= records[part] > records[whole] * (1 + ROUNDING)
    return struck


def _off_average(records: Records) -> Bools:
    """Bars whose average price is none of theirs; all, where most are: then the others are so by chance."""
    pairs = (("quote_volume", "volume"), ("taker_buy_quote_volume", "taker_buy_volume"))
    struck = np.zeros(len(records), dtype=bool)
    for money, size in pairs:
        if {money, size} <= set(records.columns):
            paid, taken = records[money], records[size]
            least, most = records["low"] * (1 - AVERAGE_ROUNDING), records["high"] * (1 + AVERAGE_ROUNDING)
            struck |= (paid < least * taken) | (paid > most * taken)
    return np.asarray(struck | (struck.mean() > 0.5))


def _crossed(records: Records) -> Bools:
    if not {"bid", "ask"} <= set(records.columns):
        return np.zeros(len(records), dtype=bool)
    return np.asarray((records["bid"] > records["ask"]) & (records["ask"] > 0))


def _wide(records: Records) -> Bools:
    """Asks far above the bid; of an option nobody may bid."""
    return np.asarray((records["ask"] > WIDE * records["bid"]) & (not is_option(records)))


def _fortune(records: Records) -> Bools:
    if records.kind is DEPTH:
        return np.asarray(records["notional"] >= FORTUNE)
    pairs = (("price", "size"), ("bid", "bid_size"), ("ask", "ask_size"))
    struck = np.zeros(len(records), dtype=bool)
    for price, size in pairs:
        if {price, size} <= set(records.columns):
            struck |= records[price] * records[size] >= FORTUNE
    return struck


def _great(records: Records) -> Bools:
    return np.asarray(records["size"] > GREAT * np.median(records["size"]))


def _off_interval(records: Records) -> Bools:
    hours = records.columns.get("interval", np.ones(len(records)))
    return np.asarray((hours < INTERVALS[0]) | (hours > INTERVALS[1]))


def _shrinking(records: Records) -> Bools:
    """Sides of an instant of which a wider band holds less than a narrower one."""
    side, width = np.sign(records["band"]), np.abs(records["band"])
    order = np.lexsort([width, side, records["time"]])
    time = records["time"][order].view(np.int64)
    group = np.cumsum((np.diff(time, prepend=time[:1]) != 0) | (np.diff(side[order], prepend=side[order][:1]) != 0))
    struck = np.zeros(len(records), dtype=bool)
    for name in ("size", "notional"):
        held = records[name][order]
        less = (held[1:] < held[:-1] * (1 - ROUNDING)) & (group[1:] == group[:-1])
        struck[order] |= np.isin(group, group[1:][less])
    return struck


def _expired(records: Records) -> Bools:
    return np.asarray(records["expiry"] <= records["time"])


def _volatilities(records: Records) -> Floats:
    """Those known and above 0; a venue that knows none writes 0."""
    told = [records[name] for name in ("mark_iv", "bid_iv", "ask_iv") if name in records.columns]
    return np.concatenate([values[values > 0] for values in told]) if told else np.empty(0)


def _in_percent(records: Records) -> Bools:
    known = _volatilities(records)
    return np.full(len(records), bool(known.size) and bool(np.median(known) > PERCENT))


def _small_volatility(records: Records) -> Bools:
    """All rows, where volatilities are a hundredth of what they may be: shares that were taken for percent."""
    known = _volatilities(records)
    return np.full(len(records), bool(known.size) and bool(np.median(known) < LEAST))


def _nameless(records: Records) -> Bools:
    return np.array([not name for name in records["symbol"]], dtype=bool)


def _alone(scope: Scope, records: Records) -> Bools:
    """A price far from those on both sides of it, which agree."""
    price = records["price"] if records.kind is TRADES else (records["bid"] + records["ask"]) / 2
    beside = np.concatenate([[scope.price], price, [np.nan]])
    with np.errstate(divide="ignore"):
        before, here, after = np.log(beside[:-2]), np.log(beside[1:-1]), np.log(beside[2:])
    limit = np.log(SPIKE)
    return np.asarray((np.abs(here - before) > limit) & (np.abs(after - before) < limit / 4))


def _blank(records: Records) -> Bools:
    """Figures that need not be there, missing where other rows have them."""
    struck = np.zeros(len(records), dtype=bool)
    for name, values in _figures(records).items():
        hole = np.isnan(values)
        if records.kind is not OPTIONS and name not in records.kind.required and not hole.all():
            struck |= hole
    for values in records.columns.values():
        if values.dtype == np.int64 and not (values == UNKNOWN).all():
            struck |= values == UNKNOWN
    return struck


def _unsided(records: Records) -> Bools:
    return np.asarray(records["side"] == 0)


def _sizeless(records: Records) -> Bools:
    return np.asarray(records["size"] == 0)


def _locked(records: Records) -> Bools:
    return np.asarray(records["bid"] == records["ask"])


def _wick(records: Records) -> Bools:
    body = np.maximum(records["open"], records["close"]), np.minimum(records["open"], records["close"])
    return np.asarray((records["high"] > WICK * body[0]) | (records["low"] * WICK < body[1]))


_ALL = tuple(_PRICES)


def _rule(
    name: str,
    rule: str,
    strikes: Callable[[Records], Bools],
    *kinds: Kind,
    outcome: Outcome = "quarantine",
) -> Rule:
    return Rule(Check(name, rule, outcome), kinds or _ALL, strikes)


def row_rules(scope: Scope) -> tuple[Rule, ...]:
    """The rules, those first that explain most; one is not asked of rows that an earlier one struck."""
    return (
        _rule("misread", "most lines have as many cells as the first, by which the file is known", _misread),
        _rule("torn line", "a line has as many cells as the others, and an end", _torn),
        _rule("no instant", "a row has an instant, and is of the file's own symbol", _undated),
        _rule("empty row", "a row says something", _empty),
        _rule("future", "nothing has happened later than now", partial(_future, scope)),
        _rule("off the period", "a row is of the month or day in the file's name", partial(_off_period, scope)),
        _rule("not a number", "what every row of its kind has is a number", _unknown),
        _rule("not finite", "a figure is finite", _infinite),
        _rule("price", "a price is above 0", _priceless),
        _rule("negative", "a size, a volume, a count or a premium is not below 0", _negative),
        _rule("unknown side", "a side is one of the venue's words for it", _sideless, TRADES, BOOK, LIQUIDATIONS),
        _rule("nameless", "an option has a name", _nameless, OPTIONS),
        _rule("high", "the high of a bar is not below its open and close", _high, BARS),
        _rule("low", "the low of a bar is not above its open and close", _low, BARS),
        _rule("backwards", "a bar ends after it began", _backwards, BARS),
        _rule("taker volume", "takers bought no more than was traded", _more_taken, BARS),
        _rule(
            "average price",
            "quote volume over volume lies between low and high (if nowhere: contracts, as in COIN-M files)",
            _off_average,
            BARS,
        ),
        _rule("crossed", "a bid is not above the ask", _crossed, QUOTES, OPTIONS),
        _rule("implausible spread", f"an ask is at most x{WIDE:g} the bid, but of options", _wide, QUOTES),
        _rule(
            "implausible size",
            f"a trade, an offer or a band is worth less than {FORTUNE:g} of quote currency",
            _fortune,
            *(TRADES, QUOTES, LIQUIDATIONS, DEPTH),
        ),
        _rule("interval", "funding is paid for a minute at least and a day at most", _off_interval, FUNDING),
        _rule("shrinking depth", "a wider band holds no less than a narrower one", _shrinking, DEPTH),
        _rule("expired", "an option is quoted before it expires", _expired, OPTIONS),
        _rule("another name", "the strike and right of an option are those in its name", misnamed, OPTIONS),
        _rule("small volatility", f"half of all volatilities are above {LEAST:g} a year", _small_volatility, OPTIONS),
        _rule("volatility in percent", f"half of all volatilities are below {PERCENT:g} a year", _in_percent, OPTIONS),
        _rule(
            "lone price",
            f"no price x{SPIKE:g} off those on both sides, which agree",
            partial(_alone, scope),
            TRADES,
            QUOTES,
        ),
        *COLUMN_RULES,
        _rule("blank figure", "a figure that other rows have is there", _blank, outcome="accept"),
        _rule("no level", "a message of a book has a level", _carries, BOOK, outcome="accept"),
        _rule("no side", "a trade says who took", _unsided, TRADES, outcome="accept"),
        _rule("no size", "a trade has a size", _sizeless, TRADES, LIQUIDATIONS, outcome="accept"),
        _rule("great size", f"a trade is below x{GREAT:g} the median of its batch", _great, TRADES, outcome="accept"),
        _rule("closes alone", "a bar has an open, a high and a low", _unshaped, BARS, outcome="accept"),
        _rule("locked", "an ask is above the bid", _locked, QUOTES, outcome="accept"),
        _rule("wick", f"a bar reaches no more than x{WICK:g} beyond open and close", _wick, BARS, outcome="accept"),
    )
