"""How do Drift's collateral and margin weights worsen with the square root of size?"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from data import Floats
from margin_models.venues.checks import not_negative, whole
from margin_models.venues.provenance import Provenance

# Sizes are in units of 1e-9, weights in basis points (1e-4), the size factor (IMF) in millionths.
SIZE_PRECISION = 10**9
WEIGHT_PRECISION = 10**4
FACTOR_PRECISION = 10**6
ROOT_PRECISION = 10**5

_TESTS = "drift-labs/protocol-v2 at 0ae3e3b, programs/drift/src/math/margin/tests.rs"
_SOURCE = "drift-labs/protocol-v2, programs/drift/src/math/margin.rs"
FORMULAS: Mapping[str, Provenance] = {
    "liability_weight": Provenance("V", _TESTS),
    "asset_weight": Provenance("V", _TESTS),
    "perpetual_margin": Provenance("S", _SOURCE),
    "margin_fraction": Provenance("V", _TESTS),
}


def liability_weight(size: int, factor: int, weight: int) -> int:
    """Weight of a borrow of this size in basis points, at least `weight`; a perpetual's margin ratio grows alike.

    max(w, w - w // 5 + root * factor // 1e7) with root = isqrt(10 size + 1), in whole numbers as on chain. `size` is in
    units of 1e-9, `factor` in millionths. DataError for what is not a whole number >= 0.

    >>> liability_weight(1000 * SIZE_PRECISION, 10_000, 11_000)
    11962
    """
    base = whole("weight", weight)
    premium = _root(size) * whole("factor", factor) // (ROOT_PRECISION * FACTOR_PRECISION // WEIGHT_PRECISION)
    return max(base, base - base // 5 + premium) if factor else base


def asset_weight(size: int, factor: int, weight: int) -> int:
    """Weight of a deposit of this size in basis points, at most `weight`; arguments as for `liability_weight`.

    min(w, 1.1e10 // (1e6 + root * factor // 1e5)).

    >>> asset_weight(1000 * SIZE_PRECISION, 10_000, 9_000)
    8357
    """
    base = whole("weight", weight)
    worsening = _root(size) * whole("factor", factor) // ROOT_PRECISION
    discounted = (FACTOR_PRECISION + FACTOR_PRECISION // 10) * WEIGHT_PRECISION // (FACTOR_PRECISION + worsening)
    return min(base, discounted) if factor else base


def perpetual_margin(size: int, value: int, factor: int, ratio: int) -> int:
    """Margin of a perpetual position worth `value` (whole units of the quote, 1e-6 USD on chain), in the same unit.

    `size` in units of 1e-9, unsigned; `ratio` is the market's initial or maintenance ratio in basis points, and grows
    with size as a liability weight does. DataError for what is not a whole number >= 0.
    """
    return whole("value", value) * liability_weight(size, factor, ratio) // WEIGHT_PRECISION


def margin_fraction(size: ArrayLike, factor: float, fraction: ArrayLike) -> Floats:
    """`liability_weight` as fractions for unsigned sizes in whole units, arguments broadcast, without the rounding.

    max(f, 0.8 f + factor sqrt(size)); `factor` 0 leaves f. DataError for what is negative or NaN.
    """
    base, grows = not_negative("fraction", fraction), not_negative("factor", factor)
    return np.asarray(np.maximum(base, 0.8 * base + grows * np.sqrt(not_negative("size", size))))


def _root(size: int) -> int:
    return math.isqrt(whole("size", size) * 10 + 1)
