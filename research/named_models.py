"""Which models can be asked by name for the margin of a book that somebody brings?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from data import ParameterError
from margin_models import (
    AevoMargin,
    DeribitPortfolioMargin,
    DerivePmrm2Margin,
    DerivePmrmMargin,
    DeriveSrmMargin,
    FilteredHistoricalVaR,
    GreeksMargin,
    HistoricalVaR,
    MarginModel,
    MonteCarloES,
    OkxMargin,
    ParadexMargin,
    ScenarioGrid,
    ScenarioMargin,
    SpanLike,
)

# Our choice, about a bad day of a coin; what it cannot know of other underlyings is what "learned-grid" is for.
STATED_GRID = ScenarioGrid(
    (-0.15, -0.10, -0.05, 0.0, 0.05, 0.10, 0.15), (-0.25, 0.0, 0.5), tails=((-0.45, 0.33), (0.45, 0.33))
)


@dataclass(frozen=True)
class NamedModel:
    """What a model asks, in a line; how one is made; and whether it learns from a history."""

    says: str
    make: Callable[[], MarginModel]
    learns: bool = True


OURS: Mapping[str, NamedModel] = {
    "span": NamedModel("worst of sixteen moves an underlying, ranges learned, spreads credited", SpanLike),
    "scenario-grid": NamedModel(
        "worst of stated moves: price to 15 % by volatility -25 to +50 %, a third of 45 % either way",
        lambda: ScenarioMargin(STATED_GRID, learned=False),
        learns=False,
    ),
    "learned-grid": NamedModel("worst of a grid whose ranges are learned, all underlyings together", ScenarioMargin),
    "greeks": NamedModel("charges on delta, vega and curvature, netted by correlation", GreeksMargin),
    "monte-carlo-es": NamedModel("expected shortfall of ten thousand joint moves", MonteCarloES),
    "historical-var": NamedModel("loss quantile of the book over past moves", HistoricalVaR),
    "fhs": NamedModel("the same at today's volatility (EWMA)", FilteredHistoricalVaR),
}
# An account holds exactly what the file says: where rates rise with size, the account is not scaled up.
VENUES: Mapping[str, NamedModel] = {
    "aevo": NamedModel("Aevo's standard margin", AevoMargin, learns=False),
    "deribit": NamedModel("Deribit's portfolio margin", lambda: DeribitPortfolioMargin(account_size=1.0), learns=False),
    "derive-pmrm": NamedModel("Derive's first portfolio margin", DerivePmrmMargin, learns=False),
    "derive-pmrm2": NamedModel("Derive's second portfolio margin", DerivePmrm2Margin, learns=False),
    "derive-srm": NamedModel("Derive's standard margin", DeriveSrmMargin, learns=False),
    "okx": NamedModel("the published part of OKX's portfolio margin: too little for options", OkxMargin, learns=False),
    "paradex": NamedModel("Paradex's portfolio margin", ParadexMargin, learns=False),
}
NAMED: Mapping[str, NamedModel] = {**OURS, **VENUES}


def named_model(name: str) -> NamedModel:
    """The model of that name; ParameterError lists all names and what they are."""
    if name not in NAMED:
        every = "; ".join(f"{known} ({one.says})" for known, one in NAMED.items())
        raise ParameterError(f"--model must be one of {every}; got {name!r}")
    return NAMED[name]
