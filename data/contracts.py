"""Do the sizes of these rows count contracts, which a price alone turns into no money?"""

import re

import numpy as np

from data.arrays import Floats
from data.errors import DataError, ParameterError
from data.records import BARS, Records

# By Tardis' names of venues, whose futures are all sold in contracts: of 100 dollars, of 0.01 BTC, of one lot.
COUNTING = frozenset(
    {
        *("binance-delivery", "bitmex", "okex-futures", "okex-swap", "gate-io-futures", "kucoin-futures"),
        *("huobi-dm", "huobi-dm-swap", "huobi-dm-linear-swap", "cryptofacilities"),
    }
)
_BYBIT_COIN = re.compile(r"USD([FGHJKMNQUVXZ]\d\d)?$")


def counts_contracts(records: Records) -> bool:
    """Whether sizes are contracts (or dollars, as of Deribit's and Bybit's coin futures) and not units of base.

    >>> from data.records import TRADES
    >>> columns = {name: np.empty(0, dtype) for name, dtype in (("time", "M8[ns]"), ("price", "f8"), ("size", "f8"))}
    >>> rows = {**columns, "side": np.empty(0, "i1")}
    >>> none = np.empty(0, np.int64)
    >>> [counts_contracts(Records(TRADES, "bybit", name, rows, none)) for name in ("BTCUSD", "BTCUSDT")]
    [True, False]
    """
    symbol = records.symbol.upper()
    if records.venue == "deribit" and records.kind is not BARS:
        return not symbol.endswith(("-C", "-P")) and "_USD" not in symbol
    return records.venue in COUNTING or (records.venue == "bybit" and bool(_BYBIT_COIN.search(symbol)))


def notional_of(records: Records, multiplier: float | None, inverse: bool) -> Floats:
    """What sizes are worth at their prices, (R,), in quote currency.

    Parameters
    ----------
    multiplier : of a contract: units of base, or of an inverse one quote currency; None where sizes are units of base.
    inverse : whether the contract is settled in base.

    Raises
    ------
    DataError
        If sizes are contracts, and nobody says what one is worth.
    ParameterError
        If the multiplier is not above 0, or there is none of an inverse contract.
    """
    if multiplier is None:
        if inverse:
            raise ParameterError("an inverse contract needs its multiplier in quote currency, got None")
        if counts_contracts(records):
            where = f"{records.kind.name} of {records.venue} {records.symbol}"
            raise DataError(f"{where} count contracts: expected the multiplier of one, got None")
        return np.asarray(records["price"] * records["size"])
    if not (np.isfinite(multiplier) and multiplier > 0):
        raise ParameterError(f"the multiplier of a contract must be above 0, got {multiplier}")
    return np.asarray(records["size"] * multiplier * (1.0 if inverse else records["price"]))
