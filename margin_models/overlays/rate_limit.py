"""How fast may a margin rise or fall?"""

import numpy as np

from data import Floats, MarketHistory, ParameterError
from data.clock import Stamps
from margin_models.base import MarginModel
from margin_models.overlays.looks_back import LooksBack
from margin_models.overlays.past_charges import LEAST, PastBook


def rate_limited(charge: Floats, days: Floats, rise: float, fall: float) -> Floats:
    """The last of T charges of P books, (P,), had none moved from the one before by more than was allowed.

    `charge` is (T, P), NaN where unknown, `days` (T,) the instants; a limit of x a day allows (1 + x)^days up and
    (1 - x)^days down. A book starts at the first charge that is known, and one that was charged nothing starts anew.

    >>> rate_limited(np.array([[1.0], [0.5], [0.5]]), np.arange(3.0), rise=np.inf, fall=0.1).round(6).tolist()
    [0.81]
    """
    limited, since = np.full(charge.shape[1], np.nan), np.zeros(charge.shape[1])
    for now, asked in zip(days, charge, strict=True):
        bound = limited > LEAST
        before = np.where(bound, limited, 1.0)
        with np.errstate(over="ignore"):
            highest, lowest = before * (1.0 + rise) ** (now - since), before * (1.0 - fall) ** (now - since)
        known = np.isfinite(asked)
        moved = np.where(bound, np.minimum(np.maximum(asked, lowest), highest), asked)
        limited, since = np.where(known, moved, limited), np.where(known, now, since)
    return np.where(np.isfinite(charge[-1]), limited, np.nan)


class RateLimit(LooksBack):
    """Any model, its charge per unit of gross notional never rising or falling faster than so much a day.

    A limit on falls keeps margins up after a peak, and never asks for less than the model. A limit on rises spares
    members a sudden call and leaves them undercovered meanwhile: where it binds, its component is negative by what is
    missing, and the charge is below what the model holds to be safe, its maintenance included. A book starts at the
    oldest charge that is known within the lookback: with no past it is charged as by the model.

    Murphy, Vasios and Vause (2016), "A comparative analysis of tools to limit the procyclicality of initial margin
    requirements", Bank of England staff working paper 597, compare tools of this purpose and their cost.

    Parameters
    ----------
    model : what is charged.
    rise, fall : largest relative change a day (of 24 hours), rise > 0 or infinite, fall in (0, 1].
    lookback : rows that are looked back on; after so long a peak is forgotten.
    """

    own = "rate limit"

    def __init__(self, model: MarginModel, rise: float = np.inf, fall: float = 0.1, lookback: int = 60) -> None:
        self.model = model
        self.rise = rise
        self.fall = fall
        self.lookback = lookback

    def _refuse_bad_parameters(self) -> None:
        super()._refuse_bad_parameters()
        if not (self.rise > 0 and 0 < self.fall <= 1):
            raise ParameterError(f"RateLimit needs rise > 0 and fall in (0, 1], got {self.rise} and {self.fall}")

    def _reach(self, past: MarketHistory) -> tuple[int, int]:  # noqa: ARG002  the same for every past
        return self.lookback, 1

    def _unit_charge(self, unit: Floats, before: Floats, then: PastBook) -> Floats:
        time = then.past.time[np.append(then.rows, len(then.past) - 1)]
        return rate_limited(np.vstack([before, unit]), _days(time), self.rise, self.fall)


def _days(time: Stamps) -> Floats:
    """Days of 24 hours since the first instant, (T,)."""
    return np.asarray((time - time[0]) / np.timedelta64(1, "D"), dtype=np.float64)
