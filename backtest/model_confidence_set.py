"""Which models could be the best, and is a given one beaten by any other?

Losses are (R, M): one a date (portfolios of a date are averaged before) and one a model. Draws of dates are shared by
all tests, so `drawn` may be given where it has been computed already: mean losses (B, M) of the same losses.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backtest.block_means import Resampling, StationaryBlocks, refuse_unknown
from backtest.confidence_kernels import larger_ranges, pair_variances
from data import Floats, ParameterError
from data.arrays import Bools, Ints

SIZE = 0.10  # Hansen, Lunde and Nason show sets of 90 % and of 75 %
_NOISE = 1e-12  # of the larger of two models' losses: what their difference varies less by is its rounding
_BEATEN = "a model always loses less than the benchmark, and by the same: no draw of dates could say otherwise"
_UNBEATEN = "every model always loses more than the benchmark, and by the same"


@dataclass(frozen=True, eq=False)
class ConfidenceSet:
    """The models that could be the best.

    Parameters
    ----------
    p_value : (M,) the smallest size at which a model is out of the set; 1 for the one that outlasts all.
    order : (M,) models as they leave, the worst first.
    testable : False where no two models can be told apart (or there is only one): all are in the set.
    size : models with a p-value above it are in.
    method : how it was made.
    alike : pairs of models that cannot be told apart: their losses differ never, or always by the same.
    """

    p_value: Floats
    order: Ints
    testable: bool
    size: float
    method: str
    alike: tuple[tuple[int, int], ...] = ()

    @property
    def included(self) -> Bools:
        """Which models are in, (M,)."""
        return np.asarray(self.p_value > self.size)


@dataclass(frozen=True)
class SuperiorAbility:
    """Whether any model beats a benchmark: a small p-value says that one does.

    `consistent` is Hansen's, `lower` and `upper` are its bounds, `upper` White's (2000) reality check. `statistic` is
    the largest mean difference, benchmark minus model; studentised it is never below 0, and all p-values are 1 where it
    is 0. So they are where not testable, that is where no model ever differs. Where a model always loses less than
    the benchmark, and by the same, they are all 0, their smallest, and `notes` says so: chance has no part in it.
    """

    lower: float
    consistent: float
    upper: float
    statistic: float
    testable: bool
    method: str
    notes: str = ""


def model_confidence_set(
    losses: Floats,
    blocks: Resampling | None = None,
    *,
    size: float = SIZE,
    pairwise: bool = True,
    drawn: Floats | None = None,
) -> ConfidenceSet:
    """Drop the worst model for as long as equal mean losses are rejected.

    Hansen, Lunde and Nason (2011), "The model confidence set", Econometrica 79: the range statistic T_R over pairs, or,
    where not `pairwise`, T_max against the average of those still there. Two models whose difference does not vary are
    never told apart, and are named in `alike`. Gives what arch.bootstrap.MCS gives on the same draws (R and max). Few
    dates keep all of four equal models less often than the 90 % promised (600 samples each): 84 % at 150 dates, blocks
    of 4 and 199 draws, 85 % at 1,999 draws, 89 % with blocks of 1 or with 600 dates. More draws do not mend it.

    Parameters
    ----------
    losses : (R, M), finite.
    blocks : how dates are drawn; stationary blocks of a square root of R rows on average where None.
    drawn : mean losses on each draw, (B, M), where they are known; `blocks` is then not asked.

    Raises
    ------
    ParameterError
        Where losses are not (R, M) or not finite, the size is not within (0, 1), or draws have another shape.
    """
    losses = refuse_unknown(losses)
    if not 0.0 < size < 1.0:
        raise ParameterError(f"size must lie within (0, 1), got {size}. Typical values: 0.05-0.25.")
    mean, means = losses.mean(axis=0), _drawn(losses, blocks, drawn)
    error, noise = means - mean, _noise(losses)
    leave = _by_range if pairwise else _by_maximum
    order, step_p = leave(mean, error, noise)
    p_value = np.ones(len(mean))
    p_value[order[: len(step_p)]] = np.maximum.accumulate(step_p)
    method = f"model confidence set, {'T_R' if pairwise else 'T_max'}, {len(means)} block-bootstrap draws"
    return ConfidenceSet(p_value, order, len(step_p) > 0, size, method, tuple(_alike(error, noise)))


def _drawn(losses: Floats, blocks: Resampling | None, drawn: Floats | None) -> Floats:
    if drawn is None:
        return (blocks or StationaryBlocks(max(int(len(losses) ** 0.5), 1))).means(losses)
    if drawn.ndim != 2 or drawn.shape[1] != losses.shape[1] or not np.isfinite(drawn).all():
        raise ParameterError(f"drawn means must be finite and (B, {losses.shape[1]}), got the shape {drawn.shape}")
    return np.ascontiguousarray(drawn, np.float64)


def _noise(losses: Floats) -> Floats:
    """What the difference of two models may vary by through rounding alone, (M, M)."""
    size = np.abs(losses).max(axis=0)
    return np.asarray(_NOISE * np.maximum(size[:, None], size))


def _by_range(mean: Floats, error: Floats, noise: Floats) -> tuple[Ints, Floats]:
    """Models as they leave, and the p-value of each step whose models can be told apart."""
    error = np.ascontiguousarray(error)
    deviation = np.sqrt(pair_variances(error))
    deviation = np.where(deviation > noise, deviation, np.inf)
    distance = (mean[:, None] - mean) / deviation
    left, order, statistic = list(range(len(mean))), [], []
    while len(left) > 1 and np.isfinite(deviation[np.ix_(left, left)]).any():
        among = distance[np.ix_(left, left)]
        statistic.append(among.max())
        order.append(left.pop(int(among.argmax()) // len(left)))
    whole = np.array(order + left, dtype=np.int64)
    larger = larger_ranges(error, deviation, whole, np.array(statistic, dtype=np.float64))
    return whole, larger / len(error)


def _by_maximum(mean: Floats, error: Floats, noise: Floats) -> tuple[Ints, Floats]:
    """As `_by_range`, against the average; models that tie leave together."""
    left, order, p_value = np.arange(len(mean)), [], []
    while len(left) > 1:
        centred = error[:, left] - error[:, left].mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=0))
        rounding = noise[np.ix_(left, left)].max()  # of the average, which the largest losses set
        if not (deviation > rounding).any():
            break
        deviation = np.where(deviation > rounding, deviation, np.inf)
        distance = (mean[left] - mean[left].mean()) / deviation
        worst = distance == distance.max()
        if worst.all():
            break
        larger = (distance.max() < (centred / deviation).max(axis=1)).mean()
        order.extend(left[worst])
        p_value.extend([larger] * int(worst.sum()))
        left = left[~worst]
    return np.array([*order, *left], dtype=np.int64), np.array(p_value, dtype=np.float64)


def _alike(error: Floats, noise: Floats) -> Iterator[tuple[int, int]]:
    for i, j in np.argwhere(np.tri(error.shape[1], k=-1).T > 0):
        if np.abs(error[:, i] - error[:, j]).max() <= noise[i, j]:
            yield int(i), int(j)


def superior_ability(
    losses: Floats,
    benchmark: int,
    blocks: StationaryBlocks,
    *,
    studentised: bool = False,
    drawn: Floats | None = None,
) -> SuperiorAbility:
    """Does any model lose less than the benchmark, all having been tried?

    Hansen (2005), "A test for superior predictive ability", J. Business & Economic Statistics 23. As it stands the
    largest mean difference is tested, as arch.bootstrap.SPA does on the same draws; `studentised`, each over its
    standard deviation, as the paper proposes. Variances are those of the stationary bootstrap (its equation for omega).
    Otherwise than in arch, models whose losses are always the benchmark's take no part: with a twin of the best in the
    panel statistic and draws are all 0, and arch counts no draw above it, a p-value of 0. And studentised the statistic
    is never below 0, as in the paper, and the p-value 1 where it is 0; arch, and this as it stands, count the draws
    above a statistic below 0. A model that always loses less by the same has no deviation to be studentised by, and
    beats the benchmark in every draw: the p-values are then 0, and the statistic its difference.

    Parameters
    ----------
    losses : (R, M), finite, three dates at least.
    benchmark : the column that is to be beaten.
    blocks : how dates are drawn; its length also sets the weights of autocovariances.
    drawn : mean losses on each draw, (B, M), where they are known.

    Raises
    ------
    ParameterError
        As `model_confidence_set`, and for a benchmark that is no column.
    """
    losses = refuse_unknown(losses)
    rows, models = losses.shape
    if not 0 <= benchmark < models or rows < 3:
        raise ParameterError(f"a column of 0 to {models - 1} and >= 3 dates are needed, got {benchmark} and {rows}")
    means = _drawn(losses, blocks, drawn)
    gain, noise = losses[:, [benchmark]] - losses, _noise(losses)[benchmark]
    others = np.abs(gain).max(axis=0) > noise
    gain, noise = gain[:, others], noise[others]
    method = f"superior predictive ability, {'studentised, ' if studentised else ''}{len(means)} block-bootstrap draws"
    if not gain.shape[1]:
        return SuperiorAbility(1.0, 1.0, 1.0, 0.0, False, method, "no model's losses differ from the benchmark's")
    apart = np.ptp(gain, axis=0) <= noise
    if (apart & (gain[0] > 0)).any():
        return SuperiorAbility(0.0, 0.0, 0.0, float(gain[0, apart].max()), True, method, _BEATEN)
    if apart.all():
        most = 0.0 if studentised else float(gain[0].max())
        return SuperiorAbility(1.0, 1.0, 1.0, most, True, method, _UNBEATEN)
    mean, star = gain.mean(axis=0), means[:, [benchmark]] - means[:, others]
    deviation = np.sqrt(long_run_variance(gain, blocks.length) / rows)
    hopeless = mean < -deviation * np.sqrt(2.0 * np.log(np.log(rows)))
    scale = np.where(deviation > noise, deviation, np.inf) if studentised else np.ones_like(mean)
    centres = np.maximum(mean, 0.0), np.where(hopeless, 0.0, mean), mean
    statistic = float((mean / scale).max())
    if studentised and statistic <= 0.0:
        return SuperiorAbility(1.0, 1.0, 1.0, 0.0, True, method, "no model loses less than the benchmark on average")
    lower, consistent, upper = (float((((star - centre) / scale).max(axis=1) > statistic).mean()) for centre in centres)
    return SuperiorAbility(lower, consistent, upper, statistic, True, method)


def long_run_variance(series: Floats, length: int) -> Floats:
    """Variance of the square root of R times a mean under the stationary bootstrap, (M,) from (R, M).

    Politis and Romano (1994), equation 9: autocovariances at lag i weighted by (1 - i/R)(1 - 1/length)^i + (i/R)(1 -
    1/length)^(R - i), all of them at once by a Fourier transform.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    rows = len(series)
    padded = next_fast_len(2 * rows, real=True)
    power = np.abs(rfft(series - series.mean(axis=0), padded, axis=0)) ** 2
    autocovariance = irfft(power, padded, axis=0)[:rows] / rows
    lag, stays = np.arange(rows), 1.0 - 1.0 / length
    weight = 2.0 * ((1.0 - lag / rows) * stays**lag + lag / rows * stays ** (rows - lag))
    weight[0] = 1.0
    return np.asarray(np.maximum(weight @ autocovariance, 0.0))
