"""What do options gain in each scenario, each priced once whoever holds it?

The volatility of an option is its own, shocked (it sticks to the strike), and its forward keeps its ratio to spot. An
option that expires on the way is worth its intrinsic value at the scenario's price.
"""

from dataclasses import dataclass, replace

import numpy as np

from data import Floats, MarketState
from data.arrays import Places
from data.coverage import DAYS_A_YEAR
from data.valuation import OptionTerms
from margin_models.kernels.revaluation import option_gains
from margin_models.scenarios import WIDEST, Scenarios, numeraire_column

LEAST_PRICE = 1e-12  # share of spot: a logarithm needs one
_LEAST_SCALE = 1e-100


@dataclass(frozen=True, eq=False)
class Repricing:
    """M options ready for S scenarios; the arguments of the kernel `option_gains`, in its order."""

    moved: Floats
    log_moved: Floats
    group: Places
    scale: Floats
    inverse_scale: Floats
    scale_group: Places
    forward: Floats
    strike: Floats
    log_ratio: Floats
    deviation: Floats
    put: Floats
    worth: Floats
    base: Floats
    unit: Floats
    counted: Floats

    def fill(self, start: int, gains: Floats) -> None:
        """Gains of one contract of each, in the numeraire, (M, W), in the scenarios from `start` on."""
        option_gains(
            self.moved,
            self.log_moved,
            self.group,
            self.scale,
            self.inverse_scale,
            self.scale_group,
            self.forward,
            self.strike,
            self.log_ratio,
            self.deviation,
            self.put,
            self.worth,
            self.base,
            self.unit,
            self.counted,
            start,
            gains,
        )

    def gains(self, discounts: Floats | None = None) -> Floats:
        """The same in every scenario, (M, S); `discounts` (M, S) multiply what an option is worth there."""
        prepared = self if discounts is None else replace(self, base=np.zeros(len(self.base)))
        gains = np.empty((len(self.strike), len(self.counted)))
        prepared.fill(0, gains)
        if discounts is not None:
            gains = gains * discounts - (self.base * self.unit)[:, None] * self.counted
        return gains


def relative_rates(state: MarketState, scenarios: Scenarios) -> Floats:
    """Price of the numeraire in each scenario over its price now, (S,); of a currency outside the market, 1."""
    own = numeraire_column(state)
    return np.ones(len(scenarios)) if own is None else np.maximum(1.0 + scenarios.spot[:, own], LEAST_PRICE)


def counted(state: MarketState, scenarios: Scenarios) -> Floats:
    """What one USD gained in each scenario counts, (S,): its weight, in the numeraire at that scenario's price."""
    share = 1.0 / (state.rate * relative_rates(state, scenarios))
    return share if scenarios.weight is None else share * scenarios.weight


def repricing(terms: OptionTerms, state: MarketState, scenarios: Scenarios, elapsed: float = 0.0) -> Repricing:
    """Options (all of known volatility) prepared for scenarios that are `elapsed` years from now."""
    spot = state.spot[terms.underlying]
    left = np.maximum(terms.tenor - elapsed, 0.0)
    share = left / terms.tenor
    # Rows in memory, one after the other: the kernel runs along them.
    moved, group = np.maximum(1.0 + np.ascontiguousarray(scenarios.spot.T), LEAST_PRICE), terms.underlying
    if scenarios.rate is not None:
        first, group = _expiries(terms)
        moved = moved[terms.underlying[first]] * np.exp(scenarios.rate * left[first, None])
    scale, scale_group = _vol_scale(terms, scenarios)
    forward = spot * (terms.forward / spot) ** share
    return Repricing(
        moved,
        np.log(moved),
        group,
        scale,
        1.0 / np.maximum(scale, _LEAST_SCALE),
        scale_group,
        forward,
        terms.strike,
        np.log(forward / terms.strike),
        terms.volatility * np.sqrt(left),
        np.where(terms.call, 0.0, 1.0),
        terms.discount**share,
        terms.premium,
        terms.multiplier,
        counted(state, scenarios),
    )


def _expiries(terms: OptionTerms) -> tuple[Places, Places]:
    """The first option of each underlying and expiry, (G,), and which of these groups each option is in, (M,)."""
    order = np.lexsort((terms.tenor, terms.underlying))
    column, tenor = terms.underlying[order], terms.tenor[order]
    fresh = np.r_[True, (column[1:] != column[:-1]) | (tenor[1:] != tenor[:-1])][: len(order)]
    group = np.empty(len(order), dtype=np.intp)
    group[order] = np.cumsum(fresh) - 1
    return order[fresh], group


def _vol_scale(terms: OptionTerms, scenarios: Scenarios) -> tuple[Floats, Places]:
    """Shocked volatility over volatility, (H, S), and which row is each option's, (M,).

    One row an underlying where all tenors move alike, else one an expiry; one an option where a floor or a skew shock
    makes strikes differ.
    """
    term = scenarios.term
    if term.short == term.long == 0.0:
        scale, group = np.maximum(1.0 + np.ascontiguousarray(scenarios.vol.T), 0.0), terms.underlying
    else:
        first, group = _expiries(terms)
        fade = term.scale(DAYS_A_YEAR * terms.tenor[first])[:, None]
        scale = np.maximum(1.0 + np.ascontiguousarray(scenarios.vol.T)[terms.underlying[first]] * fade, 0.0)
    if term.least == 0.0 and scenarios.skew is None and scenarios.wings is None:
        return scale, group
    scale = scale[group]
    if term.least > 0.0:
        raised = scenarios.vol[:, terms.underlying].T > 0.0
        scale = np.where(raised, np.maximum(scale, term.least / terms.volatility[:, None]), scale)
    depth = np.log(terms.strike / terms.forward) / terms.deviation
    for shock, distance in ((scenarios.skew, depth), (scenarios.wings, np.abs(depth))):
        if shock is not None:
            scale = scale * np.maximum(1.0 + np.clip(distance, -WIDEST, WIDEST)[:, None] * shock, 0.0)
    return scale, np.arange(len(depth), dtype=np.intp)
