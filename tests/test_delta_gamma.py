import logging
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse, stats

from data import Book, Coverage, Floats, HistoryError, Instrument, MarketHistory, ModelError, ParameterError
from margin_models import CorrelationVaR, DeltaGammaVaR, EwmaCovariance, LedoitWolfCovariance
from margin_models.base import CovarianceEstimator
from margin_models.delta_gamma import (
    QuadraticLoss,
    cornish_fisher,
    cumulants,
    expansion_holds,
    quadratic_loss,
    saddlepoint,
)
from margin_models.greeks import net_greeks
from margin_models.revalue import book_pnl
from margin_models.scenarios import Scenarios, usd_moves
from markets import coins_with_options, option_book, some_books, two_coins

LEVELS = (0.9, 0.975, 0.99, 0.997)
COVARIANCE = np.array([[4.0, 2.0, 1.0], [2.0, 5.0, 2.0], [1.0, 2.0, 3.0]]) * 1e-4
# name: (delta, gamma) per relative move of three underlyings
FORMS = {
    "short gamma": ([0.0, 0.0, 0.0], [-20.0, 0.0, 0.0]),
    "long call": ([0.5, 0.0, 0.0], [20.0, 0.0, 0.0]),
    "short strangles": ([0.1, 0.0, 0.0], [-30.0, -30.0, -30.0]),
    "mixed": ([1.0, -0.5, 0.0], [-20.0, 30.0, -10.0]),
    "almost linear": ([1.0, -0.5, 0.3], [-1.0, 1.0, 0.5]),
}


@dataclass(frozen=True)
class Drawn:
    """What a million antithetic draws say of each form, in standard deviations: quantile and shortfall by level."""

    quantile: dict[float, Floats]
    shortfall: dict[float, Floats]
    moments: Floats
    spread: Floats


