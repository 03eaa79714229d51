"""Can today's breach be foretold from yesterday's breaches, and from the margin itself?

The regression of Engle and Manganelli (2004), "CAViaR: conditional autoregressive value at risk by regression
quantiles", Journal of Business and Economic Statistics 22: hits less their rate on a constant, on the margin charged
for the same decision, and on the hits before it.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from backtest.coverage_tests import SIZE, Verdict
from backtest.hit_kernels import COLLINEAR, add_path, regress_on_lags
from backtest.simulated_p_values import (
    SEED,
    Counts,
    Flags,
    HitSequences,
    HitTest,
    HitVerdict,
    Measured,
    by_portfolio,
    draw_sequences,
    judge_hits,
    law_of_draws,
    refuse_rate,
    sequences_of,
    simulated_law,
    simulated_power,
    surprise,
    uniforms,
)
from data import Floats, ParameterError

LAGS = 4
REPETITIONS = 9_999  # of the law of each path of margins; fewer where breaches abound
_MOST_BREACHES = 2_000_000
_CONSTANT = 1e-9  # of a margin's size, that it varies by where it does not vary


class OnLags(NamedTuple):
    """Sequences regressed on their own lags, as `hit_kernels.regress_on_lags` leaves them."""

    sequences: HitSequences
    turned: Floats
    lean: Floats
    fit: Floats
    rank: Counts
    testable: Flags


class Paths(NamedTuple):
    """A regressor a row, (V, n), about its mean and of length 1, and whether it varies, (V,)."""

    path: Floats
    varies: Flags


def dynamic_quantile(
    hits: ArrayLike,
    margins: ArrayLike | None,
    rate: float,
    *,
    lags: int = LAGS,
    repetitions: int | None = None,
    seed: int = SEED,
) -> HitVerdict:
    """Is a breach as likely whatever the margin, and whatever came before? Asymptotically chi-squared(rank).

    The p-value is by simulation of independent breaches against the very margins that were charged, which are held
    fixed; 9,999 repetitions where none are given. Where a margin does not vary, or none is given, it adds no regressor
    and the law is the remembered one of `dynamic_quantile_test`. Sequences are ranked by asymptotic p-value, as ranks
    differ.

    Parameters
    ----------
    hits : (R,) or (R, P) breaches, oldest first, without holes.
    margins : shaped alike, finite.
    lags : how many decisions back.

    Raises
    ------
    ParameterError
        Where hits are no zeros and ones, margins are shaped otherwise or not finite, the rate is not within (0, 1), or
        lags are below 1.
    """
    test, sequences = dynamic_quantile_test(lags), sequences_of(hits)
    uniform = uniforms(test.name, len(sequences.count), seed)
    return judge_on_paths(sequences, paths_of(margins, np.shape(hits), lags), rate, lags, uniform, repetitions, seed)


def judge_on_paths(
    sequences: HitSequences,
    paths: Paths,
    rate: float,
    lags: int,
    uniform: Floats,
    repetitions: int | None = None,
    seed: int = SEED,
) -> HitVerdict:
    """`dynamic_quantile` of sequences on one path each, ties broken by `uniform`, (N,)."""
    test = dynamic_quantile_test(lags)
    constant = judge_hits(test, sequences, rate, uniform)
    if not paths.varies.any():
        return constant
    told = _measured(_with_paths(on_lags(sequences, rate, lags), paths, np.arange(len(paths.path))), rate)
    figures = np.stack([constant.p_value, constant.randomised, constant.power])
    laws = _Conditional(sequences.n, rate, lags, repetitions or repetitions_on_a_path(sequences.n, rate), seed)
    for i in np.flatnonzero(paths.varies):
        figures[:, i] = laws.figures(Paths(paths.path[[i]], paths.varies[[i]]), told, int(i), uniform)
    p_value, randomised, power = figures
    notes = f"{test.notes}; margins are held fixed in its simulation, though breaches do move the margins after them"
    return HitVerdict(told.statistic, told.asymptotic, p_value, randomised, power, told.testable, test.method, notes)


def with_squared_loss(
    hits: ArrayLike, margins: ArrayLike, losses: ArrayLike, rate: float, *, lags: int = LAGS
) -> Verdict:
    """The same regression with the square of the loss before as one more regressor: asymptotic chi-squared(rank) alone.

    The variant of R's package GAS (Ardia, Boudt and Catania). It has no simulated law: that of the losses would have to
    be known. Its power is that of `dynamic_quantile` at a constant margin. Shapes and errors as there, losses as
    margins.
    """
    test, sequences = dynamic_quantile_test(lags), sequences_of(hits)
    refuse_rate(rate)
    statistic, rank = _regressions(hits, margins, losses, rate, lags)
    testable = on_lags(sequences, rate, lags).testable
    statistic = np.where(testable, statistic, 0.0)
    p_value = np.where(testable, chdtrc(rank, statistic), 1.0)
    power = np.full(len(rank), test.power(sequences.n, rate))
    method = f"Engle-Manganelli dynamic quantile with {lags} lags and the squared loss, asymptotic chi-squared(rank)"
    return Verdict(statistic, p_value, power, testable, method, "over-rejects where breaches are few")


def degrees_of_freedom(
    hits: ArrayLike, margins: ArrayLike | None, rate: float, *, lags: int = LAGS, losses: ArrayLike | None = None
) -> Counts:
    """Rank of the regressors of `dynamic_quantile`, or with losses of `with_squared_loss`, (P,); errors as there."""
    sequences = sequences_of(hits)
    refuse_rate(rate)
    if losses is not None and margins is not None:
        return _regressions(hits, margins, losses, rate, lags)[1]
    paths = paths_of(margins, np.shape(hits), lags)
    return _with_paths(on_lags(sequences, rate, lags), paths, np.arange(len(paths.path))).rank


def _regressions(
    hits: ArrayLike, margins: ArrayLike, losses: ArrayLike, rate: float, lags: int
) -> tuple[Floats, Counts]:
    panels = [_panel(side, np.shape(hits), name) for side, name in ((margins, "margins"), (losses, "losses"))]
    found = [
        regression(breach, (margin, np.concatenate([[0.0], loss[:-1] ** 2])), rate, lags)
        for breach, margin, loss in zip(by_portfolio(np.asarray(hits, dtype=np.float64)), *panels, strict=True)
    ]
    return np.array([statistic for statistic, _ in found]), np.array([rank for _, rank in found], dtype=np.int64)


def regression(hits: Floats, others: tuple[Floats, ...], rate: float, lags: int) -> tuple[float, int]:
    """Statistic and rank of one sequence (n,) on a constant, its lags and other regressors (n,), by decomposition.

    >>> statistic, rank = regression(np.array([1.0, 0.0, 0.0, 0.0]), (), 0.25, lags=1)
    >>> round(statistic, 12), rank  # three rows without a breach, one of them after one
    (1.0, 2)
    """
    rows = len(hits) - lags
    if rows < 1:
        return 0.0, 1
    columns = [other[lags:] for other in others] + [hits[lags - k : -k] for k in range(1, lags + 1)]
    design = np.stack([np.ones(rows), *(_standardised(column) for column in columns)], axis=1)
    left, size, _ = np.linalg.svd(design, full_matrices=False)
    kept = size > np.sqrt(COLLINEAR) * size[0]
    along = left[:, kept].T @ (hits[lags:] - rate)
    return float(along @ along / (rate * (1.0 - rate))), int(kept.sum())


def on_lags(sequences: HitSequences, rate: float, lags: int) -> OnLags:
    """Regress each sequence on a constant and its own lags; testable with a breach, and more rows than regressors."""
    count = len(sequences.first) - 1
    turned, lean = np.zeros((count, lags, lags)), np.zeros((count, lags))
    fit, rank = np.zeros(count), np.ones(count, dtype=np.int64)
    if sequences.n > lags:
        regress_on_lags(sequences.position, sequences.first, sequences.n, rate, turned, lean, fit, rank)
    late = sequences.sums(sequences.position >= lags)
    return OnLags(sequences, turned, lean, fit, rank, (late > 0) & (sequences.n - lags > lags + 2))


@lru_cache(maxsize=16)
def dynamic_quantile_test(lags: int = LAGS) -> HitTest:
    """The test at a margin that does not vary; ParameterError for lags below 1."""
    if lags < 1:
        raise ParameterError(f"lags must be at least 1, got {lags}. Typical values: 1, 4.")
    measure = partial(lag_measure, lags=lags)
    name = f"dynamic quantile, {lags} lags"
    method = f"Engle-Manganelli dynamic quantile with {lags} lags, simulated"
    notes = "not testable without a breach after the first lags; ranked by its asymptotic p-value, as ranks differ"
    return HitTest(name, method, measure, partial(simulated_law, measure), partial(simulated_power, measure), notes)


def lag_measure(sequences: HitSequences, rate: float, *, lags: int) -> Measured:
    """The statistic of each sequence at a margin that does not vary."""
    return _measured(on_lags(sequences, rate, lags), rate)


def repetitions_on_a_path(n: int, rate: float) -> int:
    """How often the law of one path of margins is simulated."""
    return next((count for count in (REPETITIONS, 1_999) if count * n * rate <= _MOST_BREACHES), 999)


class _Conditional(NamedTuple):
    """Laws of the statistic, each on a path of margins, from sequences drawn once."""

    n: int
    rate: float
    lags: int
    repetitions: int
    seed: int

    def figures(self, path: Paths, told: Measured, i: int, uniform: Floats) -> tuple[float, float, float]:
        """Conservative and randomised p-value of sequence i on its path, and the power on it."""
        the_path = np.zeros(self.repetitions, dtype=np.int64)
        right, wrong = (
            _measured(_with_paths(self._drawn(true_rate), path, the_path), self.rate)
            for true_rate in (self.rate, 2.0 * self.rate)
        )
        law = law_of_draws(right.extreme)
        power = float((law.rejects(wrong.extreme, SIZE) & wrong.testable).mean())
        if not told.testable[i]:
            return 1.0, 1.0, power
        return float(law.p_value(told.extreme[i])), float(law.randomised(told.extreme[i], uniform[i])), power

    def _drawn(self, true_rate: float) -> OnLags:
        return _drawn_on_lags(self.n, self.rate, true_rate, self.lags, self.repetitions, self.seed)


@lru_cache(maxsize=8)
def _drawn_on_lags(n: int, rate: float, true_rate: float, lags: int, repetitions: int, seed: int) -> OnLags:
    return on_lags(draw_sequences(n, true_rate, repetitions, (seed, int(true_rate != rate))), rate, lags)


def _with_paths(given: OnLags, paths: Paths, path_of: Counts) -> OnLags:
    """With one more regressor a sequence; what is given stays as it is."""
    sequences, turned, lean, fit, rank, testable = given
    if sequences.n <= lean.shape[1]:
        return given
    fit, rank = fit.copy(), rank.copy()
    add_path(sequences.position, sequences.first, *paths, path_of, turned, lean, fit, rank)
    return OnLags(sequences, turned, lean, fit, rank, testable)


def _measured(regressed: OnLags, rate: float) -> Measured:
    statistic = np.where(regressed.testable, regressed.fit / (rate * (1.0 - rate)), 0.0)
    extreme = np.where(regressed.testable, surprise(regressed.rank, statistic), 0.0)
    return Measured(statistic, np.exp(-extreme), extreme, regressed.testable)


def paths_of(margins: ArrayLike | None, shape: tuple[int, ...], lags: int) -> Paths:
    """Margins shaped as hits, one regressor a portfolio; ParameterError where of another shape or not finite."""
    if margins is None:
        columns = 1 if len(shape) == 1 else shape[1]
        return Paths(np.zeros((columns, shape[0])), np.zeros(columns, dtype=bool))
    panel = _panel(margins, shape, "margins")
    path = np.zeros(panel.shape)
    for row, margin in zip(path, panel, strict=True):
        row[lags:] = _standardised(margin[lags:])
    return Paths(path, np.asarray(path.any(axis=1)))


def _panel(values: ArrayLike, shape: tuple[int, ...], name: str) -> Floats:
    panel = np.asarray(values, dtype=np.float64)
    if panel.shape != shape or not np.isfinite(panel).all():
        raise ParameterError(f"{name} must be finite and shaped as hits {shape}, got {panel.shape}")
    return by_portfolio(panel)


def _standardised(values: Floats) -> Floats:
    """About their mean and of length 1, or zeros where they do not vary."""
    if not len(values):
        return values
    apart = values - values.mean()
    length = np.sqrt(apart @ apart)
    if length <= _CONSTANT * np.sqrt(len(values)) * np.abs(values).max():
        return np.zeros(len(values))
    return np.asarray(apart / length)
