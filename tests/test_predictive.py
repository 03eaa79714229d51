"""Does a learned multiplier find what drives the tail, see nothing later, and stay what it was on any machine?"""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from test_boosted_surroundings import driven

from backtest.lookahead import audit
from backtest.portfolios import standard_books
from data import Book, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from margin_models import (
    BoostedQuantile,
    BoostedTail,
    ContinuedQuantile,
    FilteredHistoricalVaR,
    HistoricalVaR,
    SpanLike,
    TailLearner,
)
from margin_models.book_features import BOOK_NAMES, MOST_PAIRS, book_features, training_books
from margin_models.predictive import FOLDS
from margin_models.volatility.continued import ContinuedBooster, Growth
from margin_models.volatility.predictors import NAMES
from markets import coins_with_options, option_book, some_books, two_coins

COVERAGE, TWO = Coverage(0.95), Coverage(0.98, "2D")
WINDOW = 900


def pinball(outcomes: Floats, told: Floats, level: float) -> float:
    gap = outcomes - told
    return float(np.maximum(level * gap, (level - 1.0) * gap).mean())


def drawn(rows: int = 6000, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Features (R, 6), outcomes, and their true 0.95 quantile, which two of the features drive."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((rows, 6))
    scale = np.exp(0.5 * features[:, 0] + 0.4 * (features[:, 1] > 0))
    return features, scale * random.standard_normal(rows), 1.6448536 * scale


def weekends(rows: int = 1300, seed: int = 5) -> MarketHistory:
    """Three assets that hardly move on three days of seven, which an EWMA cannot know."""
    days = np.arange(rows)
    return driven(np.repeat(np.where(days % 7 >= 4, -1.5, 0.0)[:, None], 3, axis=1), seed=seed)


@pytest.fixture(scope="module")
def market() -> MarketHistory:
    return weekends()


@pytest.fixture(scope="module")
def fitted(market: MarketHistory) -> BoostedTail:
    return BoostedTail(bounds=(0.1, 3.0)).fit(market.rows(0, WINDOW), COVERAGE)


def test_a_learner_finds_the_quantile_that_features_drive() -> None:
    features, outcomes, _ = drawn()
    ahead, later, truth = drawn(seed=1)
    told = BoostedQuantile(trees=100, growth=Growth(8, 0.1)).fit(features, outcomes, 0.95).predict(ahead)
    constant = pinball(later, np.full(len(later), np.quantile(outcomes, 0.95)), 0.95)
    best = pinball(later, truth, 0.95)
    assert pinball(later, told, 0.95) < best + 0.35 * (constant - best)
    assert 0.04 < np.mean(later > told) < 0.065


def test_a_learner_of_too_few_rows_says_the_plain_quantile() -> None:
    features, outcomes, _ = drawn(199)
    learner = BoostedQuantile().fit(features, outcomes, 0.95)
    assert learner.booster_ is None
    assert_array_equal(learner.predict(features), np.quantile(outcomes, 0.95, method="weibull"))
    assert BoostedQuantile().fit(*drawn(200)[:2], 0.95).booster_ is not None


@pytest.mark.parametrize("kind", [BoostedQuantile, ContinuedQuantile])
def test_two_threads_grow_the_trees_of_one_bit_for_bit(kind: type[BoostedQuantile]) -> None:
    features, outcomes, _ = drawn(2500)
    features[::7, 2] = np.nan
    told = []
    for threads in (1, 2, 1):
        learner = kind(trees=12, threads=threads).fit(features[:2000], outcomes[:2000], 0.95)
        told.append(learner.after(learner).fit(features, outcomes, 0.95).predict(features))
    assert_array_equal(told[0], told[1])
    assert_array_equal(told[0], told[2])


def test_an_ensemble_keeps_its_size_its_trunk_and_the_bins_of_its_first_stop() -> None:
    features, outcomes, _ = drawn(4000)
    features[2000:] *= 100.0
    settings = {"objective": "quantile", "alpha": 0.9, "seed": 0, "num_threads": 1, "num_leaves": 6}
    state = ContinuedBooster(settings, trees=25, newest=10, renew=3)
    told, trunks = [], []
    for stop in (2000, 2500, 3000, 3500, 4000):
        state = state.following(features[:stop], outcomes[:stop])
        assert state.booster is not None
        assert state.trunk is not None
        assert state.booster.num_trees() == 25
        thresholds = state.booster.trees_to_dataframe()["threshold"].dropna()
        assert thresholds.abs().max() < 5.0, "edges of the first stop, whatever came later"
        told.append(np.asarray(state.booster.predict(features[:50])))
        trunks.append(state.trunk)
    assert trunks[0] is trunks[1] is trunks[2] is not trunks[3]
    assert trunks[3] is trunks[4]
    assert not np.array_equal(told[0], told[1])
    assert not np.array_equal(told[1], told[2])


def test_quiet_days_are_charged_less_and_the_loss_is_lower(market: MarketHistory, fitted: BoostedTail) -> None:
    books = training_books(market.underlyings)
    asked, ratio, quiet = [], [], []
    gains = market.returns(COVERAGE)
    for row in range(WINDOW, WINDOW + 140):
        past = market.rows(0, row + 1)
        book = books.at(past.now)
        base = fitted.base_.margin(past, book)
        asked.append(fitted.margin(past, book) / base)
        ratio.append(-(book.exposure(past.now) @ gains[row]) / base)
        quiet.append(row % 7 >= 4)
    told, lost, low = np.array(asked), np.array(ratio), np.array(quiet)
    assert fitted.trust_ > 0
    assert np.median(told[low]) < 0.7 * np.median(told[~low])
    assert pinball(lost, told, 0.95) < 0.9 * pinball(lost, np.ones_like(lost), 0.95)


def test_where_nothing_can_be_learned_the_multiplier_hardly_moves() -> None:
    history = driven(np.zeros((WINDOW, 3)), seed=3)
    model = BoostedTail().fit(history, COVERAGE)
    book = training_books(history.underlyings).at(history.now)
    told = model.multiplier(history, book, model.base_.margin(history, book))
    assert np.all(np.abs(told - model.constant_) < 0.25)
    assert 0.8 < model.constant_ < 1.25


def test_multipliers_keep_to_their_bounds_and_margins_to_their_floor(market: MarketHistory) -> None:
    past = market.rows(0, WINDOW)
    book = training_books(market.underlyings).at(past.now)
    tight = BoostedTail(bounds=(0.95, 1.05)).fit(past, COVERAGE)
    ratio = tight.margin(past, book) / tight.base_.margin(past, book)
    assert np.all((ratio >= 0.95 - 1e-12) & (ratio <= 1.05 + 1e-12))
    floored = BoostedTail(HistoricalVaR(), floor=SpanLike(), bounds=(0.1, 3.0)).fit(past, COVERAGE)
    bare = BoostedTail(HistoricalVaR(), bounds=(0.1, 3.0)).fit(past, COVERAGE)
    grid = SpanLike().fit(past, COVERAGE).margin(past, book)
    assert_array_equal(floored.margin(past, book), np.maximum(bare.margin(past, book), grid))
    told = floored.explain(past, book)
    assert_allclose(sum(told.components.values()), told.initial, rtol=1e-12)


def test_dearer_capital_aims_at_a_lower_quantile(market: MarketHistory) -> None:
    past = market.rows(0, WINDOW)
    cheap, plain, dear = (BoostedTail(capital_cost=cost).fit(past, COVERAGE) for cost in (0.5, 1.0, 3.0))
    assert cheap.constant_ > plain.constant_ > dear.constant_
    rows, _ = dear._training_rows(past, COVERAGE)
    assert np.mean(rows.ratio > dear.constant_) == pytest.approx(0.15, abs=0.002)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 4.0))
