import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from backtest import by_book, score
from backtest.bootstrap import block_draws, block_length, interval
from backtest.equal_coverage import (
    FLOOR,
    at_equal_coverage,
    equal_coverage_scale,
    oracle_constant,
    scaled_margin_draws,
)
from backtest.pool_kernels import drawn_quantile, growing_quantile
from backtest.replay import Replay
from backtest.scores import dates_drawn, peak_to_trough
from data import Coverage, Floats, ParameterError
from data.compiled import plain
from margin_models.kernels.tails import supports, upper_quantile


def replayed(initial: Floats, loss: Floats, horizon: int = 1, level: float = 0.75) -> Replay:
    time = np.datetime64("2024-01-01", "ns") + np.arange(len(loss)) * np.timedelta64(1, "D")
    books = tuple(f"book {n}" for n in range(loss.shape[1]))
    end = time + horizon * np.timedelta64(1, "D")
    coverage = Coverage(level, f"{horizon}D")
    return Replay("told", coverage, time, end, books, initial, initial, loss, loss)


def random_replay(rows: int = 400, books: int = 5, level: float = 0.9, seed: int = 0, horizon: int = 2) -> Replay:
    rng = np.random.default_rng(seed)
    initial = rng.gamma(4.0, 0.02, (rows, books))
    loss = initial * rng.standard_t(4, (rows, books)) / 1.5
    initial[rng.random((rows, books)) < 0.05] = 0.0
    gone = rng.random((rows, books)) < 0.03
    return replayed(np.where(gone, np.nan, initial), np.where(gone, np.nan, loss), horizon, level)


def plain_scale(replay: Replay) -> Floats:
    """The definition, word by word."""
    level = replay.coverage.level
    scale = np.full(len(replay.time), np.nan)
    for row, now in enumerate(replay.time):
        ended = replay.end <= now
        trials = sum(replay.end[d] <= now for d in replay.disjoint)
        pool = [
            loss / margin
            for losses, margins in zip(replay.loss[ended], replay.initial[ended], strict=True)
            for loss, margin in zip(losses, margins, strict=True)
            if margin > FLOOR and np.isfinite(loss)
        ]
        if supports(trials, level) and supports(len(pool), level):
            scale[row] = max(float(upper_quantile(np.array(pool), level)), 0.0)
    return scale


