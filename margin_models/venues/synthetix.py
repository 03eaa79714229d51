"""What do Synthetix v3 perpetuals ask, and what may be withdrawn?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from data import DataError, Floats
from margin_models.venues.checks import finite, not_negative, positive
from margin_models.venues.margins import Margins
from margin_models.venues.provenance import Provenance

_LIQUIDATION = Provenance(
    "V", "Synthetixio/synthetix-v3 at 23585f7, perps-market/test/integration/Liquidation/Liquidation.margin.test.ts"
)
_MARGINS = Provenance("V", "Synthetixio/synthetix-v3 at 23585f7, perps-market/test/integration/Account/Margins.test.ts")
_SOURCE = Provenance("S", "Synthetixio/synthetix-v3 at 23585f7, perps-market")
FORMULAS: Mapping[str, Provenance] = {
    "fill_price": _LIQUIDATION,
    "pnl": _LIQUIDATION,
    "margins": _MARGINS,
    "available": _LIQUIDATION,
    "withdrawable": _MARGINS,
    "liquidation_limit": _SOURCE,
}


@dataclass(frozen=True)
class PerpetualMarket:
    """The margin parameters of each market, (M,) or scalars.

    Parameters
    ----------
    skew_scale : size at which the skew premium is 100 %, in units of the underlying, > 0.
    initial_factor : what the initial margin ratio gains at a size of `skew_scale`.
    least_initial : initial margin ratio of a vanishing size.
    maintenance_scalar : maintenance ratio over initial ratio.
    least_margin : USD of margin of every open position, whatever its size.
    liquidation_reward : share of notional kept for who liquidates.
    """

    skew_scale: ArrayLike
    initial_factor: ArrayLike = 0.0
    least_initial: ArrayLike = 0.0
    maintenance_scalar: ArrayLike = 1.0
    least_margin: ArrayLike = 0.0
    liquidation_reward: ArrayLike = 0.0

    def __post_init__(self) -> None:
        positive("skew_scale", self.skew_scale)
        for name in ("initial_factor", "least_initial", "maintenance_scalar", "least_margin", "liquidation_reward"):
            not_negative(name, getattr(self, name))


def fill_price(price: ArrayLike, size: ArrayLike, skew: ArrayLike, skew_scale: ArrayLike) -> Floats:
    """Price at which a trade of this signed size fills in a market of this skew, arguments broadcast.

    The premium is the mean of skew / scale before and after the trade: p (1 + (skew + size / 2) / scale). DataError for
    a price or scale <= 0, or NaN.

    >>> fill_price(30000.0, -1.0, 0.0, 100.0)
    array(29850.)
    """
    moved = finite("skew", skew) + 0.5 * finite("size", size)
    return np.asarray(positive("price", price) * (1.0 + moved / positive("skew_scale", skew_scale)))


def pnl(size: ArrayLike, price: ArrayLike, fill: ArrayLike) -> Floats:
    """Gain of positions filled at `fill` and now at `price`, in USD, arguments broadcast."""
    return np.asarray(finite("size", size) * (positive("price", price) - finite("fill", fill)))


def margins(size: ArrayLike, price: ArrayLike, market: PerpetualMarket) -> Margins:
    """Initial and maintenance margin of each position in USD, size (..., M); a size of 0 posts nothing.

    Ratio |size| / scale * factor + least; initial |size| p ratio + least margin; maintenance the same with the ratio
    times the scalar. DataError for a price <= 0 or NaN.
    """
    held = np.abs(finite("size", size))
    ratio = held / np.asarray(market.skew_scale) * market.initial_factor + market.least_initial
    initial = held * positive("price", price) * ratio
    floor = np.where(held > 0, market.least_margin, 0.0)
    return Margins(np.asarray(initial + floor), np.asarray(initial * market.maintenance_scalar + floor))


def available(collateral: ArrayLike, gain: ArrayLike) -> Floats:
    """Collateral (P,) plus the gains of all positions (P, M), in USD, (P,); negative where the account is bankrupt."""
    total = finite("gain", gain).sum(axis=-1)
    return np.asarray(finite("collateral", collateral) + total)


def withdrawable(equity: ArrayLike, size: ArrayLike, price: ArrayLike, market: PerpetualMarket) -> Floats:
    """What is left of `available` equity (P,) after initial margin and liquidation reward of the positions (P, M)."""
    notional = np.abs(finite("size", size)) * positive("price", price)
    reward = np.asarray(market.liquidation_reward) * notional
    return np.asarray(finite("equity", equity) - (margins(size, price, market).initial + reward).sum(axis=-1))


def liquidation_limit(fees: float, skew_scale: float, multiplier: float, seconds: float) -> float:
    """Size of a market that may be liquidated within a window: (maker + taker fee) scale multiplier seconds."""
    values = (fees, skew_scale, multiplier, seconds)
    if not all(np.isfinite(value) and value >= 0 for value in values):
        raise DataError(f"fees, skew scale, multiplier and seconds must be >= 0, got {values}")
    return fees * skew_scale * multiplier * seconds
