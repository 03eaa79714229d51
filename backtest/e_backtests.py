"""How much evidence has come in against a model so far, whenever one looks?

Each day's loss is a bet against the forecast that is fair at best where the model is right: its e-value is >= 0 and
of mean at most one. Capital staked on it day after day ever reaches 1/alpha with a probability of at most alpha, so
that a monitor may be read every night and stopped at will. Wang, Wang and Ziegel (2025), "E-backtesting", Management
Science; the stakes may use the past and today's forecast, never today's loss.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import index
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backtest.stakes import Gree, Grel, Past, Stake
from data import Floats, ParameterError

THRESHOLDS = (2.0, 5.0, 10.0)
MOST_SPREADS = 100.0  # ES - VaR by which a loss may be above VaR, and be the more evidence for it


def quantile_evidence(loss: ArrayLike, var: ArrayLike, rate: float) -> Floats:
    """E-value of each VaR forecast, 1{loss > VaR} / rate, in the losses' shape; 1 (no bet) where a loss is NaN.

    ParameterError for a rate outside (0, 1), or a VaR that is not finite where a loss is known.

    >>> quantile_evidence([0.5, 3.0], 1.0, 0.05)
    array([ 0., 20.])
    """
    _refuse_rate(rate)
    lost, quantile = np.broadcast_arrays(_floats(loss), _floats(var))
    _refuse_unknown(lost, quantile, "VaR")
    return np.where(np.isnan(lost), 1.0, (lost > quantile) / rate)


def shortfall_evidence(loss: ArrayLike, var: ArrayLike, es: ArrayLike, rate: float) -> Floats:
    """E-value of each ES forecast, (loss - VaR)+ / (rate (ES - VaR)); 1 (no bet) where a loss is NaN.

    Its mean is at most one where VaR is the true one and ES no smaller than it should be. It is at most MOST_SPREADS /
    rate, which keeps that: a loss above an ES that equals VaR, impossible by the forecast and so evidence without
    bounds, counts as that much, and one not above them is no bet. Such a day may be the worst, and must not be lost.

    Raises
    ------
    ParameterError
        For a rate outside (0, 1), a forecast that is not finite, or an ES below VaR.
    """
    _refuse_rate(rate)
    lost, quantile, beyond = np.broadcast_arrays(_floats(loss), _floats(var), _floats(es))
    _refuse_unknown(lost, quantile, "VaR")
    _refuse_unknown(lost, beyond, "ES")
    excess, spread = np.maximum(lost - quantile, 0.0), beyond - quantile
    wrong = ~np.isnan(lost) & (spread < 0)
    if wrong.any():
        at = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
        raise ParameterError(
            f"an e-value needs VaR <= ES, got {quantile[at]:.6g} and {beyond[at]:.6g} for a loss of {lost[at]:.6g} "
            f"in row {at} ({wrong.sum()} of {wrong.size})"
        )
    told = np.full_like(excess, MOST_SPREADS)
    np.divide(excess, spread, out=told, where=excess < MOST_SPREADS * spread)
    return np.where(np.isnan(lost) | ((spread == 0) & (excess == 0)), 1.0, told / rate)


@dataclass(frozen=True, eq=False)
class EvidencePath:
    """Capital after each day, (R,) or (R, P), from one before the first; `stake` is the share that was staked."""

    capital: Floats
    stake: Floats

    @property
    def highest(self) -> Floats:
        """The most that the capital has been, (P,) or a number: at 1/alpha or above, the model is rejected at alpha."""
        return np.asarray(self.capital.max(axis=0, initial=1.0))

    def first_day(self, threshold: float) -> NDArray[np.int64]:
        """The day, counted from 1, on which the capital reached the threshold, (P,) or a number; 0 where it has not."""
        reached = self.capital >= threshold
        return np.where(
            reached.any(axis=0), len(reached) - reached.cumsum(axis=0).astype(bool).sum(axis=0) + 1, 0
        ).astype(np.int64)


def evidence_path(
    loss: ArrayLike, var: ArrayLike, rate: float, *, es: ArrayLike | None = None, stake: Stake | None = None
) -> EvidencePath:
    """Bet on every day's e-value: of ES where `es` is given, else of VaR. Each portfolio by itself.

    Parameters
    ----------
    loss : (R,) or (R, P), oldest first; NaN is a day without a bet, and out of the past that stakes learn from.
    var, es : forecasts, positive, that broadcast to the losses.
    rate : nominal share of breaches.
    stake : `Gree()` where None.

    Raises
    ------
    ParameterError
        As `quantile_evidence` and `shortfall_evidence`, and for a stake that puts a share outside [0, 1).
    """
    lost = _floats(loss)
    quantile = np.broadcast_to(_floats(var), lost.shape)
    beyond = None if es is None else np.broadcast_to(_floats(es), lost.shape)
    told = (
        quantile_evidence(lost, quantile, rate) if beyond is None else shortfall_evidence(lost, quantile, beyond, rate)
    )
    if lost.ndim not in (1, 2):
        raise ParameterError(f"losses must be (R,) or (R, P), got {lost.shape}")
    shares = np.zeros(lost.shape)
    for column in [...] if lost.ndim == 1 else [(slice(None), p) for p in range(lost.shape[1])]:
        alone = None if beyond is None else beyond[column]
        shares[column] = _shares(lost[column], quantile[column], alone, told[column], rate, stake or Gree())
    growth = np.log1p(shares * (told - 1.0)).cumsum(axis=0)
    capital = np.exp(np.minimum(growth, math.log(np.finfo(np.float64).max)))
    return EvidencePath(capital, shares)


class EvidenceMonitor:
    """The same, a day at a time: one book's evidence, kept between nights as plain numbers.

    Parameters
    ----------
    rate : nominal share of breaches.
    stake : `Gree()` where None.
    thresholds : capital whose first crossing is kept, with its day.

    >>> from backtest.stakes import Constant
    >>> monitor = EvidenceMonitor(0.05, Constant(0.1))
    >>> [round(monitor.update(loss, 1.0, stamp=f"day {n}"), 4) for n, loss in enumerate([0.5, 3.0, 3.0])]
    [0.9, 2.61, 7.569]
    >>> monitor.crossed
    {2.0: 'day 1', 5.0: 'day 2', 10.0: None}
    """

    def __init__(self, rate: float, stake: Stake | None = None, *, thresholds: tuple[float, ...] = THRESHOLDS) -> None:
        _refuse_rate(rate)
        if not all(threshold > 1 for threshold in thresholds):
            raise ParameterError(f"thresholds must be > 1, got {thresholds}. Typical values: 2, 5, 10.")
        self.rate = rate
        self.stake = Gree() if stake is None else stake
        self.past = Past()
        self.days = 0
        self.log_capital = 0.0
        self.log_highest = 0.0
        self.crossed: dict[float, int | str | None] = dict.fromkeys(map(float, thresholds))

    @property
    def evidence(self) -> float:
        """The capital now; infinite beyond the range of floats."""
        return _exponential(self.log_capital)

    @property
    def highest(self) -> float:
        """The most that it has been: its inverse is an anytime-valid p-value."""
        return _exponential(self.log_highest)

    def update(self, loss: float, var: float, es: float | None = None, *, stamp: int | str | None = None) -> float:
        """Take a day in, and return the evidence: of ES where it is given, else of VaR. Errors as `evidence_path`.

        `stamp` names the day in `crossed`; its number, from 1, where None. After an error nothing has changed.
        """
        told = quantile_evidence(loss, var, self.rate) if es is None else shortfall_evidence(loss, var, es, self.rate)
        known = not math.isnan(loss)
        share = _staked(self.stake, self.past, var, es, self.rate) if known else 0.0
        self.days += 1
        if known:
            evidence = float(told)
            self.log_capital += math.log1p(share * (evidence - 1.0))
            self.log_highest = max(self.log_highest, self.log_capital)
            self.past.add(evidence, loss)
        for threshold, when in self.crossed.items():
            if when is None and self.log_capital >= math.log(threshold):
                self.crossed[threshold] = self.days if stamp is None else stamp
        return self.evidence

    def state(self) -> dict[str, Any]:
        """All that must be kept until tomorrow, as numbers, strings and lists that JSON knows."""
        return {
            "days": self.days,
            "log_capital": self.log_capital,
            "log_highest": self.log_highest,
            "crossed": [[threshold, when] for threshold, when in self.crossed.items()],
            "rate": self.rate,
            "stake": repr(self.stake),
            "past": {
                "days": self.past.days,
                "gain": self.past.gain,
                "square": self.past.square,
                "losses": list(self.past.losses) if isinstance(self.stake, Grel) else [],
            },
        }

    def resume(self, state: Mapping[str, Any]) -> Self:
        """Go on from a state that `state` told.

        ParameterError where it is not one, or is that of another rate, stake (by its `repr`) or other thresholds.
        """
        try:
            crossed = {float(threshold): when for threshold, when in state["crossed"]}
            past = Past(**state["past"])
            days, capital, highest = index(state["days"]), float(state["log_capital"]), float(state["log_highest"])
            kept = float(state["rate"]), str(state["stake"])
            sound = _sound(days, capital, highest, past) and _remembered(crossed, highest)
        except (KeyError, TypeError, ValueError) as error:
            raise ParameterError(f"a monitor's state must be what `state` told, got {state!r}") from error
        if not sound:
            raise ParameterError(f"a monitor's figures must be finite and agree with each other, got {state!r}")
        if kept != (self.rate, repr(self.stake)):
            raise ParameterError(
                f"the state must be of rate {self.rate} and {self.stake!r}, got {kept[0]} and {kept[1]}"
            )
        if set(crossed) != set(self.crossed):
            raise ParameterError(f"the state must know the thresholds {list(self.crossed)}, got {list(crossed)}")
        if isinstance(self.stake, Grel) and len(past.losses) != past.days:
            raise ParameterError("the state is of a monitor that kept no losses, and Grel needs them")
        self.crossed, self.past = crossed, past
        self.days, self.log_capital, self.log_highest = days, capital, highest
        return self


def _sound(days: int, capital: float, highest: float, past: Past) -> bool:
    """Whether a monitor could have come to these figures."""
    finite = all(map(math.isfinite, (capital, highest, past.gain, past.square, *past.losses)))
    return finite and highest >= max(capital, 0.0) and 0 <= index(past.days) <= days and past.square >= 0.0


def _remembered(crossed: Mapping[float, int | str | None], highest: float) -> bool:
    """Whether a day is kept of every threshold that the capital has reached, and of none that it has not."""
    return all((when is not None) == (highest >= math.log(threshold)) for threshold, when in crossed.items())


def _staked(stake: Stake, past: Past, var: float, es: float | None, rate: float) -> float:
    """What a stake puts on the next day; ParameterError for a share that could lose more than all."""
    share = stake.share(past, var, es, rate)
    if not 0.0 <= share < 1.0:
        raise ParameterError(f"{stake!r} must stake a share within [0, 1), got {share} on day {past.days + 1} of bets")
    return share


def _shares(lost: Floats, var: Floats, es: Floats | None, evidence: Floats, rate: float, stake: Stake) -> Floats:
    """What is staked each day, (R,)."""
    live = ~np.isnan(lost)
    shares = np.zeros(len(lost))
    if isinstance(stake, Gree):
        shares[live] = _gree_shares(evidence[live], stake.cap)
    else:
        # A loss at or below every VaR will never be evidence: a stake need not hear of it again.
        least, past = float(var[live].min(initial=math.inf)), Past()
        for day in np.flatnonzero(live).tolist():
            today = float(lost[day])
            shares[day] = _staked(stake, past, float(var[day]), None if es is None else float(es[day]), rate)
            past.add(float(evidence[day]), today if today > least else None)
    return shares


def _gree_shares(evidence: Floats, cap: float) -> Floats:
    excess = evidence - 1.0
    # Sums up to yesterday: today's taken off again would leave its rounding, and with a huge one that is all there is.
    gain, square = (np.append(0.0, side.cumsum())[: len(excess)] for side in (excess, excess**2))
    known = square > 0
    return np.asarray(np.clip(np.divide(gain, square, out=np.zeros_like(gain), where=known), 0.0, cap))


def _exponential(logarithm: float) -> float:
    return math.exp(logarithm) if logarithm < 709 else math.inf


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _refuse_rate(rate: float) -> None:
    if not 0.0 < rate < 1.0:
        raise ParameterError(f"rate must lie within (0, 1), got {rate}. Typical values: 0.01, 0.025, 0.05.")


def _refuse_unknown(lost: Floats, forecast: Floats, name: str) -> None:
    unknown = np.isfinite(lost) & ~np.isfinite(forecast)
    if unknown.any() or np.isinf(lost).any():
        raise ParameterError(f"{name} and losses must be finite, or the loss NaN where there was no bet")
