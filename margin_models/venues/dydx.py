"""How does dYdX v4 raise initial margin with a market's open interest?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from data import Floats, ParameterError
from margin_models.venues.checks import named, not_negative, whole
from margin_models.venues.provenance import Provenance

MILLION = 10**6


@dataclass(frozen=True)
class LiquidityTier:
    """Margins of a tier in parts per million, and the open interest between which they rise.

    Parameters
    ----------
    initial : initial margin fraction below the lower cap.
    maintenance : share of the base initial margin that is maintenance margin.
    lower, upper : open interest in quote quantums (1e-6 USD); upper 0 means that margin does not rise.
    provenance : where the tier is from.
    """

    initial: int
    maintenance: int
    lower: int
    upper: int
    provenance: Provenance

    def __post_init__(self) -> None:
        for name in ("initial", "maintenance"):
            if whole(name, getattr(self, name)) > MILLION:
                raise ParameterError(f"{name} must be at most {MILLION} ppm, got {getattr(self, name)}")
        if whole("lower", self.lower) > whole("upper", self.upper):
            raise ParameterError(f"the lower cap must not exceed the upper, got {self.lower} and {self.upper}")


_GENESIS = Provenance("V", "dydxprotocol/v4-chain, genesis liquidity tiers", "genesis")
_USD = MILLION
PARAMETERS: Mapping[str, LiquidityTier] = {
    "large": LiquidityTier(20_000, 600_000, 0, 0, _GENESIS),
    "mid": LiquidityTier(50_000, 600_000, 40_000_000 * _USD, 100_000_000 * _USD, _GENESIS),
    "small": LiquidityTier(100_000, 500_000, 20_000_000 * _USD, 50_000_000 * _USD, _GENESIS),
    "long-tail": LiquidityTier(200_000, 500_000, 5_000_000 * _USD, 10_000_000 * _USD, _GENESIS),
    "safety": LiquidityTier(1_000_000, 200_000, 0, 0, _GENESIS),
}
_TESTS = Provenance("V", "dydxprotocol/v4-chain at 84d4664, protocol/x/perpetuals/types/liquidity_tier_test.go")
_TYPES = Provenance("S", "dydxprotocol/v4-chain, protocol/x/perpetuals/types/liquidity_tier.go")
FORMULAS: Mapping[str, Provenance] = {
    "tier": _GENESIS,
    "initial_ppm": _TESTS,
    "initial_margin": _TESTS,
    "maintenance_margin": _TYPES,
    "initial_fraction": _TESTS,
}


def tier(name: str) -> LiquidityTier:
    """The genesis tier of this name; ParameterError for one that is not known."""
    return named(PARAMETERS, name)


def initial_ppm(open_interest: int, rule: LiquidityTier) -> int:
    """Initial margin in parts per million of notional: base up to the lower cap, all of it from the upper cap on.

    In between base + (1e6 - base) (oi - lower) // (upper - lower), in whole numbers as on chain. `open_interest` in
    quote quantums. DataError for what is not a whole number >= 0.
    """
    interest = whole("open interest", open_interest)
    if rule.upper == 0 or interest <= rule.lower:
        return rule.initial
    if interest >= rule.upper:
        return MILLION
    return rule.initial + (MILLION - rule.initial) * (interest - rule.lower) // (rule.upper - rule.lower)


def initial_margin(notional: int, open_interest: int, rule: LiquidityTier) -> int:
    """Initial margin in quote quantums, rounded up; `notional` is unsigned, in quote quantums.

    >>> initial_margin(1, 0, tier("small"))
    1
    """
    return _share(whole("notional", notional), initial_ppm(open_interest, rule))


def maintenance_margin(notional: int, rule: LiquidityTier) -> int:
    """Maintenance margin in quote quantums, rounded up; it does not rise with open interest."""
    return _share(whole("notional", notional), rule.initial * rule.maintenance // MILLION)


def initial_fraction(open_interest: ArrayLike, rule: LiquidityTier) -> Floats:
    """`initial_ppm` as a fraction of notional for open interest in USD, any shape, without the rounding to ppm."""
    interest = not_negative("open interest", open_interest) * MILLION
    base = rule.initial / MILLION
    if rule.upper == 0:
        return np.full_like(interest, base)
    # Caps that coincide make a step: base at the cap, all of it above.
    rise = (interest - rule.lower) / max(rule.upper - rule.lower, 1)
    return np.asarray(base + (1.0 - base) * np.clip(rise, 0.0, 1.0))


def _share(notional: int, ppm: int) -> int:
    return -(-notional * ppm // MILLION)
