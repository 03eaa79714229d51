"""What do the answers and messages of Deribit's public interface say, and the chains that are kept as CSV?

JSON-RPC, a document in a file or one a line. Volatilities are in percent there and shares here; premiums are in coin.
Sizes of inverse futures are dollars, as the venue's `amount` is; those of options and linear contracts are coins.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from data.errors import SourceError
from data.records import BARS, BOOK, FUNDING, INDEX, METRICS, OPTIONS, QUOTES, TRADES, UNKNOWN, Kind, Records, Values
from data.sources.csv_batches import batches
from data.sources.deribit_answers import OPTION, contents, head_topic, rows_of
from data.sources.epochs import instants, text_instants
from data.sources.json_rows import columns_of, field, moments, numbers, pieces, sides, texts, whole
from data.sources.layout import Head, Layout, RawFile
from data.sources.owners import UNNAMED, Owners, symbol_told
from data.sources.steps import step_of

_SNAPSHOT = (
    *("timestamp", "instrument_name", "underlying", "option_type", "strike", "expiry_datetime", "bid_price"),
    *("ask_price", "mark_price", "implied_volatility", "open_interest", "volume", "currency", "index_price"),
)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_RIGHTS = {"call": 1, "c": 1, "put": -1, "p": -1}
_RESOLUTIONS = {
    **{
        str(minutes): np.timedelta64(minutes * 60 * 10**9, "ns")
        for minutes in (1, 3, 5, 10, 15, 30, 60, 120, 180, 360, 720)
    },
    "1D": np.timedelta64(86400 * 10**9, "ns"),
}
Made = tuple[Mapping[str, Values], Values]  # columns but `received`, and the row of the answer that each is of


def _read(wanted: str, kind: Kind, columns: Callable[[list[Any], RawFile], Made], raw: RawFile) -> Iterator[Records]:
    owners = Owners("deribit", _symbol(raw.head))
    for piece in pieces(contents(raw, wanted)):
        found = [row for _, _, row in piece]
        made, place = columns(found, raw)
        out, row = dict(made), np.array([number for number, _, _ in piece], np.int64)[place]
        stamps = np.array([stamp for _, stamp, _ in piece], np.int64)
        if (stamps != UNKNOWN).any():
            out["received"] = instants(stamps)[place]
        if kind is BOOK:
            out["message"] = row - 1
        symbols = ["options"] * len(found) if kind is OPTIONS else field(found, "instrument_name", "index_name")
        yield from owners.records(kind, out, row, texts(symbols)[place])


def _symbol(head: Head) -> str:
    """Of answers that do not say: the instrument in the file's name."""
    match = re.search(r"[A-Z]{2,}(_[A-Z]+)?-(PERPETUAL|\d{1,2}[A-Z]{3}\d{2})(-\d+-[CP])?", head.file)
    return match[0] if match else symbol_told(head) or UNNAMED


def _each(found: Sequence[Any]) -> Values:
    return np.arange(len(found))


def _trades(found: list[Any], _: RawFile) -> Made:
    """Combinations are traded at a difference of prices, under a name of their own."""
    price, size = numbers(field(found, "price")), numbers(field(found, "amount"))
    made = {"time": moments(field(found, "timestamp")), "price": price, "size": size}
    made = {**made, "side": sides(field(found, "direction")), "id": whole(field(found, "trade_seq"))}
    return made, _each(found)


def _book(found: list[Any], _: RawFile) -> Made:
    """Levels are [price, size], or [what happened, price, size]; a book of none is a row of nothing."""
    place, side, levels = [], [], []
    for at, book in enumerate(found):
        rungs = [(sign, level) for sign, name in ((1, "bids"), (-1, "asks")) for level in _rungs(book, name)]
        for sign, level in rungs or [(0, None)]:
            place.append(at)
            side.append(sign)
            levels.append(level[-2:] if isinstance(level, list) else None)
    price, size = columns_of(levels, 2)
    where = np.array(place, np.intp)
    made = {
        "time": moments(field(found, "timestamp"))[where],
        "side": np.array(side, np.int8),
        "price": numbers(price),
        "size": numbers(size),
        "snapshot": np.array([_mapping(book).get("type", "snapshot") == "snapshot" for book in found], bool)[where],
        "last_update": whole(field(found, "change_id"))[where],
        "previous_update": whole(field(found, "prev_change_id"))[where],
    }
    return made, where


