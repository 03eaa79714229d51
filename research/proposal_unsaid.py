"""What can a proposal not say of this market and these models, and why?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backtest.portfolios import Books, struck_on
from backtest.replay import Replay
from research.proposal_request import Request

_CALL = "call_"


def days_between(run: Replay) -> float:
    """Days between decisions: the middle one of all gaps."""
    gaps = np.diff(run.time) / np.timedelta64(1, "D")
    return float(np.median(gaps)) if gaps.size else float("nan")


def is_told(measure: str, days: float) -> bool:
    """Whether a measure can be had of decisions so many days apart: a call within a day needs two within it.

    >>> is_told("call_1d", 5.0), is_told("call_5d", 5.0), is_told("peak_to_trough", 5.0)
    (False, True, True)
    """
    return not measure.startswith(_CALL) or float(measure.removeprefix(_CALL).removesuffix("d")) >= days * 0.99


def unsaid(
    request: Request, books: Books, run: Replay, sensitivity: Sequence[Mapping[str, Any]], stress: Mapping[str, Any]
) -> list[str]:
    """Sentences, of what is left out and of numbers that cannot differ from nothing."""
    days = days_between(run)
    told = []
    if not is_told("call_1d", days):
        told.append(f"How much is called within a day: decisions are {days:g} days apart.")
    idle = [row["choice"] for row in sensitivity if _is_idle(row)]
    if idle:
        told.append(f"Whether capital hangs on {', '.join(idle)}: neither model takes any of these into account.")
    if struck_on(books)[0]:
        told.append(_of_options(request, stress))
    return told


def _is_idle(row: Mapping[str, Any]) -> bool:
    """Whether every way of taking a choice leaves both models' margins as they are."""
    return all(way["idle"] for way in row["ways"])


def _of_options(request: Request, stress: Mapping[str, Any]) -> str:
    moved = "the level of volatility moves with prices" if stress["volatility"] else "volatility stands still"
    return (
        f"What skew, wings, term structure and rates do to options under stress: {moved}, and no time passes; the "
        f"replay itself reprices over {request.coverage.horizon} on the surfaces of the history."
    )
