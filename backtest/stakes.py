"""What share of the capital should be staked on the next day's evidence?

Wang, Wang and Ziegel (2025), "E-backtesting", Management Science, section 5: any share in [0, 1) that is settled before
the day's loss is known keeps the evidence valid; a good one makes it grow fast where the model is wrong.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from data import ParameterError


class Stake(Protocol):
    """What share of the capital to put on the next e-value, from what came before."""

    def share(self, past: "Past", var: float, es: float | None, rate: float) -> float:
        """In [0, 1); 0 on the first day."""


@dataclass
class Past:
    """What a stake may know: the e-values so far in two sums, and the losses so far."""

    days: int = 0
    gain: float = 0.0  # sum of e - 1
    square: float = 0.0  # sum of (e - 1)^2
    losses: list[float] = field(default_factory=list)

    def add(self, evidence: float, loss: float | None) -> None:
        """Let a day become the past; None for a loss that no stake need hear of again."""
        self.days += 1
        self.gain += evidence - 1.0
        self.square += (evidence - 1.0) ** 2
        if loss is not None:
            self.losses.append(loss)


@dataclass(frozen=True)
class Constant:
    """The same share every day, within [0, 1)."""

    stake: float = 0.01

    def __post_init__(self) -> None:
        _refuse_stake(self.stake)

    def share(self, past: Past, var: float, es: float | None, rate: float) -> float:  # noqa: ARG002  nothing moves it
        """The share."""
        return self.stake


@dataclass(frozen=True)
class Gree:
    """Growth-optimal for the e-values so far (GREE), to second order: sum(e - 1) / sum((e - 1)^2) within [0, cap]."""

    cap: float = 0.5

    def __post_init__(self) -> None:
        _refuse_stake(self.cap)

    def share(self, past: Past, var: float, es: float | None, rate: float) -> float:  # noqa: ARG002  the past is enough
        """The share; 0 before there is a past."""
        return _optimal(past.gain, past.square, self.cap)


@dataclass(frozen=True)
class Grel:
    """Growth-optimal for the losses so far had they met today's forecast (GREL): e-values are told again every day."""

    cap: float = 0.5

    def __post_init__(self) -> None:
        _refuse_stake(self.cap)

    def share(self, past: Past, var: float, es: float | None, rate: float) -> float:
        """The share; 0 before there is a past, or where today's forecast allows no bet."""
        beyond = np.array(past.losses) - var
        beyond = beyond[beyond > 0]
        if es is None:
            first, second = len(beyond) / rate, len(beyond) / rate**2
        elif es > var:
            scale = rate * (es - var)
            first, second = float(beyond.sum()) / scale, float((beyond**2).sum()) / scale**2
        else:
            return 0.0
        return _optimal(first - past.days, second - 2.0 * first + past.days, self.cap)


def _optimal(gain: float, square: float, cap: float) -> float:
    return min(max(gain / square, 0.0), cap) if square > 0 else 0.0


def _refuse_stake(share: float) -> None:
    if not 0.0 <= share < 1.0:
        raise ParameterError(f"a stake must lie within [0, 1), got {share}. Typical values: 0.01, a cap of 0.5.")
