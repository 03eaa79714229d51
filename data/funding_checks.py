"""Can these be the rates of a perpetual's funding, as shares of notional, paid when venues pay?"""

from collections.abc import Callable

import numpy as np

from data.arrays import Bools, Floats, Ints
from data.check_results import Check, Outcome, Rule
from data.records import FUNDING, Records
from data.row_steps import HOUR, interval, mode

YEARLY = 3.0  # funding a year, of which a median beyond was written in percent
HIGH = 0.5  # funding a year, of which a median beyond is worth a look: a bull market, or a calm one in percent
BASE, BASED = 0.01, 0.1  # venues' base rate in percent, and the share of rows that have it to the digit
USUAL, USUALLY = 3, 0.02  # rows, and the share of them, that have the base rate where it is the most frequent of all
SETTLED = (0, 4)  # hours of the day, modulo 8, at which eight-hour funding is settled
HIGHEST = 0.05  # a payment: venues cap funding at 0.5 to 4 % of notional
WEEK = 21  # payments in a row, by whose median a stretch is judged
HUNDREDFOLD = (50.0, 200.0)  # times the median of the rest: shares on one side, percent on the other
BESIDE = 10.0  # times the median of the rest: rows next to a stretch that are of it


def _percent(records: Records) -> Bools:
    """All rates, where half of them would be ruinous as shares, or the base rate in percent is frequent.

    Rates that are not held at the base differ in their digits, so that a hundredth of it is the most frequent of
    shares even where the market is calm.
    """
    rate = np.abs(records["rate"])
    typical = float(np.median(rate)) if len(rate) else 0.0
    based = float(np.mean(rate == BASE)) if len(rate) else 0.0
    return np.full(len(rate), typical * 24 * 365 / _hours_between(records) > YEARLY or based > BASED or _is_based(rate))


def _is_based(rate: Floats) -> bool:
    """Whether no rate but 0 comes as often as the base rate in percent."""
    told, count = np.unique(rate[rate > 0], return_counts=True)
    here = count[told == BASE]
    return bool(here.size and here[0] == count.max() and here[0] >= max(USUAL, USUALLY * len(rate)))


def _hours(records: Records) -> Ints:
    """Hours of the day, modulo 8, of eight-hour funding; -1 where it is paid at other intervals."""
    width = interval(records)
    if width is None or width != 8 * HOUR:
        return np.full(len(records), -1)
    nearest = (records["time"].view(np.int64) + HOUR // 2) // HOUR
    return np.asarray(nearest % 8)


def _shifted(records: Records) -> Bools:
    """All rows, where most are paid at hours of another zone."""
    hours = _hours(records)
    off = (hours >= 0) & ~np.isin(hours, SETTLED)
    return np.full(len(records), bool(off.mean() > 0.5) if len(records) else False)


def _unsettled(records: Records) -> Bools:
    hours = _hours(records)
    return np.asarray((hours >= 0) & (hours != mode(hours))) if len(records) else np.zeros(0, dtype=bool)


def _implausible(records: Records) -> Bools:
    return np.asarray(np.abs(records["rate"]) > HIGHEST)


def _high(records: Records) -> Bools:
    """All rates, where half of them are high."""
    rate = np.abs(records["rate"])
    typical = float(np.median(rate)) if len(rate) else 0.0
    return np.full(len(rate), typical * 24 * 365 / _hours_between(records) > HIGH)


def _partly_percent(records: Records) -> Bools:
    """Stretches that would be ruinous as shares, and are as many times the rest as percent are."""
    rate = np.abs(records["rate"])
    ruinous = _medians(rate) * 24 * 365 / _hours_between(records) > YEARLY
    if not ruinous.any() or ruinous.all():
        return np.zeros(len(rate), dtype=bool)
    rest = max(float(np.median(rate[~ruinous])), np.finfo(float).tiny)
    if not HUNDREDFOLD[0] < float(np.median(rate[ruinous])) / rest < HUNDREDFOLD[1]:
        return np.zeros(len(rate), dtype=bool)
    beside = np.convolve(ruinous, np.ones(WEEK), mode="same") > 0  # where a stretch ends the median may be early
    return ruinous | (beside & (rate > BESIDE * rest))


def _medians(values: Floats) -> Floats:
    """The median of the `WEEK` rows around each, of the first or last ones at the ends."""
    width = min(WEEK, len(values))
    first = np.clip(np.arange(len(values)) - width // 2, 0, len(values) - width)
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)[first])


def _hours_between(records: Records) -> float:
    return min(max((interval(records) or 8 * HOUR) / HOUR, 1.0), 24.0)


def _rule(name: str, rule: str, strikes: Callable[[Records], Bools], outcome: Outcome = "quarantine") -> Rule:
    return Rule(Check(name, rule, outcome), (FUNDING,), strikes)


FUNDING_RULES = (
    _rule("percent", f"funding is a share: half below {YEARLY:.0%} a year, {BASE} rare", _percent),
    _rule("stretch in percent", "no stretch is a hundred times the rest, and ruinous", _partly_percent),
    _rule("implausible rate", f"a payment is at most {HIGHEST:.0%} of notional", _implausible),
    _rule("shifted zone", "funding of eight hours is settled at 0, 8 and 16 or 4, 12 and 20 UTC", _shifted),
)
FUNDING_NOTES = (
    _rule("high rates", f"half of all rates are below {HIGH:.0%} a year", _high, outcome="accept"),
    _rule("off the hours", "funding is settled at the same hours every day", _unsettled, outcome="accept"),
)
