"""How far apart are the rows of a series?"""

import numpy as np

from data.arrays import Ints
from data.records import BARS, Records

HOUR = 3600 * 10**9
DAY = 24 * HOUR
MONTH = 28 * DAY


def interval(records: Records) -> int | None:
    """How far rows are apart, in ns: what most bars last, or most steps of another series; None of a single row."""
    records = records.where(~np.isnat(records["time"]))
    if len(records) < 2:
        return None
    time = records["time"].view(np.int64)
    step = time - records["opened"].view(np.int64) if records.kind is BARS else _rounded(np.diff(time))
    return max(mode(step), 1)


def mode(values: Ints) -> int:
    """The value that comes most often, the least of several."""
    told, counts = np.unique(values, return_counts=True)
    return int(told[counts.argmax()])


def _rounded(step: Ints) -> Ints:
    """To the second: settlements are stamped milliseconds late."""
    return np.asarray((step + 5 * 10**8) // 10**9 * 10**9)
