"""Which instant does a stamp name, whatever it counts in?

A count since 1970 says by its magnitude whether it is of seconds, milliseconds, microseconds or nanoseconds: the same
instant is a thousand times larger in each. Venues changed units within one archive, so every value is asked alone.
"""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Instants = NDArray[np.datetime64]

LOWEST = (10**8, 10**11, 10**14, 10**17)  # counts at 1973-03: seconds, milliseconds, microseconds, nanoseconds
REACH = 92  # times the lowest: the year 2261, which is as far as nanoseconds go
_SCALE = (10**9, 10**6, 10**3, 1)
_ISO = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})?$"
_ZONED = r"(Z|UTC|GMT|:\d{2}(\.\d+)?\s*[+-]\d{2}:?\d{2})$"


def instants(values: NDArray[Any]) -> Instants:
    """Counts since 1970 as datetime64[ns] in UTC, each in the unit that its magnitude tells.

    Parameters
    ----------
    values : (R,) whole or floating numbers. Fractions of seconds and milliseconds are kept to the microsecond, which
        is what a float of today resolves.

    Returns
    -------
    (R,) instants, NaT for NaN and for counts that are of no instant in 1973..2261 in any unit.

    >>> instants(np.array([1735689600, 1735689600000, 1735689600000000, -1]))
    array(['2025-01-01T00:00:00.000000000', '2025-01-01T00:00:00.000000000',
           '2025-01-01T00:00:00.000000000',                           'NaT'],
          dtype='datetime64[ns]')
    """
    counts = np.asarray(values)
    if not counts.size:
        return np.empty(0, "datetime64[ns]")
    low, high = counts.min(), counts.max()
    for lowest, scale in zip(LOWEST, _SCALE, strict=True):
        if lowest <= low and high < REACH * lowest:  # never so with NaN
            return _scaled(counts, scale)
    out = np.full(counts.shape, "NaT", "datetime64[ns]")
    for lowest, scale in zip(LOWEST, _SCALE, strict=True):
        with np.errstate(invalid="ignore"):
            here = (counts >= lowest) & (counts < REACH * lowest)
        out[here] = _scaled(counts[here], scale)
    return out


def _scaled(counts: NDArray[Any], scale: int) -> Instants:
    if counts.dtype.kind in "iu":
        whole = counts.astype(np.int64) * scale
    elif scale == 1:
        whole = np.rint(counts).astype(np.int64)
    else:
        whole = np.rint(counts * (scale // 1000)).astype(np.int64) * 1000
    return whole.view("datetime64[ns]")


def text_instants(values: NDArray[Any], tz: str = "UTC") -> Instants:
    """ISO 8601 dates and instants as datetime64[ns] in UTC; those that name no zone are read in `tz`.

    Parameters
    ----------
    values : (R,) of str, None where there is none.

    Returns
    -------
    (R,) instants; NaT for what is no full date (a stamp that was cut), and for times that the clocks of `tz` show
    twice or never.

    >>> text_instants(np.array(["2024-01-31 08:00:00", "2024-01-31T08:00:00+08:00", "2024-01", None]))
    array(['2024-01-31T08:00:00.000000000', '2024-01-31T00:00:00.000000000',
                                     'NaT',                           'NaT'],
          dtype='datetime64[ns]')
    """
    cells = pc.fill_null(pc.utf8_trim_whitespace(pa.array(values, pa.string())), "")
    known = np.asarray(pc.match_substring_regex(cells, _ISO), dtype=bool)
    zoned = np.asarray(pc.match_substring_regex(cells, _ZONED), dtype=bool)
    plain = np.asarray(pc.replace_substring_regex(cells, r"\s*(UTC|GMT)$", "Z"), dtype=object)
    out = np.full(len(plain), "NaT", "datetime64[ns]")
    out[known & zoned] = _utc(_parsed(plain[known & zoned], utc=True))
    naive = _parsed(plain[known & ~zoned], utc=False).tz_localize(tz, ambiguous="NaT", nonexistent="NaT")
    out[known & ~zoned] = _utc(naive)
    return out


def _parsed(cells: NDArray[Any], utc: bool) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=utc))


def _utc(index: pd.DatetimeIndex) -> Instants:
    return np.asarray(index.tz_convert("UTC").tz_localize(None).to_numpy(), "datetime64[ns]")
