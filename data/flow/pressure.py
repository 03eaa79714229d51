"""How crowded and how strained are the leveraged positions?"""

import numpy as np

from data.arrays import Floats
from data.clock import Stamps
from data.flow.orderflow import Sides, decayed_flow
from data.flow.windows import log_changes, over, window_mean


def liquidation_pressure(time: Stamps, notional: Floats, side: Sides, at: Stamps, half_life: str = "1h") -> Floats:
    """Signed notional of forced orders a second, its weight halving every `half_life`, (B,), in quote currency.

    Below 0 longs are sold out, above 0 shorts are bought in; price pressure of forced trades as in Brunnermeier and
    Pedersen (2009), "Market liquidity and funding liquidity", Review of Financial Studies 22. Raises as `decayed_flow`.
    """
    return decayed_flow(time, np.asarray(notional, np.float64) * np.sign(np.asarray(side)), at, half_life)


def funding_pressure(rate: Floats, hours: Floats | float, window: int) -> Floats:
    """What a long paid on average over the newest `window` fundings, as a share of notional a day.

    `rate` is paid over an interval of `hours` (He, Manela, Ross and von Wachter 2022, "Fundamentals of perpetual
    futures": funding is the price of leverage demanded in excess). NaN where hours are not > 0.
    """
    return window_mean(over(24.0 * np.asarray(rate, np.float64), np.asarray(hours, np.float64)), window)


def basis(mark: Floats, index: Floats) -> Floats:
    """Contract over index less 1, a share: what a perpetual or future costs beyond spot; NaN without either."""
    mark = np.asarray(mark, np.float64)
    return np.where(mark > 0, over(mark, index) - 1.0, np.nan)


def open_interest_change(open_interest: Floats, rows: int = 1) -> Floats:
    """ln of open interest over that `rows` before: positions opened (> 0) or closed; NaN where either is not > 0."""
    return log_changes(open_interest, rows)
