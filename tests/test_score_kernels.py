"""Does the one-pass tally give what a plain loop gives, hole by hole and thread by thread?"""

import os
import platform
import signal
from dataclasses import fields

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backtest import kernels
from backtest.coverage_tests import count_transitions
from backtest.kernels import Tally, tally
from data import Floats, ParameterError
from data.compiled import plain

LEVEL = 0.9


def plain_tally(loss: Floats, margin: Floats, es: Floats, level: float) -> dict[str, float]:
    """One portfolio, pair by pair; the sum of FZ0 from logarithms, not from their product."""
    told = dict.fromkeys((field.name for field in fields(Tally)), 0.0)
    before: bool | None = None
    for y, m, e in zip(loss.tolist(), margin.tolist(), es.tolist(), strict=True):
        if np.isnan(y) or np.isnan(m):
            before = None
            continue
        breach = y > m
        told["count"] += 1
        told["breaches"] += breach
        told["pinball"] += level * (y - m) if breach else (level - 1) * (y - m)
        told["mean_shortfall"] += max(y - m, 0.0)
        told["peak_shortfall"] = max(told["peak_shortfall"], y - m)
        told["mean_margin"] += m
        if before is not None:
            told[f"n{int(before)}{int(breach)}"] += 1
        if e >= m > 0 and 1e-15 <= e <= 1e15:
            told["fz0_count"] += 1
            told["fz0_total"] += (max(y - m, 0.0) / (1 - level) + m) / e + np.log(e) - 1
        before = breach
    for mean in ("pinball", "mean_shortfall", "mean_margin"):
        told[mean] = told[mean] / told["count"] if told["count"] else np.nan
    return told


def panels(rows: int, portfolios: int, seed: int = 0, holes: float = 0.1) -> tuple[Floats, Floats, Floats]:
    """Losses, margins and expected shortfalls with holes, flat books and shortfalls below their margin."""
    rng = np.random.default_rng(seed)
    loss, margin = rng.standard_t(3, (rows, portfolios)), rng.uniform(0.0, 2.0, (rows, portfolios))
    es = margin * rng.uniform(0.95, 2.0, margin.shape)
    margin[rng.random(margin.shape) < 0.05] = 0.0
    loss[rng.random(loss.shape) < holes] = np.nan
    margin[rng.random(loss.shape) < holes] = np.nan
    es[rng.random(loss.shape) < holes / 2] = np.nan
    return loss, margin, es


def assert_is_plain(loss: Floats, margin: Floats, es: Floats) -> None:
    told = tally(loss, margin, LEVEL, es)
    for p in range(loss.shape[1]):
        expected = plain_tally(loss[:, p], margin[:, p], es[:, p], LEVEL)
        for name, value in expected.items():
            assert getattr(told, name)[p] == pytest.approx(value, rel=1e-11, abs=1e-11, nan_ok=True), (name, p)


@pytest.mark.parametrize(
    "rows", [0, 1, 2, 3, 4, 5, 15, 16, 17, 33, kernels.ROWS - 1, kernels.ROWS, kernels.ROWS + 1, 2 * kernels.ROWS + 5]
)
def test_every_length_gives_what_a_plain_loop_gives(rows: int) -> None:
    assert_is_plain(*panels(rows, 9, seed=rows))


def test_more_portfolios_than_a_tile_give_what_a_plain_loop_gives() -> None:
    assert_is_plain(*panels(20, kernels.WIDTH + 3))


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float64, (3, 7, 2), elements=st.one_of(st.floats(-1e3, 1e3), st.sampled_from([0.0, 1e-300, 1e300, np.nan]))
    )
)
def test_no_input_makes_it_differ_from_a_plain_loop(given_panels: Floats) -> None:
    loss, margin, es = given_panels
    assert_is_plain(loss, np.abs(margin), np.abs(es))


def test_the_answer_is_the_same_to_the_bit_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_ENOUGH_FOR_THREADS", 0)
    loss, margin, es = panels(kernels.ROWS + 9, kernels.WIDTH + 50)
    one, *others = (tally(loss, margin, LEVEL, es, threads=threads) for threads in (1, 2, 3, 7))
    alone = [tally(loss[:, [p]], margin[:, [p]], LEVEL, es[:, [p]]) for p in (0, kernels.WIDTH, loss.shape[1] - 1)]
    for field in fields(Tally):
        whole = getattr(one, field.name)
        for other in others:
            np.testing.assert_array_equal(whole, getattr(other, field.name))
        by_itself = np.concatenate([getattr(portfolio, field.name) for portfolio in alone])
        np.testing.assert_array_equal(whole[[0, kernels.WIDTH, -1]], by_itself)


