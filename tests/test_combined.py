"""Do weights go to what served the tails, by what is known and nothing later, and is no forecaster ever lost?"""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from data import Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.compiled import plain
from data.sources.synthetic import garch_t
from margin_models.base import VolatilityForecaster
from margin_models.kernels.expert_weights import shared_weights, tail_multipliers
from margin_models.kernels.tails import book_tails, supports
from margin_models.volatility import (
    BoostedVolatility,
    CombinedVolatility,
    EwmaVolatility,
    GarchVolatility,
    HarVolatility,
)
from margin_models.volatility.combined import DEEPEST, EXTREME, FASTEST, Trial, combined
from markets import two_coins

DAY = Coverage()
WINDOW = 800


class Told(VolatilityForecaster):
    """Says what it was told of each row, by its date."""

    def __init__(self, first: str, sigma: Floats) -> None:
        self.first = first
        self.sigma = sigma

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        rows = (past.last(count).time - np.datetime64(self.first)) // np.timedelta64(1, "D")
        told = np.full((count, self.sigma.shape[1]), np.nan)
        told[count - len(rows) :] = self.sigma[rows.astype(np.intp)]
        return told


class Memoriser(VolatilityForecaster):
    """Knows the outcome of every row that it was fitted to, and of later ones says what the row before moved."""

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        super().fit(past, coverage)
        self.time_, self.moves_ = past.time[:-1], np.abs(past.returns(coverage)) + 1e-6
        return self

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        asked = past.last(count).time
        told = np.full((count, len(past.underlyings)), 0.02)
        before = np.abs(past.last(count + 1).returns(self.coverage_)) + 1e-4
        told[count - len(before) :] = before
        known, place = np.isin(asked, self.time_), np.searchsorted(self.time_, asked)
        told[count - len(asked) :][known] = self.moves_[place[known]]
        return told


class Counting(VolatilityForecaster):
    """Another forecaster, and how often it was asked."""

    def __init__(self, forecaster: VolatilityForecaster) -> None:
        self.forecaster = forecaster

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        self.fitted_, self.asked = clone(self.forecaster).fit(past, coverage), 0
        return super().fit(past, coverage)

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        self.asked += 1
        return np.asarray(self.fitted_.forecasts(past, count))


@pytest.fixture(scope="module")
def market() -> tuple[MarketHistory, Floats]:
    """Two assets of GARCH with t innovations, and the true standard deviations."""
    made = garch_t(1600, (0.02, 0.03), alpha=0.15, beta=0.8, seed=5)
    return made.history, made.sigma


@pytest.fixture(scope="module")
def history(market: tuple[MarketHistory, Floats]) -> MarketHistory:
    return market[0]


def told(history: MarketHistory, sigma: Floats) -> Told:
    return Told(str(history.time[0])[:10], sigma)


def noisy(sigma: Floats, seed: int, size: float = 1.0) -> Floats:
    return np.asarray(sigma * np.exp(size * np.random.default_rng(seed).standard_normal(sigma.shape)))


def changed(history: MarketHistory, rows: slice, factor: float = 1.2) -> MarketHistory:
    spot = history.spot.copy()
    spot[rows] *= factor ** (1 + np.arange(len(spot[rows])) % 2)[:, None]
    return replace(history, spot=spot, high=None, low=None, volume=None)


def weights(model: CombinedVolatility, history: MarketHistory, count: int = 10**6) -> Floats:
    return np.asarray(model.weights_over_time(history, count))


def test_a_member_that_is_the_truth_wins_the_weight(market: tuple[MarketHistory, Floats]) -> None:
    history, sigma = market
    members = [told(history, noisy(sigma, 1)), told(history, sigma), told(history, noisy(sigma, 2))]
    model = CombinedVolatility(members, share=0.01).fit(history, DAY)
    assert model.weights_[1] > 0.7
    assert weights(model, history)[-400:, 1].mean() > 0.7


