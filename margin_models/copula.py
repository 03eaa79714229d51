"""How are draws made that fall together in the tails, each with a law of its own?"""

import functools
import math

import numpy as np

from data import Floats

DEGREES = (2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 25.0, 50.0)  # what a fit chooses among
# Of what lies beyond every observation: daily returns have a tail index between two and five (Cont 2001, "Empirical
# properties of asset returns: stylized facts and statistical issues", Quantitative Finance 1).
TAIL_DEGREES = 4.0


@functools.lru_cache(maxsize=8)
def _independent(count: int, size: int, degrees: float, seed: int) -> tuple[Floats, Floats]:
    """Standard normals (count, size), the second half of which mirrors the first, and what stretches each row."""
    rng = np.random.default_rng(seed)
    half = (count + 1) // 2
    normal = rng.standard_normal((half, size))
    stretch = np.ones(half) if math.isinf(degrees) else np.sqrt(degrees / rng.chisquare(degrees, half))
    both = np.vstack([normal, -normal])[:count], np.r_[stretch, stretch][:count]
    for part in both:
        part.flags.writeable = False
    return both


def student_draws(count: int, correlation: Floats, degrees: float, seed: int) -> Floats:
    """(count, D) draws of a multivariate Student-t law, the same for the same arguments on any machine's threads.

    Normal for infinite degrees. Antithetic: the second half mirrors the first, so that the mean is exactly zero for an
    even count. McNeil, Frey and Embrechts (2015), section 6.2.1: normal draws over the root of one chi-square a row.
    """
    normal, stretch = _independent(count, len(correlation), degrees, seed)
    value, vector = np.linalg.eigh(correlation)
    # The symmetric root: continuous in the correlation, and blind to the signs that an eigenvector may come with.
    root = (vector * np.sqrt(np.maximum(value, 0.0))) @ vector.T
    drawn = np.empty_like(normal)
    for d in range(len(root)):
        # Term by term: what a library of linear algebra adds up depends on how many threads it has.
        drawn[:, d] = sum((normal[:, e] * root[e, d] for e in range(len(root))), np.zeros(count))
    return np.asarray(drawn * stretch[:, None])


def student_quantile(share: Floats, degrees: float) -> Floats:
    """Quantiles of the standard Student-t law; normal for infinite degrees."""
    from scipy.special import ndtri, stdtrit

    return np.asarray(ndtri(share) if math.isinf(degrees) else stdtrit(degrees, share))


def student_below(value: Floats, degrees: float) -> Floats:
    """Distribution function of the standard Student-t law; normal for infinite degrees."""
    from scipy.special import ndtr, stdtr

    return np.asarray(ndtr(value) if math.isinf(degrees) else stdtr(degrees, value))


def with_law_of(drawn: Floats, sample: Floats, degrees: float) -> Floats:
    """Student-t draws (S,) given the law of a sample (n,): its quantiles, and a Student-t tail beyond the outermost.

    The i-th smallest of n stands for the quantile i / (n + 1), and between two the value is linear in the draw. Beyond
    the last, where that leads outwards, it grows as the quantile of TAIL_DEGREES does.
    """
    ordered, size = np.sort(sample), len(sample)
    at = student_quantile(np.arange(1, size + 1) / (size + 1), degrees)
    value = np.interp(drawn, at, ordered)
    edge = float(student_quantile(np.array([1 / (size + 1)]), TAIL_DEGREES)[0])
    for last, outside, sign in ((ordered[0], drawn < at[0], -1.0), (ordered[-1], drawn > at[-1], 1.0)):
        if sign * last > 0:
            share = student_below(-np.abs(drawn[outside]), degrees)
            value[outside] = last * student_quantile(share, TAIL_DEGREES) / edge
    return value


def fit_degrees(sample: Floats, correlation: Floats) -> float:
    """Degrees of freedom of the t copula of (n, A) joint observations, by maximum pseudo-likelihood over `DEGREES`.

    Genest, Ghoudi and Rivest (1995), Biometrika 82: ranks over n + 1 for the marginal laws. Infinite where fewer than
    two columns have variance, as there is nothing to hold together.
    """
    moving = sample.std(axis=0) > 0
    if moving.sum() < 2:
        return math.inf
    ranks = np.argsort(np.argsort(sample[:, moving], axis=0, kind="stable"), axis=0, kind="stable")
    share = np.asarray((ranks + 1.0) / (len(sample) + 1.0), dtype=np.float64)
    part = correlation[np.ix_(moving, moving)]
    likelihood = [_log_likelihood(student_quantile(share, degrees), part, degrees) for degrees in DEGREES]
    return DEGREES[int(np.argmax(likelihood))]


def _log_likelihood(scores: Floats, correlation: Floats, degrees: float) -> float:
    """Log density of a t copula at (n, A) Student-t scores. McNeil, Frey and Embrechts (2015), section 7.5.3."""
    from scipy.special import gammaln

    size = scores.shape[1]
    sign, log_determinant = np.linalg.slogdet(correlation)
    if sign <= 0:
        return -math.inf
    distance = (scores * np.linalg.solve(correlation, scores.T).T).sum(axis=1)
    apart = 0.5 * (degrees + 1) * np.log1p(scores**2 / degrees).sum()
    joint = 0.5 * (degrees + size) * np.log1p(distance / degrees).sum()
    each = (
        gammaln(0.5 * (degrees + size))
        + (size - 1) * gammaln(0.5 * degrees)
        - size * gammaln(0.5 * (degrees + 1))
        - 0.5 * log_determinant
    )
    return float(len(scores) * each + apart - joint)
