"""Is it worth a vote?"""

from collections.abc import Mapping
from typing import Any

CAPITAL = 0.02  # of today's mean margin
COVERAGE = 0.001  # of losses
BOOK_COVERAGE = 0.01  # of the losses of one book
ROUNDING = 1e-12  # nothing, for numbers whose last digits differ from processor to processor
BOOK = 0.10  # of a book's mean margin, beyond the change that all have

NOT_WORTH = "not worth a vote"
WORTH = "worth a vote"
LESS_SAFE = "worth a vote only as a choice for less safety"
UNTOLD = "not worth a vote on this evidence"


def verdict(effect: Mapping[str, Any], affected: Mapping[str, Any], level: float) -> dict[str, Any]:
    """A word, and why: sentences whose numbers stand in `effect` and `affected`.

    A change is small where its whole interval lies within `CAPITAL`, or `COVERAGE`, of nothing.
    """
    capital = _change(effect["margin_change"], CAPITAL)
    safety = _change(effect["coverage_change"], COVERAGE)
    shortfall = _change(effect["shortfall_change"], 0.0)
    bared = affected["drop"] > BOOK_COVERAGE + ROUNDING
    unequal = affected["apart"] > BOOK + ROUNDING or bared
    reasons = [_capital_in_words(capital), _safety_in_words(safety, shortfall), _books_in_words(unequal)]
    if bared:
        reasons.append("At least one book would be covered far less often than today.")
    below = effect["candidate"]["coverage"] < min(level, effect["current"]["coverage"]) - ROUNDING
    if below:
        reasons.append("The candidate covers less than was asked for, and less than the current model.")
    elif safety == "down":
        reasons.append("What was asked for is still covered.")
    return {"word": _word(capital, safety, shortfall, unequal, below), "reasons": reasons}


def _change(told: Mapping[str, float], small: float) -> str:
    """ "small", "up", "down" or "not told": where the interval lies."""
    low, high = told["low"], told["high"]
    if low >= -small - ROUNDING and high <= small + ROUNDING:
        return "small"
    if low > ROUNDING:
        return "up"
    return "down" if high < -ROUNDING else "not told"


def _word(capital: str, safety: str, shortfall: str, unequal: bool, below: bool) -> str:
    if capital == safety == "small" and not unequal:
        return NOT_WORTH
    if (shortfall == "up" and safety != "up") or (below and safety != "small"):
        return LESS_SAFE
    if "not told" in (capital, safety) and not unequal and {capital, safety} <= {"not told", "small"}:
        return UNTOLD
    return WORTH


def _capital_in_words(capital: str) -> str:
    return {
        "small": "The change of capital is too small to matter: its whole interval lies within the stated bound.",
        "up": "It asks for more capital, and the interval says so throughout.",
        "down": "It asks for less capital, and the interval says so throughout.",
        "not told": "Whether it asks for more capital or less cannot be told: the interval holds both.",
    }[capital]


def _safety_in_words(safety: str, shortfall: str) -> str:
    covered = {
        "small": "Coverage hardly changes",
        "up": "It covers more losses",
        "down": "It covers fewer losses",
        "not told": "Whether it covers more losses or fewer cannot be told",
    }[safety]
    uncovered = {
        "small": "what is left uncovered stays the same",
        "up": "more is left uncovered",
        "down": "less is left uncovered",
        "not told": "whether more or less is left uncovered cannot be told",
    }[shortfall]
    return f"{covered}; {uncovered}."


def _books_in_words(unequal: bool) -> str:
    if unequal:
        return "Some books fare otherwise than the mean: who is affected matters as much as the total."
    return "No book fares much otherwise than the mean."
