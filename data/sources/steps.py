"""How long is a bar, where a file tells only when it began?"""

import numpy as np

from data.errors import SourceError
from data.sources.epochs import Instants

DAY = np.timedelta64(86_400_000_000_000, "ns")


def step_of(stamps: Instants, file: str) -> np.timedelta64:
    """The smallest time between two stamps that follow one another, in either direction.

    Raises
    ------
    SourceError
        Where no two stamps differ: nobody knows when the bar was over.

    >>> step_of(np.array(["2024-01-01T02", "2024-01-01T01", "2023-12-31T23"], "datetime64[ns]"), "bars.csv")
    np.timedelta64(3600000000000,'ns')
    """
    known = stamps[~np.isnat(stamps)]
    apart = np.abs(np.diff(known))
    apart = apart[apart > np.timedelta64(0, "ns")]
    if apart.size:
        return np.timedelta64(apart.min(), "ns")
    got = np.unique(known).size
    raise SourceError(f"{file}: expected bars at two instants or more, which tell how long one is, got {got}")
