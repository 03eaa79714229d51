"""Whose option chain is this, and what do its columns mean?

Each layout turns a venue's frame into the plain one that data/option_quotes.py documents, a row for a row.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from data.errors import DataError
from data.sources.csv_rows import semicolons

_COIN_VENUES = ("deribit", "okex-options")
_USD_VENUES = ("binance-european-options", "bybit-options")


@dataclass(frozen=True)
class ChainLayout:
    """How one kind of file is known by its columns (names, with spaces between) and read into the plain frame."""

    name: str
    columns: str
    plain: Callable[[pd.DataFrame], pd.DataFrame]

    def lacks(self, frame: pd.DataFrame) -> list[str]:
        """Which of its columns a frame does not have."""
        return sorted(set(self.columns.split()) - set(frame.columns))


def _instants(values: pd.Series) -> pd.Series:
    """UTC instants from ISO 8601; NaT for what is none."""
    return pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")


def _from_microseconds(values: pd.Series) -> pd.Series:
    """UTC instants; NaT for what is none."""
    return pd.to_datetime(pd.to_numeric(values, errors="coerce"), unit="us", utc=True, errors="coerce")


def _in_dollars(symbol: pd.Series) -> pd.Series:
    """Whether a Deribit name is of an option that is quoted and settled in dollars (BTC_USDC-...)."""
    return symbol.astype(str).str.contains("_USD", regex=False)


def _deribit_snapshot(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time": _instants(frame["timestamp"]),
            "symbol": frame["instrument_name"],
            "underlying": frame["currency"],
            "strike": frame["strike"],
            "expiry": _instants(frame["expiry_datetime"]),
            "right": frame["option_type"],
            "forward": frame["underlying"],
            "bid": frame["bid_price"],
            "ask": frame["ask_price"],
            "mark": frame["mark_price"],
            "volatility": frame["implied_volatility"],
            "spot": frame["index_price"],
            "inverse": ~_in_dollars(frame["instrument_name"]),
        }
    )


def _tardis_chain(frame: pd.DataFrame) -> pd.DataFrame:
    strange = set(frame["exchange"].astype(str)) - {*_COIN_VENUES, *_USD_VENUES}
    if strange:
        raise DataError(f"exchange must be one of {(*_COIN_VENUES, *_USD_VENUES)}, got {sorted(strange)}")
    symbol = frame["symbol"].astype("str")
    return pd.DataFrame(
        {
            "time": _from_microseconds(frame["timestamp"]),
            "symbol": symbol,
            "underlying": symbol.str.split("-").str[0],
            "strike": frame["strike_price"],
            "expiry": _from_microseconds(frame["expiration"]),
            "right": frame["type"],
            "forward": frame["underlying_price"],
            "bid": frame["bid_price"],
            "ask": frame["ask_price"],
            "mark": frame["mark_price"],
            "volatility": frame["mark_iv"],
            "inverse": frame["exchange"].isin(_COIN_VENUES) & ~_in_dollars(symbol),
        }
    )


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    table = frame.copy()
    table["time"], table["expiry"] = _instants(frame["time"]), _instants(frame["expiry"])
    return table


LAYOUTS = (
    ChainLayout(
        "a Deribit snapshot",
        "timestamp instrument_name currency underlying strike expiry_datetime option_type bid_price ask_price "
        "mark_price implied_volatility index_price",
        _deribit_snapshot,
    ),
    ChainLayout(
        "a Tardis options_chain",
        "exchange symbol timestamp type strike_price expiration bid_price ask_price mark_price mark_iv "
        "underlying_price",
        _tardis_chain,
    ),
    ChainLayout(
        "the plain columns",
        "time symbol underlying strike expiry right forward",
        _plain,
    ),
)


def plain_chain(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """A venue's frame as the plain one; DataError, with what each layout lacks, where none fits."""
    for layout in LAYOUTS:
        if not layout.lacks(frame):
            return layout.plain(frame)
    lacks = "; ".join(f"{layout.name} lacks {layout.lacks(frame)}" for layout in LAYOUTS)
    raise DataError(f"{source}: the columns are of no known option chain: {lacks}{semicolons(frame.columns)}")
