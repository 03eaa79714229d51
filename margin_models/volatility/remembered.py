"""Which forecasts made before still hold, because all that they came from is bitwise the same?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data import Floats, MarketHistory
from data.clock import Stamps
from margin_models.volatility.predictors import feature_panel
from margin_models.volatility.surroundings import funding_paid, implied_variance

Panels = tuple[NDArray[np.int64] | None, ...]


@dataclass(frozen=True, eq=False)
class Remembered:
    """Forecasts (R, A), and copies of the stamps (R,) and panels (R, ...) that they came from."""

    time: Stamps
    panels: Panels
    forecasts: Floats

    def recall(self, time: Stamps, panels: Panels, lookback: int, known: Floats) -> tuple[int, int]:
        """Write into `known` (R, A) the forecasts that still hold; the rows [start, stop) they are for.

        One holds only if every panel of its row and of the `lookback` rows before is bitwise the same: another history
        with the same stamps, or one changed in place, gets its own.
        """
        here, there = int(np.searchsorted(time, self.time[0])), int(np.searchsorted(self.time, time[0]))
        size = min(len(time) - here, len(self.time) - there)
        if size <= lookback or not _same(panels, self.panels, slice(here, here + size), slice(there, there + size)):
            return lookback, lookback
        known[here + lookback : here + size] = self.forecasts[there + lookback : there + size]
        return here + lookback, here + size


def remembered(time: Stamps, panels: Panels, forecasts: Floats) -> Remembered:
    """Forecasts with copies of what they came from."""
    return Remembered(time.copy(), tuple(None if panel is None else panel.copy() for panel in panels), forecasts)


def panels_of(past: MarketHistory, features: Sequence[str]) -> Panels:
    """Everything that forecasts depend on, as integers: a NaN equals itself."""
    rates = None if past.numeraire == "USD" else past.rates(np.arange(len(past)))
    market = (past.spot, past.high, past.low, past.volume, funding_paid(past), implied_variance(past))
    panels = (past.time, *market, rates, feature_panel(past, features))
    return tuple(None if panel is None else panel.view(np.int64) for panel in panels)


def _same(panels: Panels, others: Panels, rows: slice, other_rows: slice) -> bool:
    """Whether these rows of all panels are bitwise the same."""
    return all(
        panel is other if panel is None or other is None else np.array_equal(panel[rows], other[other_rows])
        for panel, other in zip(panels, others, strict=True)
    )
