"""Do conformal multiples cover what they promise?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from backtest.replay import replay
from data import Coverage, DataError, Floats, HistoryError, MarketHistory, ParameterError
from data.compiled import plain
from margin_models import ConformalTracking, HistoricalVaR, MarginModel, SplitConformal, StaticMargin
from margin_models.kernels.tracking import tracked
from margin_models.overlays.conformal import (
    adaptive_levels,
    conformal_rank,
    split_conformal_threshold,
    tracked_multiples,
)
from markets import book_of, market

STEPS, RATE = 20_000, 0.01


def doubled(seed: int, *, tails: float = np.inf) -> Floats:
    """Losses in units of a margin that is right for the first half; then their volatility doubles, (STEPS, 1)."""
    random = np.random.default_rng(seed)
    drawn = random.standard_normal((STEPS, 1)) if np.isinf(tails) else random.standard_t(tails, (STEPS, 1))
    right = np.quantile(np.abs(drawn), 1 - 2 * RATE)
    return np.asarray(drawn / right * np.repeat([1.0, 2.0], STEPS // 2)[:, None])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gain", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("tails", [np.inf, 3.0])
def test_tracking_keeps_long_run_coverage_as_volatility_doubles(seed: int, gain: float, tails: float) -> None:
    ratio = doubled(seed, tails=tails)
    multiple = tracked_multiples(ratio, RATE, gain)
    breached = (ratio > multiple[:-1]).mean()
    allowed = max(0.002, 3 * np.sqrt(RATE * (1 - RATE) / STEPS))
    assert abs(breached - RATE) <= allowed
    assert (ratio > 1.0).mean() > RATE + allowed  # the model alone breaches too often
    assert 0.25 <= multiple.min() <= multiple.max() <= 8.0
    later = multiple[STEPS // 2 + 2000 :].mean() / multiple[: STEPS // 2].mean()
    assert 1.5 < later < 2.6


def infinite_days(ratio: Floats, gamma: float, window: int = 500) -> float:
    """Share of days on which adaptive conformal inference asks for an infinite margin."""
    level, infinite = RATE, 0
    for t in range(window, len(ratio)):
        rank = conformal_rank(window, min(level, 1.0)) if level > 0 else window + 1
        if rank > window:
            infinite, breached = infinite + 1, 0.0
        else:
            breached = float(ratio[t] > np.partition(ratio[t - window : t], rank - 1)[rank - 1])
        level = float(adaptive_levels(np.array([breached]), RATE, gamma, level)[-1])
    return infinite / (len(ratio) - window)


def test_adaptive_levels_ask_for_infinite_margins_where_tracking_does_not() -> None:
    ratio = doubled(0)[:, 0]
    shares = [infinite_days(ratio[STEPS // 4 : 3 * STEPS // 4], gamma) for gamma in (0.002, 0.005, 0.02)]
    assert 0.01 < shares[0] < shares[1] < shares[2]
    assert shares[1] < 0.25
    assert np.isfinite(tracked_multiples(ratio[:, None], RATE, 0.1)).all()


@settings(max_examples=60, deadline=None)
@given(
    ratio=st.lists(st.floats(-2.0, 5.0), min_size=1, max_size=300),
    rate=st.floats(0.01, 0.3),
    gain=st.floats(0.01, 1.0),
)
def test_breaches_differ_from_the_rate_by_no_more_than_the_way_over_the_gain(
    ratio: list[float], rate: float, gain: float
) -> None:
    told = np.array(ratio)[:, None]
    path = tracked(told, rate, np.full(len(told), gain), -1e6, 1e6)
    breaches = (told > np.exp(path[:-1])).sum()
    assert_allclose(breaches - rate * len(told), path[-1, 0] / gain, atol=1e-6)


def test_the_compiled_recursion_equals_its_plain_loop_and_a_hand() -> None:
    random = np.random.default_rng(2)
    ratio = np.where(random.random((200, 3)) < 0.1, np.nan, random.standard_t(3, (200, 3)))
    gains = 0.3 * np.arange(1.0, 201.0) ** -0.6
    for bounds in ((-2.0, 3.0), (-0.05, 0.1)):
        assert_array_equal(tracked(ratio, 0.05, gains, *bounds), plain(tracked)(ratio, 0.05, gains, *bounds))
    told = tracked(np.array([[2.0], [np.nan], [0.5], [9.0]]), 0.1, np.array([1.0, 1.0, 0.5, 1.0]), -1.0, 1.0)
    assert_allclose(told[:, 0], [0.0, 0.9, 0.9, 0.85, 1.0])


def test_a_gain_that_decays_settles_and_a_fixed_one_follows() -> None:
    ratio = np.random.default_rng(3).standard_normal((STEPS, 1))
    settled, fixed = (tracked_multiples(ratio, RATE, 0.3, decay)[STEPS // 2 :, 0] for decay in (0.6, 0.0))
    assert settled.std() < 0.2 * fixed.std()
    assert_allclose(settled.mean(), 2.326, rtol=0.05)


@pytest.mark.parametrize(("count", "alpha"), [(19, 0.05), (99, 0.01), (20, 0.1), (333, 0.003)])
def test_a_threshold_covers_as_often_as_its_rank_says(count: int, alpha: float) -> None:
    rank = conformal_rank(count, alpha)
    assert rank - 1 < (count + 1) * (1 - alpha) <= rank + 1e-9
    scores = np.random.default_rng(4).exponential(size=(4000, count + 1))
    covered = np.mean([row[-1] <= split_conformal_threshold(row[:-1], alpha) for row in scores])
    expected = rank / (count + 1)
    assert expected >= 1 - alpha - 1e-12
    assert abs(covered - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000) + 1e-9


def test_an_infinite_threshold_and_unknown_scores_are_refused() -> None:
    assert split_conformal_threshold(np.arange(99.0), 0.01) == 98.0
    with pytest.raises(HistoryError, match="needs 99 scores"):
        split_conformal_threshold(np.arange(98.0), 0.01)
    with pytest.raises(DataError, match="NaN at 1 of 2"):
        split_conformal_threshold(np.array([1.0, np.nan]), 0.5)
    for alpha in (0.0, 1.0, np.nan):
        with pytest.raises(ParameterError):
            split_conformal_threshold(np.arange(9.0), alpha)


COVERAGE = Coverage(0.9)
MOVES = np.random.default_rng(5).standard_normal(400) * 0.03
NOISE = market(MOVES.tolist())  # 401 days; the loss of a long from row i is minus move i


def test_split_conformal_scales_a_static_rate_to_the_books_own_losses() -> None:
    book = book_of(1.0, -1.0)
    asked = SplitConformal(StaticMargin(rate=0.05), lookback=100).fit(NOISE, COVERAGE).requirement(NOISE, book)
    newest = MOVES[-100:]
    wanted = [split_conformal_threshold(side, 0.1) for side in (-newest, newest)]
    assert_allclose(asked.initial / book.gross(NOISE.now), wanted)
    assert_allclose(asked.components["conformal"], asked.initial - 0.05 * book.gross(NOISE.now))
    bounded = SplitConformal(StaticMargin(rate=0.005), most=2.0).fit(NOISE, COVERAGE).margin(NOISE, book)
    assert_allclose(bounded / book.gross(NOISE.now), 0.01)


def test_horizons_do_not_overlap_unless_told_to() -> None:
    book, coverage = book_of(1.0), Coverage(0.9, "3D")
    ratio = -NOISE.returns(coverage)[:, 0]
    for every, starts in ((None, np.arange(397, -1, -3)[:20]), (1, np.arange(397, -1, -1)[:18])):
        model = SplitConformal(StaticMargin(rate=0.05), lookback=20, every=every)
        told = model.fit(NOISE, coverage).margin(NOISE, book) / book.gross(NOISE.now)
        assert_allclose(told, split_conformal_threshold(ratio[starts], 0.1))


def test_tracking_follows_the_books_own_breaches() -> None:
    book = book_of(1.0, -1.0)
    model = ConformalTracking(StaticMargin(rate=0.03), gain=0.2, lookback=150)
    told = model.fit(NOISE, COVERAGE).margin(NOISE, book) / book.gross(NOISE.now) / 0.03
    for sign, multiple in zip((-1.0, 1.0), told, strict=True):
        x = 0.0
        for loss in sign * MOVES[-150:]:
            x += 0.2 * ((loss / 0.03 > np.exp(x)) - 0.1)
        assert_allclose(multiple, np.exp(x))


@pytest.mark.parametrize("model", [SplitConformal(StaticMargin(rate=0.05)), ConformalTracking(StaticMargin(rate=0.05))])
def test_without_a_past_the_model_stands(model: MarginModel) -> None:
    for stop in (1, 2, 9):
        past = NOISE.rows(0, stop)
        told = model.fit(past, Coverage(0.99)).margin(past, book_of(1.0))
        if isinstance(model, SplitConformal) or stop == 1:
            assert_array_equal(told, 0.05 * past.now.spot)
        else:
            assert told[0] != 0.05 * past.now.spot[0]


def test_a_replay_is_nearer_the_target_than_the_model_that_is_too_low() -> None:
    random = np.random.default_rng(6)
    rough = market((random.standard_t(3, 900) * 0.01 * np.repeat([1.0, 2.0, 1.0], 300)).tolist())
    book, coverage = book_of(1.0, -1.0), Coverage(0.95)
    breaches = {
        name: float(replay(model, rough, book, coverage, window=200, refit_every=20).breached.mean())
        for name, model in {
            "split": SplitConformal(StaticMargin(rate=0.01), lookback=100),
            "tracking": ConformalTracking(StaticMargin(rate=0.01), gain=0.2),
            "static": StaticMargin(rate=0.01),
        }.items()
    }
    assert breaches["static"] > 0.1
    assert abs(breaches["split"] - 0.05) < 0.02
    assert abs(breaches["tracking"] - 0.05) < 0.015


def test_a_hedged_book_stays_as_the_model_has_it() -> None:
    history: MarketHistory = NOISE
    book = book_of(0.0)
    for model in (SplitConformal(HistoricalVaR()), ConformalTracking(HistoricalVaR())):
        assert_array_equal(model.fit(history, COVERAGE).margin(history, book), [0.0])


@pytest.mark.parametrize(
    "wrong",
    [
        SplitConformal(StaticMargin(), least=0.0),
        SplitConformal(StaticMargin(), most=np.inf),
        SplitConformal(StaticMargin(), lookback=0),
        SplitConformal(StaticMargin(), every=0),
        ConformalTracking(StaticMargin(), gain=0.0),
        ConformalTracking(StaticMargin(), gain=np.nan),
        ConformalTracking(StaticMargin(), decay=1.5),
        ConformalTracking(StaticMargin(), most=0.9),
    ],
    ids=repr,
)
def test_what_is_out_of_range_is_refused(wrong: MarginModel) -> None:
    with pytest.raises(ParameterError):
        wrong.fit(NOISE, COVERAGE)