def _rungs(book: Any, name: str) -> list[Any]:
    rungs = _mapping(book).get(name)
    return rungs if isinstance(rungs, list) else []


def _metrics(found: list[Any], raw: RawFile) -> Made:
    """`current_funding` is of the eight hours that run; `funding_8h` of those that ended."""
    said = {"mark": "mark_price", "index": "index_price", "open_interest": "open_interest"}
    made = {ours: numbers(field(found, theirs)) for ours, theirs in said.items()}
    made = {**made, "last": numbers(field(found, "last_price", "last"))}
    made = {**made, "funding_rate": numbers(field(found, "current_funding"))}
    _of_one_kind(field(found, "instrument_name"), False, raw.head)
    return {"time": moments(field(found, "timestamp", "creation_timestamp")), **made}, _each(found)


def _of_one_kind(symbols: Sequence[Any], options: bool, head: Head) -> None:
    """SourceError where options and other contracts are in one answer."""
    strange = [name for name in symbols if isinstance(name, str) and bool(OPTION.fullmatch(name)) != options]
    if strange:
        what = "options" if options else "no options"
        raise SourceError(f"{head.file}: expected {what} (ask for one kind at a time), got also {strange[0]!r}")


def _options(found: list[Any], raw: RawFile) -> Made:
    """Strike, expiry and right by the name of each option; volatilities from percent to shares."""
    symbols = field(found, "instrument_name")
    _of_one_kind(symbols, True, raw.head)
    terms = [_terms(symbol) for symbol in symbols]
    best = {"bid": ("best_bid_price", "bid_price"), "ask": ("best_ask_price", "ask_price"), "mark": ("mark_price",)}
    said = {
        **best,
        "last": ("last_price", "last"),
        "forward": ("underlying_price",),
        "open_interest": ("open_interest",),
    }
    said = {**said, "spot": ("index_price", "estimated_delivery_price")}
    made = {
        "time": moments(field(found, "timestamp", "creation_timestamp")),
        "symbol": texts(symbols),
        "underlying": np.array([term[0] for term in terms], dtype=object),
        "strike": np.array([term[1] for term in terms]),
        "expiry": text_instants(np.array([term[2] for term in terms], dtype=object)),
        "call": np.array([term[3] for term in terms], bool),
        **{ours: numbers(field(found, *theirs)) for ours, theirs in said.items()},
        **{name: numbers(field(found, name)) / 100 for name in ("bid_iv", "ask_iv", "mark_iv")},
        "volume": numbers(
            [row.get("volume", _mapping(row.get("stats")).get("volume")) for row in map(_mapping, found)]
        ),
    }
    return made, _each(found)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _terms(symbol: Any) -> tuple[str | None, float, str | None, bool]:
    """Underlying, strike, expiry (08:00 UTC) and whether a call, of BTC-27DEC24-100000-C."""
    if not isinstance(symbol, str) or not OPTION.fullmatch(symbol):
        return None, np.nan, None, False
    underlying, day, strike, right = symbol.split("-")
    month = _MONTHS.index(day[-5:-2]) + 1 if day[-5:-2] in _MONTHS else 0
    expiry = f"20{day[-2:]}-{month:02d}-{int(day[:-5]):02d} 08:00:00"
    return underlying, float(strike.replace("d", ".")), expiry, right == "C"


def _quotes(found: list[Any], _: RawFile) -> Made:
    said = {
        "bid": "best_bid_price",
        "ask": "best_ask_price",
        "bid_size": "best_bid_amount",
        "ask_size": "best_ask_amount",
    }
    made = {ours: numbers(field(found, theirs)) for ours, theirs in said.items()}
    return {"time": moments(field(found, "timestamp")), **made}, _each(found)


def _volatility(found: list[Any], _: RawFile) -> Made:
    return {"time": moments(field(found, "timestamp")), "value": numbers(field(found, "volatility"))}, _each(found)


