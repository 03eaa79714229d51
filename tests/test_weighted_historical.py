import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from data import Book, Coverage, Floats, HistoryError, Instrument, ParameterError
from margin_models import AgeWeightedVaR, EwmaVolatility, FilteredHistoricalVaR, HistoricalVaR
from margin_models.covariance import ewma_weights
from margin_models.kernels.tails import book_tails, supports
from margin_models.weighted_historical import (
    at_the_weighted_quantile,
    beyond_the_weighted_quantile,
    effective_observations,
    weighted_tail,
)
from markets import book_of, coins_with_options, market, option_book, some_books, two_coins

COVERAGE = Coverage(0.95)


# ---- Weighted quantiles.


def test_a_weighted_quantile_by_hand() -> None:
    # Weights 1, 2, 1 of losses 3, 1, 2: n = 16/6, so that they stand at .5, .75, 1 times n / (n + 1) = 8/11.
    losses, weights = np.array([[3.0, 1.0, 2.0]]), np.array([1.0, 2.0, 1.0])
    assert effective_observations(weights) == pytest.approx(16 / 6)
    for stands, expected in ((6 / 11, 2.0), (8 / 11, 3.0), (4 / 11, 1.0), (5 / 11, 1.5), (7 / 11, 2.5), (0.1, 1.0)):
        places, share = at_the_weighted_quantile(losses, weights, stands)
        assert (losses[0, places[0]] * share[0]).sum() == pytest.approx(expected)
    _, counted = beyond_the_weighted_quantile(losses, weights, np.array([1.5]))
    assert_allclose(counted, [[0.5, 0.0, 0.5]])


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 200), st.integers(1, 3), st.sampled_from([0.6, 0.9, 0.95]), st.integers(0, 10**6))
def test_equal_weights_give_the_plain_quantile_and_shortfall(size: int, books: int, level: float, seed: int) -> None:
    losses = np.random.default_rng(seed).standard_t(3, (books, size))
    assert supports(size, level)
    expected = book_tails(losses, level)
    places, share = at_the_weighted_quantile(losses, np.full(size, 0.3), level)
    quantile = (np.take_along_axis(losses, places, axis=1) * share).sum(axis=1)
    assert_allclose(quantile, expected[0], rtol=1e-9, atol=1e-12)
    every, counted = beyond_the_weighted_quantile(losses, np.full(size, 0.3), quantile - 1e-9)
    assert_allclose((np.take_along_axis(losses, every, axis=1) * counted).sum(axis=1), expected[1], rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 120), st.floats(0.9, 1.0), st.integers(0, 10**6))