def test_where_each_asset_has_its_own_weights_each_finds_its_best(market: tuple[MarketHistory, Floats]) -> None:
    history, sigma = market
    wrong = noisy(sigma, 2)
    crossed = [np.column_stack([sigma[:, 0], wrong[:, 1]]), np.column_stack([wrong[:, 0], sigma[:, 1]])]
    model = CombinedVolatility([told(history, one) for one in crossed], pooled=False, share=0.01).fit(history, DAY)
    table = model.weights_over_time(history, 300)
    best = [table[(name, model.names_[a])].mean() for a, name in enumerate(history.underlyings)]
    assert min(best) > 0.6
    assert model.weights_.shape == (2, 2)
    np.testing.assert_allclose(table.to_numpy()[-1], model.weights_.ravel())


def test_after_a_switch_of_regimes_weights_follow_within_150_rows(market: tuple[MarketHistory, Floats]) -> None:
    history, sigma = market
    switch, wrong = 1200, noisy(sigma, 3, 1.0)
    first, second = sigma.copy(), wrong.copy()
    first[switch:], second[switch:] = wrong[switch:], sigma[switch:]
    model = CombinedVolatility([told(history, first), told(history, second)], share=0.01).fit(
        history.rows(0, 1100), DAY
    )
    path = weights(model, history)
    assert path[switch, 0] > 0.8
    assert path[switch + 150 :, 1].mean() > 0.8
    assert path.min() >= 0.5 * model.share * (1.0 - 1e-12), "a share is always left"


def test_equal_members_keep_equal_weights_and_speak_as_one(history: MarketHistory) -> None:
    model = CombinedVolatility([EwmaVolatility(20)] * 3).fit(history.rows(0, WINDOW), DAY)
    np.testing.assert_array_equal(weights(model, history), 1.0 / 3.0)
    alone = EwmaVolatility(20).fit(history.rows(0, WINDOW), DAY)
    np.testing.assert_array_equal(model.forecasts(history, 900), alone.forecasts(history, 900))
    assert model.names_ == tuple(f"EwmaVolatility(half_life=20) #{n}" for n in (1, 2, 3))


def test_one_member_is_itself_bit_for_bit(history: MarketHistory) -> None:
    past = history.rows(0, WINDOW)
    model, alone = CombinedVolatility([GarchVolatility()]).fit(past, DAY), GarchVolatility().fit(past, DAY)
    for count in (1, 40, 1700):
        np.testing.assert_array_equal(model.forecasts(history, count), alone.forecasts(history, count))
    np.testing.assert_array_equal(model.weights_, [1.0])


def test_the_order_of_members_does_not_matter(history: MarketHistory) -> None:
    members = [EwmaVolatility(5), EwmaVolatility(20), EwmaVolatility(80)]
    one, other = (CombinedVolatility(given).fit(history.rows(0, WINDOW), DAY) for given in (members, members[::-1]))
    np.testing.assert_allclose(weights(one, history), weights(other, history)[:, ::-1], rtol=1e-10)
    np.testing.assert_allclose(one.forecasts(history, 900), other.forecasts(history, 900), rtol=1e-12)
    assert np.ptp(weights(one, history)[-1]) > 0.01


def test_the_scale_of_a_member_earns_it_nothing(market: tuple[MarketHistory, Floats]) -> None:
    history, sigma = market
    model = CombinedVolatility([told(history, sigma), told(history, 3.0 * sigma)]).fit(history, DAY)
    np.testing.assert_allclose(weights(model, history), 0.5, rtol=1e-9)
    np.testing.assert_allclose(model.forecasts(history, 50), np.sqrt(3.0) * sigma[-50:], rtol=1e-9)


@pytest.mark.parametrize("row", [700, WINDOW - 1, 1200], ids=["held out", "at the fit", "after it"])
@pytest.mark.parametrize("horizon", ["1D", "3D"])
def test_weights_know_nothing_later_and_do_know_today(history: MarketHistory, horizon: str, row: int) -> None:
    def path(told: MarketHistory) -> tuple[Floats, Floats]:
        members = [EwmaVolatility(3), EwmaVolatility(15)]
        model = CombinedVolatility(members).fit(told.rows(0, WINDOW), Coverage(horizon=horizon))
        return weights(model, told), model.forecasts(told, len(told))

    found, later, now = (path(changed(history, slice(start, None), 1.2)) for start in (len(history), row + 1, row))
    for before, after in zip(found, later, strict=True):
        np.testing.assert_array_equal(after[: row + 1], before[: row + 1])
    assert not np.array_equal(now[0][row], found[0][row])
    np.testing.assert_array_equal(now[0][:row], found[0][:row])


