"""What do the files of Binance's public archive (data.binance.vision) say?

Spot files have no header, futures files have one since 2022 or so; stamps count milliseconds, in spot files
microseconds from 2025. Copies whose headers were renamed on the way (python-binance's names) are read too. Sizes of
COIN-M futures are contracts.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.arrays import Bools, Floats
from data.records import (
    BARS,
    DEPTH,
    FUNDING,
    INDEX,
    LIQUIDATIONS,
    METRICS,
    OPTIONS,
    QUOTES,
    TRADES,
    Kind,
    Records,
    Values,
)
from data.sources.binance_forms import (
    AGG_FORMS,
    BUYER_MAKER,
    DEPTH_FORM,
    FUNDING_FORM,
    KLINE,
    LIQUIDATION_FORM,
    METRICS_FORM,
    SUMMARY_FORM,
    TICKER_FORM,
    TRADE_FORMS,
    VOLATILITY_FORM,
    Form,
    any_form,
    columns_of,
    has_archive_header,
    is_bars,
    is_level,
    level_of,
    market_of,
    symbol_of,
    venue_of,
)
from data.sources.cells import NUMBER
from data.sources.csv_batches import Batch, batches
from data.sources.epochs import Instants, instants, text_instants
from data.sources.layout import Head, Layout, RawFile
from data.sources.owners import UNNAMED

_EXPIRY_HOUR = np.timedelta64(8, "h")


def _stamps(values: Values) -> Instants:
    """Instants of a column that counts, or of one that is text."""
    return text_instants(values) if values.dtype == object else instants(values)


def _read(
    raw: RawFile,
    kind: Kind,
    names: Sequence[str],
    wanted: Sequence[str],
    stamped: Sequence[str],
    columns: Callable[[Batch], Mapping[str, Values]],
    **special: Any,
) -> Iterator[Records]:
    """Records of each batch; a row of another symbol than the file's has no instant, and so goes no further."""
    symbol = owner = symbol_of(raw, names)
    cells = dict(reversed([*zip(names, raw.head.cells, strict=False)]))  # the first of columns that share a name
    text = [name for name in stamped if name in names and not re.fullmatch(NUMBER, cells.get(name, "0") or "0")]
    whole = [*(name for name in stamped if name not in text), *special.pop("whole", ())]
    own = "symbol" in names and kind is not OPTIONS
    texts = [*text, *(["symbol"] if own else []), *special.pop("text", ())]
    level = kind is INDEX and KLINE.has(raw.head)
    venue = venue_of(raw, symbol, level or (bool(raw.head.columns) and kind is not BARS and kind is not OPTIONS))
    if kind is BARS and venue == "binance" and not market_of(raw.head) and has_archive_header(raw.head):
        venue = UNNAMED  # the archive's own are of USD-M futures, but anybody may have put it above a spot file
    if level:
        owner = level_of(raw, symbol)
    for batch in batches(raw, names, text=texts, whole=whole, only=wanted, **special):
        made = dict(columns(batch))
        if own:
            made["time"] = np.where(batch["symbol"] == symbol, made["time"], np.datetime64("NaT", "ns"))
        yield Records(kind, venue, owner, made, batch.row)


def _end(batch: Batch) -> Instants:
    """The end of a bar, whose last millisecond or microsecond is told."""
    second = np.timedelta64(10**9, "ns")
    close = _stamps(batch["close_time"])
    known = ~np.isnat(close)
    out = close.copy()
    out[known] += (np.datetime64(0, "ns") - close[known]) % second
    return out


def klines(raw: RawFile) -> Iterator[Records]:
    """What was traded, interval by interval; batches in the order of the file."""
    names = KLINE.columns(raw.head)
    in_contracts = venue_of(raw, symbol_of(raw, names), False) == "binance-delivery"
    figures = ["open", "high", "low", "close", "volume", "count", "taker_buy_volume"]
    if not in_contracts:  # where the others have quote currency, COIN-M files have base
        figures += ["quote_volume", "taker_buy_quote_volume"]

    def columns(batch: Batch) -> Mapping[str, Values]:
        of_bars = {name: batch[name] for name in figures}
        return {"time": _end(batch), "opened": _stamps(batch["open_time"]), **of_bars}

    yield from _read(raw, BARS, names, figures, ("open_time", "close_time"), columns)


