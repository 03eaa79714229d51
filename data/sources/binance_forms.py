"""Which file of Binance's archive is this, by its columns, its first row and its name?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from data.errors import SourceError
from data.sources.cells import KLINES, NUMBER
from data.sources.layout import Head, RawFile, cells_of
from data.sources.owners import symbol_in

_ALIASES = {
    **dict.fromkeys(("quote_asset_volume", "quote_volume", "quote_vol"), "quote_volume"),
    **dict.fromkeys(("trades", "number_of_trades", "num_trades", "trade_count"), "count"),
    **dict.fromkeys(("taker_buy_base", "taker_buy_base_asset_volume", "taker_buy_base_volume"), "taker_buy_volume"),
    **dict.fromkeys(("taker_buy_quote", "taker_buy_quote_asset_volume"), "taker_buy_quote_volume"),
}
BUYER_MAKER = {"true": -1, "false": 1}  # the buyer had offered, so the seller took
_WORD = re.compile(r"[A-Z0-9]{2,}")  # what a symbol is made of
_SPAN = re.compile(r"\d+(?:[smhdwM]|mo)?")
_TERMS = re.compile(r"PERP|\d{6}")
_LEVELS = {
    **dict.fromkeys(("premium", "premiumindex", "premiumindexklines"), "PREMIUM"),
    **dict.fromkeys(("mark", "markprice", "markpriceklines"), "MARK"),
    **dict.fromkeys(("indexprice", "indexpriceklines"), "INDEX"),
}
_MARKETS = {
    **dict.fromkeys(("spot",), "spot"),
    **dict.fromkeys(("um", "usdm", "usdtm", "binanceusdm"), "um"),
    **dict.fromkeys(("cm", "coinm", "binancecoinm"), "cm"),
}
_NAMES = ("mark", "premium", "um", "cm")  # of people's folders too
_TRADED = ("klines", "spot")
_COIN_MARGINED = re.compile(r"[A-Z0-9]+USD_(PERP|\d{6})")


@dataclass(frozen=True)
class Form:
    """How a kind of file is laid out.

    Parameters
    ----------
    names : the columns that a header must have.
    bare : the columns of files without a header; () where all have one.
    stamps : which of `bare` count milliseconds or microseconds.
    flags : how many of `bare`, at the end, are True or False.
    """

    names: tuple[str, ...]
    bare: tuple[str, ...] = ()
    stamps: tuple[str, ...] = ()
    flags: int = 0

    def has(self, head: Head) -> bool:
        """Whether a head is of this form."""
        if head.form != "csv":
            return False
        if head.columns:
            return set(self.names) <= set(_named(head))
        cells = head.cells
        if not self.bare or len(cells) != len(self.bare):
            return False
        numbers, flags = cells[: len(cells) - self.flags], cells[len(cells) - self.flags :]
        return (
            all(re.fullmatch(NUMBER, cell) for cell in numbers)
            and all(cell.lower() in BUYER_MAKER for cell in flags)
            and all(1e11 <= float(cells[self.bare.index(name)]) < 1e17 for name in self.stamps)
        )

    def columns(self, head: Head) -> tuple[str, ...]:
        """A name for each cell of a line."""
        return _named(head) if head.columns else self.bare


def _named(head: Head) -> tuple[str, ...]:
    plain = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in head.columns]
    return tuple(_ALIASES.get(name, name) for name in plain)


_SPOT_AGG = (
    *("agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time"),
    *("is_buyer_maker", "is_best_match"),
)
_SPOT_TRADES = ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match")
_TICKER = (
    *("update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty", "transaction_time"),
    "event_time",
)
KLINE = Form(KLINES[:11], KLINES, ("open_time", "close_time"))
AGG_FORMS = (
    Form(_SPOT_AGG[:7], _SPOT_AGG, ("transact_time",), 2),
    Form(_SPOT_AGG[:7], _SPOT_AGG[:7], ("transact_time",), 1),
)
TRADE_FORMS = (
    Form(("id", "price", "qty", "time", "is_buyer_maker"), _SPOT_TRADES, ("time",), 2),
    Form(("id", "price", "qty", "time", "is_buyer_maker"), _SPOT_TRADES[:6], ("time",), 1),
)
FUNDING_FORM = Form(("calc_time", "funding_interval_hours", "last_funding_rate"))
METRICS_FORM = Form(
    (
        *("create_time", "symbol", "sum_open_interest", "sum_open_interest_value", "count_long_short_ratio"),
        "sum_taker_long_short_vol_ratio",
    )
)
DEPTH_FORM = Form(("timestamp", "percentage", "depth", "notional"))
TICKER_FORM = Form(_TICKER, _TICKER, ("transaction_time", "event_time"))
LIQUIDATION_FORM = Form(("time", "side", "order_type", "average_price", "order_status", "accumulated_fill_quantity"))
VOLATILITY_FORM = Form(("calc_time", "symbol", "base_asset", "quote_asset", "index_value"))
SUMMARY_FORM = Form(
    (
        *("date", "hour", "symbol", "underlying", "type", "strike", "close", "volume_contracts", "best_bid_price"),
        *("best_ask_price", "best_buy_iv", "best_sell_iv", "mark_price", "mark_iv", "openinterest_contracts"),
    )
)


def _untraded(head: Head) -> bool:
    """Whether nothing was traded in the klines shown, and yet they were counted or moved."""
    lines = head.lines[head.banner + (1 if head.columns else 0) :]
    rows = [cells_of(line) for line in lines if line.strip()]
    shown = [dict(reversed([*zip(KLINE.columns(head), row, strict=False)])) for row in rows]
    still = [
        all(_number(row.get(name)) == 0 for name in ("volume", "quote_volume", "taker_buy_volume")) for row in shown
    ]
    moved = [_number(row.get("count")) > 0 or _number(row.get("high")) > _number(row.get("low")) for row in shown]
    return all(still) and any(moved)


def _number(cell: str | None) -> float:
    return float(cell) if cell and re.fullmatch(NUMBER, cell) else np.nan


def _level_told(head: Head) -> str | None:
    """MARK, INDEX or PREMIUM by a file's name, or the nearest folder that tells; "" of what is traded, None untold."""
    for name in (head.member, head.file):
        words = [re.sub(r"[^a-z]", "", word) for word in re.split(r"[-.\s()]", name.lower())]
        found = next((_LEVELS[word] for word in words if word in _LEVELS), None)
        if found:
            return found
    for folder in reversed(head.folders):
        word = re.sub(r"[^a-z]", "", folder.lower())
        if word in _TRADED or (word in _LEVELS and word not in _NAMES):
            return _LEVELS.get(word, "")
    return None


