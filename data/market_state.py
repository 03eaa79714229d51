"""What does one instant of the market look like?"""

from dataclasses import dataclass, field

import numpy as np

from data.arrays import Floats
from data.clock import Clock, sessions_in
from data.coverage import DAYS_A_YEAR, Coverage


@dataclass(frozen=True, eq=False)
class MarketState:
    """One instant; a hole is NaN, a defaulted asset has price 0.

    `spot` is (A,) in the order of `underlyings`, `marks` (N,) in the order of `listed`; `rate` is the USD price of one
    unit of the numeraire. `curve` (A, K, 3) and `surface` (A, K, 7) are the term structures of data/curves.py and
    data/surface.py, where the source has them; `implied` says where the surface is from. `depth` (A, 2, K) is what the
    order books offer within the `depth_bands`, as in `MarketHistory`.
    """

    time: np.datetime64
    underlyings: tuple[str, ...]
    spot: Floats
    listed: tuple[str, ...]
    marks: Floats
    numeraire: str
    rate: float
    curve: Floats | None = None
    surface: Floats | None = None
    implied: str = ""
    clock: Clock = field(default_factory=Clock)
    depth: Floats | None = None
    depth_bands: tuple[float, ...] = ()

    def years_ahead(self, coverage: Coverage) -> float:
        """Time that goes by over the horizon, in years of 365.25 days: over a weekend a session takes three days."""
        sessions = sessions_in(coverage.horizon)
        if sessions is None or not self.clock.by_session:
            return coverage.years
        return float((self.clock.after(self.time, sessions) - self.time) / np.timedelta64(1, "D")) / DAYS_A_YEAR
