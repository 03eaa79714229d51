"""What do the lists that ccxt gives say, kept as JSON or at hand?

ccxt names markets BTC/USDT and counts milliseconds; a candle's stamp is its beginning. Which exchange was asked is in
the name of a file, if anywhere.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data.records import BARS, FUNDING, TRADES, Kind, Records, Values
from data.sources.epochs import HIGHEST, LOWEST
from data.sources.json_rows import columns_of, documents, field, moments, numbers, pieces, sides, whole
from data.sources.layout import Head, Layout, RawFile
from data.sources.owners import Owners, symbol_in, venue_in
from data.sources.steps import Step, step_of

_CANDLE = 6


def candles(
    rows: Sequence[Sequence[Any]], *, venue: str, symbol: str, step: np.timedelta64 | Step | None = None
) -> Records:
    """`fetch_ohlcv`'s [[ms, open, high, low, close, volume], ...] as bars.

    Parameters
    ----------
    step : how long a candle is; the most frequent time between two, where it is not given.

    Raises
    ------
    SourceError
        If no step is given and the candles do not tell it.

    >>> bars = candles([[1700000000000, 1, 3, 1, 2, 9.5], [1700000060000, 2, 2, 2, 2, 0]], venue="x", symbol="BTC/USDT")
    >>> bars["time"][0] - bars["opened"][0], bars["volume"].tolist()
    (np.timedelta64(60000000000,'ns'), [9.5, 0.0])
    """
    stamp, *figures = columns_of(rows, _CANDLE)
    opened = moments(stamp)
    length = step_of(opened, f"candles of {symbol}") if step is None else step
    end = length.ends(opened) if isinstance(length, Step) else opened + length
    named = zip(("open", "high", "low", "close", "volume"), figures, strict=True)
    made = {"time": end, "opened": opened, **{name: numbers(cells) for name, cells in named}}
    return Records(BARS, venue, symbol, made, _numbered(rows, 1))


def funding(rows: Sequence[Mapping[str, Any]], *, venue: str, symbol: str = "") -> list[Records]:
    """`fetch_funding_rate_history`'s rows, one Records for each symbol; `symbol` is of rows that tell none."""
    return [*Owners(venue, symbol).records(FUNDING, _funding(rows), _numbered(rows, 1), field(rows, "symbol"))]


def trades(rows: Sequence[Mapping[str, Any]], *, venue: str, symbol: str = "") -> list[Records]:
    """`fetch_trades`'s rows, one Records for each symbol; `symbol` is of rows that tell none."""
    return [*Owners(venue, symbol).records(TRADES, _trades(rows), _numbered(rows, 1), field(rows, "symbol"))]


def _numbered(rows: Sequence[Any], first: int) -> Values:
    return np.arange(first, first + len(rows), dtype=np.int64)


def _funding(rows: Sequence[Any]) -> dict[str, Values]:
    made: dict[str, Values] = {"time": _times(rows), "rate": numbers(field(rows, "fundingRate"))}
    hours = field(rows, "interval")
    if any(hours):
        made["interval"] = numbers([str(word).removesuffix("h") if word else None for word in hours])
    return made


def _trades(rows: Sequence[Any]) -> dict[str, Values]:
    price, size = numbers(field(rows, "price")), numbers(field(rows, "amount"))
    return {
        **{"time": _times(rows), "price": price, "size": size},
        "side": _taken(rows),
        "id": whole(field(rows, "id")),
    }


def _taken(rows: Sequence[Any]) -> Values:
    """Who took: `side` is the taker's in public trades, and one's own in a list of one's own as maker."""
    side = sides(field(rows, "side"))
    return np.where([role == "maker" for role in field(rows, "takerOrMaker")], -side, side).astype(np.int8)


def _times(rows: Sequence[Any]) -> Values:
    return moments(field(rows, "timestamp", "datetime"))


def _first(head: Head) -> Any:
    """The first element of a list."""
    listed = head.form in ("json", "jsonl") and isinstance(head.sample, list) and bool(head.sample)
    return head.sample[0] if listed else None


def is_stamp(cell: Any) -> bool:
    """Whether a cell counts milliseconds since 1970."""
    return isinstance(cell, int | float) and not isinstance(cell, bool) and LOWEST[1] <= cell < HIGHEST[1]


def _is_candles(head: Head) -> bool:
    row = _first(head)
    whole_row = isinstance(row, list) and len(row) == _CANDLE and is_stamp(row[0])
    return whole_row and all(cell is None or isinstance(cell, int | float) for cell in row)


def _is_funding(head: Head) -> bool:
    row = _first(head)
    return isinstance(row, dict) and {"symbol", "fundingRate", "timestamp"} <= set(row)


def _is_trades(head: Head) -> bool:
    row = _first(head)
    return isinstance(row, dict) and {"symbol", "side", "price", "amount", "timestamp", "datetime"} <= set(row)


def _read_candles(raw: RawFile) -> Iterator[Records]:
    shown = moments([row[0] for row in raw.head.sample[:1000] if isinstance(row, list) and row])
    step, symbol, venue = step_of(shown, raw.head.file), symbol_in(raw.head), venue_in(raw.head)
    for piece in pieces(documents(raw)):
        bars = candles([row for _, _, row in piece], venue=venue, symbol=symbol, step=step)
        yield Records(BARS, venue, symbol, bars.columns, _numbered(piece, piece[0][0]))


def _read(kind: Kind, columns: Callable[[Sequence[Any]], Mapping[str, Values]], raw: RawFile) -> Iterator[Records]:
    owners = Owners(venue_in(raw.head), symbol_in(raw.head))
    for piece in pieces(documents(raw)):
        rows = [row for _, _, row in piece]
        yield from owners.records(kind, columns(rows), _numbered(piece, piece[0][0]), field(rows, "symbol"))


def _read_funding(raw: RawFile) -> Iterator[Records]:
    yield from _read(FUNDING, _funding, raw)


def _read_trades(raw: RawFile) -> Iterator[Records]:
    yield from _read(TRADES, _trades, raw)


_PAGE = "https://docs.ccxt.com"
LAYOUTS = (
    Layout("ccxt candles", BARS, _is_candles, _read_candles, verified=False, documented=_PAGE),
    Layout("ccxt funding history", FUNDING, _is_funding, _read_funding, verified=False, documented=_PAGE),
    Layout("ccxt trades", TRADES, _is_trades, _read_trades, verified=False, documented=_PAGE),
)
