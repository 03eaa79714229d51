"""Whose rows are these, where one file is of several symbols?

Records are of one symbol. A batch becomes one for each symbol in it, in the order in which they first appear; a row
that does not say whose it is, where others do, goes with the row before as one of unknown figures and of no instant:
for the checks to name, and for nobody to use.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.arrays import Bools
from data.records import Kind, Records, Values
from data.sources.layout import Head

VENUES = (
    *("binance", "bybit", "okx", "okex", "dydx", "gate", "gateio", "htx", "huobi", "kucoin", "mexc", "deribit"),
    *("bitmex", "kraken", "coinbase", "bitfinex", "bitstamp", "gemini", "bitget", "hyperliquid", "poloniex", "ftx"),
    *("bitflyer", "cexio", "itbit", "lmax", "exmo", "okcoin", "bittrex"),
)
UNNAMED = "unknown"
CCXT_NAMES = {
    **{"binanceusdm": "binance-futures", "binancecoinm": "binance-delivery", "binanceus": "binance-us"},
    **{"krakenfutures": "kraken-futures", "kucoinfutures": "kucoin-futures", "coinbaseexchange": "coinbase"},
    **{"coinbaseadvanced": "coinbase", "coinbaseinternational": "coinbase-international"},
}
_PLAIN = {
    *("price", "prices", "volume", "funding", "rate", "rates", "history", "historical", "dvol", "trades", "trade"),
    *("public", "list", "ohlcv", "ohlc", "candles", "data", "daily", "hourly", "minute", "spot", "futures", "perp"),
    *(
        "http",
        "get",
        "ws",
        "json",
        "csv",
        "simple",
        "example",
        "index",
        "volatility",
        "mark",
        "tickers",
        "chart",
        "tradingview",
    ),
}
_NO_SYMBOL = {*_PLAIN, *VENUES, *CCXT_NAMES}
_DATE = re.compile(r"(?<![A-Za-z0-9])(19|20)\d{2}(-\d{2}){1,2}(?![A-Za-z0-9])")
_SPAN = re.compile(r"\d{1,3}(s|m|min|h|hour|hours|d|day|days|w)|\d{4}(-\d{2}){0,2}|\d{6,}", re.IGNORECASE)


class Owners:
    """The venue and symbol of each row of a file, batch after batch.

    Parameters
    ----------
    venue, symbol : of a file whose rows tell none.
    carries : whether a row without a symbol is that of the row before, as messages of one stream are.
    """

    def __init__(self, venue: str, symbol: str, *, carries: bool = False) -> None:
        self._venue, self._symbol, self._carries = venue, symbol, carries
        self._begun = self._told = False

    def records(
        self,
        kind: Kind,
        columns: Mapping[str, Values],
        row: NDArray[np.int64],
        symbols: Sequence[Any] | Values,
        venues: Sequence[Any] | Values | None = None,
    ) -> Iterator[Records]:
        """A batch as Records of one symbol each; `symbols` and `venues` (R,) of str, None where a row says none."""
        if not len(row):
            return
        if not self._carries and not _alike(symbols):
            columns = self._without_silent(columns, symbols)
        self._told = self._told or any(map(_is_name, symbols))
        whose = _carried(symbols, self._symbol, self._begun)
        where = [self._venue] * len(row) if venues is None else _carried(venues, self._venue, self._begun)
        self._symbol, self._venue, self._begun = whose[-1], where[-1], True
        pairs = [*zip(where, whose, strict=True)]
        distinct = list(dict.fromkeys(pairs))
        if len(distinct) == 1:
            yield Records(kind, *distinct[0], columns, row)
            return
        place = {pair: number for number, pair in enumerate(distinct)}
        code = np.array([place[pair] for pair in pairs], dtype=np.intp)
        for number, (venue, symbol) in enumerate(distinct):
            mine = np.flatnonzero(code == number)
            yield Records(kind, venue, symbol, {name: values[mine] for name, values in columns.items()}, row[mine])

    def _without_silent(self, columns: Mapping[str, Values], symbols: Sequence[Any] | Values) -> Mapping[str, Values]:
        """Columns that say nothing in rows without a symbol; as they are where no row has one, nor any before did."""
        silent = np.array([not _is_name(name) for name in symbols], dtype=bool)
        if not silent.any() or (silent.all() and not self._told):
            return columns
        return {name: _unknown(values, silent) for name, values in columns.items()}


def _is_name(cell: Any) -> bool:
    return isinstance(cell, str) and bool(cell.strip())


def _alike(names: Sequence[Any] | Values) -> bool:
    """Whether all rows have the same name."""
    return bool(len(names)) and _is_name(names[0]) and all(name == names[0] for name in names)


def _unknown(values: Values, rows: Bools) -> Values:
    """A column with its instants and figures taken out of some rows."""
    if values.dtype.kind not in "Mf":
        return values
    return np.where(rows, np.array("NaT" if values.dtype.kind == "M" else np.nan, values.dtype), values)


def _carried(names: Sequence[Any] | Values, before: str, begun: bool) -> list[str]:
    """Each row's name, or that of the row before; of a file's first rows, the first name that is told."""
    if _alike(names):
        return [names[0]] * len(names)
    told = [name if _is_name(name) else None for name in names]
    last = before if begun else next((name for name in told if name), before)
    out: list[str] = []
    for name in told:
        last = name or last
        out.append(last)
    return out


def venue_in(head: Head) -> str:
    """The venue that a file's name tells, `UNNAMED` where it tells none."""
    words = re.split(r"[^a-z]+", f"{head.member} {head.file}".lower())
    return next((CCXT_NAMES.get(word, word) for word in words if word in VENUES or word in CCXT_NAMES), UNNAMED)


def symbol_in(head: Head) -> str:
    """What a file's name says beside venue, kind, span and dates, in capitals; the name itself where nothing is left.

    All of it: of BTC_USDT and BTC_BUSD, or my_BTC and my_ETH, one word alone would make one.


    >>> symbol_in(Head("btc_price_volume.csv", "csv", ()))
    'BTC'
    >>> symbol_in(Head("BTC-USDT_gate_2020-01-01_2024-01-01_funding_history.csv", "csv", ()))
    'BTC-USDT'
    """
    return symbol_told(head) or _stem(head)


def symbol_told(head: Head) -> str:
    """As `symbol_in`, but "" where nothing is left of the name.

    >>> symbol_told(Head("http_get_tradingview_chart_data.json", "json", ()))
    ''
    """
    words = [word for word in re.split(r"[_\s.()]+", _stem(head)) if word]
    return "_".join(left.upper() for left in map(_without_plain, words) if left)


def _stem(head: Head) -> str:
    return re.sub(r"(\.(csv|json|jsonl|gz|zip|txt|parquet|pq|feather|arrow))+$", "", head.member or head.file)


def _without_plain(word: str) -> str:
    """A word without the parts between hyphens that are no part of a symbol."""
    if _SPAN.fullmatch(word):
        return ""
    parts = [part for part in _DATE.sub("", word).split("-") if part and not _SPAN.fullmatch(part)]
    return "-".join(part for part in parts if part.lower() not in _NO_SYMBOL)
