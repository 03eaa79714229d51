"""What if one of the worst days of the crypto market came again?"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from data import Floats, ParameterError
from margin_models.scenarios import Scenarios

ALL_DOWN = "all assets down together"


@dataclass(frozen=True)
class Crisis:
    """A day that happened: `moves` are log returns from one daily close (00:00 UTC) to the next, by underlying."""

    name: str
    day: str
    moves: Mapping[str, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "moves", MappingProxyType(dict(self.moves)))

    @property
    def worst(self) -> float:
        """The deepest of the listed log returns."""
        return min(self.moves.values())


CRISES = (
    Crisis("pandemic liquidity crisis", "2020-03-12", {"BTC": -0.503, "ETH": -0.591}),
    Crisis("China bans mining and payments", "2021-05-19", {"BTC": -0.155, "ETH": -0.325, "SOL": -0.470}),
    Crisis("Terra collapses", "2022-05-11", {"SOL": -0.273}),
    Crisis("FTX collapses", "2022-11-09", {"BTC": -0.153, "SOL": -0.549}),
    Crisis("tariff announcement and auto-deleveraging", "2025-10-10", {"BTC": -0.076, "ETH": -0.132, "DOGE": -0.250}),
)


def crisis_scenarios(underlyings: tuple[str, ...], vol: float = 0.5) -> Scenarios:
    """Every one of `CRISES`, and then all assets down together.

    Only the listed moves are facts. An underlying without one falls as far as the deepest listed that day; all down
    together is each underlying's own deepest day at once, and the deepest of all for those without any. Implied
    volatility rises by the share `vol` in all of them, which is as far as Derive shocks it. Names say what is assumed.

    Raises
    ------
    ParameterError
        If `vol` is not finite or below -1.

    >>> crisis_scenarios(("BTC", "SOL")).spot.round(3).tolist()[0]
    [-0.395, -0.446]
    >>> crisis_scenarios(("BTC", "SOL")).names[0]
    '2020-03-12 pandemic liquidity crisis (assumed: SOL, vol +50%)'
    """
    if not (np.isfinite(vol) and vol >= -1.0):
        raise ParameterError(f"vol must be a finite relative change >= -1, got {vol}. Typical values: 0.3-1.")
    every = (*CRISES, _all_down())
    moves = np.array([[crisis.moves.get(a, crisis.worst) for a in underlyings] for crisis in every])
    spot: Floats = np.expm1(moves.reshape(len(every), len(underlyings)))
    return Scenarios(spot, np.full(spot.shape, vol), tuple(_name(crisis, underlyings, vol) for crisis in every))


def _all_down() -> Crisis:
    """Each underlying's deepest day, at once."""
    listed = {a for crisis in CRISES for a in crisis.moves}
    return Crisis(ALL_DOWN, "", {a: min(c.moves.get(a, 0.0) for c in CRISES) for a in sorted(listed)})


def _name(crisis: Crisis, underlyings: tuple[str, ...], vol: float) -> str:
    assumed = [a for a in underlyings if a not in crisis.moves]
    if not crisis.day:
        assumed = ["their coincidence", *assumed]
    return f"{crisis.day} {crisis.name} (assumed: {', '.join([*assumed, f'vol {100 * vol:+.0f}%'])})".lstrip()
