"""What does a row of a tape, a book or a bar say, whatever venue wrote it?

Every source is read into one of a few kinds of rows, with the same names, units and signs. Instants are UTC at which
the row was true of the market; a bar is known at its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, ParameterError

Values = NDArray[Any]

UNKNOWN = -1  # of a sequence number that a source does not have


@dataclass(frozen=True)
class Column:
    """One figure of a row: its name, numpy type, unit, and whether every source has it."""

    name: str
    dtype: str
    unit: str
    required: bool = True


@dataclass(frozen=True)
class Kind:
    """One kind of rows; the first column is always `time`, datetime64[ns] in UTC."""

    name: str
    says: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns it may have, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that are always there."""
        return tuple(column.name for column in self.columns if column.required)


def _kind(name: str, says: str, *columns: Column) -> Kind:
    received = Column("received", "datetime64[ns]", "UTC instant at which the recorder had it", required=False)
    return Kind(name, says, (Column("time", "datetime64[ns]", "UTC instant"), *columns, received))


def _optional(name: str, unit: str, dtype: str = "float64") -> Column:
    return Column(name, dtype, unit, required=False)


PRICE = "quote currency a unit of base"
TRADES = _kind(
    "trades",
    "one match: somebody took what another had offered",
    Column("price", "float64", PRICE),
    Column("size", "float64", "units of base, or contracts where the venue counts so"),
    Column("side", "int8", "+1 a buyer took, -1 a seller took, 0 not said"),
    _optional("id", "the venue's number of the match, rising; -1 where it is no number", "int64"),
)
BARS = _kind(
    "bars",
    "what was traded within an interval; `time` is its end",
    Column("opened", "datetime64[ns]", "UTC instant at which the interval began"),
    *(Column(name, "float64", PRICE) for name in ("open", "high", "low", "close")),
    _optional("volume", "units of base, or contracts"),
    _optional("quote_volume", "quote currency"),
    _optional("count", "trades"),
    _optional("taker_buy_volume", "units of base that buyers took"),
    _optional("taker_buy_quote_volume", "quote currency that buyers paid as takers"),
)
FUNDING = _kind(
    "funding",
    "what a long perpetual paid at an instant, as a share of its notional",
    Column("rate", "float64", "share of notional, over the interval that ends then"),
    _optional("interval", "hours"),
)
QUOTES = _kind(
    "quotes",
    "the best bid and ask after a change",
    *(Column(name, "float64", PRICE) for name in ("bid", "ask")),
    *(_optional(name, "units of base, or contracts") for name in ("bid_size", "ask_size")),
    _optional("update", "the venue's number of the change; -1 where it has none", "int64"),
)
BOOK = _kind(
    "book",
    "one price level after a change; rows of one message share `time` and `last_update`",
    Column("side", "int8", "+1 bid, -1 ask; 0 a message without a level or, with a size of 0, one that was set aside"),
    Column("price", "float64", PRICE),
    Column("size", "float64", "units of base, or contracts, now offered there; 0 takes the level away"),
    Column("snapshot", "bool", "part of a whole book, which replaces what was there"),
    *(_optional(f"{which}_update", "the venue's sequence number", "int64") for which in ("first", "last", "previous")),
    _optional("message", "the number of the message in its file, from 0", "int64"),
)
DEPTH = _kind(
    "depth",
    "all that is offered within a distance of the mid",
    Column("band", "float64", "share of the mid, below 0 for bids"),
    Column("size", "float64", "units of base, or contracts"),
    Column("notional", "float64", "quote currency"),
)
METRICS = _kind(
    "metrics",
    "what a venue publishes of a contract beside its trades",
    *(_optional(name, PRICE) for name in ("mark", "index", "last")),
    _optional("open_interest", "units of base, or contracts"),
    _optional("open_interest_value", "quote currency"),
    _optional("funding_rate", "share of notional, of the interval that runs"),
    _optional("taker_ratio", "volume that buyers took over volume that sellers took"),
    _optional("long_short_ratio", "accounts long over accounts short"),
)
INDEX = _kind(
    "index",
    "a level that nobody trades: implied volatility, a rate",
    Column("value", "float64", "as published: volatility in percent a year, say"),
    *(_optional(name, "as `value`, over the interval that ends then") for name in ("open", "high", "low")),
)
LIQUIDATIONS = _kind(
    "liquidations",
    "an order that closed somebody's position for want of margin",
    Column("price", "float64", PRICE),
    Column("size", "float64", "units of base, or contracts"),
    Column("side", "int8", "+1 it bought, so a short was closed; -1 it sold"),
)
OPTIONS = _kind(
    "options",
    "one option as quoted",
    Column("symbol", "object", "the venue's name of the option"),
    Column("underlying", "object", "a name"),
    Column("strike", "float64", PRICE),
    Column("expiry", "datetime64[ns]", "UTC instant"),
    Column("call", "bool", "a call, else a put"),
    *(_optional(name, "coin or quote currency, as the venue quotes") for name in ("bid", "ask", "mark", "last")),
    *(_optional(name, "share a year") for name in ("bid_iv", "ask_iv", "mark_iv")),
    *(_optional(name, PRICE) for name in ("forward", "spot")),
    _optional("open_interest", "contracts"),
    _optional("volume", "contracts"),
)
KINDS: Mapping[str, Kind] = {
    kind.name: kind for kind in (TRADES, BARS, FUNDING, QUOTES, BOOK, DEPTH, METRICS, INDEX, LIQUIDATIONS, OPTIONS)
}


@dataclass(frozen=True, eq=False)
class Records:
    """Rows of one kind as a source wrote them, column by column, in the order of the file.

    Parameters
    ----------
    kind : what the rows are.
    venue, symbol : who wrote them, of what; one symbol throughout, but for options, which name each row's own.
    columns : (R,) arrays by name: all that the kind requires, and any of the rest. Unknown figures are NaN, an unknown
        instant NaT.
    row : (R,) number of each row in its file, from 1, headers not counted: what findings and errors name.

    Raises
    ------
    DataError
        If a column is missing, strange, of another type or length.
    """

    kind: Kind
    venue: str
    symbol: str
    columns: Mapping[str, Values]
    row: NDArray[np.int64]

    def __post_init__(self) -> None:
        lacking = [name for name in self.kind.required if name not in self.columns]
        strange = [name for name in self.columns if name not in self.kind.names]
        if lacking or strange:
            raise DataError(f"{self.kind.name} of {self.venue}: columns lacking {lacking}, not of this kind {strange}")
        for column in self.kind.columns:
            values = self.columns.get(column.name)
            if values is not None and (values.dtype != np.dtype(column.dtype) or values.shape != self.row.shape):
                raise DataError(
                    f"{self.kind.name} of {self.venue}: {column.name} must be {self.row.shape} of {column.dtype}, got "
                    f"{values.shape} of {values.dtype}"
                )

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, name: str) -> Values:
        """One column; ParameterError where this source has none of that name."""
        if name not in self.columns:
            raise ParameterError(f"no column {name!r} in {self.kind.name} of {self.venue}, there are {[*self.columns]}")
        return self.columns[name]

    def where(self, kept: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "Records":
        """Some of the rows: a mask, places or a slice."""
        return Records(
            self.kind,
            self.venue,
            self.symbol,
            {name: values[kept] for name, values in self.columns.items()},
            self.row[kept],
        )
