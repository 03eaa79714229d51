"""What do the normalised messages of Tardis.dev say, one in a file or a line each?

They are named as the CSV downloads are, in JSON and with ISO 8601 stamps. A file holds messages of one kind; one of
another kind among them is a row of nothing, for the checks to name.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from data.errors import SourceError
from data.records import BARS, BOOK, LIQUIDATIONS, METRICS, OPTIONS, TRADES, Kind, Records, Values
from data.sources.json_rows import documents, field, moments, numbers, pieces, sides, texts, whole
from data.sources.layout import Head, Layout, RawFile
from data.sources.owners import Owners, symbol_in, venue_in
from data.sources.tardis import IN_PERCENT, iv_unit, underlyings

Made = tuple[Mapping[str, Values], Values]  # columns, and the message that each of their rows is of

LOWEST_PERCENT = 3.0  # a mark volatility below is a share, not the percent that Deribit tells

_REFUSED = {"disconnect": "a disconnect of the recorder", "instrument": "the terms of an instrument"}


def _told(head: Head) -> str:
    """What a normalised message is, "" where it is none; SourceError for one that is no market data."""
    first = head.sample[0] if isinstance(head.sample, list) and head.sample else head.sample
    if head.form not in ("json", "jsonl") or not isinstance(first, dict) or "exchange" not in first:
        return ""
    told = str(first.get("type", ""))
    if "availableSince" in first or "datasetId" in first:
        told = "instrument"
    return told if told in _MESSAGES or told in _REFUSED else ""


def _is_message(told: str, head: Head) -> bool:
    return _told(head) == told


def _is_trade_message(head: Head) -> bool:
    """One layout alone says what is refused."""
    told = _told(head)
    if told in _REFUSED:
        raise SourceError(f"{head.file}: not market data: {_REFUSED[told]} (Tardis)")
    return told == "trade"


def _is_summary(head: Head) -> bool:
    """SourceError for volatilities that Deribit cannot have told."""
    if _told(head) != "option_summary":
        return False
    first = head.sample[0] if isinstance(head.sample, list) else head.sample
    level = numbers([first.get("markIV")])[0]
    if first["exchange"] in IN_PERCENT and 0 < level < LOWEST_PERCENT:
        raise SourceError(
            f"{head.file}: expected markIV of {first['exchange']} in percent, got {level}: was the file made by hand?"
        )
    return True


def _messages(told: str, raw: RawFile) -> Iterator[Records]:
    """Normalised messages of one kind; among them a disconnect is passed over, any other is a row of nothing."""
    kind, columns = _MESSAGES[told]
    owners = Owners(venue_in(raw.head), symbol_in(raw.head))
    for piece in pieces((row, found) for row, _, found in documents(raw) if not _is_disconnect(found)):
        found = [message if _of(message, told) else None for _, message in piece]
        row = np.array([number for number, _ in piece], np.int64)
        made, place = columns(found, row)
        stamps = {"time": moments(field(found, "timestamp")), "received": moments(field(found, "localTimestamp"))}
        made = {**{name: values[place] for name, values in stamps.items()}, **made}
        group = ["options"] * len(found) if kind is OPTIONS else field(found, "symbol")
        whose, where = texts(group)[place], texts(field(found, "exchange"))[place]
        yield from owners.records(kind, made, row[place], whose, where)


def _is_disconnect(found: Any) -> bool:
    return isinstance(found, dict) and found.get("type") == "disconnect"


def _of(message: Any, told: str) -> bool:
    return isinstance(message, dict) and message.get("type") == told


def _each(found: Sequence[Any]) -> Values:
    return np.arange(len(found))


def _trade_messages(found: Sequence[Any], _: Values) -> Made:
    made = {"price": numbers(field(found, "price")), "size": numbers(field(found, "amount"))}
    return {**made, "side": sides(field(found, "side")), "id": whole(field(found, "id"))}, _each(found)


def _liquidation_messages(found: Sequence[Any], row: Values) -> Made:
    made, place = _trade_messages(found, row)
    return {name: made[name] for name in ("price", "size", "side")}, place


def _book_messages(found: Sequence[Any], row: Values) -> Made:
    """A row a level; a message without any says nothing."""
    place, side, levels, snapshot = [], [], [], []
    for at, message in enumerate(found):
        book = message if isinstance(message, dict) else {"bids": [{}]}
        is_whole = book.get("isSnapshot") is True or book.get("type") == "book_snapshot"
        for sign, name in ((1, "bids"), (-1, "asks")):
            rungs = book.get(name)
            for level in rungs if isinstance(rungs, list) else [None]:
                place.append(at)
                side.append(sign)
                levels.append(level)
                snapshot.append(is_whole)
    made: dict[str, Values] = {
        "side": np.array(side, np.int8),
        "price": numbers(field(levels, "price")),
        "size": numbers(field(levels, "amount")),
        "snapshot": np.array(snapshot, bool),
        "message": row[place] - 1 if place else np.empty(0, np.int64),
    }
    return made, np.array(place, np.intp)


def _ticker_messages(found: Sequence[Any], _: Values) -> Made:
    said = {"mark": "markPrice", "index": "indexPrice", "last": "lastPrice"}
    said = {**said, "open_interest": "openInterest", "funding_rate": "fundingRate"}
    return {ours: numbers(field(found, theirs)) for ours, theirs in said.items()}, _each(found)


def _bar_messages(found: Sequence[Any], _: Values) -> Made:
    """Bars of an interval; `timestamp` is its end, and the interval says where it began."""
    end, width = moments(field(found, "timestamp")), numbers(field(found, "interval"))
    in_time = np.array(
        [isinstance(row, dict) and row.get("kind") == "time" and width[at] > 0 for at, row in enumerate(found)]
    )
    step = np.where(in_time, width, 0.0).astype(np.int64) * np.timedelta64(1_000_000, "ns")
    told = {name: numbers(field(found, name)) for name in ("open", "high", "low", "close", "volume")}
    taken = {"count": numbers(field(found, "trades")), "taker_buy_volume": numbers(field(found, "buyVolume"))}
    opened = np.where(in_time, end - step, moments(field(found, "openTimestamp")))
    return {"opened": opened, **told, **taken}, _each(found)


def _summary_messages(found: Sequence[Any], _: Values) -> Made:
    said = {"bid": "bestBidPrice", "ask": "bestAskPrice", "mark": "markPrice", "last": "lastPrice"}
    said = {**said, "forward": "underlyingPrice", "open_interest": "openInterest"}
    levels = {"bid_iv": "bestBidIV", "ask_iv": "bestAskIV", "mark_iv": "markIV"}
    symbols, right = field(found, "symbol"), field(found, "optionType")
    known, unit = np.isin(texts(right), ("call", "put")), iv_unit(field(found, "exchange"))
    made = {
        "symbol": texts(symbols),
        "underlying": underlyings(symbols),
        "strike": np.where(known, numbers(field(found, "strikePrice")), np.nan),
        "expiry": moments(field(found, "expirationDate")),
        "call": np.array([word == "call" for word in right], bool),
        **{ours: numbers(field(found, theirs)) for ours, theirs in said.items()},
        **{ours: numbers(field(found, theirs)) / unit for ours, theirs in levels.items()},
    }
    return made, _each(found)


_MESSAGES: Mapping[str, tuple[Kind, Callable[[Sequence[Any], Values], Made]]] = {
    "trade": (TRADES, _trade_messages),
    "liquidation": (LIQUIDATIONS, _liquidation_messages),
    "book_change": (BOOK, _book_messages),
    "book_snapshot": (BOOK, _book_messages),
    "derivative_ticker": (METRICS, _ticker_messages),
    "trade_bar": (BARS, _bar_messages),
    "option_summary": (OPTIONS, _summary_messages),
}
_PAGE = "https://docs.tardis.dev/api/tardis-machine#normalized-data-types"
_CLAIMS: Mapping[str, Callable[[Head], bool]] = {"trade": _is_trade_message, "option_summary": _is_summary}
LAYOUTS = tuple(
    Layout(
        f"tardis {told} messages",
        kind,
        _CLAIMS.get(told, partial(_is_message, told)),
        partial(_messages, told),
        verified=False,
        documented=_PAGE,
    )
    for told, (kind, _) in _MESSAGES.items()
)
