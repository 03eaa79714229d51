"""May these trades follow those: are they of the same symbol, later, and fit to be added up?

This is a last guard and no cleaning: data/record_checks.py sorts, repairs and quarantines before, and says so.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.arrays import Floats, Ints
from data.errors import DataError
from data.flow.tape_kernels import UNSET, first_refused
from data.records import TRADES, UNKNOWN, Records


class Trades(NamedTuple):
    """Trades as the kernels take them, (R,) each: instants in ns, prices, sizes, sides."""

    time: Ints
    price: Floats
    size: Floats
    side: NDArray[np.int8]

    def rows(self, start: int, stop: int) -> "Trades":
        """Those from start up to stop."""
        return Trades(self.time[start:stop], self.price[start:stop], self.size[start:stop], self.side[start:stop])


@dataclass(frozen=True)
class LastTrade:
    """What a batch of trades must follow.

    Parameters
    ----------
    venue, symbol : of whom; "" before the first batch.
    time : its instant in ns; NaT's number before the first trade.
    number : the venue's, -1 where it has none.
    """

    venue: str = ""
    symbol: str = ""
    time: int = UNSET
    number: int = UNKNOWN

    def then(self, records: Records) -> tuple[Trades, "LastTrade"]:
        """A batch of trades that may follow, and its own last one.

        Raises
        ------
        DataError
            For rows that are not trades or of another symbol; a trade before its predecessor, without an instant, a
            price > 0, a size >= 0 or a side of -1, 0, 1, or one infinite; one with its predecessor's number, which is
            the same trade twice. Trades of one instant are taken in the order in which they come.
        """
        if records.kind is not TRADES:
            raise DataError(f"expected trades, got {records.kind.name} of {records.venue}")
        if self.venue and (records.venue, records.symbol) != (self.venue, self.symbol):
            raise DataError(
                f"expected trades of one symbol, {self.symbol} of {self.venue}, got {records.symbol} of {records.venue}"
            )
        trades = Trades(
            np.ascontiguousarray(records["time"]).view(np.int64),
            np.ascontiguousarray(records["price"]),
            np.ascontiguousarray(records["size"]),
            np.ascontiguousarray(records["side"]),
        )
        bad = first_refused(*trades, self.time)
        if bad >= 0:
            raise DataError(self._refusal(records, bad))
        number = self._last_number(records)
        time = int(trades.time[-1]) if len(records) else self.time
        return trades, LastTrade(records.venue, records.symbol, time, number)

    def _last_number(self, records: Records) -> int:
        if "id" not in records.columns:
            return UNKNOWN if len(records) else self.number
        numbers = np.concatenate([[self.number], records["id"]])
        again = np.flatnonzero((numbers[1:] == numbers[:-1]) & (numbers[1:] != UNKNOWN))
        if len(again):
            raise DataError(f"{_place(records, again[0])}: the trade {numbers[again[0]]} comes twice")
        return int(numbers[-1])

    def _refusal(self, records: Records, at: int) -> str:
        time = records["time"]
        before = time[at - 1] if at else np.datetime64(self.time, "ns")
        if not np.isnat(time[at]) and time[at] < before:
            return f"{_place(records, at)}: trades must come in the order of time, got {time[at]} after {before}"
        told = ", ".join(f"{name} {records[name][at]}" for name in ("time", "price", "size", "side"))
        return f"{_place(records, at)}: expected an instant, a price > 0, a size >= 0, a side of -1, 0, 1, got {told}"


def _place(records: Records, at: int) -> str:
    return f"{records.venue} {records.symbol} trades, row {records.row[at]}"