def _volatility_bars(found: list[Any], raw: RawFile) -> Made:
    """[[ms, open, high, low, close], ...], each known at its end; the resolution is what lies between two."""
    stamp, opened, high, low, close = columns_of(found, 5)
    step = step_of(moments(columns_of(rows_of(raw.head.sample), 5)[0]), raw.head.file)
    made = {"open": numbers(opened), "high": numbers(high), "low": numbers(low), "value": numbers(close)}
    return {"time": step.ends(moments(stamp)), **made}, _each(found)


def _bars(found: list[Any], raw: RawFile) -> Made:
    """Bars of a chart or its channel, stamped when they begin; those of a channel may not be over yet."""
    opened = moments(field(found, "tick"))
    width = _RESOLUTIONS.get(str(_mapping(found[0]).get("resolution")))
    end = step_of(opened, raw.head.file).ends(opened) if width is None else opened + width
    made = {name: numbers(field(found, name)) for name in ("open", "high", "low", "close", "volume")}
    made = {**made, "quote_volume": numbers(field(found, "cost"))}
    return {"time": end, "opened": opened, **made}, _each(found)


def _funding(found: list[Any], _: RawFile) -> Made:
    """What was paid over the hour that ended; `interest_8h` says the same of eight hours, hour by hour."""
    made = {"time": moments(field(found, "timestamp")), "rate": numbers(field(found, "interest_1h"))}
    return {**made, "interval": np.where(np.isnan(made["rate"]), np.nan, 1.0)}, _each(found)


def _snapshots(raw: RawFile) -> Iterator[Records]:
    """Chains kept as CSV, a line an option; volatilities are shares there."""
    said = {
        **{"bid": "bid_price", "ask": "ask_price", "mark": "mark_price", "mark_iv": "implied_volatility"},
        **{"forward": "underlying", "spot": "index_price", "open_interest": "open_interest", "volume": "volume"},
    }
    text, words = ("timestamp", "instrument_name", "expiry_datetime", "currency"), {"option_type": _RIGHTS}
    for batch in batches(raw, text=text, words=words, only=("strike", *said.values())):
        right = batch["option_type"]
        made = {
            "time": text_instants(batch["timestamp"]),
            "symbol": batch["instrument_name"],
            "underlying": batch["currency"],
            "strike": np.where(np.abs(right) == 1, batch["strike"], np.nan),  # neither call nor put is no option
            "expiry": text_instants(batch["expiry_datetime"]),
            "call": right == 1,
            **{ours: batch[theirs] for ours, theirs in said.items()},
        }
        yield Records(OPTIONS, "deribit", "options", made, batch.row)


def _is_snapshot(head: Head) -> bool:
    return head.form == "csv" and set(_SNAPSHOT) <= set(head.columns)


def _is(wanted: str, head: Head) -> bool:
    """By the topic; one layout alone says what is refused."""
    found = head_topic(head)
    if found.startswith("not market data") and wanted == "trades":
        raise SourceError(f"{head.file}: {found} (Deribit)")
    return found == wanted


def _layout(wanted: str, kind: Kind, columns: Callable[[list[Any], RawFile], Made], verified: bool = True) -> Layout:
    claims, read = partial(_is, wanted), partial(_read, wanted, kind, columns)
    return Layout(f"deribit {wanted}", kind, claims, read, verified=verified, documented="https://docs.deribit.com")


LAYOUTS = (
    _layout("trades", TRADES, _trades),
    _layout("book", BOOK, _book),
    _layout("whole book", BOOK, _book),
    _layout("grouped book", BOOK, _book),
    _layout("ticker", METRICS, _metrics),
    _layout("summary", METRICS, _metrics, False),
    _layout("option ticker", OPTIONS, _options, False),
    _layout("option summary", OPTIONS, _options, False),
    _layout("quote", QUOTES, _quotes),
    _layout("volatility", INDEX, _volatility),
    _layout("volatility bars", INDEX, _volatility_bars, False),
    _layout("bar", BARS, _bars),
    _layout("bars", BARS, _bars),
    _layout("funding", FUNDING, _funding, False),
    Layout(
        *("deribit chains in CSV", OPTIONS, _is_snapshot, _snapshots),
        verified=True,
        documented="https://github.com/znmahbub/SVCJ-Deribit-Inverse-Options-Pricer",
    ),
)
