"""What became of each file that was asked for?"""

import enum
from dataclasses import dataclass


class State(enum.Enum):
    """How asking for one file ended; the values are the words of the table."""

    FETCHED = "fetched"
    HERE = "already here"
    ABSENT = "not published"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """One file that was asked for.

    Parameters
    ----------
    group : what it belongs to, "BTCUSDT klines-1h".
    period : of its rows, "2024-01" or "2024-01-05".
    file : where it is, or would be, in the folder that is fetched to.
    state : how it ended.
    size : bytes that it has; 0 where it is not here.
    why : the reason of a failure, or what is to be known of the file.
    """

    group: str
    period: str
    file: str
    state: State
    size: int = 0
    why: str = ""