def _levels(raw: RawFile) -> Iterator[Records]:
    def columns(batch: Batch) -> Mapping[str, Values]:
        return {"time": _end(batch), "value": batch["close"], **{name: batch[name] for name in ("open", "high", "low")}}

    names = KLINE.columns(raw.head)
    yield from _read(raw, INDEX, names, ("open", "high", "low", "close"), ("close_time",), columns)


def _trades(forms: Sequence[Form], number: str, size: str, time: str, raw: RawFile) -> Iterator[Records]:
    def columns(batch: Batch) -> Mapping[str, Values]:
        return {
            "time": _stamps(batch[time]),
            "price": batch["price"],
            "size": batch[size],
            "side": batch["is_buyer_maker"],
            "id": batch[number],
        }

    words = {"is_buyer_maker": BUYER_MAKER}
    names = columns_of(forms, raw.head)
    yield from _read(raw, TRADES, names, ("price", size), (time,), columns, whole=(number,), words=words)


def _funding(raw: RawFile) -> Iterator[Records]:
    def columns(batch: Batch) -> Mapping[str, Values]:
        rate, interval = batch["last_funding_rate"], batch["funding_interval_hours"]
        return {"time": _stamps(batch["calc_time"]), "rate": rate, "interval": interval}

    wanted = ("last_funding_rate", "funding_interval_hours")
    yield from _read(raw, FUNDING, FUNDING_FORM.columns(raw.head), wanted, ("calc_time",), columns)


def _metrics(raw: RawFile) -> Iterator[Records]:
    said = {
        "open_interest": "sum_open_interest",
        "open_interest_value": "sum_open_interest_value",
        "taker_ratio": "sum_taker_long_short_vol_ratio",
        "long_short_ratio": "count_long_short_ratio",
    }

    def columns(batch: Batch) -> Mapping[str, Values]:
        return {"time": _stamps(batch["create_time"]), **{ours: batch[theirs] for ours, theirs in said.items()}}

    yield from _read(raw, METRICS, METRICS_FORM.columns(raw.head), tuple(said.values()), ("create_time",), columns)


def _depth(raw: RawFile) -> Iterator[Records]:
    def columns(batch: Batch) -> Mapping[str, Values]:
        band, size = batch["percentage"] / 100, batch["depth"]
        return {"time": _stamps(batch["timestamp"]), "band": band, "size": size, "notional": batch["notional"]}

    wanted = ("percentage", "depth", "notional")
    yield from _read(raw, DEPTH, DEPTH_FORM.columns(raw.head), wanted, ("timestamp",), columns)


def _quotes(raw: RawFile) -> Iterator[Records]:
    said = {
        **{"bid": "best_bid_price", "ask": "best_ask_price"},
        **{"bid_size": "best_bid_qty", "ask_size": "best_ask_qty"},
    }

    def columns(batch: Batch) -> Mapping[str, Values]:
        figures = {ours: batch[theirs] for ours, theirs in said.items()}
        return {"time": _stamps(batch["transaction_time"]), **figures, "update": batch["update_id"]}

    names, wanted = TICKER_FORM.columns(raw.head), tuple(said.values())
    yield from _read(raw, QUOTES, names, wanted, ("transaction_time",), columns, whole=("update_id",))


def _liquidations(raw: RawFile) -> Iterator[Records]:
    """At the average price of what was filled; `price` is the limit of the order, which nobody need have paid."""

    def columns(batch: Batch) -> Mapping[str, Values]:
        price, size = batch["average_price"], batch["accumulated_fill_quantity"]
        return {"time": _stamps(batch["time"]), "price": price, "size": size, "side": batch["side"]}

    names = LIQUIDATION_FORM.columns(raw.head)
    wanted, words = ("average_price", "accumulated_fill_quantity"), {"side": {"buy": 1, "sell": -1}}
    yield from _read(raw, LIQUIDATIONS, names, wanted, ("time",), columns, words=words)


def _volatility(raw: RawFile) -> Iterator[Records]:
    def columns(batch: Batch) -> Mapping[str, Values]:
        return {"time": _stamps(batch["calc_time"]), "value": batch["index_value"]}

    yield from _read(raw, INDEX, VOLATILITY_FORM.columns(raw.head), ("index_value",), ("calc_time",), columns)