def is_bars(head: Head) -> bool:
    """Whether a file is of klines of what was traded."""
    return KLINE.has(head) and not is_level(head)


def is_level(head: Head) -> bool:
    """Whether a file is of klines of a mark price, an index or a premium.

    SourceError where it is, by its figures, and neither its name nor a folder says of which.
    """
    if not KLINE.has(head):
        return False
    told = _level_told(head)
    if told is None and _untraded(head):
        raise SourceError(
            f"{head.file}: expected a folder such as markPriceKlines, indexPriceKlines or premiumIndexKlines, or that "
            "word in the name, to tell of what these klines without any trade are"
        )
    return bool(told)


def level_of(raw: RawFile, symbol: str) -> str:
    """The name of a level: BTCUSDT_MARK, BTCUSDT_INDEX and BTCUSDT_PREMIUM are three things."""
    return f"{symbol}_{_level_told(raw.head)}"


def any_form(forms: Sequence[Form], head: Head) -> bool:
    """Whether a file has one of several forms."""
    return any(form.has(head) for form in forms)


def columns_of(forms: Sequence[Form], head: Head) -> tuple[str, ...]:
    """A name for each cell of a line, in the first form that a file has."""
    return next(form.columns(head) for form in forms if form.has(head))


def symbol_of(raw: RawFile, names: Sequence[str]) -> str:
    """By the file's name, else by its first row; SourceError where an archive and what it holds are named apart."""
    head = raw.head
    told = [found for name in (head.member, head.file) if (found := _symbol_in(name))]
    if len(set(told)) > 1:
        raise SourceError(f"{head.file}: expected {told[1]} in the archive, got {head.member}")
    if told:
        return told[0]
    if "symbol" in names and len(head.cells) > names.index("symbol"):
        return head.cells[names.index("symbol")]
    return symbol_in(head)


def _symbol_in(name: str) -> str:
    """The capitals of a name that are neither span nor date: BTCUSDT, BTC_USDT or BTC-USDT, BTCUSD_PERP; "" if none."""
    found: list[str] = []
    for part in re.split(r"[-.\s()]", name):
        pieces = part.split("_")
        held = [*takewhile(_is_of_symbol, pieces)]
        if held and len(held) < len(pieces) and _TERMS.fullmatch(pieces[len(held)]):
            held.append(pieces[len(held)])
        if held:
            found.append("_".join(held))
        if found and (not held or len(held) < len(pieces)):
            break
    return "-".join(found)


def _is_of_symbol(word: str) -> bool:
    return bool(_WORD.fullmatch(word)) and not _SPAN.fullmatch(word)


def venue_of(raw: RawFile, symbol: str, futures: bool) -> str:
    """Spot, USD-M and COIN-M by the archive's folders, else by the symbol and what `futures` files alone have."""
    market = market_of(raw.head)
    if _COIN_MARGINED.fullmatch(symbol) or market == "cm":
        return "binance-delivery"
    return "binance-futures" if futures or market == "um" else "binance"


def market_of(head: Head) -> str:
    """The archive's name of a market, by the nearest folder that tells: "spot", "um" or "cm"; "" where none does."""
    words = [re.sub(r"[^a-z]", "", folder.lower()) for folder in reversed(head.folders)]
    sure = "futures" in words
    told = (word for place, word in enumerate(words) if sure or not place or word not in _NAMES)
    return next((_MARKETS[word] for word in told if word in _MARKETS), "")


def has_archive_header(head: Head) -> bool:
    """Whether a file of klines has the header that the archive gives to those of futures, and to no other."""
    return tuple(name.strip() for name in head.columns) == KLINES