def test_row_by_row_gives_the_weights_of_all_rows_at_once(history: MarketHistory) -> None:
    model = CombinedVolatility([EwmaVolatility(3), EwmaVolatility(15)]).fit(history.rows(0, WINDOW), DAY)
    whole = weights(model, history)
    for stop in (500, WINDOW, WINDOW + 1, 1000, 1600):
        np.testing.assert_array_equal(weights(model, history.rows(0, stop), 1)[0], whole[stop - 1])
    np.testing.assert_array_equal(whole[WINDOW - 1], model.weights_)
    np.testing.assert_array_equal(whole[: WINDOW // 2], 0.5)


def test_a_short_past_goes_on_from_the_weights_of_the_fit(history: MarketHistory) -> None:
    model = CombinedVolatility([EwmaVolatility(3), EwmaVolatility(15)]).fit(history.rows(0, WINDOW), DAY)
    recent = history.rows(WINDOW + 100, WINDOW + 150)
    path = weights(model, recent)
    np.testing.assert_allclose(path[0], model.weights_, rtol=1e-12)
    assert model.forecasts(recent, 60).shape == (60, 2)
    assert np.isnan(model.forecasts(recent, 60)[:10]).all()


def test_a_memoriser_wins_in_sample_and_not_on_rows_held_out(market: tuple[MarketHistory, Floats]) -> None:
    history, sigma = market
    members, past = [told(history, sigma), Memoriser()], history.rows(0, WINDOW)
    cheated, honest = (CombinedVolatility(members, held_out=held).fit(past, DAY) for held in (None, 0.5))
    assert cheated.weights_[1] > 0.8
    assert honest.weights_[1] < 0.5


def test_members_are_fitted_without_the_rows_held_out_and_then_to_all(history: MarketHistory) -> None:
    model = CombinedVolatility([EwmaVolatility(5), GarchVolatility()], held_out=0.4).fit(history.rows(0, 700), DAY)
    garch = model.forecasters_[1]
    assert isinstance(garch, GarchVolatility)
    scout, whole = (GarchVolatility().fit(history.rows(0, rows), DAY) for rows in (420, 700))
    assert garch.laws_ == whole.laws_
    np.testing.assert_array_equal(model._trial.sigma[:, :, 1], scout.forecasts(history.rows(0, 700), 280))


def test_losses_are_fz0_with_multipliers_known_at_the_start(history: MarketHistory) -> None:
    """Against a loop over rows that asks numpy for the order statistics of what had ended."""
    steps, level, rows = 2, 0.95, 200
    sigma = np.stack([noisy(np.full((rows, 2), 0.02), k, 0.3) for k in (1, 2, 3)], axis=2)
    ended = np.abs(0.03 * np.random.default_rng(4).standard_t(3, (rows, 2)))
    ended[[20, 90]] = np.nan
    losses = Trial(history.time[:rows], sigma, ended).losses(steps, level)
    expected = np.full_like(losses, np.nan)
    for t in range(steps, rows):
        known = np.minimum(ended[steps : t - steps + 1, :, None] / sigma[: max(t - 2 * steps + 1, 0)], EXTREME)
        es = np.full((2, 3), np.nan)
        var = es.copy()
        for k in range(3):
            sample = known[..., k][np.isfinite(known[..., k])]
            if supports(len(sample), 2 * level - 1):
                quantile = np.quantile(sample, 2 * level - 1, method="weibull")
                beyond = sample[sample >= quantile].mean()
                var[:, k], es[:, k] = quantile * sigma[t - steps, :, k], beyond * sigma[t - steps, :, k]
        y = ended[t][:, None]
        sides = [(loss > var) * (loss - var) / ((1 - level) * es) + var / es + np.log(es) - 1 for loss in (y, -y)]
        charged = 0.5 * (sides[0] + sides[1])
        expected[t] = np.minimum(charged, charged.min(axis=1, keepdims=True) + DEEPEST / (2 * (1 - level)))
    assert np.isfinite(expected).sum() > 800
    np.testing.assert_allclose(losses, expected, rtol=1e-10)


def test_an_asset_that_stood_still_and_moves_does_not_stop_the_learning(market: tuple[MarketHistory, Floats]) -> None:
    """Forecasts of it had all but vanished, one far more than the other: neither wins nor loses everything by it."""
    history, sigma = market
    spot, fading = history.spot.copy(), sigma.copy()
    spot[500:700, 1] = spot[500, 1]
    spot[700:, 1] *= 3.0
    fading[500:701, 1] = 0.02 * np.exp(-np.arange(201.0))
    rival = fading.copy()
    rival[500:701, 1] = 0.02 * np.exp(-0.5 * np.arange(201.0))
    still = replace(history, spot=spot, high=None, low=None, volume=None)
    members = [told(history, fading), told(history, rival), told(history, noisy(sigma, 1))]
    model = CombinedVolatility(members, held_out=None).fit(still, DAY)
    losses = model._trial.losses(1, 0.99)
    assert np.nanmax(losses - np.fmin.reduce(losses, axis=2, keepdims=True)) <= DEEPEST / 0.02 + 1e-9
    path, gaps = shared_weights(losses, model.share, FASTEST * 0.01)
    np.testing.assert_allclose(path, weights(model, still), rtol=1e-9)
    slowest = 1.0 / (1.0 / (FASTEST * 0.01) + gaps[-1] / np.log(3.0 / model.share))
    assert slowest > 0.3 * FASTEST * 0.01
    assert path[-300:, 2].mean() < 0.3, "the noisy one still loses"


def test_a_horizon_of_two_rows_counts_when_it_has_ended(history: MarketHistory) -> None:
    """Change the price at one row: losses before it stay, those of horizons that end at it or begin there move."""
    rows, row = 300, 250
    sigma = np.full((rows, 2, 1), 0.02)
    trials = []
    for told_of in (history, changed(history, slice(row, row + 1))):
        moves = np.abs(told_of.rows(0, rows).returns(Coverage(horizon="2D")))
        trials.append(Trial(history.time[:rows], sigma, np.vstack([np.full((2, 2), np.nan), moves])))
    one, other = (trial.losses(2, 0.9) for trial in trials)
    differ = np.flatnonzero((one != other).any(axis=(1, 2)) & np.isfinite(one).all(axis=(1, 2)))
    assert differ[0] == row


def test_equal_weights_learn_nothing_and_are_the_geometric_mean(history: MarketHistory) -> None:
    members = [EwmaVolatility(5), EwmaVolatility(40)]
    model = CombinedVolatility(members, adaptive=False).fit(history.rows(0, WINDOW), DAY)
    one, other = (clone(member).fit(history.rows(0, WINDOW), DAY).forecasts(history, 700) for member in members)
    np.testing.assert_allclose(model.forecasts(history, 700), np.sqrt(one * other), rtol=1e-12)
    np.testing.assert_array_equal(weights(model, history), 0.5)


def test_a_member_without_a_forecast_leaves_its_weight_to_the_others(market: tuple[MarketHistory, Floats]) -> None:
    history, sigma = market
    absent, flawed = sigma.copy(), 2.0 * sigma
    absent[600:1300, 0], flawed[1250:1300, 0], flawed[1400] = np.nan, np.nan, 0.0
    model = CombinedVolatility([told(history, absent), told(history, flawed)]).fit(history.rows(0, 1200), DAY)
    forecasts = model.forecasts(history, len(history))
    np.testing.assert_array_equal(forecasts[600:1250, 0], flawed[600:1250, 0])
    assert np.isnan(forecasts[1250:1300, 0]).all()
    np.testing.assert_array_equal(forecasts[1400], sigma[1400])
    assert np.isfinite(forecasts[:, 1]).all()
    assert ((forecasts[:, 1] > sigma[:, 1]) & (forecasts[:, 1] < 2.0 * sigma[:, 1]))[:1400].all()


def test_one_that_never_speaks_keeps_the_weight_it_had() -> None:
    losses = np.random.default_rng(1).random((50, 2, 3))
    losses[:, :, 2] = np.nan
    path = shared_weights(losses, 1e-12, 1.0)[0]
    np.testing.assert_allclose(path[:, 2], 1.0 / 3.0, rtol=1e-9)
    assert np.ptp(path[-1, :2]) > 0.01
    np.testing.assert_array_equal(shared_weights(np.full((4, 2, 3), np.nan), 0.1, 1.0)[0], 1.0 / 3.0)


def test_what_was_said_last_is_said_again_of_the_same_past_alone(history: MarketHistory) -> None:
    parts = [EwmaVolatility(half_life=5), Counting(EwmaVolatility(half_life=30))]
    model = CombinedVolatility(parts, adaptive=False).fit(history.rows(0, 300), DAY)
    counting = model.forecasters_[1]
    assert isinstance(counting, Counting)
    past, before = history.rows(0, 350), counting.asked
    first = model.forecasts(past, 40)
    first[:] = -1.0
    second = model.forecasts(past, 40)
    assert counting.asked == before + 1
    np.testing.assert_array_equal(second, model.forecasts(history.rows(0, 350), 40))
    assert counting.asked == before + 2, "another cut is another past, however alike"
    assert len(model.forecasts(past, 41)) == 41
    other = replace(past, spot=past.spot * np.linspace(1.0, 2.0, 350)[:, None])
    assert not np.array_equal(model.forecasts(other, 40), second)
    model.fit(history.rows(20, 320), DAY)
    alone = CombinedVolatility(parts, adaptive=False).fit(history.rows(20, 320), DAY)
    np.testing.assert_array_equal(model.forecasts(other, 40), alone.forecasts(other, 40))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).forecasts(past, 40), model.forecasts(past, 40))


