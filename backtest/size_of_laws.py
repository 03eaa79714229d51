"""How often does each test of a tail or of a whole law reject one that is right, and two that are wrong?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr
from tqdm.auto import tqdm

from backtest.calibration_tests import (
    exceedance_bootstrap,
    exceedance_residuals,
    general_calibration,
    simple_calibration,
)
from backtest.coverage_tests import SIZE, Verdict
from backtest.law_tests import berkowitz, berkowitz_tail, cumulative_violations, violation_autocorrelation
from backtest.shortfall_tests import acerbi_szekely_1, acerbi_szekely_2, acerbi_szekely_3
from backtest.tail_hits import quantile_of, refuse_tail
from data import Floats, ParameterError
from data.laws import unit_tail

FEWER_FOR_POWER = 5  # a share of 50 % needs fewer samples than one of 5 % to be told as well
ERRORS = 3.0  # standard errors that a share may be away from what it should be
HEAVY = 4.0  # degrees of freedom of the law whose tail the normal one understates

_BLOCK = 500  # samples judged together
_SHOCK, _MEMORY = 0.10, 0.85
_SAMPLED, _SAMPLED_BLOCK = 500_000, 10  # losses in the laws of all days of one sample, and samples judged together
_FEWER_WITH_LAWS = 10  # of the repetitions, where every day's law is a sample: each takes 10 ms

Judge = Callable[..., Verdict]


@dataclass(frozen=True)
class Truth:
    """What losses really are where the model says normal ones of some deviation: `scale` times a t law of `degrees`."""

    scale: float = 1.0
    degrees: float = math.inf

    def draw(self, rng: np.random.Generator, size: int, cells: int = 0) -> Floats:
        """(size,) losses per stated deviation; where there are cells, only the middles of so many equally likely."""
        if cells:
            return self.scale * quantile_of(_middles(rng.integers(0, cells, size), cells), self.degrees)
        if math.isinf(self.degrees):
            return self.scale * rng.standard_normal(size)
        unit = self.scale * math.sqrt((self.degrees - 2.0) / self.degrees)
        return unit * rng.standard_t(self.degrees, size)


RIGHT = Truth()


def too_small(rate: float) -> Truth:
    """Losses larger by the factor that makes breaches come at twice the rate."""
    return Truth(float(quantile_of(rate, math.inf) / quantile_of(2.0 * rate, math.inf)))


def too_thin(rate: float) -> Truth:
    """Losses of a t law that breach VaR as often as they should, and beyond it are larger than said."""
    return Truth(float(quantile_of(rate, math.inf) / quantile_of(rate, HEAVY)), HEAVY)


class TailPanel(NamedTuple):
    """Losses and what a normal law of a moving `deviation` says of them, all (R, P)."""

    loss: Floats
    var: Floats
    es: Floats
    deviation: Floats
    rate: float
    cells: int = 0

    @property
    def pit(self) -> Floats:
        """The probability that the law gave to a loss at least as large."""
        return np.asarray(ndtr(-self.loss / self.deviation))

    @property
    def sample(self) -> Floats:
        """The law as the equally likely losses in the middles of its cells, (R, P, cells)."""
        return np.asarray(
            self.deviation[..., None] * quantile_of(_middles(np.arange(self.cells), self.cells), math.inf)
        )


def tail_panel(
    n: int, columns: int, rate: float, truth: Truth, seed: int | tuple[int, ...], cells: int = 0
) -> TailPanel:
    """Forecasts of a GARCH(1,1) for (n, columns) losses, right where the truth is `RIGHT`.

    What is wrong with a truth is wrong by a constant factor or in the law alone: the deviation follows the shocks.
    """
    rng = np.random.default_rng(seed)
    variance = np.ones(columns)
    deviation, loss = np.empty((n, columns)), np.empty((n, columns))
    for row in range(n):
        deviation[row] = np.sqrt(variance)
        loss[row] = deviation[row] * truth.draw(rng, columns, cells)
        shock = loss[row] / truth.scale
        variance = (1.0 - _SHOCK - _MEMORY) + _SHOCK * shock**2 + _MEMORY * variance
    quantile, beyond = unit_tail(1.0 - rate)
    return TailPanel(loss, quantile * deviation, beyond * deviation, deviation, rate, cells)


def size_of_laws(
    ns: Sequence[int],
    rate: float,
    repetitions: int,
    seed: int,
    *,
    tests: "Sequence[LawTest] | None" = None,
    progress: bool = False,
) -> pd.DataFrame:
    """One row a length and test (`TESTS` where None): shares rejected at 5 % where forecasts are right and are not.

    Columns: `repetitions` of the right model (a tenth of those asked for where each day's law is a sample), a fifth as
    many of the wrong ones; `undefined`, the share of samples on
    which the test is not testable; `size_asymptotic` (NaN where there is no such p-value) and `size` with their
    `_error`; `power` where breaches come at twice the rate; `power_of_tail` where they come as they should and the
    losses beyond are those of a t law with 4 degrees of freedom; `holds`, whether the size is at most 5 % within
    three standard errors.

    Raises
    ------
    ParameterError
        For a rate that is no tail, or no length or repetition.
    """
    refuse_tail(2.0 * rate)
    if repetitions < 1 or not len(ns) or min(ns) < 1:
        raise ParameterError(f"a study needs lengths >= 1 and a repetition, got {tuple(ns)} and {repetitions}")
    rows = [
        _row(n, test, rate, test.repetitions(repetitions), seed)
        for n in ns
        for test in tqdm(TESTS if tests is None else tests, desc=f"n = {n}, tests of laws", disable=not progress)
    ]
    return pd.DataFrame(rows).set_index(["n", "test"])


@dataclass(frozen=True)
class LawTest:
    """A test by name: its verdict on a panel, the one with asymptotic p-values, and whether it asks for whole laws."""

    name: str
    judge: Callable[[TailPanel], Verdict]
    asymptotic: Callable[[TailPanel], Verdict] | None = None
    sampled: bool = False

    def repetitions(self, asked: int) -> int:
        """How many of those asked for it takes."""
        return max(asked // _FEWER_WITH_LAWS, 1) if self.sampled else asked

    def rejected(self, n: int, rate: float, truth: Truth, repetitions: int, seed: int) -> Floats:
        """Shares undefined, rejected by the p-value shown, and rejected by the asymptotic one (NaN without)."""
        block, cells = (_SAMPLED_BLOCK, max(_SAMPLED // n, 1)) if self.sampled else (_BLOCK, 0)
        counts = np.zeros(3)
        for start in range(0, repetitions, block):
            panel = tail_panel(n, min(block, repetitions - start), rate, truth, (seed, n, start), cells)
            told = self.judge(panel)
            rough = math.nan if self.asymptotic is None else (self.asymptotic(panel).p_value <= SIZE).sum()
            counts += [(~np.asarray(told.testable)).sum(), (told.p_value <= SIZE).sum(), rough]
        return counts / repetitions


def _row(n: int, test: LawTest, rate: float, repetitions: int, seed: int) -> dict[str, object]:
    undefined, size, rough = test.rejected(n, rate, RIGHT, repetitions, seed)
    wrong = max(repetitions // FEWER_FOR_POWER, 1)
    powers = [
        test.rejected(n, rate, truth, wrong, seed + 1 + k)[1]
        for k, truth in enumerate((too_small(rate), too_thin(rate)))
    ]
    return {
        "n": n,
        "test": test.name,
        "repetitions": repetitions,
        "undefined": undefined,
        "size_asymptotic": rough,
        "size_asymptotic_error": math.sqrt(rough * (1.0 - rough) / repetitions),
        "size": size,
        "size_error": math.sqrt(size * (1.0 - size) / repetitions),
        "power": powers[0],
        "power_of_tail": powers[1],
        "holds": bool(size <= SIZE + ERRORS * math.sqrt(SIZE * (1.0 - SIZE) / repetitions)),
    }


def _middles(cell: NDArray[np.int64], cells: int) -> Floats:
    return np.asarray((cell + 0.5) / cells)


def _of_forecasts(judge: Judge, panel: TailPanel) -> Verdict:
    return judge(panel.loss, panel.var, panel.es, panel.rate)


def _of_pits(judge: Judge, panel: TailPanel) -> Verdict:
    return judge(panel.pit, panel.rate)


def _of_density(judge: Judge, panel: TailPanel) -> Verdict:
    return judge(panel.pit, rate=panel.rate)


def _of_sample(judge: Judge, panel: TailPanel) -> Verdict:
    return judge(panel.loss, panel.sample, panel.rate)


def _with_asymptotic(name: str, asked: Callable[[Judge, TailPanel], Verdict], judge: Judge) -> LawTest:
    return LawTest(name, partial(asked, judge), partial(asked, partial(judge, asymptotic=True)))


TESTS = (
    LawTest("Acerbi-Szekely Z1", partial(_of_forecasts, acerbi_szekely_1)),
    LawTest("Acerbi-Szekely Z2", partial(_of_forecasts, acerbi_szekely_2)),
    LawTest("Acerbi-Szekely Z3", partial(_of_sample, acerbi_szekely_3), sampled=True),
    _with_asymptotic("McNeil-Frey residuals", _of_forecasts, exceedance_residuals),
    LawTest("McNeil-Frey residuals, bootstrap", partial(_of_forecasts, exceedance_bootstrap)),
    _with_asymptotic("Nolde-Ziegel, simple", _of_forecasts, simple_calibration),
    _with_asymptotic("Nolde-Ziegel, general", _of_forecasts, general_calibration),
    _with_asymptotic("Berkowitz", _of_density, berkowitz),
    _with_asymptotic("Berkowitz, tail", _of_pits, berkowitz_tail),
    _with_asymptotic("Costanzino-Curran", _of_pits, cumulative_violations),
    _with_asymptotic("Du-Escanciano, 5 lags", _of_pits, violation_autocorrelation),
)