def test_the_quantile_aimed_at_is_the_cheapest_margin(seed: int, cost: float) -> None:
    """Capital at cost (1 - level) a unit of margin, and one a unit of shortfall."""
    losses = np.random.default_rng(seed).standard_t(4, 2000)
    charge = cost * (1.0 - 0.95)
    aimed = np.quantile(losses, 1.0 - charge, method="weibull")
    total = [charge * margin + np.maximum(losses - margin, 0.0).mean() for margin in aimed + np.linspace(-1, 1, 41)]
    assert total[20] <= min(total) + 1e-4


class Spy(TailLearner):
    """Says one, and keeps what it was shown."""

    shown: ClassVar[list[int]] = []

    def fit(self, features: Floats, outcomes: Floats, level: float) -> "Spy":
        assert len(features) == len(outcomes)
        self.shown.append(len(outcomes))
        return self

    def predict(self, features: Floats) -> Floats:
        return np.ones(len(features))


def test_the_blend_is_chosen_by_learners_of_horizons_that_had_ended() -> None:
    history = two_coins()
    Spy.shown.clear()
    model = BoostedTail(learner=Spy()).fit(history, TWO)
    rows, starts = model._training_rows(history, TWO)
    assert Spy.shown == [*(int((rows.row + 2 <= start).sum()) for start in starts[1:]), len(rows.row)]
    assert len(starts) == FOLDS
    assert rows.row.max() + 2 == len(history) - 1, "the newest label ends now"