def _options(raw: RawFile) -> Iterator[Records]:
    """Summaries at the end of an hour: what hour 7 says is known at 08:00."""
    said = {
        **{"bid": "best_bid_price", "ask": "best_ask_price", "mark": "mark_price", "last": "close"},
        **{"bid_iv": "best_buy_iv", "ask_iv": "best_sell_iv", "mark_iv": "mark_iv"},
        **{"open_interest": "openinterest_contracts", "volume": "volume_contracts"},
    }

    def columns(batch: Batch) -> Mapping[str, Values]:
        right = batch["type"]
        strike, expiry = _strikes(batch["strike"])
        strike[~_agrees(batch["symbol"], batch["strike"], right)] = np.nan
        return {
            "time": _hours(batch),
            "symbol": batch["symbol"],
            "underlying": batch["underlying"],
            "strike": strike,
            "expiry": expiry,
            "call": right > 0,
            **{ours: batch[theirs] for ours, theirs in said.items()},
        }

    text, words = ("date", "symbol", "underlying", "strike"), {"type": {"c": 1, "call": 1, "p": -1, "put": -1}}
    wanted = (*said.values(), "hour")
    yield from _read(raw, OPTIONS, SUMMARY_FORM.columns(raw.head), wanted, (), columns, text=text, words=words)


def _hours(batch: Batch) -> Instants:
    day, hour = text_instants(batch["date"]), batch["hour"]
    known = (hour >= 0) & (hour <= 23) & (hour == np.rint(hour))
    out = day + np.where(known, hour + 1, 0).astype("timedelta64[h]")
    return np.asarray(np.where(known, out, np.datetime64("NaT", "ns")))


def _strikes(told: NDArray[Any]) -> tuple[Floats, Instants]:
    """Strike and expiry out of "231027-33000"; NaN and NaT where it is not so."""
    known = {text: _strike(text) for text in set(told.tolist())}
    pairs = [known[text] for text in told.tolist()]
    expiry = text_instants(np.array([day for _, day in pairs], object)) + _EXPIRY_HOUR
    return np.array([strike for strike, _ in pairs]), expiry


def _strike(text: str | None) -> tuple[float, str | None]:
    match = re.fullmatch(r"(\d\d)(\d\d)(\d\d)-(\d+(?:\.\d+)?)", text or "")
    return (float(match[4]), f"20{match[1]}-{match[2]}-{match[3]}") if match else (np.nan, None)


def _agrees(symbol: NDArray[Any], strike: NDArray[Any], right: NDArray[np.int8]) -> Bools:
    """Whether a name such as BTC-231027-33000-C says what its row says."""
    ends = [f"-{told}-{'C' if side > 0 else 'P'}" for told, side in zip(strike, right, strict=True)]
    named = [(name or "").endswith(end) for name, end in zip(symbol, ends, strict=True)]
    return np.asarray(np.array(named, bool) & (np.abs(right) == 1))


_PAGE = "https://github.com/binance/binance-public-data"


def _layout(
    name: str, kind: Kind, claims: Callable[[Head], bool], read: Callable[[RawFile], Iterator[Records]]
) -> Layout:
    return Layout(f"binance {name}", kind, claims, read, verified=False, documented=_PAGE)


LAYOUTS = (
    Layout("binance klines", BARS, is_bars, klines, verified=True, documented=_PAGE),
    _layout("index klines", INDEX, is_level, _levels),
    _layout(
        "aggTrades",
        TRADES,
        partial(any_form, AGG_FORMS),
        partial(_trades, AGG_FORMS, "agg_trade_id", "quantity", "transact_time"),
    ),
    _layout("trades", TRADES, partial(any_form, TRADE_FORMS), partial(_trades, TRADE_FORMS, "id", "qty", "time")),
    _layout("fundingRate", FUNDING, FUNDING_FORM.has, _funding),
    _layout("metrics", METRICS, METRICS_FORM.has, _metrics),
    _layout("bookDepth", DEPTH, DEPTH_FORM.has, _depth),
    _layout("bookTicker", QUOTES, TICKER_FORM.has, _quotes),
    _layout("liquidationSnapshot", LIQUIDATIONS, LIQUIDATION_FORM.has, _liquidations),
    _layout("BVOLIndex", INDEX, VOLATILITY_FORM.has, _volatility),
    _layout("EOHSummary", OPTIONS, SUMMARY_FORM.has, _options),
)
