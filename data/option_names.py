"""What does the name of an option say of it?"""

import re

import numpy as np

from data.arrays import Bools
from data.records import Records

_NAME = re.compile(r".*-(\d+(?:[.D]\d+)?)-([CP])")
_NEAR = 1e-6  # of a strike


def is_option(records: Records) -> bool:
    """Whether rows of a tape are of an option, by the name that venues give it."""
    return records.symbol.upper().endswith(("-C", "-P"))


def misnamed(records: Records) -> Bools:
    """Options whose name tells another strike, or the other right, than their row; not asked of other names.

    Venues put both at the end, as in BTC-26JAN24-30000-C; Deribit writes a d for the point.
    """
    told = {name: _told(name) for name in set(records["symbol"].tolist())}
    named = [told[name] for name in records["symbol"].tolist()]
    strike, right = np.array([pair[0] for pair in named]), np.array([pair[1] for pair in named])
    with np.errstate(invalid="ignore"):
        off = np.abs(records["strike"] - strike) > _NEAR * strike
    return np.asarray((right != "") & (off | ((right == "C") != records["call"])))


def _told(name: str | None) -> tuple[float, str]:
    found = _NAME.fullmatch((name or "").upper())
    return (float(found[1].replace("D", ".")), found[2]) if found else (np.nan, "")