def test_labels_and_features_of_a_row_are_those_known_when_its_horizon_ended() -> None:
    history = two_coins()
    spot = history.spot.copy()
    spot[330:] *= 1.3
    rows, _ = BoostedTail()._training_rows(history, TWO)
    later, _ = BoostedTail()._training_rows(replace(history, spot=spot), TWO)
    same = rows.row + 2 < 330
    assert_array_equal(rows.row, later.row)
    assert_array_equal(rows.ratio[same], later.ratio[same])
    known = rows.row < 330
    assert_array_equal(rows.features[known], later.features[known])
    assert not np.array_equal(rows.ratio[rows.row == 329], later.ratio[rows.row == 329])


@pytest.mark.parametrize("learner", [BoostedQuantile(trees=5), ContinuedQuantile(trees=6)], ids=["afresh", "continued"])
def test_tomorrow_cannot_change_today(learner: TailLearner) -> None:
    history = two_coins()
    books = standard_books(history.underlyings, makers=3)
    assert audit(BoostedTail(learner=learner), history, books, TWO, window=300, rows=4).passed


WIDTH = len(BOOK_NAMES) + len(NAMES) - 2


def test_a_walk_that_continues_depends_on_its_first_stop_and_never_on_later_ones() -> None:
    model, market = BoostedTail(HistoricalVaR(), ContinuedQuantile(trees=12)), two_coins()
    rows, stops = np.random.default_rng(0).random((200, WIDTH)), [320, 360, 400]

    def walked(chosen: list[int], history: MarketHistory = market) -> list[Floats]:
        return [fit.learner_.predict(rows) for fit in model.fit_many(history, chosen, 300, Coverage(0.9))]

    whole = walked(stops)
    spot = market.spot.copy()
    spot[360:] *= 1.2
    for one, other in zip(walked(stops, replace(market, spot=spot))[:2], whole[:2], strict=True):
        assert_array_equal(one, other)
    assert not np.array_equal(walked(stops[1:])[0], whole[1])
    alone = clone(model).fit(market.rows(20, 320), Coverage(0.9))
    assert_array_equal(alone.learner_.predict(rows), whole[0])


def test_features_are_those_of_the_book_and_not_of_its_size() -> None:
    random = np.random.default_rng(4)
    exposure = np.array([[2.0, 0.0], [1.0, -1.0], [-3.0, -1.0], [0.0, 0.0]])
    known, returns = random.random((2, len(NAMES))), 0.01 * random.standard_normal((88, 2))
    asked = np.array([0.1, 0.05, 0.2, 0.0])
    told = book_features(exposure, asked, known, returns, 2)
    assert told.shape == (4, WIDTH)
    assert_allclose(book_features(8.0 * exposure, 8.0 * asked, known, returns, 2), told)
    assert_allclose(told[:3, 2], [1.0, 0.0, 1.0])  # net over gross
    assert_allclose(told[:3, 4], [1.0, 0.5, 0.625])  # concentration
    assert_allclose(told[0, len(BOOK_NAMES) :], known[0, : len(NAMES) - 2])
    assert_allclose(told[2, len(BOOK_NAMES) :], (0.75 * known[0] + 0.25 * known[1])[: len(NAMES) - 2])
    squares = returns[:, 0].reshape(44, 2) ** 2
    weights = 0.94 ** np.arange(43, -1, -1)
    ewma = (weights * squares.mean(axis=1)).sum() / weights.sum()
    assert told[0, 0] == pytest.approx(ewma / squares.mean())
    assert told[0, 7] == pytest.approx(0.05 / np.sqrt(2 * ewma))
    assert np.isnan(told[3]).all(), "nothing held, nothing known"


