"""What do the daily files of BitMEX's public archive (public.bitmex.com) say?

Each holds the trades, or the best quotes, of all contracts. Sizes are contracts; stamps have a D where others have T.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from data.records import QUOTES, TRADES, Kind, Records, Values
from data.sources.csv_batches import Batch, batches
from data.sources.epochs import Instants, text_instants
from data.sources.layout import Head, Layout, RawFile
from data.sources.owners import Owners, symbol_in

_TRADE = ("timestamp", "symbol", "side", "size", "price", "tickDirection", "trdMatchID")
_QUOTE = ("timestamp", "symbol", "bidSize", "bidPrice", "askPrice", "askSize")
_PAGE = "https://public.bitmex.com"


def _is(columns: Sequence[str], head: Head) -> bool:
    """By its columns, and a first stamp with a D: Bybit's files have the same columns, and count seconds."""
    if head.form != "csv" or not set(columns) <= set(head.columns):
        return False
    at = head.columns.index("timestamp")
    return len(head.cells) > at and not head.cells[at].replace(".", "", 1).isdecimal()


def _instants(cells: Values) -> Instants:
    texts = [cell.replace("D", "T", 1) if isinstance(cell, str) else None for cell in cells]
    return text_instants(np.array(texts, dtype=object))


def _rows(
    raw: RawFile,
    kind: Kind,
    only: Sequence[str],
    words: Mapping[str, Mapping[str, int]],
    columns: Callable[[Batch], Mapping[str, Values]],
) -> Iterator[Records]:
    owners = Owners("bitmex", symbol_in(raw.head))
    for batch in batches(raw, text=("timestamp", "symbol"), only=only, words=words):
        made = {"time": _instants(batch["timestamp"]), **columns(batch)}
        yield from owners.records(kind, made, batch.row, batch["symbol"])


def _trades(raw: RawFile) -> Iterator[Records]:
    def columns(batch: Batch) -> Mapping[str, Values]:
        return {name: batch[name] for name in ("price", "size", "side")}

    yield from _rows(raw, TRADES, ("price", "size"), {"side": {"buy": 1, "sell": -1}}, columns)


def _quotes(raw: RawFile) -> Iterator[Records]:
    said = {"bid": "bidPrice", "ask": "askPrice", "bid_size": "bidSize", "ask_size": "askSize"}

    def columns(batch: Batch) -> Mapping[str, Values]:
        return {ours: batch[theirs] for ours, theirs in said.items()}

    yield from _rows(raw, QUOTES, tuple(said.values()), {}, columns)


LAYOUTS = (
    Layout("bitmex trades", TRADES, partial(_is, _TRADE), _trades, verified=False, documented=_PAGE),
    Layout("bitmex quotes", QUOTES, partial(_is, _QUOTE), _quotes, verified=False, documented=_PAGE),
)