def monte_carlo_check(law_of: Floats, delta: Floats, gamma: Floats, decay: Floats, draws: int = 1_000_000) -> Drawn:
    """Quantiles and shortfalls of -(decay + delta r + gamma r^2 / 2), (P,) each, by brute force."""
    half = np.random.default_rng(0).multivariate_normal(np.zeros(len(law_of)), law_of, draws // 2)
    moves = np.vstack([half, -half])
    losses = -(decay[:, None] + delta @ moves.T + 0.5 * gamma @ (moves**2).T)
    spread = losses.std(axis=1)
    ordered = np.sort(losses, axis=1)
    first = {level: int(level * draws) for level in LEVELS}
    return Drawn(
        {level: ordered[:, at] for level, at in first.items()},
        {level: ordered[:, at:].mean(axis=1) for level, at in first.items()},
        np.stack([losses.mean(axis=1), losses.var(axis=1), stats.skew(losses, axis=1), stats.kurtosis(losses, axis=1)]),
        spread,
    )


@pytest.fixture(scope="module")
def forms() -> tuple[QuadraticLoss, Drawn]:
    delta, gamma = (np.array([form[k] for form in FORMS.values()]) for k in (0, 1))
    decay: Floats = np.linspace(0.0, 0.004, len(FORMS))
    return quadratic_loss(decay, delta, gamma, COVARIANCE), monte_carlo_check(COVARIANCE, delta, gamma, decay)


# ---- The law.


def test_cumulants_are_those_of_a_million_draws(forms: tuple[QuadraticLoss, Drawn]) -> None:
    law, drawn = forms
    mean, variance, third, fourth = cumulants(law)
    assert_allclose(mean, drawn.moments[0], atol=2e-3 * drawn.spread.max())
    assert_allclose(variance, drawn.moments[1], rtol=0.01)
    assert_allclose(third / variance**1.5, drawn.moments[2], atol=0.05)
    assert_allclose(fourth / variance**2, drawn.moments[3], atol=0.6)  # a kurtosis is hard to draw


def test_the_saddlepoint_is_what_a_million_draws_say(forms: tuple[QuadraticLoss, Drawn]) -> None:
    law, drawn = forms
    for level in LEVELS:
        quantile, shortfall = saddlepoint(law, level)
        assert_allclose(quantile / drawn.spread, drawn.quantile[level] / drawn.spread, rtol=0.015, atol=0.02)
        assert_allclose(shortfall / drawn.spread, drawn.shortfall[level] / drawn.spread, rtol=0.015, atol=0.02)


def test_the_expansion_is_near_where_losses_are_near_normal_or_lean_to_the_right(
    forms: tuple[QuadraticLoss, Drawn],
) -> None:
    law, drawn = forms
    quantile, _ = cornish_fisher(cumulants(law), 0.99)
    ratio = dict(zip(FORMS, quantile / drawn.quantile[0.99], strict=True))
    assert ratio["almost linear"] == pytest.approx(1.0, abs=0.01)
    for name in ("short gamma", "short strangles", "mixed"):
        assert ratio[name] == pytest.approx(1.05, abs=0.05)  # a little too much
    assert ratio["long call"] < 0.8  # where the loss has an end, far too little: why it is no default


@pytest.mark.parametrize("level", LEVELS)
def test_one_short_gamma_is_a_chi_square(level: float) -> None:
    law = quadratic_loss(np.zeros(2), np.zeros((2, 1)), np.array([[-2.0], [2.0]]), np.array([[1e-4]]))
    exact = 1e-4 * stats.chi2(1).ppf(level), -1e-4 * stats.chi2(1).ppf(1 - level)
    told = saddlepoint(law, level)[0]
    assert told[0] == pytest.approx(exact[0], rel=0.01)
    assert told[1] == pytest.approx(exact[1], abs=4e-7)  # of a spread of 1.4e-4: at most, nothing is lost
    beyond = stats.chi2(1).expect(lambda x: x, lb=stats.chi2(1).ppf(level)) / (1 - level)
    assert saddlepoint(law, level)[1][0] == pytest.approx(1e-4 * beyond, rel=0.01)


def test_levels_on_both_sides_of_the_mean_are_told() -> None:
    law = quadratic_loss(np.zeros(1), np.zeros((1, 1)), np.array([[-2.0]]), np.array([[1e-4]]))
    for level in (0.55, 0.6, 0.683, 0.75):  # the mean of a chi-square is its .683 quantile
        assert saddlepoint(law, level)[0][0] == pytest.approx(1e-4 * stats.chi2(1).ppf(level), rel=0.05)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(0, 10**6), st.sampled_from(LEVELS))
def test_without_gamma_both_are_normal(size: int, seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    root, delta = rng.standard_normal((size, size)), rng.standard_normal((4, size))
    law = quadratic_loss(np.full(4, 0.5), delta, np.zeros((4, size)), root @ root.T)
    spread = np.sqrt(np.einsum("pa,ab,pb->p", delta, root @ root.T, delta))
    normal = stats.norm()
    for quantile, shortfall in (saddlepoint(law, level), cornish_fisher(cumulants(law), level)):
        assert_allclose(quantile, normal.ppf(level) * spread - 0.5, rtol=1e-8, atol=1e-8)
        assert_allclose(shortfall, normal.pdf(normal.ppf(level)) / (1 - level) * spread - 0.5, rtol=1e-6, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10**6), st.floats(0.1, 50.0))
