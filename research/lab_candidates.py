"""Which models does the laboratory hold against each other, and what is each there for?

The rivals that risk departments know, each forecaster by itself, the prediction that marginlab proposes, the same with
a part or a kind of knowledge taken away, and the same with something laid over it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from data import MarketHistory
from margin_models import (
    BoostedVolatility,
    CombinedVolatility,
    EwmaVolatility,
    ExtremeValueVaR,
    FilteredHistoricalVaR,
    GarchVolatility,
    HarVolatility,
    HistoricalVaR,
    ImpliedVolatility,
    MarginModel,
    RobustVaR,
    StaticMargin,
    VolatilityForecaster,
)
from margin_models.overlays import (
    Buffer,
    CircuitBreaker,
    ConformalTracking,
    LookbackFloor,
    RateLimit,
    StressedWeight,
)
from research.lab_ablations import KINDS, known_of, without

Role = Literal["rival", "forecaster", "proposal", "without", "overlay"]

OURS = "prediction"
RIVALS = ("FHS, EWMA", "FHS, GJR-t")  # the better of the two is the mark
STATIC = "static, cross"
QUARTER, YEAR = 69.0, 250.0  # horizons: half-lives of the slow averages, decays of 0.99 and 0.997


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model of the laboratory, and what it is there for."""

    model: MarginModel
    role: Role


def members(history: MarketHistory) -> dict[str, VolatilityForecaster]:
    """The forecasters that the proposal combines: averages of a fortnight, a quarter and a year, HAR and LightGBM.

    Where there are surfaces, what options imply as well. Fast, slow and very slow averages let volatility return to
    where it was for long, which a single one cannot. `docs/decisions.md` says what was tried, and on which data.
    """
    told: dict[str, VolatilityForecaster] = {
        "fast EWMA": EwmaVolatility(),
        "quarterly EWMA": EwmaVolatility(half_life=QUARTER),
        "yearly EWMA": EwmaVolatility(half_life=YEAR),
        "HAR": HarVolatility(),
        "LightGBM": BoostedVolatility(),
    }
    if history.surfaces is not None:
        told["implied"] = ImpliedVolatility()
    return told


def prediction(forecasters: Mapping[str, VolatilityForecaster]) -> MarginModel:
    """The proposal: an even geometric mean of forecasts, the shape of the tail pooled over underlyings.

    Even weights, because weights that are learned from few crises cost more than they bring: the "forecast combination
    puzzle" (Stock and Watson, 2004, J. Forecasting 23). The rows "learned weights" and "without" show what each choice
    is worth.
    """
    return RobustVaR(CombinedVolatility(list(forecasters.values()), adaptive=False))


def candidates(history: MarketHistory) -> dict[str, Candidate]:
    """Every candidate by name, the proposal under `OURS`."""
    parts = members(history)
    ours = prediction(parts)
    models: dict[Role, dict[str, MarginModel]] = {
        "rival": {
            "static, isolated": StaticMargin(),
            STATIC: StaticMargin(cross=True),
            "historical VaR": HistoricalVaR(),
            RIVALS[0]: FilteredHistoricalVaR(EwmaVolatility()),
            RIVALS[1]: FilteredHistoricalVaR(GarchVolatility(asymmetric=True, student=True)),
            "extreme value, EWMA": ExtremeValueVaR(EwmaVolatility()),
        },
        "forecaster": {
            # A slow average by itself has nothing to say in a window shorter than its half-life.
            f"FHS, {name}": FilteredHistoricalVaR(part)
            for name, part in parts.items()
            if not isinstance(part, EwmaVolatility)
        },
        "proposal": {OURS: ours},
        "without": _without(parts, history),
        "overlay": {
            "with circuit breaker": CircuitBreaker(ours),
            "with falls of 10 % a day": RateLimit(ours),
            "with 25 % buffer": Buffer(ours),
            "with 25 % stressed weight": StressedWeight(ours),
            "with long lookback floor": LookbackFloor(ours),
            "with conformal tracking": ConformalTracking(ours),
        },
    }
    return {name: Candidate(model, role) for role, some in models.items() for name, model in some.items()}


def absent_kinds(history: MarketHistory) -> tuple[str, ...]:
    """The kinds of knowledge, of `lab_ablations.KINDS`, that this history has nothing of."""
    return tuple(kind for kind, names in known_of(history).items() if not names)


def _without(parts: Mapping[str, VolatilityForecaster], history: MarketHistory) -> dict[str, MarginModel]:
    """The proposal with one of its parts taken away, or blind to a kind of knowledge that the history has."""
    told: dict[str, MarginModel] = {
        f"without {name}": prediction({other: part for other, part in parts.items() if other != name}) for name in parts
    }
    told["without combining: EWMA, tail pooled"] = RobustVaR(EwmaVolatility())
    told["without the pooled tail"] = FilteredHistoricalVaR(CombinedVolatility(list(parts.values()), adaptive=False))
    told["learned weights"] = RobustVaR(CombinedVolatility(list(parts.values())))
    blind = {kind: without(kind, history, parts) for kind in KINDS}
    told |= {f"without {kind}": prediction(some) for kind, some in blind.items() if some is not None}
    return told
