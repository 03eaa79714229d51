"""What would a market look like whose true risk is known?

Every market is drawn from a stated law, so the quantile of the next loss of any linear book is exact, and a model or a
test can be held against it. Returns are simple: the loss of exposures w is -w.r, with no approximation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from data.arrays import Floats
from data.clock import Clock, Stamps
from data.errors import ParameterError
from data.history import MarketHistory
from data.laws import unit_tail

_SUBSTEPS = 24  # of a row's price path: what its high and low are taken from
_DAYS = np.array(["1678-01-01", "2262-04-11"], dtype="datetime64[D]")  # what 64 bits of nanoseconds hold
_PRICE_BEFORE = 100.0


@dataclass(frozen=True, eq=False)
class Elliptical:
    """Normal or multivariate Student-t returns: r = sigma * z, with z of unit variance and a common mixing variable.

    Every linear book then obeys the same law, scaled (McNeil, Frey and Embrechts, 2005, sections 2.2.4 and 3.3).

    Parameters
    ----------
    sigma : (T, A) standard deviation of the next return.
    correlation : (K, A, A), one matrix a regime.
    regime : (T,) which of them the next return obeys.
    degrees : degrees of freedom, > 2; infinite for the normal.
    """

    sigma: Floats
    correlation: Floats
    regime: NDArray[np.intp]
    degrees: float = math.inf

    def book_sigma(self, exposure: Floats) -> Floats:
        """Standard deviation of the next loss of (P, A) exposures, (T, P)."""
        spread = np.empty((len(self.sigma), len(exposure)))
        for k, root in enumerate(np.linalg.cholesky(self.correlation)):
            rows = self.regime == k
            scaled = self.sigma[rows, None, :] * exposure
            spread[rows] = np.sqrt((np.einsum("tpa,ab->tpb", scaled, root) ** 2).sum(axis=-1))
        return spread

    def quantile(self, exposure: Floats, level: float) -> Floats:
        """The `level` quantile of the loss, (T, P)."""
        return self.book_sigma(exposure) * unit_tail(level, self.degrees)[0]

    def shortfall(self, exposure: Floats, level: float) -> Floats:
        """The mean loss beyond that quantile, (T, P)."""
        return self.book_sigma(exposure) * unit_tail(level, self.degrees)[1]


@dataclass(frozen=True, eq=False)
class JumpMixture:
    """Normal returns to which, with a probability, one common normal jump of all assets is added.

    Merton's jump (1976), at most one a row (Ball and Torous, 1983): a book's loss is a mixture of two normals.

    Parameters
    ----------
    rows : T; the law is the same at each.
    probability : that a row jumps.
    calm : (A, A) covariance without a jump.
    jump_mean, jump : (A,) mean and (A, A) covariance of the jump.
    """

    rows: int
    probability: float
    calm: Floats
    jump_mean: Floats
    jump: Floats

    @property
    def sigma(self) -> Floats:
        """Standard deviation of the next return, (T, A)."""
        p, calm, jump = self.probability, np.diag(self.calm), np.diag(self.jump)
        return np.tile(np.sqrt(calm + p * jump + p * (1 - p) * self.jump_mean**2), (self.rows, 1))

    def quantile(self, exposure: Floats, level: float) -> Floats:
        """The `level` quantile of the loss, (T, P), from the exact distribution by bisection."""
        return np.tile(self._quantile(exposure, level), (self.rows, 1))

    def shortfall(self, exposure: Floats, level: float) -> Floats:
        """The mean loss beyond that quantile, (T, P)."""
        at = self._quantile(exposure, level)
        mean, spread = self._components(exposure)
        beyond = (at - mean) / spread
        tail = self._weights() @ (mean * ndtr(-beyond) + spread * np.exp(-0.5 * beyond**2) / math.sqrt(2 * math.pi))
        return np.tile(tail / (1 - level), (self.rows, 1))

    def _quantile(self, exposure: Floats, level: float) -> Floats:
        mean, spread = self._components(exposure)
        ends = mean + spread * ndtri(level)
        low, high = ends.min(axis=0), ends.max(axis=0)  # a mixture's quantile lies between those of its components
        for _ in range(100):
            middle = 0.5 * (low + high)
            below = self._weights() @ ndtr((middle - mean) / spread) < level
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(high)

    def _components(self, exposure: Floats) -> tuple[Floats, Floats]:
        """Means and standard deviations of the loss without and with a jump, (2, P) each."""
        calm, jump = (np.einsum("pa,ab,pb->p", exposure, v, exposure) for v in (self.calm, self.jump))
        mean = -np.einsum("pa,a->p", exposure, self.jump_mean)
        floor = np.finfo(np.float64).tiny  # a book that holds nothing loses nothing, and divides by nothing
        return np.stack([np.zeros_like(mean), mean]), np.sqrt(np.stack([calm, calm + jump])) + floor

    def _weights(self) -> Floats:
        return np.array([1 - self.probability, self.probability])


LossLaw = Elliptical | JumpMixture


@dataclass(frozen=True, eq=False)
class SyntheticMarket:
    """A history and the law it was drawn from. Row i of the law speaks of the return from row i to row i + 1."""

    history: MarketHistory
    law: LossLaw

    @property
    def sigma(self) -> Floats:
        """True standard deviation of the next one-row return given the past, (T, A)."""
        return self.law.sigma

    def quantile(self, exposure: Floats, level: float) -> Floats:
        """True `level` quantile of the next one-row loss, in the unit of the exposures.

        Parameters
        ----------
        exposure : (P, A) signed notionals, giving (T, P); or (A,), giving (T,).
        level : in (0.5, 1).

        Raises
        ------
        ParameterError
            If the level or the shape of the exposures is wrong.
        """
        found = self.law.quantile(self._books(exposure, level), level)
        return found if np.ndim(exposure) > 1 else found[:, 0]

    def shortfall(self, exposure: Floats, level: float) -> Floats:
        """True mean of the next one-row loss beyond its `level` quantile; shapes and errors as in `quantile`."""
        found = self.law.shortfall(self._books(exposure, level), level)
        return found if np.ndim(exposure) > 1 else found[:, 0]

    def _books(self, exposure: Floats, level: float) -> Floats:
        if not 0.5 < level < 1.0:
            raise ParameterError(f"level must lie in (0.5, 1), got {level}")
        books = np.atleast_2d(np.asarray(exposure, dtype=np.float64))
        assets = len(self.history.underlyings)
        if books.ndim != 2 or books.shape[1] != assets or not np.isfinite(books).all():
            raise ParameterError(f"exposure must be finite and (P, {assets}), got {np.shape(exposure)}: {exposure!r}")
        return books


def normal_market(
    rows: int = 2000,
    volatility: Sequence[float] = (0.02, 0.03),
    correlation: float | Floats = 0.5,
    *,
    seed: int,
    start: str = "2015-01-01",
) -> SyntheticMarket:
    """Independent rows of correlated normal returns.

    Parameters
    ----------
    rows : T, daily.
    volatility : (A,) standard deviation of one row, one an asset.
    correlation : of every pair, or an (A, A) matrix.
    seed : the same seed gives the same bits.
    start : date of the first row.

    Raises
    ------
    ParameterError
        If a parameter is outside its range, or a draw would lose more than everything.
    """
    return correlation_break(rows, rows, volatility, before=correlation, after=correlation, seed=seed, start=start)


def correlation_break(
    rows: int = 2000,
    at: int = 1000,
    volatility: Sequence[float] = (0.02, 0.03),
    *,
    before: float | Floats = 0.2,
    after: float | Floats = 0.9,
    degrees: float = math.inf,
    seed: int,
    start: str = "2015-01-01",
) -> SyntheticMarket:
    """Independent rows whose correlation changes: returns that start at row `at` or later obey `after`.

    Parameters
    ----------
    rows, volatility, seed, start : as in `normal_market`.
    at : the row from which the next return obeys the new law.
    before, after : correlation of every pair, or (A, A) matrices.
    degrees : of freedom of a multivariate Student-t, > 2; infinite for the normal.

    Raises
    ------
    ParameterError
        If a parameter is outside its range, or a draw would lose more than everything.
    """
    scale, rng = _begin(rows, volatility, seed)
    matrices = np.stack([_matrix(before, len(scale)), _matrix(after, len(scale))])
    regime = (np.arange(rows + 1) > at).astype(np.intp)
    z, mixing = _innovations(rng, matrices, regime, degrees)
    sigma = np.tile(scale, (rows + 1, 1))
    law = Elliptical(sigma[1:], matrices, regime[1:], degrees)
    return _market(rng, law, (sigma * z)[:-1], (sigma * mixing)[:-1], start)


def garch_t(
    rows: int = 2000,
    volatility: Sequence[float] = (0.02, 0.03),
    correlation: float | Floats = 0.5,
    *,
    alpha: float = 0.08,
    beta: float = 0.90,
    degrees: float = 6.0,
    seed: int,
    start: str = "2015-01-01",
) -> SyntheticMarket:
    """One GARCH(1,1) an asset, driven by multivariate Student-t innovations of unit variance.

    h' = volatility^2 (1 - alpha - beta) + alpha r^2 + beta h (Bollerslev, 1986; Student-t: 1987; constant conditional
    correlation: 1990), started at its long-run mean. The conditional quantile of every linear book is exact.

    Parameters
    ----------
    rows, correlation, seed, start : as in `normal_market`.
    volatility : (A,) long-run standard deviation of one row.
    alpha, beta : >= 0, below 1 together.
    degrees : of freedom, > 2; infinite for the normal.

    Raises
    ------
    ParameterError
        If a parameter is outside its range, or a draw would lose more than everything.
    """
    if not (alpha >= 0 and beta >= 0 and alpha + beta < 1):
        raise ParameterError(f"alpha and beta must be >= 0 and below 1 together, got {alpha} and {beta}")
    scale, rng = _begin(rows, volatility, seed)
    matrices, regime = _matrix(correlation, len(scale))[None], np.zeros(rows + 1, dtype=np.intp)
    z, mixing = _innovations(rng, matrices, regime, degrees)
    variance = np.tile(scale**2, (rows + 1, 1))
    growth, constant = alpha * z**2 + beta, scale**2 * (1 - alpha - beta)
    for row in range(rows):
        variance[row + 1] = constant + growth[row] * variance[row]
    sigma = np.sqrt(variance)
    law = Elliptical(sigma[1:], matrices, regime[1:], degrees)
    return _market(rng, law, (sigma * z)[:-1], (sigma * mixing)[:-1], start)


def jumps(
    rows: int = 2000,
    volatility: Sequence[float] = (0.02, 0.03),
    correlation: float | Floats = 0.5,
    *,
    probability: float = 0.02,
    jump_mean: float = -0.05,
    jump_volatility: float = 0.05,
    seed: int,
    start: str = "2015-01-01",
) -> SyntheticMarket:
    """Independent rows of normal returns with rare jumps that strike all assets at once.

    Parameters
    ----------
    rows, correlation, seed, start : as in `normal_market`.
    volatility : (A,) standard deviation of a row without a jump.
    probability : that a row jumps, in (0, 1).
    jump_mean, jump_volatility : of every asset's jump; jumps are correlated as the returns are.

    Raises
    ------
    ParameterError
        If a parameter is outside its range, or a draw would lose more than everything.
    """
    if not 0 < probability < 1 or not jump_volatility >= 0 or not math.isfinite(jump_mean + jump_volatility):
        got = (probability, jump_mean, jump_volatility)
        raise ParameterError(f"a jump needs 0 < probability < 1, a finite mean and a volatility >= 0, got {got}")
    scale, rng = _begin(rows, volatility, seed)
    matrix = _matrix(correlation, len(scale))
    struck = rng.random(rows) < probability
    once = np.zeros(rows, dtype=np.intp)
    calm = scale * _innovations(rng, matrix[None], once, math.inf)[0]
    jump = (jump_mean + jump_volatility * _innovations(rng, matrix[None], once, math.inf)[0]) * struck[:, None]
    covariance = matrix * np.outer(scale, scale)
    law = JumpMixture(rows, probability, covariance, np.full(len(scale), jump_mean), matrix * jump_volatility**2)
    return _market(rng, law, calm + jump, np.tile(scale, (rows, 1)), start, jump)


def _begin(rows: int, volatility: Sequence[float], seed: int) -> tuple[Floats, np.random.Generator]:
    """Volatilities as an array, and the generator; ParameterError for no rows, no assets or a wrong volatility."""
    scale = np.asarray(volatility, dtype=np.float64)
    if rows < 2 or seed < 0:
        raise ParameterError(f"a market needs two rows at least and a seed >= 0, got {rows} and {seed}")
    if scale.ndim != 1 or not scale.size or not (np.isfinite(scale) & (scale > 0)).all():
        raise ParameterError(f"volatility must be one positive number an asset, got {volatility!r}")
    return scale, np.random.Generator(np.random.PCG64(seed))


def _matrix(correlation: float | Floats, assets: int) -> Floats:
    """An (A, A) correlation matrix; ParameterError unless it is positive definite with a unit diagonal."""
    given = np.asarray(correlation, dtype=np.float64)
    matrix = np.where(np.eye(assets, dtype=bool), 1.0, given) if given.ndim == 0 else given
    fits = matrix.shape == (assets, assets) and np.isfinite(matrix).all() and np.array_equal(matrix, matrix.T)
    if not fits or (np.diag(matrix) != 1).any() or np.linalg.eigvalsh(matrix).min() <= 0:
        raise ParameterError(f"correlation must be positive definite for {assets} assets, got {correlation!r}")
    return matrix


def _innovations(
    rng: np.random.Generator, matrices: Floats, regime: NDArray[np.intp], degrees: float
) -> tuple[Floats, Floats]:
    """Unit-variance innovations (T, A), and the (T, 1) factor that made each row wilder or calmer than a normal one."""
    if not degrees > 2:
        raise ParameterError(f"degrees must exceed 2 for a variance to exist, got {degrees}. Typical values: 4 to 10.")
    rows, assets = len(regime), matrices.shape[1]
    z = np.empty((rows, assets))
    plain = rng.standard_normal((rows, assets))
    for k, root in enumerate(np.linalg.cholesky(matrices)):
        z[regime == k] = np.einsum("ta,ba->tb", plain[regime == k], root)  # no BLAS: its threads may move a bit
    if math.isinf(degrees):
        return z, np.ones((rows, 1))
    mixing = np.sqrt((degrees - 2) / rng.chisquare(degrees, size=(rows, 1)))
    return z * mixing, mixing


def _market(
    rng: np.random.Generator, law: LossLaw, returns: Floats, scale: Floats, start: str, jump: Floats | None = None
) -> SyntheticMarket:
    """Prices, highs, lows and volumes of (T, A) returns into each row, `scale` being what moved prices within it."""
    least = returns if jump is None else np.minimum(returns, returns - jump)
    if (least <= -1).any():
        row, asset = np.argwhere(least <= -1)[0]
        got = f"{least[row, asset]:.3g} at row {row}"
        raise ParameterError(f"a simple return must exceed -1, got {got}: lower the volatility or raise the degrees")
    with np.errstate(over="ignore", under="ignore"):
        spot = np.multiply(_PRICE_BEFORE, np.cumprod(1 + returns, axis=0), dtype=np.float64)
    if not ((spot > 1e-250) & (spot < 1e250)).all():
        raise ParameterError(f"prices left the range of floats: lower the volatility or the {len(spot)} rows")
    shock = np.zeros_like(returns) if jump is None else np.log1p(returns) - np.log1p(returns - jump)
    top, bottom = _extremes(rng, np.log1p(returns) - shock, scale, shock)
    before = np.vstack([np.full((1, spot.shape[1]), _PRICE_BEFORE), spot[:-1]])
    high = np.maximum(before * np.exp(top), np.maximum(before, spot))
    low = np.minimum(before * np.exp(bottom), np.minimum(before, spot))
    activity = np.sqrt(scale**2 + shock**2) / scale.mean(axis=0)
    volume = 1000.0 * activity * np.exp(0.3 * rng.standard_normal(spot.shape))  # more trading where prices move more
    names, time = tuple(f"SYN{asset + 1}" for asset in range(spot.shape[1])), _days(start, len(spot))
    return SyntheticMarket(MarketHistory(time, names, spot, Clock("1D"), high, low, volume, source="synthetic"), law)


def _extremes(rng: np.random.Generator, end: Floats, scale: Floats, shock: Floats) -> tuple[Floats, Floats]:
    """Highest and lowest log price since the row before, (T, A) each: a stepped bridge, with the shock at one step."""
    strikes = rng.integers(1, _SUBSTEPS + 1, size=(len(end), 1))
    path, top, bottom = (np.zeros_like(end) for _ in range(3))
    for step in range(1, _SUBSTEPS + 1):
        left = _SUBSTEPS - step
        noise = scale * math.sqrt(left / (left + 1) / _SUBSTEPS) * rng.standard_normal(end.shape)
        path = path + (end - path) / (left + 1) + noise
        seen = path + np.where(step >= strikes, shock, 0.0)
        top, bottom = np.maximum(top, seen), np.minimum(bottom, seen)
    return top, bottom


def _days(start: str, rows: int) -> Stamps:
    try:
        days: Stamps = np.datetime64(start, "D") + np.arange(rows)
    except ValueError as error:
        raise ParameterError(f"start must be an ISO date, got {start!r}") from error
    if not (days[0] > _DAYS[0] and days[-1] < _DAYS[1]):
        raise ParameterError(f"{rows} days from {start!r} must lie within {_DAYS[0]}..{_DAYS[1]}: start earlier")
    return days.astype("datetime64[ns]")