def thawed(model: CombinedVolatility) -> CombinedVolatility:
    """The same model, which has never been asked."""
    fresh: CombinedVolatility = pickle.loads(pickle.dumps(model))
    return fresh


@pytest.mark.parametrize("setting", [{"adaptive": False}, {"pooled": False}, {"share": 0.5}])
def test_a_parameter_set_after_the_fit_is_heard(history: MarketHistory, setting: dict[str, Any]) -> None:
    model = CombinedVolatility([EwmaVolatility(half_life=5), EwmaVolatility(half_life=60)])
    past = history.rows(0, 350)
    before = model.fit(history.rows(0, 300), DAY).forecasts(past, 40)
    np.testing.assert_array_equal(model.forecasts(past, 40), before)
    model.set_params(**setting)
    np.testing.assert_array_equal(model.forecasts(past, 40), thawed(model).forecasts(past, 40))
    assert not np.array_equal(model.forecasts(past, 40), before)


def test_a_member_fitted_again_or_replaced_is_heard(history: MarketHistory) -> None:
    inner = CombinedVolatility([HarVolatility(), EwmaVolatility(half_life=60)], adaptive=False)
    model = CombinedVolatility([inner, HarVolatility(), EwmaVolatility(half_life=5)], adaptive=False)
    past = history.rows(0, 350)
    told = [model.fit(history.rows(0, 300), DAY).forecasts(past, 40)]
    deep = model.forecasters_[0]
    assert isinstance(deep, CombinedVolatility)
    for again in (model.forecasters_[1], deep.forecasters_[0]):
        again.fit(history.rows(50, 350), DAY)
        told.append(model.forecasts(past, 40))
        np.testing.assert_array_equal(told[-1], thawed(model).forecasts(past, 40))
    model.forecasters_[2] = EwmaVolatility(half_life=90).fit(past, DAY)
    told.append(model.forecasts(past, 40))
    np.testing.assert_array_equal(told[-1], thawed(model).forecasts(past, 40))
    assert all(not np.array_equal(one, other) for one, other in pairwise(told))


