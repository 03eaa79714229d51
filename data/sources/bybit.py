"""What do the files of Bybit's public archive (public.bybit.com, quote-saver.bycsi.com) say?

Trades of contracts count seconds with a fraction, trades of spot milliseconds; old files may have the newest first.
Sizes of coin-margined contracts are contracts of one dollar. Books are 500 levels deep: a snapshot, then changes whose
numbers rise by one.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from data.records import BOOK, TRADES, UNKNOWN, Records, Values
from data.sources.csv_batches import batches
from data.sources.epochs import instants
from data.sources.json_rows import columns_of, documents, field, moments, numbers, pieces, texts, whole
from data.sources.layout import Head, Layout, RawFile
from data.sources.owners import Owners, symbol_in

_SIDES = {"buy": 1, "sell": -1}
_CONTRACT = ("timestamp", "symbol", "side", "size", "price", "tickDirection", "trdMatchID")
_SPOT = ("id", "timestamp", "price", "volume", "side")
_EXTRA = {"rpi", "RPI"}
_PAGE = "https://public.bybit.com"
_SYMBOL = re.compile(r"([A-Z0-9]{3,}?(?:USD[TC]?|EUR|BTC|PERP|-\d{2}[A-Z]{3}\d{2}))(?=[-_.0-9]|$)")


def _is_contract(head: Head) -> bool:
    """By its columns, and a first stamp that counts seconds: BitMEX's files have the same columns."""
    if head.form != "csv" or not set(_CONTRACT) <= set(head.columns):
        return False
    at = head.columns.index("timestamp")
    return len(head.cells) > at and head.cells[at].replace(".", "", 1).isdecimal()


def _is_spot(head: Head) -> bool:
    return head.form == "csv" and set(_SPOT) <= set(head.columns) <= {*_SPOT, *_EXTRA}


def _contracts(raw: RawFile) -> Iterator[Records]:
    owners = Owners("bybit", _symbol(raw.head))
    for batch in batches(raw, text=("symbol",), words={"side": _SIDES}, only=("timestamp", "price", "size")):
        made = {"time": instants(batch["timestamp"]), **{name: batch[name] for name in ("price", "size", "side")}}
        yield from owners.records(TRADES, made, batch.row, batch["symbol"])


def _spot(raw: RawFile) -> Iterator[Records]:
    symbol = _symbol(raw.head)
    for batch in batches(raw, whole=("id", "timestamp"), words={"side": _SIDES}, only=("price", "volume")):
        made = {"time": instants(batch["timestamp"]), "price": batch["price"], "size": batch["volume"]}
        yield Records(TRADES, "bybit-spot", symbol, {**made, "side": batch["side"], "id": batch["id"]}, batch.row)


def _symbol(head: Head) -> str:
    """BTCUSDT of BTCUSDT2024-01-01.csv.gz and of BTCUSDT_2024-01-01.csv.gz."""
    match = _SYMBOL.match(head.member or head.file)
    return match[1] if match else symbol_in(head)


def _is_book(head: Head) -> bool:
    found = head.sample if isinstance(head.sample, dict) else {}
    return str(found.get("topic", "")).startswith("orderbook.") and "data" in found and "ts" in found


def _book(raw: RawFile) -> Iterator[Records]:
    owners = Owners("bybit", _symbol(raw.head))
    for piece in pieces(documents(raw), 1 << 12):
        found, row = [message for _, _, message in piece], np.array([number for number, _, _ in piece], np.int64)
        told = field(found, "data")
        update = whole(field(told, "u"))
        side, levels, place = _levels(told)
        price, size = columns_of(levels, 2)
        made = {
            "time": moments(field(found, "cts", "ts"))[place],
            "side": side,
            "price": numbers(price),
            "size": numbers(size),
            "snapshot": np.array([word == "snapshot" for word in field(found, "type")], bool)[place],
            "first_update": update[place],
            "last_update": update[place],
            "previous_update": np.where(update > 0, update - 1, UNKNOWN)[place],
            "message": row[place] - 1,
        }
        symbols = texts(field(told, "s"))[place]
        yield from owners.records(BOOK, made, row[place], symbols)


def _levels(books: Sequence[Any]) -> tuple[Values, list[Any], Values]:
    """Sides, levels and the book that each is of; a book that says nothing is a level of nothing."""
    side, levels, place = [], [], []
    for at, book in enumerate(books):
        told = book if isinstance(book, dict) else {"b": [None]}
        for sign, name in ((1, "b"), (-1, "a")):
            rungs = told.get(name, [])
            for level in rungs if isinstance(rungs, list) else [None]:
                side.append(sign)
                levels.append(level)
                place.append(at)
    return np.array(side, np.int8), levels, np.array(place, np.intp)


LAYOUTS = (
    Layout("bybit trades", TRADES, _is_contract, _contracts, verified=False, documented=_PAGE),
    Layout("bybit spot trades", TRADES, _is_spot, _spot, verified=False, documented=_PAGE),
    Layout(
        *("bybit order book", BOOK, _is_book, _book),
        verified=False,
        documented="https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook",
    ),
)