def test_one_scale_for_all_books_from_horizons_that_ended() -> None:
    loss = np.array([[1.0], [2.0], [3.0], [4.0], [9.0], [9.0], [9.0], [9.0], [9.0]])
    scale = equal_coverage_scale(replayed(np.full((9, 1), 2.0), loss, 2))
    # 3 disjoint horizons of two days have ended after 6 days; 5 losses are in the pool then: the 4.5th of 1 2 3 4 9
    assert_allclose(scale[:6], np.nan)
    assert_allclose(scale[6], (4.0 + 0.5 * (9.0 - 4.0)) / 2.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_fenwick_tree_gives_what_the_definition_gives(seed: int) -> None:
    told = random_replay(rows=150, seed=seed, horizon=1 + seed)
    assert_allclose(equal_coverage_scale(told), plain_scale(told), rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.sampled_from([0.5, 0.9, 0.99]), st.integers(0, 10**6))
def test_a_growing_quantile_is_that_of_what_has_arrived(size: int, level: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrivals = np.round(rng.normal(size=size), 1)
    order = np.argsort(arrivals, kind="stable")
    rank = np.empty(size, dtype=np.int64)
    rank[order] = np.arange(size)
    stops = np.sort(rng.integers(0, size + 1, 7))
    expected = [float(upper_quantile(arrivals[:n], level)) if n and supports(int(n), level) else np.nan for n in stops]
    for kernel in (growing_quantile, plain(growing_quantile)):
        assert_allclose(kernel(arrivals[order], rank, stops, level), expected, rtol=1e-12, atol=1e-15)


def test_a_drawn_quantile_is_that_of_the_pool_drawn() -> None:
    rng = np.random.default_rng(1)
    row = np.repeat(np.arange(40), 3)
    values = rng.normal(size=120)
    draws = block_draws(40, 4, draws=20)
    order = np.argsort(-values)
    pool = np.full(40, 3)
    for kernel in (drawn_quantile, plain(drawn_quantile)):
        told = kernel(values[order], row[order], pool, draws, 0.9)
        for b in range(20):
            drawn = np.sort(np.repeat(values, draws[b, row]))
            assert told[b] == drawn[int(np.floor((len(drawn) + 1) * 0.9)) - 1]
    assert np.isnan(drawn_quantile(values[order][:2], row[order][:2], pool, draws, 0.5)).all()


def test_at_equal_coverage_a_wrong_level_no_longer_matters() -> None:
    told = random_replay(rows=1500, level=0.95)
    half = Replay(
        "half",
        told.coverage,
        told.time,
        told.end,
        told.portfolios,
        told.initial / 2,
        told.maintenance / 2,
        told.loss_end,
        told.loss_worst,
    )
    assert_allclose(at_equal_coverage(half).mean_margin, at_equal_coverage(told).mean_margin)
    assert score(half).equal_coverage == score(told).equal_coverage
    assert score(half).coverage < score(told).coverage
    assert score(told).equal_coverage == pytest.approx(0.95 - 0.05 * 0.5, abs=0.015)  # 5 % of pairs are not coverable


def test_the_oracle_constant_meets_the_target_exactly() -> None:
    told = random_replay(rows=400, level=0.9)
    best = oracle_constant(told, "oracle")
    pairs = told.live & (told.initial > FLOOR)
    assert (best.loss <= best.initial)[pairs].mean() == pytest.approx(0.9, abs=1.0 / pairs.sum())


def test_a_score_by_hand() -> None:
    card = score(replayed(np.array([[1.0, 0.0]] * 4), np.array([[2.0, 0.0], [1.0, 0.0], [-1.0, 0.5], [0.0, 0.0]]), 2))
    assert (card.coverage, card.mean_margin, card.mean_shortfall, card.peak_shortfall) == (0.75, 0.5, 0.1875, 1.0)
    assert (card.not_coverable, card.trials, card.breaches, card.breaches_expected) == (0.125, 2, 2, 0.5)
    assert (card.coverage_worst_book, card.coverage_worst_twentieth, card.capital_efficiency) == (0.75, 0.75, 2.0)
    assert np.isnan(card.equal_margin)
    # (0.75, 0, 0.5, 0.25) on the first book, (0, 0, 0.375, 0) on the second
    assert card.pinball == pytest.approx((0.75 + 0.0 + 0.5 + 0.25 + 0.375) / 8)


def test_books_that_held_nothing_do_not_count() -> None:
    initial, loss = np.full((6, 2), 0.1), np.full((6, 2), 0.05)
    initial[:, 1] = loss[:, 1] = np.nan
    card = score(replayed(initial, loss))
    assert card.coverage == 1.0
    assert card.mean_margin == pytest.approx(0.1)
    table = by_book(replayed(initial, loss))
    assert table["trials"].tolist() == [6, 0]
    assert np.isnan(table["coverage"]["book 1"])


def test_peak_to_trough_is_of_each_book_over_time() -> None:
    assert_allclose(peak_to_trough(np.array([[1.0, 0.0, 2.0], [3.0, 0.0, np.nan]])), [3.0, np.nan, 1.0])


def test_blocks_wrap_and_every_date_is_as_likely() -> None:
    draws = block_draws(100, 7, draws=4000, seed=1)
    assert_array_equal(draws.sum(axis=1), 105)
    assert_allclose(draws.mean(axis=0), 1.05, atol=0.08)
    assert_array_equal(draws, block_draws(100, 7, draws=4000, seed=1))
    assert block_length(1000, 24) == 72
    with pytest.raises(ParameterError, match="1 to 5 decisions, got 6"):
        block_draws(5, 6)
    assert np.isnan(interval(np.array([np.nan]))).all()
    assert interval(np.array([1.0, np.nan])) == (1.0, 1.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Independent losses at a known 90 % quantile: the scale is 1.2816, and the interval should hold it mostly."""
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        told = replayed(np.ones((500, 3)), rng.normal(size=(500, 3)), level=0.9)
        drawn = scaled_margin_draws(told, dates_drawn(told))
        low, high = interval(drawn)
        held += low <= 1.2816 <= high
    assert 50 <= held <= 60


@pytest.mark.parametrize("level", [0.6, 0.75, 0.9, 0.99])
def test_every_draw_has_its_scale_at_any_level(level: float) -> None:
    told = random_replay(rows=600, level=level)
    assert np.isfinite(scaled_margin_draws(told, dates_drawn(told))).all()


def test_scorecards_show_themselves() -> None:
    card = score(random_replay())
    assert f"{card.coverage:.2%}" in card._repr_html_()
    assert isinstance(card.to_frame(), pd.DataFrame)