def test_training_books_hold_both_sides_the_basket_and_pairs() -> None:
    names = tuple("ABCDEFGHI")
    recipe = training_books(names)
    assert len(recipe.portfolios) == 2 * (9 + 1 + MOST_PAIRS)
    assert_array_equal(recipe.weight[: 10 + MOST_PAIRS], -recipe.weight[10 + MOST_PAIRS :])
    assert training_books(("A",)).portfolios == ("long A", "short A")


def test_any_book_may_be_charged_options_and_nothing_held_too() -> None:
    coins = coins_with_options()
    model = BoostedTail(floor=SpanLike()).fit(coins, TWO)
    book = option_book(coins.now)
    margin = model.margin(coins, book)
    assert np.all(np.isfinite(margin))
    assert np.all(margin >= model.base_.margin(coins, book) * 0.5)
    assert margin[book.portfolios.index("empty")] == 0.0
    mixed = some_books().at(coins.now)
    double = Book(mixed.instruments, mixed.portfolios, 2 * mixed.quantity)
    assert_allclose(model.margin(coins, double), 2 * model.margin(coins, mixed), atol=1e-15)


def test_what_is_listed_late_is_not_trained_on_and_may_be_held() -> None:
    history = two_coins()
    spot = history.spot.copy()
    spot[:300, 1] = np.nan
    late = MarketHistory(history.time, history.underlyings, spot, history.clock)
    model = BoostedTail().fit(late, TWO)
    rows, _ = model._training_rows(late, TWO)
    assert np.all(np.bincount(rows.row)[rows.row] == 2), "BTC bought and sold"
    assert np.isfinite(model.margin(late, some_books().at(late.now))).all()


def test_in_coin_losses_are_counted_in_coin() -> None:
    coins = two_coins().valued_in("BTC")
    coverage = Coverage(0.98, "2D", numeraire="BTC")
    rows, _ = BoostedTail(FilteredHistoricalVaR())._training_rows(coins, coverage)
    dollars, _ = BoostedTail(FilteredHistoricalVaR())._training_rows(two_coins(), TWO)
    assert len(rows.row) == len(dollars.row)
    assert not np.allclose(rows.ratio, dollars.ratio)
    assert np.isfinite(BoostedTail().fit(coins, coverage).margin(coins, some_books().at(coins.now))).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bounds": (1.5, 0.5)}, r"bounds must be 0 < low <= high, got \(1\.5, 0\.5\)"),
        ({"bounds": (0.0, 2.0)}, "bounds must be"),
        ({"capital_cost": 0.0}, r"capital_cost must be > 0 .*got 0\.0"),
        ({"capital_cost": 30.0}, r"aims at 0\.4"),
        ({"learner": BoostedQuantile(trees=0)}, "BoostedQuantile: trees must be >= 1, got 0"),
        ({"learner": BoostedQuantile(threads=0)}, "threads must be >= 1"),
        ({"learner": BoostedQuantile(growth=Growth(leaves=1))}, "leaves must be >= 2"),
    ],
)
def test_what_cannot_be_learned_with_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        BoostedTail(**wrong).fit(two_coins(), TWO)


def test_a_window_too_short_is_refused() -> None:
    with pytest.raises(HistoryError, match="a learned tail needs 94 rows"):
        BoostedTail().fit(two_coins().rows(0, 93), TWO)
    with pytest.raises(HistoryError, match="FilteredHistoricalVaR"):  # 99 innovations
        BoostedTail().fit(two_coins().rows(0, 94), replace(TWO, level=0.99))