def test_members_that_remember_do_not_forget_the_answer(history: MarketHistory) -> None:
    """LightGBM keeps what it forecast: asking it is no change of it."""
    model = CombinedVolatility([BoostedVolatility(trees=5), Counting(EwmaVolatility())], adaptive=False)
    past, counting = history.rows(0, 400), model.fit(history.rows(0, 390), DAY).forecasters_[1]
    assert isinstance(counting, Counting)
    first, asked = model.forecasts(past, 10), counting.asked
    np.testing.assert_array_equal(model.forecasts(past, 10), first)
    assert counting.asked == asked


@pytest.mark.parametrize("pooled", [True, False])
def test_fit_many_gives_what_a_loop_of_fits_gives(history: MarketHistory, pooled: bool) -> None:
    """Also where the window is cut short, and where a first part is too short for GARCH."""
    model = CombinedVolatility([EwmaVolatility(8), GarchVolatility()], pooled=pooled, held_out=0.3)
    stops = [320, 400, 460]
    for window in (340, 380):
        for stop, fitted in zip(stops, model.fit_many(history, stops, window, DAY), strict=True):
            alone = clone(model).fit(history.rows(max(stop - window, 0), stop), DAY)
            past = history.rows(0, stop + 30)
            # GARCH's walk from window to window ends where a search of each does, to the 1e-5 that it promises.
            np.testing.assert_allclose(fitted.weights_, alone.weights_, rtol=1e-5)
            np.testing.assert_allclose(fitted.forecasts(past, 200), alone.forecasts(past, 200), rtol=1e-5)
            assert np.isnan(fitted._trial.sigma[:, :, 1]).all() == ((1 - 0.3) * min(window, stop) < 251)


