"""What do the files in freqtrade's data folder say?

Trades are JSON arrays, CSV or feather; candles are feather and tell pair and timeframe in their name. Files of funding
rates look like candles and keep the rate in `open`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from data.errors import SourceError
from data.records import BARS, FUNDING, INDEX, TRADES, Kind, Records, Values
from data.sources.ccxt_rows import is_stamp
from data.sources.csv_batches import batches
from data.sources.epochs import instants
from data.sources.json_rows import columns_of, documents, moments, numbers, pieces, sides, whole
from data.sources.layout import Head, Layout, RawFile
from data.sources.owners import symbol_in, venue_in
from data.sources.typed_tables import figures, times, typed_batches, where

_TRADE = ("timestamp", "id", "type", "side", "price", "amount", "cost")
_CANDLE = ("date", "open", "high", "low", "close", "volume")
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
NAME = re.compile(
    r"(?P<pair>[^-]+)-(?P<count>\d+)(?P<unit>[mhdw])(-(?P<what>futures|mark|index|funding_rate|spot))?\.feather"
)


def _symbol(head: Head) -> str:
    """XRP_ETH of XRP_ETH-trades.json.gz, BTC_USDT_USDT of BTC_USDT_USDT-8h-funding_rate.feather."""
    match = re.match(r"([A-Z0-9]+(?:_[A-Z0-9]+)+)-", head.member or head.file)
    return match[1] if match else symbol_in(head)


def _is_array(head: Head) -> bool:
    rows = head.sample if head.form in ("json", "jsonl") and isinstance(head.sample, list) else []
    row = rows[0] if rows else None
    return isinstance(row, list) and len(row) == len(_TRADE) and is_stamp(row[0]) and row[3] in ("buy", "sell")


def _is_csv(head: Head) -> bool:
    return head.form == "csv" and set(_TRADE) <= set(head.columns) <= {*_TRADE, "", "date"}


def _is_feather_of_trades(head: Head) -> bool:
    return head.form in ("arrow", "parquet") and set(head.columns) == set(_TRADE)


def _is_candles(kind: Kind, head: Head) -> bool:
    """Candles of what was traded, of a mark price, or funding in their clothes: the name tells, and how long one is."""
    match = NAME.fullmatch(head.file)
    if head.form not in ("arrow", "parquet") or set(head.columns) != set(_CANDLE) or not match:
        return False
    return kind is {"mark": INDEX, "index": INDEX, "funding_rate": FUNDING}.get(match["what"] or "", BARS)


def _records(head: Head, columns: Mapping[str, Values], row: Values) -> Records:
    return Records(TRADES, venue_in(head), _symbol(head), columns, row)


def _arrays(raw: RawFile) -> Iterator[Records]:
    for piece in pieces(documents(raw)):
        stamp, number, _, side, price, amount, _ = columns_of([row for _, _, row in piece], len(_TRADE))
        made = {"time": moments(stamp), "price": numbers(price), "size": numbers(amount), "side": sides(side)}
        yield _records(raw.head, {**made, "id": whole(number)}, np.array([row for row, _, _ in piece], np.int64))


def _csv(raw: RawFile) -> Iterator[Records]:
    words = {"side": {"buy": 1, "sell": -1}}
    for batch in batches(raw, whole=("timestamp", "id"), words=words, only=("price", "amount")):
        made = {"time": instants(batch["timestamp"]), "price": batch["price"], "size": batch["amount"]}
        yield _records(raw.head, {**made, "side": batch["side"], "id": batch["id"]}, batch.row)


def _feather_of_trades(raw: RawFile) -> Iterator[Records]:
    for columns, row in typed_batches(raw, ("timestamp", "id", "side", "price", "amount")):
        made = {
            "time": times(columns["timestamp"], where(raw, "timestamp")),
            "price": figures(columns["price"], where(raw, "price")),
        }
        told = {"side": sides(columns["side"].to_pylist()), "id": whole(columns["id"].to_pylist())}
        yield _records(raw.head, {**made, "size": figures(columns["amount"], where(raw, "amount")), **told}, row)


def _candles(kind: Kind, names: Sequence[str], raw: RawFile) -> Iterator[Records]:
    """Bars and levels are known at their end; funding is paid when it is stamped."""
    match = NAME.fullmatch(raw.head.file)
    if not match:
        raise SourceError(
            f"{raw.head.file}: expected a name such as BTC_USDT-1h.feather, which tells how long a bar is"
        )
    step = np.timedelta64(int(match["count"]) * _UNITS[match["unit"]] * 1_000_000_000, "ns")
    ours = {"open": "rate"} if kind is FUNDING else {"close": "value"} if kind is INDEX else {}
    for columns, row in typed_batches(raw, ("date", *names)):
        stamp = times(columns["date"], where(raw, "date"))
        made: dict[str, Values] = {ours.get(name, name): figures(columns[name], where(raw, name)) for name in names}
        made["time"] = stamp if kind is FUNDING else stamp + step
        if kind is BARS:
            made["opened"] = stamp
        yield Records(kind, venue_in(raw.head), match["pair"], made, row)


_PAGE = "https://www.freqtrade.io/en/stable/data-download/"
LAYOUTS = (
    Layout("freqtrade trades in JSON", TRADES, _is_array, _arrays, verified=True, documented=_PAGE),
    Layout("freqtrade trades in CSV", TRADES, _is_csv, _csv, verified=True, documented=_PAGE),
    Layout(
        "freqtrade trades in feather",
        TRADES,
        _is_feather_of_trades,
        _feather_of_trades,
        verified=False,
        documented=_PAGE,
    ),
    Layout(
        *("freqtrade candles", BARS, partial(_is_candles, BARS), partial(_candles, BARS, _CANDLE[1:])),
        verified=False,
        documented=_PAGE,
    ),
    Layout(
        *("freqtrade candles of a level", INDEX, partial(_is_candles, INDEX), partial(_candles, INDEX, _CANDLE[1:5])),
        verified=False,
        documented=_PAGE,
    ),
    Layout(
        *("freqtrade funding rates", FUNDING, partial(_is_candles, FUNDING), partial(_candles, FUNDING, ("open",))),
        verified=False,
        documented=_PAGE,
    ),
)