def test_order_does_not_matter_and_more_is_covered_by_no_less(size: int, decay: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses, weights = rng.standard_normal((1, size)), ewma_weights(size, decay)
    shuffle = rng.permutation(size)

    def quantile(x: Floats, w: Floats, level: float) -> float:
        places, share = at_the_weighted_quantile(x, w, level)
        return float((np.take_along_axis(x, places, axis=1) * share).sum())

    told = [quantile(losses, weights, level) for level in (0.1, 0.5, 0.9, 0.99)]
    assert told == sorted(told)
    assert told == pytest.approx([quantile(losses[:, shuffle], weights[shuffle], x) for x in (0.1, 0.5, 0.9, 0.99)])
    assert losses.min() <= told[0] <= told[-1] <= losses.max()


@settings(max_examples=80, deadline=None)
@given(st.integers(100, 200), st.floats(1e-6, 1e6), st.integers(15, 60), st.sampled_from([0.9, 0.95]))
def test_ties_at_the_top_are_the_quantile_to_the_last_bit(size: int, top: float, ties: int, level: float) -> None:
    losses = np.append(np.zeros(size - ties), np.full(ties, top))[None]
    weights = ewma_weights(size, 0.995)
    assert supports(int(effective_observations(weights)), level)
    quantile, beyond = weighted_tail(losses, weights, level)
    assert quantile[0] == top
    assert beyond[0] == pytest.approx(top, rel=1e-12)


def test_a_bounded_loss_that_many_horizons_share_has_a_shortfall() -> None:
    history = coins_with_options()
    expiry = str(history.time[-1] + np.timedelta64(20, "h"))[:16]
    strike = float(round(1.3 * history.spot[-1, 0]))
    call = Instrument("C", "BTC", "option", expiry=expiry, strike=strike, right="call")
    book = Book((call,), ("long call",), np.array([[0.3]]))
    for decay in (0.99, 1.0):
        model = AgeWeightedVaR(decay, shortfall=True).fit(history, Coverage(0.9))
        assert_allclose(model.margin(history, book), book.value(history.now), rtol=1e-12)
        assert_allclose(model.explain(history, book).initial, model.margin(history, book), rtol=1e-12)


# ---- Age-weighted.


def test_without_decay_it_is_historical_var() -> None:
    history = two_coins()
    book = some_books().at(history.now)
    for shortfall in (False, True):
        aged, plain = AgeWeightedVaR(1.0, 300, shortfall), HistoricalVaR(300, shortfall)
        told, expected = (model.fit(history, COVERAGE) for model in (aged, plain))
        assert_allclose(told.margin(history, book), expected.margin(history, book), rtol=1e-9, atol=1e-15)
        for name, part in told.explain(history, book).components.items():
            assert_allclose(part, expected.explain(history, book).components[name], rtol=1e-6, atol=1e-12)


def test_an_old_shock_fades_and_a_new_one_counts() -> None:
    calm = [0.001, -0.001] * 100
    model = AgeWeightedVaR(decay=0.97)

    def margin(moves: list[float]) -> float:
        history = market(moves)
        return float(model.fit(history, Coverage(0.96)).margin(history, book_of(1.0))[0] / history.now.spot[0])

    shock = [-0.1] * 5
    told = [margin(calm[:-back] + shock + calm[:back]) if back else margin(calm + shock) for back in (0, 20, 60, 150)]
    assert told[0] == pytest.approx(0.1, rel=1e-6)
    assert told[0] >= told[1] > told[2] >= told[3]
    assert told[3] == pytest.approx(0.001, rel=0.05)


def test_decay_counts_in_horizons_and_a_hole_ages_what_is_before() -> None:
    history = two_coins()  # a day is missing
    one = AgeWeightedVaR(0.98, 100).fit(history, Coverage(0.9))._weighted(history)[1]
    two = AgeWeightedVaR(0.98, 100).fit(history, Coverage(0.9, "2D"))._weighted(history)[1]
    assert_allclose(one[1:] / one[:-1], 1 / 0.98)
    assert_allclose(two[1:] / two[:-1], 1 / 0.98**0.5)
    long = AgeWeightedVaR(0.98, 300).fit(history, Coverage(0.9))._weighted(history)[1]
    assert long[0] == pytest.approx(0.98**299)
    assert len(long) == 298  # two returns touch the hole


def test_too_few_effective_observations_are_refused() -> None:
    history = two_coins()
    book = some_books().at(history.now)
    with pytest.raises(
        HistoryError, match=r"0.99 quantile needs 99 effective observations, got 9\d\.\d of 298 horizons"
    ):
        AgeWeightedVaR(0.98, 300).fit(history, Coverage(0.99)).margin(history, book)
    assert AgeWeightedVaR(0.99, 300).fit(history, Coverage(0.99)).margin(history, book)[0] > 0
    for decay in (0.0, 1.01, float("nan")):
        with pytest.raises(ParameterError, match="decay must lie in"):
            AgeWeightedVaR(decay).fit(history, COVERAGE).margin(history, book)
    with pytest.raises(ParameterError, match="lookback must be >= 1, got 0"):
        AgeWeightedVaR(lookback=0).fit(history, COVERAGE).margin(history, book)


def test_explain_names_the_day_that_weighs_most() -> None:
    history = market([0.001, -0.001] * 50 + [-0.1] + [0.001, -0.001] * 5)
    told = AgeWeightedVaR(0.98, shortfall=True).fit(history, Coverage(0.97)).explain(history, book_of(1.0, -1.0))
    assert told.worst[0] == "2024-04-10T00:00"
    assert_allclose(told.components["X"], told.initial)


# ---- Shortfall instead of the quantile.


@pytest.mark.parametrize(
    "model",
    [
        HistoricalVaR(shortfall=True),
        FilteredHistoricalVaR(EwmaVolatility(10), 250, True),
        AgeWeightedVaR(shortfall=True),
    ],
    ids=repr,
)
def test_a_shortfall_is_charged_where_it_is_asked_for(model: HistoricalVaR) -> None:
    history = coins_with_options()
    book = option_book(history.now).at(history.now)
    fitted = model.fit(history, Coverage(0.97))
    law, margin = fitted.tail(history, book), fitted.margin(history, book)
    assert law is not None
    assert_allclose(margin, np.maximum(law.es, 0.0))
    assert np.any(law.es > law.var * 1.01)
    told = fitted.explain(history, book)
    assert_allclose(sum(told.components.values()), margin, rtol=1e-9, atol=1e-15)


def test_a_quantile_is_charged_where_nothing_is_said() -> None:
    history = two_coins()
    book = some_books().at(history.now)
    for model in (HistoricalVaR(), FilteredHistoricalVaR()):
        fitted = model.fit(history, COVERAGE)
        assert_allclose(fitted.margin(history, book), np.maximum(fitted.tail(history, book).var, 0.0))


def test_the_shortfall_of_ties_has_parts_that_sum_to_it() -> None:
    history = market([-0.05] * 30 + [-0.01] * 30)
    told = HistoricalVaR(shortfall=True).fit(history, Coverage(0.6)).explain(history, book_of(1.0))
    assert_allclose(told.initial / history.now.spot[0], 0.05)
    assert_allclose(told.components["X"], told.initial)