def test_a_batch_that_refuses_one_stop_still_serves_the_others(history: MarketHistory) -> None:
    class Picky(EwmaVolatility):
        def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
            if str(past.time[-1])[:10] == refused:
                raise HistoryError("this window is refused")
            return super().fit(past, coverage)

    refused = str(history.time[600 - 250 - 1])[:10]
    model = CombinedVolatility([EwmaVolatility(40), Picky(5)])
    silent = [
        bool(np.isnan(one._trial.sigma[..., 1]).all()) for one in model.fit_many(history, [560, 600, 640], 500, DAY)
    ]
    assert silent == [False, True, False]


def test_it_clones_and_says_what_it_is_made_of(history: MarketHistory) -> None:
    model = CombinedVolatility([EwmaVolatility(5), GarchVolatility()], share=0.02)
    assert repr(model).replace("\n", "").replace(" ", "") == (
        "CombinedVolatility(forecasters=[EwmaVolatility(half_life=5),GarchVolatility()],share=0.02)"
    )
    copy = clone(model)
    assert repr(copy) == repr(model)
    assert copy.forecasters[0] is not model.forecasters[0]
    fitted = copy.fit(history.rows(0, WINDOW), DAY)
    assert not any(name.endswith("_") for member in fitted.forecasters for name in vars(member))
    thawed: CombinedVolatility = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(thawed.forecasts(history, 300), fitted.forecasts(history, 300))


def test_refit_forgets(history: MarketHistory) -> None:
    model = CombinedVolatility([EwmaVolatility(3), EwmaVolatility(30)])
    again = clone(model).fit(history.rows(0, 900), Coverage(0.9)).fit(history.rows(300, 1300), DAY)
    new = clone(model).fit(history.rows(300, 1300), DAY)
    np.testing.assert_array_equal(again.forecasts(history, 1200), new.forecasts(history, 1200))


def test_holes_and_an_asset_that_listed_late() -> None:
    coins = two_coins()
    spot = coins.spot.copy()
    spot[:330, 1] = np.nan
    late = replace(coins, spot=spot, high=None, low=None, volume=None)
    for pooled in (True, False):
        model = CombinedVolatility([EwmaVolatility(5), EwmaVolatility(20)], pooled=pooled).fit(late, DAY)
        forecasts = model.forecasts(late, 300)
        assert np.isfinite(forecasts[:, 0]).all()
        assert np.isfinite(forecasts[-60:, 1]).all()
        assert np.isnan(forecasts[:200, 1]).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"forecasters": []}, r"one or more volatility forecasters, got \[\]"),
        ({"forecasters": [EwmaVolatility(), "ewma"]}, "one or more volatility forecasters, got"),
        ({"share": 0.0}, r"share must lie in \(0, 1\), got 0.0"),
        ({"held_out": 1.0}, r"held_out must be None or lie in \(0, 1\), got 1.0"),
    ],
)
def test_what_cannot_be_combined_is_refused(wrong: dict[str, Any], said: str, history: MarketHistory) -> None:
    model = CombinedVolatility(**{"forecasters": [EwmaVolatility()], **wrong})
    with pytest.raises(ParameterError, match=said):
        model.fit(history, DAY)
    with pytest.raises(ParameterError, match=said):
        next(model.fit_many(history, [900], WINDOW, DAY))


def test_an_empty_window_is_refused(history: MarketHistory) -> None:
    with pytest.raises(HistoryError, match="a row at least"):
        CombinedVolatility([EwmaVolatility()]).fit(history.rows(0, 0), DAY)


