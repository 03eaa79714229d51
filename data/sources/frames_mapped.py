"""What do the rows of any data frame say, once its columns are given their names?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from data.errors import DataError, ParameterError
from data.records import UNKNOWN, Column, Kind, Records, Values
from data.sources.csv_batches import STRANGE
from data.sources.epochs import Instants, instants, text_instants

_SIDES = {**dict.fromkeys(("buy", "b", "bid", "1", "+1"), 1), **dict.fromkeys(("sell", "s", "ask", "-1"), -1)}
_FLAGS = {
    **dict.fromkeys(("true", "call", "c", "1"), True),
    **dict.fromkeys(("false", "put", "p", "0"), False),
}


def from_frame(
    frame: pd.DataFrame,
    kind: Kind,
    mapping: Mapping[str, str],
    *,
    venue: str,
    symbol: str,
    tz: str = "UTC",
    step: str | None = None,
) -> Records:
    """A data frame's rows as records of a kind.

    Parameters
    ----------
    mapping : {column of the kind: column of the frame, or the name of its index}.
    venue, symbol : who wrote the rows, of what.
    tz : the zone of stamps that name none.
    step : the width of bars ("1h"), where the frame tells only when they `opened`, or only their end, `time`.

    Stamps may be typed, text or counts since 1970. Sides may be numbers or words: buy, sell, bid, ask. What is no
    figure becomes NaN, no instant NaT, no side a number that no check lets pass.

    Raises
    ------
    ParameterError
        If `mapping` names what the kind does not have or lacks what it requires, or `step` is no duration.
    DataError
        If the frame lacks a column, or one of truth values holds something else.

    >>> from data.records import TRADES
    >>> table = pd.DataFrame({"ts": [1700000000], "p": ["36.5"], "q": [2], "taker": ["sell"]})
    >>> records = from_frame(table, TRADES, {"time": "ts", "price": "p", "size": "q", "side": "taker"},
    ...                      venue="mine", symbol="BTCUSD")
    >>> records["price"].item(), records["side"].item(), records["time"].astype(str).item()
    (36.5, -1, '2023-11-14T22:13:20.000000000')
    """
    table = frame if list(frame.index.names) == [None] else frame.reset_index()
    _refuse(table, kind, mapping, step)
    columns = {
        column.name: _column(table[mapping[column.name]], column, tz)
        for column in kind.columns
        if column.name in mapping
    }
    if step is not None:
        width = _width(step)
        if "time" not in columns:
            columns["time"] = columns["opened"] + width
        elif "opened" not in columns:
            columns["opened"] = columns["time"] - width
    return Records(kind, venue, symbol, columns, np.arange(1, len(table) + 1, dtype=np.int64))


def _refuse(table: pd.DataFrame, kind: Kind, mapping: Mapping[str, str], step: str | None) -> None:
    strange = [name for name in mapping if name not in kind.names]
    derived = {"time"} if "opened" in mapping else {"opened"} if "time" in mapping else set()
    told = {*mapping, *(derived if step is not None else ())}
    lacking = [name for name in kind.required if name not in told]
    if strange or lacking:
        raise ParameterError(
            f"mapping must name the columns of {kind.name}, {list(kind.names)}; lacking {lacking}, got also {strange}"
        )
    absent = [name for name in mapping.values() if name not in table.columns]
    doubled = [name for name in mapping.values() if list(table.columns).count(name) > 1]
    if absent or doubled:
        raise DataError(f"a frame of {kind.name}: expected one column each of {absent + doubled}, got {[*table]}")


def _width(step: str) -> np.timedelta64:
    try:
        width = pd.Timedelta(step)
    except ValueError as error:
        raise ParameterError(f"step must be a duration such as '1h', got {step!r}") from error
    if not width > pd.Timedelta(0):
        raise ParameterError(f"step must be a duration such as '1h', got {step!r}")
    return np.timedelta64(width.value, "ns")


def _column(cells: pd.Series, column: Column, tz: str) -> Values:
    kind = np.dtype(column.dtype).kind
    if kind == "M":
        return _instants(cells, tz)
    if kind == "O":
        return np.array([None if blank else str(cell) for cell, blank in zip(cells, cells.isna(), strict=True)], object)
    if kind == "b":
        return _flags(cells, column.name)
    if column.dtype == "int8":
        return _sides(cells)
    numbers = pd.to_numeric(cells, errors="coerce")
    if kind == "f":
        return np.asarray(numbers.to_numpy(dtype=np.float64, na_value=np.nan))
    whole = numbers.where(numbers == np.floor(numbers)).fillna(UNKNOWN)
    return np.asarray(whole.to_numpy(dtype=np.int64))


def _instants(cells: pd.Series, tz: str) -> Instants:
    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        return _naive(cells.dt.tz_convert("UTC").dt.tz_localize(None))
    if cells.dtype.kind == "M":
        return _naive(cells.dt.tz_localize(tz, ambiguous="NaT", nonexistent="NaT").dt.tz_convert(None))
    if cells.dtype.kind in "iuf":
        return instants(cells.to_numpy())
    return text_instants(np.array([None if cell is None else str(cell) for cell in cells], object), tz)


def _naive(cells: pd.Series) -> Instants:
    return np.asarray(cells.to_numpy(), "datetime64[ns]")


def _sides(cells: pd.Series) -> Values:
    if cells.dtype.kind in "iuf":
        numbers = cells.fillna(0).to_numpy()
        return np.where(np.isin(numbers, (-1, 0, 1)), numbers, STRANGE).astype(np.int8)
    return np.array([_word(cell) for cell in cells], np.int8)


def _word(cell: Any) -> int:
    return 0 if pd.isna(cell) or not str(cell).strip() else _SIDES.get(str(cell).strip().lower(), STRANGE)


def _flags(cells: pd.Series, name: str) -> Values:
    words = [str(cell).strip().lower() for cell in cells]
    strange = sorted({word for word in words if word not in _FLAGS})
    if strange:
        raise DataError(f"{name} must be true or false, a call or a put, got {strange[:5]}")
    return np.array([_FLAGS[word] for word in words], bool)