def test_without_holes_transitions_are_those_of_the_coverage_tests() -> None:
    loss, margin, _ = panels(200, 5, holes=0.0)
    told = tally(loss, margin, LEVEL)
    expected = count_transitions(loss > margin)
    for name in ("n00", "n01", "n10", "n11"):
        np.testing.assert_array_equal(getattr(told, name), getattr(expected, name))
    np.testing.assert_array_equal(told.breach_share, (loss > margin).mean(axis=0))


def test_a_portfolio_never_held_has_counts_of_zero_and_no_means() -> None:
    told = tally(np.full((30, 2), np.nan), np.ones((30, 2)), LEVEL)
    assert told.count.tolist() == told.n00.tolist() == told.fz0_count.tolist() == [0, 0]
    assert np.isnan(told.pinball).all()
    assert np.isnan(told.breach_share).all()


def test_without_expected_shortfall_nothing_is_said_of_it() -> None:
    loss, margin, _ = panels(50, 3)
    told = tally(loss, margin, LEVEL)
    assert told.fz0_total.tolist() == [0, 0, 0]
    assert told.fz0_count.tolist() == [0, 0, 0]


def test_fz0_of_a_hand_computed_case() -> None:
    told = tally(np.array([[3.0], [-1.0], [2.0]]), np.full((3, 1), 2.0), 0.95, np.full((3, 1), 2.5))
    assert told.fz0_total[0] == pytest.approx(8.716290731874157 + 2 * 0.7162907318741552, rel=1e-13)
    assert told.breaches[0] == 1


def test_very_small_and_very_large_shortfalls_do_not_overflow_their_product() -> None:
    for es in (1e-15, 1e15):
        told = tally(np.zeros((64, 1)), np.full((64, 1), es / 2), LEVEL, np.full((64, 1), es))
        assert told.fz0_total[0] == pytest.approx(64 * (0.5 + np.log(es) - 1), rel=1e-12)


def test_any_memory_layout_gives_the_same() -> None:
    loss, margin, es = panels(40, 6)
    straight = tally(loss, margin, LEVEL, es)
    turned = tally(np.asfortranarray(loss), np.asfortranarray(margin), LEVEL, np.repeat(es, 2, axis=0)[::2])
    for field in fields(Tally):
        np.testing.assert_array_equal(getattr(straight, field.name), getattr(turned, field.name))


@pytest.mark.parametrize(
    ("loss", "margin", "level"),
    [(np.ones(3), np.ones(3), 0.9), (np.ones((3, 2)), np.ones((2, 3)), 0.9), (np.ones((3, 2)), np.ones((3, 2)), 1.0)],
)
def test_wrong_shapes_and_levels_are_refused(loss: Floats, margin: Floats, level: float) -> None:
    with pytest.raises(ParameterError, match=r"alike|level"):
        tally(loss, margin, level)


def test_fewer_threads_than_one_are_refused() -> None:
    with pytest.raises(ParameterError, match="threads must be >= 1, got 0"):
        tally(np.ones((3, 2)), np.ones((3, 2)), LEVEL, threads=0)


def test_one_pair_added_by_the_plain_function_is_the_compiled_one() -> None:
    start = kernels._Running(*np.linspace(0.5, 1.5, len(kernels._Running._fields)).tolist())
    for pair in ((3.0, 2.0, 2.5), (1.0, 2.0, 1.5), (np.nan, 2.0, 2.5), (1.0, 0.0, 0.0)):
        assert kernels.add_pair(start, *pair, 20.0) == plain(kernels.add_pair)(start, *pair, 20.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_ENOUGH_FOR_THREADS", 0)
    loss, margin, es = panels(8, 4)
    tally(loss, margin, LEVEL, es, threads=2)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        tally(loss, margin, LEVEL, es, threads=2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
def test_the_division_by_expected_shortfall_takes_several_portfolios_at_once() -> None:
    # Compiled anew, for numba does not show the assembly of what it takes from its cache.
    fresh = numba.njit(error_model="numpy")(plain(kernels.add_tile))
    fresh(*panels(8, 4), 10.0, 0, 8, 0, 4, np.zeros((len(kernels._Running._fields), 4)))
    assert "divpd" in next(iter(fresh.inspect_asm().values()))
