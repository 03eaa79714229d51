"""What must margin survive?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.clock import plain_span, sessions_in
from data.errors import ParameterError

DAYS_A_YEAR, SESSIONS_A_YEAR = 365.25, 252


@dataclass(frozen=True)
class Coverage:
    """A share `level` of the losses over the next `horizon`.

    It lives beside the facts because a history needs it to cut horizon returns, and it is one object because a horizon
    given twice (once to a model, once to its test) would disagree in silence.

    Parameters
    ----------
    level : share of horizons that margin must cover, in (0.5, 1).
    horizon : the margin period of risk: time ("8h", "1D") or, where a market has sessions, sessions ("1B").
    path : judge the loss at the "end" of the horizon, or the "worst" along the way.
    numeraire : what losses and margins are counted in: "USD", an underlying, or a currency the history has a rate for.

    Raises
    ------
    ParameterError
        If the level, the horizon or the path is outside its range.
    """

    level: float = 0.99
    horizon: str = "1D"
    path: Literal["end", "worst"] = "end"
    numeraire: str = "USD"

    def __post_init__(self) -> None:
        if not 0.5 < self.level < 1.0:
            raise ParameterError(f"Coverage.level must lie in (0.5, 1), got {self.level}. Typical values: 0.99, 0.997.")
        if sessions_in(self.horizon) is None:
            plain_span(self.horizon, "Coverage.horizon")
        if self.path not in ("end", "worst"):
            raise ParameterError(f"Coverage.path must be 'end' or 'worst', got {self.path!r}")

    @property
    def years(self) -> float:
        """The horizon in years of 365.25 days; a session counts as one of 252 in a year.

        >>> Coverage(horizon="1D").years * 365.25
        1.0
        """
        sessions = sessions_in(self.horizon)
        if sessions is not None:
            return sessions / SESSIONS_A_YEAR
        return float(plain_span(self.horizon, "Coverage.horizon") / np.timedelta64(1, "D")) / DAYS_A_YEAR
