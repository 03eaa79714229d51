"""Was the law that a model stated a true one, by every test that needs one?

Each test runs on horizons that do not overlap, book by book. P-values of expected shortfall are drawn from an
elliptical law, and how its tail falls matters: each book is held against the Student-t law whose ES over VaR is nearest
to what the model said of it, so that a correct heavy tail is not rejected for being none of a normal.

All of them take the law for known. One that was estimated from a window of losses is not, and some tests then reject
a right model more often than 5 %: those of the breaches' mean depth most, for breaches come where VaR and ES have been
estimated too low. Their rows say so; Z2, of all decisions, holds, and is what a scorecard tells.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
import pandas as pd

from backtest.calibration_tests import exceedance_bootstrap, exceedance_residuals, general_calibration
from backtest.coverage_tests import SIZE, Verdict
from backtest.date_losses import LEAST_TAIL
from backtest.false_discoveries import RATE, q_values
from backtest.law_tests import berkowitz, berkowitz_tail, cumulative_violations, violation_autocorrelation
from backtest.replay import Replay
from backtest.shortfall_tests import acerbi_szekely_1, acerbi_szekely_2
from backtest.tail_hits import SEED
from data import Floats
from data.laws import unit_tail

DEGREES = (3.0, 4.0, 6.0, 10.0, inf)
NO_LAW = "no law stated"
NO_PIT = "only VaR and ES stated, no distribution"
_COLUMNS = ("rejected", "discovered", "median_p", "median_power", "testable", "method", "notes")


class TailTrials(NamedTuple):
    """Losses and the law stated for them on disjoint horizons, (n, P); NaN where they tell nothing of a tail."""

    loss: Floats
    var: Floats
    es: Floats


@dataclass(frozen=True)
class _OfShortfall:
    """A test of VaR and ES, whether its p-values need the law's shape, and how often it rejects an estimated law.

    `estimated` is the largest share at 5 % of right `HistoricalVaR`s of 250 losses at 99 %, of 1,000 decisions, losses
    normal or t(4), where it is above 10 % (150 and 200 books; tests/test_estimated_laws.py).
    """

    name: str
    judge: Callable[..., Verdict]
    shaped: bool = True
    estimated: float = 0.0

    @property
    def note(self) -> str:
        """What is to be known of its verdicts on estimated laws."""
        share = f"{100 * self.estimated:.0f} % of right laws estimated from 250 losses at 99 %"
        return f"laws estimated from few losses are rejected too often: {share}" if self.estimated else ""


def _exceedances(loss: Floats, var: Floats, es: Floats, rate: float, *, degrees: float) -> Verdict:
    """Residuals per unit of VaR: ES - VaR, where it is estimated from two or three losses, makes them wild."""
    return exceedance_residuals(loss, var, es, rate, scale=var, degrees=degrees)


def _resampled(loss: Floats, var: Floats, es: Floats, rate: float) -> Verdict:
    return exceedance_bootstrap(loss, var, es, rate, scale=var)


_Z2 = _OfShortfall("Acerbi-Szekely Z2", acerbi_szekely_2)
_SHORTFALL = (
    _OfShortfall("Acerbi-Szekely Z1", acerbi_szekely_1, estimated=0.55),
    _Z2,
    _OfShortfall("McNeil-Frey exceedance residuals", _exceedances, estimated=0.29),
    _OfShortfall("McNeil-Frey, bootstrap", _resampled, shaped=False, estimated=0.18),
    _OfShortfall("Nolde-Ziegel general calibration", general_calibration),
)
_PITS: dict[str, Callable[[Floats, float], Verdict]] = {
    "Berkowitz": lambda pit, rate: berkowitz(pit, rate=rate),
    "Berkowitz, tail": berkowitz_tail,
    "cumulative violations": cumulative_violations,
    "violation autocorrelations": violation_autocorrelation,
}


def law_verdicts(replay: Replay) -> pd.DataFrame:
    """One row a test of the law that the model stated; the same rows, without figures, where it stated none.

    Columns: the shares of testable books `rejected` at 5 % and `discovered` when at most 5 % of those named may be
    wrong (Benjamini and Yekutieli 2001), their `median_p` and `median_power` (against losses larger until breaches come
    twice as often), the share of books that are `testable`, the `method` and `notes`. Books of one market are no
    independent trials: shares are to be read, not tested.
    """
    rate = 1.0 - replay.coverage.level
    if replay.tail is None:
        rows = [_untold(NO_LAW) for _ in (*_SHORTFALL, *_PITS)]
    else:
        trials, note = tail_trials(replay), _passed_over(replay)
        rows = [_row(*_of_shortfall(test, trials, rate), test.note, note) for test in _SHORTFALL]
        pit = np.where(replay.live, replay.tail.pit, np.nan)[replay.disjoint]
        rows += [_of_pits(test, pit, rate) for test in _PITS.values()]
    names = [test.name for test in _SHORTFALL] + list(_PITS)
    return pd.DataFrame(rows, columns=list(_COLUMNS), index=pd.Index(names, name="test"))


def tail_trials(replay: Replay) -> TailTrials:
    """What tests of VaR and ES are run on: NaN where nothing was held, or the law had no tail (not 0 < VaR < ES).

    A decision is left out for its forecast, never for its loss, so that those left are as good a sample.
    """
    if replay.tail is None:
        nothing = np.full((len(replay.disjoint), len(replay.portfolios)), np.nan)
        return TailTrials(nothing, nothing, nothing)
    loss, var, es = (panel[replay.disjoint] for panel in (replay.loss, replay.tail.var, replay.tail.es))
    known = np.isfinite(loss) & (var > LEAST_TAIL) & (es > var)
    return TailTrials(*(np.where(known, panel, np.nan) for panel in (loss, var, es)))


def nearest_degrees(trials: TailTrials, level: float) -> Floats:
    """Of DEGREES, those whose ES over VaR is nearest to the median one stated for each book, (P,); inf without one."""
    ratios = np.array([np.divide(*unit_tail(level, degrees)[::-1]) for degrees in DEGREES])
    answer = np.full(trials.var.shape[1], inf)
    some = np.isfinite(trials.var).any(axis=0)
    stated = np.nanmedian(trials.es[:, some] / trials.var[:, some], axis=0)
    answer[some] = np.array(DEGREES)[np.abs(ratios[:, None] - stated).argmin(axis=0)]
    return answer


def share_rejected(replay: Replay) -> float:
    """Share of testable books whose law Z2 rejects at 5 %, for losses beyond VaR too many or too deep; NaN for none.

    Acerbi and Szekely (2014), their second test, against the law nearest to each book's ES over VaR. Of the tests here
    it is one that holds where laws are estimated: of right `HistoricalVaR`s of 250, 500 and 1,000 losses, at 97.5 and
    99 %, at most 3 % were rejected on 1,000 decisions, and 8 % on 250, losses normal or t(4).
    The price: an ES too small behind a right VaR it hardly sees (half of ES - VaR at 99 %: 11 % of books on 1,000
    decisions, and McNeil and Frey's test 69 %). For that read `law_verdicts`, and its notes.
    """
    if replay.tail is None:
        return float("nan")
    told, _ = _of_shortfall(_Z2, tail_trials(replay), 1.0 - replay.coverage.level)
    return float((told.p_value[told.testable] <= SIZE).mean()) if told.testable.any() else float("nan")


def _of_shortfall(test: _OfShortfall, trials: TailTrials, rate: float) -> tuple[Verdict, str]:
    """The verdict on every book, and the method."""
    if not test.shaped:
        told = test.judge(*trials, rate)
        return told, told.method
    degrees = nearest_degrees(trials, 1.0 - rate)
    figures = np.zeros((3, len(degrees)))
    testable = np.zeros(len(degrees), dtype=bool)
    told_by = []
    for one in np.unique(degrees).tolist():
        here = degrees == one
        told = test.judge(*(side[:, here] for side in trials), rate, degrees=one)
        figures[:, here], testable[here] = (told.statistic, told.p_value, told.power), told.testable
        told_by.append(f"{'normal' if one == inf else f't({one:g})'} {here.sum()}")
    method = f"simulated, seed {SEED}, from the law nearest to each book's ES over VaR (books: {', '.join(told_by)})"
    statistic, p_value, power = figures
    return Verdict(statistic, p_value, power, testable, told.method, told.notes), method


def _of_pits(test: Callable[[Floats, float], Verdict], pit: Floats, rate: float) -> tuple[object, ...]:
    if not np.isfinite(pit).any():
        return _untold(NO_PIT)
    told = test(pit, rate)
    return _row(told, told.method)


def _row(told: Verdict, method: str, *more: str) -> tuple[object, ...]:
    p_value = np.where(told.testable, told.p_value, np.nan)
    notes = "; ".join(filter(None, [told.notes, *more]))
    testable = float(told.testable.mean())
    if not testable:
        return (*[np.nan] * 4, 0.0, method, notes)
    known = p_value[told.testable]
    shares = float((known <= SIZE).mean()), float((q_values(known) <= RATE).mean())
    return (*shares, float(np.median(known)), float(np.median(told.power[told.testable])), testable, method, notes)


def _untold(why: str) -> tuple[object, ...]:
    return (*[np.nan] * 4, 0.0, "", why)


def _passed_over(replay: Replay) -> str:
    """How many decisions on disjoint horizons were left out, for want of a law or for one without a tail."""
    held = replay.live[replay.disjoint]
    unsaid = np.zeros_like(held) if replay.tail is None else held & np.isnan(replay.tail.var[replay.disjoint])
    left = held & ~unsaid & np.isnan(tail_trials(replay).loss)
    told = ((unsaid, "without a law"), (left, "without 0 < VaR < ES"))
    return "; ".join(
        f"{100 * some.sum() / held.sum():.2g} % of trials {why} passed over" for some, why in told if some.any()
    )
