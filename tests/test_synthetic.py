"""Is the risk of a synthetic market what it says it is?"""

import math
from collections.abc import Callable

import numpy as np
import pytest

from data import Coverage, Floats, ParameterError
from data.sources.synthetic import SyntheticMarket, correlation_break, garch_t, jumps, normal_market

ROWS = 40_000
START = "1800-01-01"
BOOKS = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.5, -0.5], [-0.8, 0.2]])

MARKETS: dict[str, Callable[[int], SyntheticMarket]] = {
    "normal": lambda seed: normal_market(ROWS, seed=seed, start=START),
    "garch_t": lambda seed: garch_t(ROWS, seed=seed, start=START),
    "jumps": lambda seed: jumps(ROWS, probability=0.05, seed=seed, start=START),
    "correlation_break": lambda seed: correlation_break(ROWS, ROWS // 2, seed=seed, start=START),
    "correlation_break_t": lambda seed: correlation_break(ROWS, ROWS // 2, degrees=5.0, seed=seed, start=START),
}


@pytest.fixture(scope="module", params=sorted(MARKETS))
def market(request: pytest.FixtureRequest) -> SyntheticMarket:
    return MARKETS[request.param](7)


def moves(market: SyntheticMarket) -> Floats:
    return market.history.returns(Coverage(horizon="1D"))


def outside(hits: int, trials: int, share: float) -> bool:
    """Whether a count lies outside the 99.9 % interval of the binomial law."""
    from scipy.stats import binom

    low, high = binom.interval(0.999, trials, share)
    return not low <= hits <= high


@pytest.mark.parametrize("level", [0.95, 0.99, 0.997])
def test_the_true_quantile_is_breached_as_often_as_it_says(market: SyntheticMarket, level: float) -> None:
    loss = -(moves(market) @ BOOKS.T)
    hits = (loss > market.quantile(BOOKS, level)[:-1]).sum(axis=0)
    assert not [outside(int(count), len(loss), 1 - level) for count in hits].count(True), hits / len(loss)


def test_the_interval_refuses_a_quantile_that_is_a_tenth_too_low(market: SyntheticMarket) -> None:
    loss = -(moves(market) @ BOOKS.T)
    hits = (loss > 0.9 * market.quantile(BOOKS, 0.95)[:-1]).sum(axis=0)
    assert all(outside(int(count), len(loss), 0.05) for count in hits)


def test_losses_beyond_the_quantile_average_the_true_shortfall(market: SyntheticMarket) -> None:
    loss = -(moves(market) @ BOOKS.T)
    var, es = market.quantile(BOOKS, 0.95)[:-1], market.shortfall(BOOKS, 0.95)[:-1]
    for book in range(len(BOOKS)):
        beyond = loss[:, book] > var[:, book]
        ratio = loss[beyond, book] / es[beyond, book]
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / math.sqrt(beyond.sum())


def test_returns_over_the_stated_sigma_have_unit_variance(market: SyntheticMarket) -> None:
    scaled = moves(market) / market.sigma[:-1]
    assert np.allclose(scaled.std(axis=0), 1.0, atol=0.05)


def test_highs_and_lows_enclose_both_ends_of_a_row(market: SyntheticMarket) -> None:
    history = market.history
    assert history.high is not None
    assert history.low is not None
    assert history.volume is not None
    assert (history.low[1:] <= np.minimum(history.spot[1:], history.spot[:-1])).all()
    assert (history.high[1:] >= np.maximum(history.spot[1:], history.spot[:-1])).all()
    assert (history.low > 0).all()
    assert (history.volume > 0).all()


@pytest.mark.parametrize("name", sorted(MARKETS))
def test_the_same_seed_gives_the_same_bits(name: str) -> None:
    make = MARKETS[name]
    one, same, other = make(3).history, make(3).history, make(4).history
    for panel in ("time", "spot", "high", "low", "volume"):
        assert getattr(one, panel).tobytes() == getattr(same, panel).tobytes()
    assert not np.array_equal(one.spot, other.spot)


def test_a_normal_book_has_the_quantile_of_the_textbook() -> None:
    market = normal_market(10, (0.02, 0.03), 0.5, seed=1)
    variance = 0.5**2 * (0.02**2 + 0.03**2 - 2 * 0.5 * 0.02 * 0.03)
    assert market.quantile(np.array([0.5, -0.5]), 0.99) == pytest.approx(np.full(10, 2.3263478740 * variance**0.5))
    assert market.shortfall(np.array([0.5, -0.5]), 0.99) == pytest.approx(np.full(10, 2.6652142203 * variance**0.5))


def test_a_student_book_has_the_quantile_of_the_textbook() -> None:
    from scipy.stats import t

    market = correlation_break(10, 5, (0.02,), degrees=5.0, seed=1)
    unit = 0.02 * math.sqrt(3 / 5)
    assert market.quantile(np.array([-1.0]), 0.99) == pytest.approx(np.full(10, unit * t.ppf(0.99, 5)))
    mean_beyond = t.expect(lambda x: x, args=(5,), lb=t.ppf(0.99, 5), conditional=True)
    assert market.shortfall(np.array([-1.0]), 0.99) == pytest.approx(np.full(10, unit * mean_beyond), rel=1e-6)


def test_a_jump_market_solves_its_mixture() -> None:
    from scipy.stats import norm

    market = jumps(10, (0.02,), probability=0.1, jump_mean=-0.05, jump_volatility=0.04, seed=1)
    at = market.quantile(np.array([1.0]), 0.99)[0]
    assert 0.9 * norm.cdf(at, 0, 0.02) + 0.1 * norm.cdf(at, 0.05, math.hypot(0.02, 0.04)) == pytest.approx(0.99)
    assert market.sigma[0, 0] == pytest.approx(math.sqrt(0.02**2 + 0.1 * 0.04**2 + 0.09 * 0.05**2))


def test_jumps_make_longs_and_shorts_differ() -> None:
    market = jumps(10, seed=1)
    assert market.quantile(np.array([1.0, 0.0]), 0.99)[0] > 1.2 * market.quantile(np.array([-1.0, 0.0]), 0.99)[0]


def test_garch_is_stationary_around_its_long_run_volatility() -> None:
    market = garch_t(ROWS, (0.01, 0.02), degrees=8.0, seed=11, start=START)
    assert (market.sigma**2).mean(axis=0) == pytest.approx([0.01**2, 0.02**2], rel=0.1)
    halves = np.split(market.sigma**2, 2)
    assert halves[0].mean(axis=0) == pytest.approx(halves[1].mean(axis=0), rel=0.15)


def test_garch_knows_the_quantile_in_storms_and_in_calm() -> None:
    market = garch_t(ROWS, seed=7, start=START)
    sigma = market.sigma[:-1, 0]
    hits = -moves(market)[:, 0] > market.quantile(np.array([1.0, 0.0]), 0.95)[:-1]
    for rows in (sigma > np.quantile(sigma, 0.9), sigma < np.quantile(sigma, 0.1)):
        assert not outside(int(hits[rows].sum()), int(rows.sum()), 0.05)


def test_garch_follows_its_recursion() -> None:
    market = garch_t(500, (0.02,), alpha=0.1, beta=0.85, seed=2)
    variance, squares = market.sigma[:, 0] ** 2, moves(market)[:, 0] ** 2
    assert variance[1:] == pytest.approx(0.02**2 * 0.05 + 0.1 * squares + 0.85 * variance[:-1])


def test_correlation_is_what_is_said_before_and_after_the_break() -> None:
    market = correlation_break(ROWS, ROWS // 2, before=0.2, after=-0.7, seed=5, start=START)
    returns = moves(market)
    assert np.asarray(np.corrcoef(returns[: ROWS // 2].T))[0, 1] == pytest.approx(0.2, abs=0.03)
    assert np.asarray(np.corrcoef(returns[ROWS // 2 :].T))[0, 1] == pytest.approx(-0.7, abs=0.03)


def test_the_break_changes_the_law_at_its_row_and_no_other() -> None:
    quantile = correlation_break(20, 8, seed=5).quantile(np.array([0.5, -0.5]), 0.99)
    assert np.flatnonzero(np.diff(quantile)).tolist() == [7]
    assert quantile[8] < quantile[7]


def test_ranges_tell_the_variance_of_the_row() -> None:
    history = normal_market(ROWS, (0.02,), seed=3, start=START).history
    assert history.high is not None
    assert history.low is not None
    parkinson = np.mean(np.log(history.high / history.low) ** 2) / (4 * math.log(2))
    assert 0.75 < parkinson / 0.02**2 < 1.0  # a path seen in steps spans a little less than a continuous one


def test_volume_rises_with_volatility() -> None:
    market = garch_t(5000, (0.02,), degrees=5.0, seed=3)
    assert market.history.volume is not None
    assert market.history.high is not None
    assert market.history.low is not None
    width = np.log(market.history.high / market.history.low)[:, 0]
    assert np.corrcoef(np.log(width), np.log(market.history.volume[:, 0]))[0, 1] > 0.4


def test_an_empty_book_loses_nothing(market: SyntheticMarket) -> None:
    assert market.quantile(np.zeros(2), 0.99) == pytest.approx(np.zeros(ROWS))
    assert market.shortfall(np.zeros((1, 2)), 0.99) == pytest.approx(np.zeros((ROWS, 1)))


def test_a_market_may_have_its_own_correlation_matrix() -> None:
    matrix = np.array([[1.0, 0.8, 0.1], [0.8, 1.0, 0.0], [0.1, 0.0, 1.0]])
    market = normal_market(ROWS, (0.01, 0.02, 0.03), matrix, seed=9, start=START)
    assert np.corrcoef(moves(market).T) == pytest.approx(matrix, abs=0.03)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: normal_market(1, seed=1), "two rows"),
        (lambda: normal_market(seed=-1), "seed"),
        (lambda: normal_market(volatility=(), seed=1), "volatility"),
        (lambda: normal_market(volatility=(0.02, math.nan), seed=1), "volatility"),
        (lambda: normal_market(volatility=(0.02, -0.01), seed=1), "volatility"),
        (lambda: normal_market(correlation=1.0, seed=1), "positive definite"),
        (lambda: normal_market(correlation=np.eye(3), seed=1), "positive definite"),
        (lambda: normal_market(start="yesterday", seed=1), "ISO date"),
        (lambda: normal_market(200_000, start="2015-01-01", seed=1), "2262"),
        (lambda: normal_market(volatility=(0.8,), seed=1), "must exceed -1"),
        (lambda: normal_market(60_000, volatility=(0.2,), start=START, seed=1), "prices left"),
        (lambda: garch_t(alpha=0.2, beta=0.8, seed=1), "alpha and beta"),
        (lambda: garch_t(degrees=2.0, seed=1), "degrees"),
        (lambda: correlation_break(degrees=math.nan, seed=1), "degrees"),
        (lambda: jumps(probability=0.0, seed=1), "probability"),
        (lambda: normal_market(seed=1).quantile(np.ones(3), 0.99), "exposure"),
        (lambda: normal_market(seed=1).quantile(np.array([1.0, math.nan]), 0.99), "exposure"),
        (lambda: normal_market(seed=1).quantile(np.ones(2), 0.4), "level"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        make()