def test_more_short_gamma_never_asks_for_less_and_scale_is_scale(size: int, seed: int, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    root, delta = 0.02 * rng.standard_normal((size, size)), rng.standard_normal((1, size))
    told = [
        saddlepoint(quadratic_loss(np.zeros(1), delta, np.full((1, size), g), root @ root.T), 0.99)[0][0]
        for g in (gamma, 0.0, -gamma, -2 * gamma)
    ]
    assert all(less <= more * (1 + 5e-3) + 1e-12 for less, more in pairwise(told))
    tenfold = saddlepoint(quadratic_loss(np.zeros(1), 10 * delta, np.full((1, size), -10 * gamma), root @ root.T), 0.99)
    assert tenfold[0][0] == pytest.approx(10 * told[2], rel=1e-9)


# ---- The model.


@pytest.mark.parametrize("expansion", [False, True])
def test_a_linear_book_posts_what_correlation_var_asks(expansion: bool) -> None:
    history = two_coins()
    book, estimator = some_books().at(history.now), LedoitWolfCovariance()
    fitted, plain = (
        m.fit(history, Coverage()) for m in (DeltaGammaVaR(estimator, expansion), CorrelationVaR(estimator))
    )
    assert_allclose(fitted.margin(history, book), plain.margin(history, book), rtol=1e-9, atol=1e-12)
    assert_allclose(fitted.tail(history, book).es, plain.tail(history, book).es, rtol=1e-6, atol=1e-9)


def test_option_books_post_the_quantile_of_their_greeks() -> None:
    history = coins_with_options()
    book = option_book(history.now).at(history.now)
    fitted = DeltaGammaVaR(EwmaCovariance(half_life=40)).fit(history, Coverage())
    told, law = net_greeks(book, history.now), fitted.covariance_.estimate(history)
    decay = told.theta.sum(axis=1) / 365.25
    drawn = monte_carlo_check(law, told.delta, told.gamma, decay, 400_000)
    expected = np.maximum(drawn.quantile[0.99], 0.0)
    assert_allclose(fitted.margin(history, book), expected, rtol=0.02, atol=0.02 * expected.max())


def test_gamma_counts_against_the_short_and_for_the_long() -> None:
    history = coins_with_options()
    book = option_book(history.now).at(history.now)
    gamma = DeltaGammaVaR().fit(history, Coverage()).margin(history, book)
    delta = CorrelationVaR().fit(history, Coverage()).margin(history, book)
    asked = dict(zip(book.portfolios, zip(gamma, delta, strict=True), strict=True))
    assert asked["short strangle"][0] > 1.2 * asked["short strangle"][1]
    assert asked["long call"][0] < asked["long call"][1]
    assert asked["straddle"][0] > 0  # it decays


def test_explain_says_what_the_deltas_alone_would_ask() -> None:
    history = coins_with_options()
    book = option_book(history.now).at(history.now)
    told = DeltaGammaVaR().fit(history, Coverage()).explain(history, book)
    assert_allclose(
        told.components["delta"], CorrelationVaR().fit(history, Coverage()).margin(history, book), rtol=1e-9
    )
    assert_allclose(sum(told.components.values()), told.initial, atol=1e-15)


# ---- Where the expansion, or the quadratic form, is none.


def by_brute_force(moments: Floats, level: float) -> list[bool]:
    reach = max(4.0, float(stats.norm.ppf(level)) + 1.0)
    levels = stats.norm.cdf(np.linspace(-reach, reach, 4001))
    quantiles = np.array([cornish_fisher(moments, float(one))[0] for one in levels])
    return [bool(np.all(np.diff(column) > 0)) for column in quantiles.T]


@pytest.mark.parametrize("level", [0.99, 0.9999])
def test_an_expansion_holds_where_its_quantiles_rise(level: float) -> None:
    skew, kurtosis = (
        axis.ravel() for axis in np.meshgrid([-3.0, -1.5, -0.4, 0.0, 0.4, 1.0, 3.0], [-1.0, 0.0, 0.5, 3.0, 7.0, 12.0])
    )
    moments = np.stack([np.full(len(skew), 0.3), np.full(len(skew), 4.0), 8.0 * skew, 16.0 * kurtosis])
    told = expansion_holds(moments, level)
    assert told.tolist() == by_brute_force(moments, level)
    assert 0 < told.sum() < len(told)
    assert expansion_holds(np.zeros((4, 1)), level)[0]  # a book of nothing


def test_a_long_gamma_beyond_the_domain_is_told_by_the_saddlepoint() -> None:
    law = quadratic_loss(
        np.zeros(3),
        np.array([[0.1, 0.0], [1.0, -1.0], [1.0, 1.0]]),
        np.array([[5.0, 0.0], [40.0, -40.0], [0.1, 0.1]]),
        9e-4 * np.eye(2),
    )
    assert expansion_holds(cumulants(law), 0.99).tolist() == [False, True, True]
    assert cornish_fisher(cumulants(law), 0.99)[0][0] < 0 < saddlepoint(law, 0.99)[0][0]
    assert cornish_fisher(cumulants(law), 0.99)[0][2] == pytest.approx(saddlepoint(law, 0.99)[0][2], rel=2e-3)


def test_an_expansion_that_does_not_rise_is_flagged_and_replaced(caplog: pytest.LogCaptureFixture) -> None:
    history = coins_with_options()
    book = option_book(history.now).at(history.now)
    with caplog.at_level(logging.INFO, logger="marginlab"):
        model = DeltaGammaVaR(expansion=True).fit(history, Coverage())
        told = model.tail(history, book)
        model.margin(history, book)
    exact = DeltaGammaVaR().fit(history, Coverage()).tail(history, book)
    (count,) = model.failures_.values()
    assert "does not rise" in caplog.text
    assert len(caplog.records) == 1
    assert count == 2 * int((told.var == exact.var).sum() - (book.portfolios.count("empty")))
    assert 0 < count < 2 * len(book.portfolios)
    assert np.all(told.es >= told.var)


def near_expiry(history: MarketHistory, hours: int) -> Book:
    expiry = str(history.time[-1] + np.timedelta64(hours, "h"))[:16]
    options = tuple(
        Instrument(f"{name}-{right}", name, "option", expiry=expiry, strike=float(round(spot)), right=right)
        for name, spot in zip(history.underlyings, history.spot[-1], strict=True)
        for right in ("call", "put")
    )
    held = {"long": [1, 1, 0, 0], "short": [-1, -1, 0, 0], "call": [1, 0, 0, 0], "pair": [-1, 0, 15, 0]}
    return Book(options, tuple(held), np.array(list(held.values()), dtype=np.float64))


def revalued(
    model: DeltaGammaVaR, history: MarketHistory, book: Book, own: int | None = None, draws: int = 200_000
) -> Floats:
    """99 % quantiles of full revaluation in plain draws of the model's moves."""
    law = model.covariance_.estimate(history)
    moves = np.random.default_rng(3).multivariate_normal(np.zeros(len(law)), law, draws)
    spot = np.maximum(usd_moves(moves, own), -1.0)
    scenarios = Scenarios(spot, np.zeros_like(spot), tuple(map(str, range(draws))))
    losses = -book_pnl(book, history.now, scenarios, history.now.years_ahead(model.coverage_))
    return np.asarray(np.quantile(losses, 0.99, axis=1))


@pytest.mark.parametrize("hours", [2, 26, 72])
def test_near_an_expiry_a_book_is_revalued(hours: int) -> None:
    history = coins_with_options()
    book = near_expiry(history, hours)
    model = DeltaGammaVaR().fit(history, Coverage())
    assert_allclose(model.margin(history, book), revalued(model, history, book), rtol=0.03)
    assert list(model.failures_.values()) == [4]
    assert np.all(model.multiplications(history, book) > 10_000)


def test_a_portfolio_near_an_expiry_changes_no_other() -> None:
    history = coins_with_options()
    far, near = option_book(history.now), near_expiry(history, 8)
    both = Book(
        (*far.instruments, *near.instruments),
        (*far.portfolios, *near.portfolios),
        np.block(
            [
                [far.dense, np.zeros((len(far.portfolios), 4))],
                [np.zeros((len(near.portfolios), len(far.instruments))), near.dense],
            ]
        ),
    )
    model = DeltaGammaVaR().fit(history, Coverage())
    apart = np.concatenate([model.margin(history, far), model.margin(history, near)])
    assert_allclose(model.margin(history, both), apart, rtol=1e-9, atol=1e-12)
    rows = Book(both.instruments, both.portfolios, sparse.csr_array(both.dense))
    assert_allclose(model.margin(history, rows), apart, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("level", [0.99, 0.9999])
def test_long_options_never_post_more_than_they_are_worth(level: float) -> None:
    history = coins_with_options()
    for hours in (2, 8, 26, 72, 168, 720):
        book = near_expiry(history, hours)
        model = DeltaGammaVaR().fit(history, Coverage(level))
        told, worth = model.tail(history, book), book.value(history.now)
        for long in (0, 2):
            assert 0 < told.var[long] <= told.es[long] <= worth[long] * (1.0 + 1e-9)


class Told(CovarianceEstimator):
    """What a test says it is."""

    def __init__(self, covariance: Floats) -> None:
        self.covariance = covariance

    def estimate(self, past: MarketHistory) -> Floats:
        return self.covariance


def inside_call(history: MarketHistory) -> Book:
    """A call a week from expiry, a tenth in the money."""
    expiry = str(history.time[-1] + np.timedelta64(168, "h"))[:16]
    strike = float(round(0.9 * history.spot[-1, 0]))
    call = Instrument("C", "BTC", "option", settlement="inverse", expiry=expiry, strike=strike, right="call")
    return Book((call,), ("call",), np.ones((1, 1)))


def test_moves_far_beyond_what_is_implied_take_no_more_than_the_premium() -> None:
    history = coins_with_options()
    book = inside_call(history)
    worth = book.value(history.now)[0]
    told = DeltaGammaVaR(Told(np.diag([0.09, 0.09]))).fit(history, Coverage()).tail(history, book)
    assert [told.var[0], told.es[0]] == [worth, worth]


def test_in_a_coin_the_bound_moves_with_its_price() -> None:
    coin = coins_with_options().valued_in("BTC")
    model = DeltaGammaVaR().fit(coin, Coverage(numeraire="BTC"))
    for hours in (26, 168):
        book = near_expiry(coin, hours)
        assert_allclose(model.margin(coin, book), revalued(model, coin, book, own=0), rtol=0.04)
    wild = DeltaGammaVaR(Told(np.diag([0.09, 0.09]))).fit(coin, Coverage(numeraire="BTC"))
    told, book = wild.tail(coin, inside_call(coin)), inside_call(coin)
    assert_allclose(told.var, book.value(coin.now) * (1.0 + stats.norm.ppf(0.99) * 0.3), rtol=1e-9)
    assert revalued(wild, coin, book, own=0)[0] <= told.var[0]


def test_a_level_beyond_the_draws_is_refused() -> None:
    history = coins_with_options()
    model = DeltaGammaVaR().fit(history, Coverage(0.999999))
    with pytest.raises(ParameterError, match=r"16384 draws reach a level of 0.999939, got 0.999999"):
        model.margin(history, near_expiry(history, 26))


@pytest.mark.parametrize(
    ("covariance", "error"),
    [
        (np.array([[1.0, 2.0], [2.0, 1.0]]), ModelError),
        (np.full((2, 2), np.nan), HistoryError),
        (np.array([[np.inf, 0.0], [0.0, 1.0]]), ModelError),
    ],
)
def test_what_is_no_covariance_is_refused(covariance: Floats, error: type[Exception]) -> None:
    history = two_coins()
    book = some_books().at(history.now)
    model = DeltaGammaVaR(Told(1e-4 * covariance)).fit(history, Coverage())
    for ask in (model.margin, model.explain):
        with pytest.raises(error):
            ask(history, book)
