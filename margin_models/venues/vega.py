"""What risk factors and margins follow from Vega's lognormal model?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from data import DataError, Floats
from margin_models.venues.checks import finite, not_negative, parameter, positive
from margin_models.venues.provenance import Provenance

_QUANT = Provenance("V", "vegaprotocol/quant at afa0c5d, riskmodelbs/forwards_test.go and riskmeasures_test.go")
_SPEC = Provenance("V", "vegaprotocol specs, 0019-MCAL margin calculator, worked example")
FORMULAS: Mapping[str, Provenance] = {
    "lognormal_quantile": _QUANT,
    "lognormal_shortfall": _QUANT,
    "risk_factors": _QUANT,
    "maintenance_margin": _SPEC,
    "margin_levels": Provenance("S", "vegaprotocol specs, 0019-MCAL margin calculator"),
}


class RiskFactors(NamedTuple):
    """Share of the mark price charged to a long and to a short position."""

    long: Floats
    short: Floats


@dataclass(frozen=True)
class Levels:
    """What maintenance margin is multiplied by for each further level; ParameterError where they do not rise."""

    search: float
    initial: float
    release: float

    def __post_init__(self) -> None:
        parameter("search", self.search, 1.0, self.initial)
        parameter("initial", self.initial, self.search, self.release)


def lognormal_quantile(mu: ArrayLike, sigma: ArrayLike, tail: ArrayLike) -> Floats:
    """Quantile of exp(mu + sigma Z) at `tail`, arguments broadcast: exp(mu + sigma N^-1(tail)).

    The value at risk of holding it is minus this (the most that is kept, as a loss). DataError for sigma < 0, a tail
    outside (0, 1), or NaN.
    """
    level = _tail(tail)
    return np.asarray(np.exp(finite("mu", mu) + not_negative("sigma", sigma) * ndtri(level)))


def lognormal_shortfall(mu: ArrayLike, sigma: ArrayLike, tail: ArrayLike) -> Floats:
    """Mean of exp(mu + sigma Z) in its lower `tail`, arguments broadcast.

    exp(mu + sigma^2 / 2) N(N^-1(tail) - sigma) / tail; the expected shortfall of holding it is minus this.
    """
    level, deviation = _tail(tail), not_negative("sigma", sigma)
    return np.asarray(
        np.exp(finite("mu", mu) + 0.5 * deviation**2) * ndtr(ndtri(level) - deviation) / level,
    )


def risk_factors(tail: ArrayLike, tau: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> RiskFactors:
    """Expected shortfall of a forward over `tau` years at risk aversion `tail`, as a share of its price.

    With m = (mu - sigma^2 / 2) tau and s = sigma sqrt(tau): the long loses 1 less the mean in the lower tail, the short
    loses the mean in the upper tail less 1. DataError for tau or sigma < 0, a tail outside (0, 1), or NaN.
    """
    level, time, volatility = _tail(tail), not_negative("tau", tau), not_negative("sigma", sigma)
    growth = np.exp(finite("mu", mu) * time)
    centre, spread = finite("mu", mu) * time - 0.5 * volatility**2 * time, volatility * np.sqrt(time)
    short = growth * ndtr(ndtri(level) + spread) / level - 1.0
    return RiskFactors(np.asarray(1.0 - lognormal_shortfall(centre, spread, level)), np.asarray(short))


def maintenance_margin(
    open_volume: ArrayLike,
    orders: tuple[ArrayLike, ArrayLike],
    exit_price: tuple[ArrayLike, ArrayLike],
    mark: ArrayLike,
    factors: RiskFactors,
    slippage: ArrayLike,
) -> Floats:
    """Maintenance margin with orders, the larger of the long and the short side, arguments broadcast (0019-MCAL).

    A side costs the smaller of slippage to its exit price and `slippage` (a share of the mark) on its riskiest volume,
    plus risk factor times mark on what is open and on what is ordered.

    Parameters
    ----------
    open_volume : signed.
    orders : volumes of buy and of sell orders, both >= 0.
    exit_price : volume-weighted price at which a long, and at which a short, could be closed on the book; infinite
        where the book is too thin (the share `slippage` then applies). It counts only for the side that is open.
    mark : mark price.
    factors : of `risk_factors`.
    slippage : linear slippage factor.

    Raises
    ------
    DataError
        For a mark <= 0, negative orders or slippage, an exit price of NaN, or NaN elsewhere.
    """
    volume, price, most = finite("open volume", open_volume), positive("mark", mark), not_negative("slippage", slippage)
    sides = []
    for side, (ordered, leave, factor) in enumerate(zip(orders, exit_price, factors, strict=True)):
        sign = 1.0 - 2.0 * side
        held, waiting = np.maximum(sign * volume, 0.0), not_negative("orders", ordered)
        riskiest = np.maximum(sign * volume + waiting, 0.0)
        slip = np.where(held > 0, np.minimum(_slip(sign, price, leave), price * most), 0.0)
        sides.append(np.where(riskiest > 0, riskiest * slip + (held + waiting) * np.asarray(factor) * price, 0.0))
    return np.asarray(np.maximum(*sides))


def margin_levels(maintenance: ArrayLike, levels: Levels) -> dict[str, Floats]:
    """Maintenance, search, initial and release level, each of the shape of `maintenance`."""
    base = not_negative("maintenance", maintenance)
    scaled = {name: np.asarray(base * getattr(levels, name)) for name in ("search", "initial", "release")}
    return {"maintenance": base, **scaled}


def _slip(sign: float, mark: Floats, leave: ArrayLike) -> Floats:
    price = np.asarray(leave, dtype=np.float64)
    if np.isnan(price).any() or (price < 0).any():
        raise DataError(f"an exit price must be >= 0 or infinite where the book is too thin, got {price}")
    return np.asarray(np.where(np.isinf(price), np.inf, np.maximum(sign * (mark - price), 0.0)))


def _tail(tail: ArrayLike) -> Floats:
    level = positive("tail probability", tail)
    if (level >= 1).any():
        raise DataError(f"a tail probability must lie in (0, 1), got {level}")
    return level
