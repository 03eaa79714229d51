"""What does Derive's portfolio margin PMRM_2 charge by, and where is each figure from?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from margin_models.venues.checks import named, parameter
from margin_models.venues.derive_scan import BasisRules, Scenario, Shock, VolatilityRules
from margin_models.venues.provenance import Provenance


@dataclass(frozen=True)
class SkewRules:
    """How far the two skew scenarios turn and bend the smile.

    Parameters
    ----------
    linear_cap, absolute_cap : most relative change of volatility at no tenor.
    linear_slope, absolute_slope : what the cap changes by per square root of a year.
    least_width : log-moneyness at which the cap is reached, at least.
    width : of the smile, in standard deviations.
    volatility, volatility_slope : the volatility that width is measured with, and its change per root of a year.
    """

    linear_cap: float
    linear_slope: float
    absolute_cap: float
    absolute_slope: float
    least_width: float
    width: float
    volatility: float
    volatility_slope: float

    def __post_init__(self) -> None:
        for name in ("linear_cap", "absolute_cap", "least_width", "width", "volatility"):
            parameter(name, getattr(self, name), 0.0)
        for name in ("linear_slope", "absolute_slope", "volatility_slope"):
            parameter(name, getattr(self, name), -100.0, 100.0)


@dataclass(frozen=True)
class DiscountRules:
    """The static discount of option values: an expiry held counts for less, an expiry owed for more.

    Parameters
    ----------
    long_base, short_base : at no tenor.
    long_rate, short_rate : share of the rate that it grows with.
    long_add, short_add : added to that rate.
    """

    long_base: float
    short_base: float
    long_rate: float
    short_rate: float
    long_add: float
    short_add: float

    def __post_init__(self) -> None:
        for name in ("long_base", "short_base", "long_rate", "short_rate", "long_add", "short_add"):
            parameter(name, getattr(self, name), 0.0)


@dataclass(frozen=True)
class ContingencyRules:
    """What is charged beyond scenarios, as shares of notional at spot.

    Parameters
    ----------
    peg_threshold, peg_factor : the initial factor grows by peg_factor times what the stablecoin lacks to the threshold.
    confidence_threshold, confidence_factor : (1 - confidence) factor of notional where feeds are less sure than that.
    perpetual, option : of perpetuals and naked short options, in both margins.
    initial_perpetual, initial_option : added to these for the initial margin.
    """

    peg_threshold: float
    peg_factor: float
    confidence_threshold: float
    confidence_factor: float
    perpetual: float
    initial_perpetual: float
    option: float
    initial_option: float

    def __post_init__(self) -> None:
        for name in vars(self):
            parameter(name, getattr(self, name), 0.0)


@dataclass(frozen=True)
class PortfolioRules:
    """Everything that PMRM_2 charges by; `assumed` names what the source does not say, taken from the test vectors."""

    scenarios: tuple[Scenario, ...]
    volatility: VolatilityRules
    skew: SkewRules
    discount: DiscountRules
    basis: BasisRules
    contingency: ContingencyRules
    initial: float
    maintenance: float
    provenance: Provenance
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parameter("number of scenarios", len(self.scenarios), 1)
        parameter("initial", self.initial, 0.0)
        parameter("maintenance", self.maintenance, 0.0)


SKEWS = (Scenario(1.0, Shock.LINEAR), Scenario(1.0, Shock.ABSOLUTE))


def grid(moves: tuple[float, ...], widest: float) -> tuple[Scenario, ...]:
    """The regular scenarios: volatility up, unchanged and down at each move both ways, only up at the widest."""
    shocks = (Shock.UP, Shock.NONE, Shock.DOWN)
    steps = sorted({0.0, *moves, *(-move for move in moves)}, reverse=True)
    inner = [Scenario(1.0 + step, shock) for step in steps for shock in shocks]
    return (Scenario(1.0 + widest, Shock.UP), *inner, Scenario(1.0 - widest, Shock.UP))


def tails(moves: tuple[float, ...], weight: float) -> tuple[Scenario, ...]:
    """The tail scenarios: volatility up, P&L dampened to weight / |move|."""
    return tuple(Scenario(1.0 + move, Shock.UP, weight / abs(move)) for move in moves)


_VECTORS = Provenance("V", "derivexyz/v2-core at 7736900, test/risk-managers/unit-tests/PMRM_2/portfolio_cases", "2025")
_REGULAR = grid((0.045, 0.09, 0.135), 0.18)
_TESTED = PortfolioRules(
    (*_REGULAR, *tails((-0.66, -0.33, 0.5, 1.0, 2.0, 3.0), 0.2 * 0.18), *SKEWS),
    VolatilityRules(0.5, 0.275, 0.30, 0.13, 1.0, 0.45),
    SkewRules(0.15, -0.05, 0.15, -0.05, 0.01, 4.0, 0.6, -0.1),
    DiscountRules(0.95, 1.04, 1.0, 0.5, 0.08, 0.08),
    BasisRules(1.045, 0.955, 0.5, 2.0),
    ContingencyRules(0.98, 2.0, 0.55, 1.0, 0.015, 0.005, 0.003, 0.002),
    1.0,
    0.8,
    _VECTORS,
)
# The mainnet script of v2 sets the discount of what is held to 1.05 and of what is owed to 0.95, which would mark up
# what an account owns and down what it owes: swapped, by all that the contract and its test vectors say. Its other
# figures are read from the script; what it was not seen to say is listed in `assumed`. As a set it is unconfirmed.
_SCRIPT = Provenance(
    "M", "derivexyz/v2-core at 7736900, scripts/config-mainnet.sol, PM2; discounts of the test vectors"
)
_MAINNET = replace(
    _TESTED,
    scenarios=(*_REGULAR, *tails((-0.66, -0.33, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0), 0.77 * 0.18), *SKEWS),
    volatility=VolatilityRules(0.5, 0.3, 0.30, 0.13, 1.0, 0.4),
    skew=SkewRules(0.25, -0.1, 0.25, -0.1, 0.01, 4.0, 0.6, -0.1),
    contingency=ContingencyRules(0.99, 4.0, 0.55, 1.0, 0.03, 0.01, 0.003, 0.002),
    provenance=_SCRIPT,
    assumed=(
        "discount",
        "skew.least_width",
        "skew.volatility_slope",
        "volatility.short_power",
        "volatility.long_power",
        "volatility.least_days",
    ),
)
_AS_WRITTEN = Provenance("M", "derivexyz/v2-core at 7736900, scripts/config-mainnet.sol, PM2; discounts look swapped")
_RATES = ("discount.long_rate", "discount.short_rate", "discount.long_add", "discount.short_add")
PARAMETERS: Mapping[str, PortfolioRules] = {
    "test vectors": _TESTED,
    "mainnet script": _MAINNET,
    "mainnet script, discounts as written": replace(
        _MAINNET,
        discount=replace(_TESTED.discount, long_base=1.05, short_base=0.95),
        provenance=_AS_WRITTEN,
        assumed=(*_RATES, *_MAINNET.assumed[1:]),
    ),
}
_PAGE = Provenance("S", "docs.derive.xyz, Portfolio Margin Parameters [New]")
FORMULAS: Mapping[str, Provenance] = {"grid": _PAGE, "tails": _PAGE, "rules": _VECTORS}


def rules(name: str) -> PortfolioRules:
    """The parameters of this name; ParameterError for one that is not known.

    >>> len(rules("mainnet script").scenarios)
    33
    """
    return named(PARAMETERS, name)