def test_a_forecaster_that_cannot_be_fitted_to_the_whole_window_is_refused(history: MarketHistory) -> None:
    with pytest.raises(HistoryError, match="GARCH needs 251 rows"):
        CombinedVolatility([EwmaVolatility(), GarchVolatility()]).fit(history.rows(0, 250), DAY)


def _holed(seed: int = 3) -> Floats:
    random = np.random.default_rng(seed)
    values: Floats = np.abs(random.standard_t(3, (80, 2, 3)))
    values[random.random(values.shape) < 0.2] = np.nan
    values[40, :, :] = values[41, 0, 0] = 1.0  # ties
    return values


def test_compiled_kernels_equal_their_plain_loops() -> None:
    values = _holed()
    np.testing.assert_array_equal(tail_multipliers(values, 0.9), plain(tail_multipliers)(values, 0.9))
    for one, other in zip(shared_weights(values, 0.05, 0.3), plain(shared_weights)(values, 0.05, 0.3), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("level", [0.02, 0.5, 0.9, 0.98])
def test_multipliers_are_the_tails_of_all_that_was_known(level: float) -> None:
    values = _holed()
    multipliers = tail_multipliers(values, level)
    assert np.isfinite(multipliers).any()
    for i in range(len(values)):
        for k in range(3):
            sample = values[: i + 1, :, k][np.isfinite(values[: i + 1, :, k])]
            if not supports(len(sample), level):
                assert np.isnan(multipliers[i, k]).all()
            else:
                var, es = book_tails(sample[None], level)
                np.testing.assert_allclose(multipliers[i, k], [var[0], es[0]], rtol=1e-12)


def _sequences(rows: int, experts: int, random: np.random.Generator) -> Iterator[tuple[Any, int]]:
    """Each expert alone, and some that change, with how often they do."""
    for k in range(experts):
        yield np.full(rows, k), 0
    for _ in range(5):
        cuts = np.sort(random.integers(0, rows, 3))
        path = random.integers(0, experts, 4)[np.searchsorted(cuts, np.arange(rows), side="right")]
        yield path, int((np.diff(path) != 0).sum())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 6), st.floats(1e-4, 0.3), st.floats(1e-3, 1e3), st.floats(1e-3, 1.0))
def test_regret_against_experts_that_change_is_bounded(
    seed: int, experts: int, share: float, scale: float, fastest: float
) -> None:
    """Hedge loss <= that of any sequence with m changes + gap + ((m + 1) ln(K / share) - T ln(1 - share)) / rate.

    With rates that never rise and weights never below share / K: each stretch of one expert telescopes.
    """
    random = np.random.default_rng(seed)
    losses = scale * random.standard_t(2.5, (150, 1, experts))
    if seed % 2:
        losses[:, 0, 0] = scale * (np.arange(150) // 30 % 2)
    path, gaps = shared_weights(losses, share, fastest)
    before = np.vstack([np.full((1, experts), 1.0 / experts), path[:-1]])
    hedged = (before * losses[:, 0]).sum()
    # Both sides in units of 1 / rate, the rate of the last row.
    inverse = 1.0 / fastest + gaps[-2] / np.log(experts / share)
    for choice, changes in _sequences(len(losses), experts, random):
        price = (changes + 1) * np.log(experts / share) - len(losses) * np.log1p(-share)
        assert hedged <= losses[np.arange(150), 0, choice].sum() + gaps[-1] + inverse * price + 1e-9 * scale
    assert path.min() >= share / experts * (1.0 - 1e-12)
    np.testing.assert_allclose(path.sum(axis=1), 1.0, rtol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 100.0))
def test_a_combination_lies_between_its_members_and_scales_with_them(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    sigma, weight = random.lognormal(-4.0, 1.0, (20, 3, 4)), random.random((20, 1, 4)) + 1e-3
    mean = combined(sigma, weight)
    assert np.all((mean >= sigma.min(axis=2) * (1 - 1e-12)) & (mean <= sigma.max(axis=2)))
    np.testing.assert_allclose(combined(scale * sigma, weight), scale * mean, rtol=1e-12)
    np.testing.assert_allclose(np.log(mean), (weight * np.log(sigma)).sum(axis=2) / weight.sum(axis=2), rtol=1e-10)
