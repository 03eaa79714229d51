"""Which instant does a stamp name, whatever it counts in?

A count since 1970 says by its magnitude whether it is of seconds, milliseconds, microseconds or nanoseconds: the same
instant is a thousand times larger in each. Venues changed units within one archive, so every value is asked alone.
Nothing traded electronically before 1990 has such a stamp, which leaves room for dates without marks, 202401310800.
"""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Instants = NDArray[np.datetime64]

LOWEST = (631_152_000, 631_152 * 10**6, 631_152 * 10**9, 631_152 * 10**12)  # 1990 in s, ms, us, ns
HIGHEST = (92 * 10**8, 92 * 10**11, 92 * 10**14, 92 * 10**17)  # the year 2261, which is as far as nanoseconds go
_SCALE = (10**9, 10**6, 10**3, 1)
_COMPACT = ((199001010000, 210101010000, 100), (19900101000000, 21010101000000, 1))  # YYYYMMDDhhmm, YYYYMMDDhhmmss
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
    (R,) instants, NaT for NaN and for counts that are of no instant in 1990..2261 in any unit. Twelve and fourteen
    digits that are a date and a time of day (YYYYMMDDhhmm, YYYYMMDDhhmmss: no count of this age) are read so, in UTC.

    >>> instants(np.array([1735689600, 1735689600000, 1735689600000000, -1]))
    array(['2025-01-01T00:00:00.000000000', '2025-01-01T00:00:00.000000000',
           '2025-01-01T00:00:00.000000000',                           'NaT'],
          dtype='datetime64[ns]')
    """
    counts = np.asarray(values)
    if not counts.size:
        return np.empty(0, "datetime64[ns]")
    low, high = counts.min(), counts.max()
    for lowest, highest, scale in zip(LOWEST, HIGHEST, _SCALE, strict=True):
        if lowest <= low and high < highest:  # never so with NaN
            return _scaled(counts, scale)
    out = np.full(counts.shape, "NaT", "datetime64[ns]")
    for lowest, highest, scale in zip(LOWEST, HIGHEST, _SCALE, strict=True):
        here = _between(counts, lowest, highest)
        out[here] = _scaled(counts[here], scale)
    for lowest, highest, seconds in _COMPACT:
        here = _between(counts, lowest, highest)
        out[here] = _dated(counts[here], seconds)
    return out


def _between(counts: NDArray[Any], lowest: int, highest: int) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.asarray((counts >= lowest) & (counts < highest))


def _dated(counts: NDArray[Any], seconds: int) -> Instants:
    """Instants of YYYYMMDDhhmmss once multiplied by `seconds`; NaT where there is no such day or time."""
    whole = counts == np.floor(counts)
    digits = counts[whole].astype(np.int64) * seconds
    text = [f"{day[:4]}-{day[4:6]}-{day[6:8]} {day[8:10]}:{day[10:12]}:{day[12:]}" for day in map(str, digits.tolist())]
    out = np.full(counts.shape, "NaT", "datetime64[ns]")
    out[whole] = text_instants(np.array(text, object))
    return out


def _scaled(counts: NDArray[Any], scale: int) -> Instants:
    if counts.dtype.kind in "iu":
        whole = counts.astype(np.int64, copy=False) * scale
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
