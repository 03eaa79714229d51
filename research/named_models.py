"""Which models can be asked by name for the margin of a book that somebody brings, and by whose rules do they ask?"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from data import Coverage, ParameterError
from margin_models import (
    AevoMargin,
    AgeWeightedVaR,
    CorrelationBreakdown,
    CorrelationVaR,
    DccCovariance,
    DeltaGammaVaR,
    DeribitPortfolioMargin,
    DerivePmrm2Margin,
    DerivePmrmMargin,
    DeriveSrmMargin,
    ExtremeValueVaR,
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
    StaticMargin,
    StressedFloor,
    venues,
)
from margin_models.venues.provenance import Provenance

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
    "fhs-es": NamedModel(
        "mean loss beyond that quantile (expected shortfall)", lambda: FilteredHistoricalVaR(shortfall=True)
    ),
    "extreme-value": NamedModel("the quantile of a Pareto tail fitted to the same losses", ExtremeValueVaR),
    "age-weighted": NamedModel("loss quantile over past moves, the old ones fading", lambda: AgeWeightedVaR(0.995)),
    "stressed-floor": NamedModel("fhs, and never less than after the worst windows of the past", StressedFloor),
    "correlation-var": NamedModel("quantile of the book's deltas under normal moves; blind to gamma", CorrelationVaR),
    "dcc-var": NamedModel(
        "the same with correlations that move from day to day (DCC)", lambda: CorrelationVaR(DccCovariance())
    ),
    "correlation-breakdown": NamedModel(
        "correlation-var, and an add-on for correlations that break", CorrelationBreakdown
    ),
    "delta-gamma": NamedModel("quantile of the book's deltas and gammas under normal moves", DeltaGammaVaR),
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
LABELS: Mapping[str, str] = {"V": "recomputed", "S": "read", "3P": "third party", "M": "memory"}
CAVEATS: Mapping[type[MarginModel], str] = {OkxMargin: "published part only: too little for options"}


def named_model(name: str) -> NamedModel:
    """The model of that name; ParameterError lists all names and what they are."""
    if name not in NAMED:
        every = "; ".join(f"{known} ({one.says})" for known, one in NAMED.items())
        raise ParameterError(f"--model must be one of {every}; got {name!r}")
    return NAMED[name]


def takes_level(model: MarginModel) -> bool:
    """Whether a level moves what the model asks: rules that are stated know of none."""
    stated = isinstance(model, StaticMargin) or (isinstance(model, ScenarioMargin) and not model.learned)
    return not (stated or venue_of(model))


def asked_of(model: MarginModel, coverage: Coverage) -> str:
    """What margin is to survive: the coverage, unless the model's rules are stated and so tell nothing of a level.

    >>> asked_of(StaticMargin(), Coverage(0.99, "1D"))
    'stated rules'
    """
    if venue_of(model):
        return "stated rules, as the venue publishes them"
    if isinstance(model, ScenarioMargin) and not model.learned:
        return f"stated rules; options age {coverage.horizon}" if model.elapsed else "stated rules; options do not age"
    if isinstance(model, StaticMargin):
        return "stated rules"
    return f"{100 * coverage.level:g} % of losses over {coverage.horizon}"


def venue_of(model: MarginModel) -> str:
    """The venue whose rules a model follows, as `venues.catalogue` names it; "" for none."""
    for kind in type(model).__mro__:
        package, _, module = kind.__module__.rpartition(".")
        if package == venues.__name__:
            return module.partition("_")[0]
    return ""


def provenance(model: MarginModel) -> tuple[str, ...]:
    """How sure the parameter sets of a venue's model are, which formulas are not the venue's own, and what lacks.

    Of the catalogue, those sets whose source is that of a set the model holds; none for a model of ours.
    """
    venue = venue_of(model)
    if not venue:
        return ()
    every = venues.catalogue().query("venue == @venue")
    held = set(_sources(model))
    source = pd.Series([*zip(every["label"], every["date"], every["source"], strict=True)], index=every.index)
    sets = every[(every["kind"] == "parameters") & source.isin(held)]
    doubtful = every[(every["kind"] == "formula") & every["label"].isin(["3P", "M"])]
    lines = [f"parameter sets of {venue}: {_labelled(sets) or 'none of the catalogue'}"]
    lines += [f"formulas not confirmed as {venue}'s own: {_labelled(doubtful)}"] if len(doubtful) else []
    return (*lines, *(said for kind, said in CAVEATS.items() if isinstance(model, kind)))


def _sources(model: MarginModel) -> Iterator[tuple[str, str, str]]:
    """Label, date and source of every fact among the parameters of a model."""
    for value in model.get_params(deep=False).values():
        for fact in value.values() if isinstance(value, Mapping) else (value,):
            source = getattr(fact, "provenance", None)
            if isinstance(source, Provenance):
                yield source.label, source.date, source.source


def _labelled(rows: pd.DataFrame) -> str:
    """Names by label, the surest first; what stands before a colon in a name is left off."""
    names = rows["name"].str.rpartition(": ")[2].map(lambda name: f"'{name}'" if "," in name else name)
    told = {label: ", ".join(dict.fromkeys(names[rows["label"] == label])) for label in LABELS}
    return "; ".join(f"[{label}] {LABELS[label]}: {found}" for label, found in told.items() if found)
