"""What do the downloads of Tardis.dev say, of any exchange that it records?

CSV counts microseconds since 1970; `received` is when the recorder had it. Sizes are as the exchange counts them, which
is in contracts (of one dollar, say) for most futures. Grouped files hold several symbols.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from data.arrays import Floats
from data.records import BOOK, LIQUIDATIONS, METRICS, OPTIONS, QUOTES, TRADES, Kind, Records, Values
from data.sources.csv_batches import STRANGE, Batch, batches
from data.sources.epochs import instants
from data.sources.layout import Head, Layout, RawFile
from data.sources.owners import Owners, symbol_in, venue_in

Columns = Callable[[Batch], Mapping[str, Values]]

_SIDES = {"buy": 1, "sell": -1}
IN_PERCENT = ("deribit",)
_COMMON = ("exchange", "symbol", "timestamp", "local_timestamp")
_TRADE = ("id", "side", "price", "amount")
_CHANGE = ("is_snapshot", "side", "price", "amount")
_QUOTE = ("ask_amount", "ask_price", "bid_price", "bid_amount")
_TICKER = ("funding_rate", "open_interest", "last_price", "index_price", "mark_price")
_CHAIN = (
    *("type", "strike_price", "expiration", "open_interest", "last_price", "bid_price", "bid_iv", "ask_price"),
    *("ask_iv", "mark_price", "mark_iv", "underlying_price"),
)
_LEVEL = re.compile(r"(asks|bids)\[(\d+)\]\.(price|amount)")


def _has(columns: Sequence[str], head: Head) -> bool:
    return head.form == "csv" and {*_COMMON, *columns} <= set(head.columns)


def _is_trades(head: Head) -> bool:
    return _has(_TRADE, head) and "liquidation" not in f"{head.member} {head.file}".lower()


def _is_liquidations(head: Head) -> bool:
    return _has(_TRADE, head) and not _is_trades(head)


def _is_quotes(head: Head) -> bool:
    return _has(_QUOTE, head) and "strike_price" not in head.columns


def _is_snapshots(head: Head) -> bool:
    """By its levels, each of which has a price and an amount."""
    levels = [match for name in head.columns if (match := _LEVEL.fullmatch(name))]
    whole = {f"{level[1]}[{level[2]}].{part}" for level in levels for part in ("price", "amount")}
    return _has(("asks[0].price", "bids[0].price", *whole), head)


def _rows(raw: RawFile, columns: Columns, kind: Kind, **special: Any) -> Iterator[Records]:
    """Records of each batch; `columns` need not say the instants."""
    owners = Owners(venue_in(raw.head), symbol_in(raw.head))
    text = ("exchange", "symbol", *special.pop("text", ()))
    counts = ("timestamp", "local_timestamp", *special.pop("whole", ()))
    for batch in batches(raw, text=text, whole=counts, **special):
        stamps = {"time": instants(batch["timestamp"]), "received": instants(batch["local_timestamp"])}
        made = {**stamps, **columns(batch)}
        yield from owners.records(kind, made, batch.row, batch["symbol"], batch["exchange"])


def _matches(kind: Kind, raw: RawFile) -> Iterator[Records]:
    """Trades and liquidations, which have the same columns; a number of the venue may hold letters."""

    def columns(batch: Batch) -> Mapping[str, Values]:
        made = {"price": batch["price"], "size": batch["amount"], "side": batch["side"]}
        return {**made, "id": batch["id"]} if kind is TRADES else made

    wanted, counts = ("price", "amount"), ("id",) if kind is TRADES else ()
    yield from _rows(raw, columns, kind, whole=counts, words={"side": _SIDES}, only=wanted)


class _Messages:
    """The number of the message that each row of a book belongs to, counted over batches."""

    def __init__(self) -> None:
        self._number, self._last = -1, (0, False, "")

    def of(self, received: Values, snapshot: Values, symbols: Sequence[Any] | Values) -> Values:
        """(R,) numbers from 0; a new one where what was received, or whether it is a whole book, changes."""
        out = np.empty(len(received), np.int64)
        for place, told in enumerate(zip(received.tolist(), snapshot.tolist(), symbols, strict=True)):
            self._number += told != self._last or self._number < 0
            self._last = told
            out[place] = self._number
        return out


def _changes(raw: RawFile) -> Iterator[Records]:
    numbered = _Messages()

    def columns(batch: Batch) -> Mapping[str, Values]:
        snapshot = batch["is_snapshot"]
        message = numbered.of(batch["local_timestamp"], snapshot, batch["symbol"])
        known = np.isin(snapshot, (0, 1))  # anything else must not pass for a change
        return {
            "side": np.where(known, batch["side"], STRANGE).astype(np.int8),
            "price": batch["price"],
            "size": batch["amount"],
            "snapshot": snapshot == 1,
            "message": message,
        }

    words = {"side": {"bid": 1, "ask": -1}, "is_snapshot": {"true": 1, "false": 0}}
    yield from _rows(raw, columns, BOOK, words=words, only=("price", "amount"))


def _snapshots(raw: RawFile) -> Iterator[Records]:
    """Every level of every line is a row: bids before asks, the best first."""
    found = [match for name in raw.head.columns if (match := _LEVEL.fullmatch(name))]
    levels = sorted(
        {(-1 if match[1] == "asks" else 1, int(match[2])) for match in found}, key=lambda at: (-at[0], at[1])
    )
    names = [f"{'bids' if side > 0 else 'asks'}[{level}]" for side, level in levels]
    wanted = [f"{name}.{part}" for name in names for part in ("price", "amount")]
    owners, side = Owners(venue_in(raw.head), symbol_in(raw.head)), np.array([side for side, _ in levels], np.int8)
    for batch in batches(raw, text=("exchange", "symbol"), whole=("timestamp", "local_timestamp"), only=wanted):
        price = np.stack([batch[f"{name}.price"] for name in names], axis=1)
        size = np.stack([batch[f"{name}.amount"] for name in names], axis=1)
        line, level = np.nonzero(_said(price, size))
        made = {
            "time": instants(batch["timestamp"])[line],
            "received": instants(batch["local_timestamp"])[line],
            "side": side[level],
            "price": price[line, level],
            "size": size[line, level],
            "snapshot": np.ones(len(line), bool),
            "message": batch.row[line] - 1,
        }
        yield from owners.records(BOOK, made, batch.row[line], batch["symbol"][line], batch["exchange"][line])


def _said(price: Floats, size: Floats) -> Values:
    """Which levels a book has; of a line that says none, the first, for the checks to name."""
    there = ~(np.isnan(price) & np.isnan(size))
    there[~there.any(axis=1), 0] = True
    return there


def _quotes(raw: RawFile) -> Iterator[Records]:
    def columns(batch: Batch) -> Mapping[str, Values]:
        price = {"bid": batch["bid_price"], "ask": batch["ask_price"]}
        return {**price, "bid_size": batch["bid_amount"], "ask_size": batch["ask_amount"]}

    yield from _rows(raw, columns, QUOTES, only=_QUOTE)


def _tickers(raw: RawFile) -> Iterator[Records]:
    said = {"mark": "mark_price", "index": "index_price", "last": "last_price"}
    said = {**said, "open_interest": "open_interest", "funding_rate": "funding_rate"}

    def columns(batch: Batch) -> Mapping[str, Values]:
        return {ours: batch[theirs] for ours, theirs in said.items()}

    yield from _rows(raw, columns, METRICS, only=_TICKER)


def _chain(raw: RawFile) -> Iterator[Records]:
    figures = {"bid": "bid_price", "ask": "ask_price", "mark": "mark_price", "last": "last_price"}
    figures = {**figures, "forward": "underlying_price", "open_interest": "open_interest"}
    levels = {"bid_iv": "bid_iv", "ask_iv": "ask_iv", "mark_iv": "mark_iv"}

    def columns(batch: Batch) -> Mapping[str, Values]:
        right, unit = batch["type"], iv_unit(batch["exchange"])
        return {
            "symbol": batch["symbol"],
            "underlying": underlyings(batch["symbol"]),
            "strike": np.where(np.abs(right) == 1, batch["strike_price"], np.nan),  # neither call nor put is no option
            "expiry": instants(batch["expiration"]),
            "call": right == 1,
            **{ours: batch[theirs] for ours, theirs in figures.items()},
            **{ours: batch[theirs] / unit for ours, theirs in levels.items()},
        }

    owner, words = Owners(venue_in(raw.head), symbol_in(raw.head)), {"type": {"call": 1, "c": 1, "put": -1, "p": -1}}
    counts, wanted = ("timestamp", "local_timestamp", "expiration"), (*figures.values(), *levels.values())
    for batch in batches(raw, text=("exchange", "symbol"), whole=counts, words=words, only=(*wanted, "strike_price")):
        stamps = {"time": instants(batch["timestamp"]), "received": instants(batch["local_timestamp"])}
        group = ["options"] * len(batch)
        yield from owner.records(OPTIONS, {**stamps, **columns(batch)}, batch.row, group, batch["exchange"])


def iv_unit(venues: Sequence[Any] | Values) -> Floats:
    """What each venue tells of a share of 1: Deribit tells percent, the others a share."""
    return np.array([100.0 if venue in IN_PERCENT else 1.0 for venue in venues])


def underlyings(symbols: Sequence[Any] | Values) -> Values:
    """What options such as BTC-9JUN20-9875-P are of; None where a row does not say."""
    return np.array([symbol.split("-")[0] if isinstance(symbol, str) else None for symbol in symbols], dtype=object)


_PAGE = "https://docs.tardis.dev/downloadable-csv-files"


def _layout(
    name: str,
    kind: Kind,
    claims: Callable[[Head], bool],
    read: Callable[[RawFile], Iterator[Records]],
    verified: bool = False,
) -> Layout:
    return Layout(f"tardis {name}", kind, claims, read, verified=verified, documented=_PAGE)


LAYOUTS = (
    _layout("trades", TRADES, _is_trades, partial(_matches, TRADES), verified=True),
    _layout("liquidations", LIQUIDATIONS, _is_liquidations, partial(_matches, LIQUIDATIONS)),
    _layout("incremental_book_L2", BOOK, partial(_has, _CHANGE), _changes, verified=True),
    _layout("book_snapshot", BOOK, _is_snapshots, _snapshots, verified=True),
    _layout("quotes", QUOTES, _is_quotes, _quotes, verified=True),
    _layout("derivative_ticker", METRICS, partial(_has, _TICKER), _tickers),
    _layout("options_chain", OPTIONS, partial(_has, _CHAIN), _chain),
)
