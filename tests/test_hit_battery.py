"""Do the tests of breaches hold their size where breaches are few, and stay quiet where there is nothing to test?"""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from backtest import hit_kernels
from backtest.breach_counts import LEFT_OUT
from backtest.coverage_tests import SIZE, conditional_coverage, count_transitions, independence, kupiec, too_many, tuff
from backtest.duration_tests import HAAS, HAAS_MIXED, WEIBULL, haas, weibull_fit
from backtest.dynamic_quantile import (
    degrees_of_freedom,
    dynamic_quantile,
    dynamic_quantile_test,
    regression,
    with_squared_loss,
)
from backtest.hit_battery import CONDITIONAL_COVERAGE, INDEPENDENCE, KUPIEC, TESTS, TOO_MANY, TUFF, Battery, battery
from backtest.simulated_p_values import (
    SEED,
    Flags,
    HitSequences,
    HitTest,
    Measured,
    draw_sequences,
    exact_law,
    law_of_draws,
    p_values,
    sequences_of,
    simulated_law,
    simulated_power,
)
from data import Floats, ParameterError
from data.compiled import plain

DQ2 = dynamic_quantile_test(2)
EXACT = (KUPIEC, TOO_MANY, TUFF, INDEPENDENCE, CONDITIONAL_COVERAGE)
SIMULATED = (HAAS, HAAS_MIXED, WEIBULL, DQ2)


def every_sequence(n: int) -> Flags:
    return np.array(list(product((False, True), repeat=n))).T


def some_hits(n: int, columns: int, rate: float, seed: int = 0) -> Flags:
    """Random breaches, the first columns with none, one, two next to each other, every one and all but one."""
    hits = np.random.default_rng(seed).random((n, columns)) < rate
    hits[:, :5] = False
    hits[n // 2, 1] = hits[1:3, 2] = True
    hits[:, 3] = True
    hits[:-1, 4] = True
    return hits


# ---- Laws.


@pytest.mark.parametrize("test", EXACT, ids=lambda test: test.name)
@pytest.mark.parametrize(("n", "rate"), [(1, 0.3), (2, 0.2), (9, 0.2)])
def test_exact_p_values_and_powers_are_sums_over_every_sequence(test: HitTest, n: int, rate: float) -> None:
    days = every_sequence(n)
    chance, twice = (p ** days.sum(0) * (1 - p) ** (n - days.sum(0)) for p in (rate, 2 * rate))
    told = test.measure(sequences_of(days), rate)
    as_extreme = told.extreme[None] >= told.extreme[:, None] * (1 - 1e-9) - 1e-12
    expected = np.where(told.testable, as_extreme @ chance, 1.0)
    found, _ = p_values(test.law(n, rate), told, np.full(len(chance), 0.5))
    np.testing.assert_allclose(found, expected, atol=1e-11)
    assert test.power(n, rate) == pytest.approx(twice[expected <= SIZE].sum(), abs=1e-11)


@pytest.mark.parametrize("test", SIMULATED, ids=lambda test: test.name)
def test_simulated_p_values_and_powers_are_near_sums_over_every_sequence(test: HitTest) -> None:
    n, rate = 11, 0.2
    days = every_sequence(n)
    chance, twice = (p ** days.sum(0) * (1 - p) ** (n - days.sum(0)) for p in (rate, 2 * rate))
    told = test.measure(sequences_of(days), rate)
    as_extreme = told.extreme[None] >= told.extreme[:, None] * (1 - 1e-9) - 1e-12
    expected = np.where(told.testable, as_extreme @ chance, 1.0)
    found, _ = p_values(test.law(n, rate), told, np.full(len(chance), 0.5))
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(0.25 / 99_999))
    rejected = test.law(n, rate).p_value(told.extreme) <= SIZE
    assert test.power(n, rate) == pytest.approx(twice[rejected & told.testable].sum(), abs=5 * np.sqrt(0.25 / 9_999))


def test_a_randomised_p_value_is_uniform_where_draws_can_be_exchanged() -> None:
    draws = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0])
    grid = (np.arange(1000) + 0.5) / 1000
    left_out = [law_of_draws(np.delete(draws, i)).randomised(draws[i], grid) for i in range(len(draws))]
    for size in (0.01, 0.05, 0.3, 0.9):
        assert (np.array(left_out) <= size).mean() == pytest.approx(size, abs=1e-3)


def test_a_randomised_p_value_of_an_exact_law_is_uniform() -> None:
    value, chance = np.array([3.0, 0.0, 1.0, 1.0]), np.array([0.02, 0.5, 0.18, 0.3])
    law, grid = exact_law(value, chance), (np.arange(1000) + 0.5) / 1000
    for size in (0.01, 0.05, 0.3, 0.9):
        share = sum(p * (law.randomised(v, grid) <= size).mean() for v, p in zip(value, chance, strict=True))
        assert share == pytest.approx(size, abs=1e-3)
    np.testing.assert_allclose(law.p_value(value), [0.02, 1.0, 0.5, 0.5])


def test_a_simulated_p_value_counts_the_observed_among_its_ties() -> None:
    law = law_of_draws(np.array([3.0, 1.0, 2.0, 2.0]))
    np.testing.assert_allclose(law.p_value([0.0, 2.0, 2.0 + 1e-12, 2.5, 9.0]), [1.0, 0.8, 0.8, 0.4, 0.2])
    np.testing.assert_allclose(law.randomised([2.0, 2.0, 9.0], [0.0, 1.0, 0.5]), [0.2, 0.8, 0.1])


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=40),
    st.integers(-1, 7),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([0.01, 0.05, 0.2, 0.5, 1.0]),
)
def test_a_rejection_is_a_p_value_no_larger_than_the_size(
    draws: list[int], observed: int, uniform: float, size: float
) -> None:
    law = law_of_draws(np.array(draws, dtype=np.float64))
    assert 0 <= law.randomised(observed, uniform) <= law.p_value(observed) <= 1
    assert bool(law.rejects(observed, size)) == bool(law.p_value(observed) <= size)


def test_sequences_are_drawn_independent_and_at_the_rate() -> None:
    drawn = draw_sequences(50, 0.1, 20_000, 3)
    days = np.bincount(drawn.position, minlength=50) / 20_000
    assert np.abs(days - 0.1).max() < 5 * np.sqrt(0.09 / 20_000)
    assert drawn.count.var() == pytest.approx(4.5, rel=0.06)
    again = ((np.diff(drawn.position) == 1) & (np.diff(drawn.owner) == 0)).sum() / (20_000 * 49)
    assert again == pytest.approx(0.01, rel=0.03)
    np.testing.assert_array_equal(draw_sequences(50, 0.1, 20_000, 3).position, drawn.position)
    assert draw_sequences(5, 1.0, 3, 1).count.tolist() == [5, 5, 5]


def test_a_law_is_simulated_once_and_power_once() -> None:
    asked: list[int] = []

    def measure(sequences: HitSequences, rate: float) -> Measured:
        asked.append(len(sequences.count))
        return HAAS.measure(sequences, rate)

    laws = [simulated_law(measure, 123, 0.05), simulated_law(measure, 123, 0.05, 99_999, SEED)]
    powers = [simulated_power(measure, 123, 0.05) for _ in range(3)]
    assert laws[0] is laws[1]
    assert len(set(powers)) == 1
    assert asked == [99_999, 9_999]
    assert simulated_law(measure, 123, 0.05, 500) is not laws[0]
    assert asked[2:] == [500]


# ---- Kernels.


def test_the_kernels_give_what_their_plain_loops_give() -> None:
    hits = sequences_of(some_hits(60, 30, 0.1))
    path = np.random.default_rng(2).standard_normal((2, 60))
    compiled, written = (np.empty((30, 4)) for _ in range(2))
    hit_kernels.weibull_each(hits.position, hits.first, 60, np.empty(62), compiled)
    plain(hit_kernels.weibull_each)(hits.position, hits.first, 60, np.empty(62), written)
    np.testing.assert_allclose(compiled, written, rtol=1e-12)
    answers = []
    for regress, add in (
        (hit_kernels.regress_on_lags, hit_kernels.add_path),
        (plain(hit_kernels.regress_on_lags), plain(hit_kernels.add_path)),
    ):
        told = np.empty((30, 3, 3)), np.empty((30, 3)), np.empty(30), np.empty(30, dtype=np.int64)
        regress(hits.position, hits.first, 60, 0.1, *told)
        add(hits.position, hits.first, path, np.array([True, False]), np.arange(30) % 2, *told)
        answers.append(told)
    for fast, slow in zip(*answers, strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-11, atol=1e-11)


def test_the_weibull_fit_is_the_likeliest_of_a_search() -> None:
    hits = np.random.default_rng(5).random((300, 25)) < 0.04
    fit = weibull_fit(hits)
    assert (fit.shape < 0.8).any()
    for column, shape, loglik, exponential in zip(hits.T, fit.shape, fit.loglik, fit.loglik_exponential, strict=True):
        place = np.flatnonzero(column)
        spells = np.concatenate([[place[0] + 1], np.diff(place), [299 - place[-1]]]).astype(float)
        whole = slice(1, len(place))

        def loglik_at(b: float, spells: Floats = spells, whole: slice = whole) -> float:
            power = len(spells[whole]) / (spells**b).sum()  # the scale to the power of b
            each = np.log(power) + np.log(b) + (b - 1) * np.log(spells[whole])
            return float(each.sum() - power * (spells**b).sum())

        best = minimize_scalar(lambda b: -loglik_at(b), bounds=(0.05, 9), method="bounded", options={"xatol": 1e-9})
        assert loglik == pytest.approx(-best.fun, rel=1e-9)
        assert shape == pytest.approx(best.x, rel=1e-5)
        assert exponential == pytest.approx(loglik_at(1.0), rel=1e-12)


def test_a_breach_on_the_first_or_the_last_day_leaves_no_spell_there() -> None:
    inside = weibull_fit(np.array([0, 1, 0, 1, 0, 0, 1, 0], dtype=bool))
    ends = weibull_fit(np.array([1, 0, 1, 0, 0, 1], dtype=bool))
    assert inside.durations.tolist() == [4]
    assert ends.durations.tolist() == [2]
    assert not ends.testable.any()


def test_durations_all_alike_say_that_their_shape_is_at_its_bound() -> None:
    even = np.zeros(101, dtype=bool)
    even[::10] = True
    fit = weibull_fit(even)
    assert fit.at_bound.tolist() == [True]
    assert np.isfinite(fit.ratio).all()


@pytest.mark.parametrize("lags", [1, 4])
@pytest.mark.parametrize("constant", [True, False])
def test_the_dynamic_quantile_is_that_of_a_decomposition(lags: int, constant: bool) -> None:
    hits = some_hits(90, 60, 0.08)
    margins = np.ones(hits.shape) if constant else 1.0 + np.random.default_rng(1).random(hits.shape)
    told = dynamic_quantile(hits, margins, 0.08, lags=lags, repetitions=99)
    rank = degrees_of_freedom(hits, margins, 0.08, lags=lags)
    for i in range(60):
        statistic, expected = regression(hits[:, i].astype(float), (margins[:, i],), 0.08, lags)
        assert rank[i] == expected
        assert told.statistic[i] == pytest.approx(statistic if told.testable[i] else 0.0, rel=1e-8, abs=1e-9)
    assert told.testable.tolist() == [bool(column[lags:].any()) for column in hits.T]
    assert rank.max() == lags + 1 + (not constant)
    assert rank[0] == 1 + (not constant)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 100), st.floats(-5, 5), st.integers(0, 1000))
def test_the_dynamic_quantile_does_not_depend_on_the_unit_of_margins(scale: float, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    hits, margins = rng.random(120) < 0.1, rng.random(120)
    one, other = (dynamic_quantile(hits, m, 0.1, repetitions=99) for m in (margins, scale * margins + shift))
    np.testing.assert_allclose(one.statistic, other.statistic, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(one.p_value, other.p_value, atol=0.011)


def test_with_the_squared_loss_there_is_one_regressor_more() -> None:
    rng = np.random.default_rng(8)
    losses, margins = rng.standard_normal((400, 3)), 1.0 + rng.random((400, 3))
    hits = losses > margins
    told = with_squared_loss(hits, margins, losses, 0.07)
    without = dynamic_quantile(hits, margins, 0.07, repetitions=99)
    assert degrees_of_freedom(hits, margins, 0.07, losses=losses).tolist() == [7, 7, 7]
    assert (told.statistic > without.statistic).all()
    assert told.p_value == pytest.approx(with_squared_loss(hits, 3 * margins, 9 * losses, 0.07).p_value)


# ---- Haas, and what exists already.


def test_haas_adds_the_ratios_of_all_waits() -> None:
    hits = np.zeros(60, dtype=bool)
    hits[[4, 10, 40]] = True
    waits = tuff([5, 6, 30], 0.05).statistic.sum()
    assert haas(hits, 0.05, mixed=False).statistic == pytest.approx(waits)
    assert haas(hits, 0.05).statistic == pytest.approx(waits + kupiec(3, 60, 0.05).statistic)


def test_the_battery_agrees_with_the_tests_of_counts() -> None:
    hits = some_hits(250, 40, 0.02)
    told, count, steps = battery(hits, None, 0.02), hits.sum(axis=0), count_transitions(hits)
    pof, many = kupiec(count, 250, 0.02), too_many(count, 250, 0.02)
    np.testing.assert_allclose(told[KUPIEC.name].p_value, pof.p_value, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(told[KUPIEC.name].power, pof.power, rtol=1e-9)
    np.testing.assert_allclose(told[TOO_MANY.name].p_value, many.p_value, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(told[TOO_MANY.name].power, many.power, rtol=1e-9)
    for test, expected in (
        (INDEPENDENCE, independence(steps, 0.02)),
        (CONDITIONAL_COVERAGE, conditional_coverage(count, 250, steps, 0.02)),
    ):
        np.testing.assert_allclose(told[test.name].statistic, expected.statistic, rtol=1e-12)
        np.testing.assert_array_equal(told[test.name].testable, expected.testable)


# ---- The battery as a whole.


def assert_sound(told: Battery) -> None:
    for figure in (told.statistic, told.asymptotic, told.p_value, told.randomised, told.power):
        assert np.isfinite(figure).all()
    for share in (told.asymptotic, told.p_value, told.randomised, told.power):
        assert ((share >= 0) & (share <= 1 + 1e-9)).all()
    assert (told.randomised <= told.p_value + 1e-12).all()
    assert (told.p_value[~told.testable] == 1).all()
    assert (told.randomised[~told.testable] == 1).all()


@pytest.mark.parametrize("n", [0, 1, 2, 5, 7, 250, 100_000])
@pytest.mark.parametrize("moving", [False, True])
def test_nothing_degenerate_gives_anything_but_probabilities(n: int, moving: bool) -> None:
    rng = np.random.default_rng(n)
    counts = np.minimum([0, 1, 2, n // 100, n], n)
    hits = np.stack([rng.permutation(np.arange(n) < count) for count in counts], axis=1)
    margins = 1.0 + rng.random(hits.shape) if moving else np.ones(hits.shape)
    told = battery(hits, margins, 0.01)
    assert_sound(told)
    assert told.testable[2:, 0].tolist() == [False] * 7
    assert told.breaches.tolist() == counts.tolist()
    if n >= 250:
        assert told[KUPIEC.name].p_value[-1] == 0
        assert (told.to_frame().xs(4).query("testable")["p_value"] < 0.02).sum() >= 6


def test_a_market_of_bunched_breaches_is_found_out() -> None:
    rng = np.random.default_rng(4)
    calm: Flags = rng.random((1000, 20)) < 0.02
    storms: Flags = np.repeat(rng.random((100, 20)) < 0.1, 10, axis=0) & (rng.random((1000, 20)) < 0.5)
    found, quiet = battery(storms, None, 0.05), battery(calm, None, 0.02)
    for test in ("independence", "Weibull durations", "dynamic quantile, 4 lags"):
        assert (found[test].p_value <= SIZE).mean() > 0.9
        assert (quiet[test].p_value <= SIZE).mean() < 0.2


def test_holes_are_closed_up_and_neighbours_do_not_matter() -> None:
    hits = some_hits(200, 8, 0.05)
    margins = 1.0 + np.random.default_rng(3).random(hits.shape)
    holes = np.asarray(np.random.default_rng(9).random(hits.shape[0]) < 0.2)
    margins[:, 6] = np.where(holes, np.nan, margins[:, 6])
    hits[holes, 6] = False
    together = battery(hits, margins, 0.05)
    alone = battery(hits[~holes, 6], margins[~holes, 6], 0.05)
    assert together.n.tolist() == [200] * 6 + [int((~holes).sum()), 200]
    for figure in ("statistic", "asymptotic", "p_value", "power", "testable"):
        np.testing.assert_allclose(getattr(together, figure)[:, 6], getattr(alone, figure)[:, 0], rtol=1e-12)
    for figure in ("statistic", "p_value", "power"):
        straight, turned = getattr(together, figure), getattr(battery(hits[:, ::-1], margins[:, ::-1], 0.05), figure)
        np.testing.assert_array_equal(straight, turned[:, ::-1])


def test_the_table_has_a_row_for_each_portfolio_and_test() -> None:
    told = battery(some_hits(250, 6, 0.01), None, 0.01)
    table = told.to_frame(["a", "b", "c", "d", "e", "f"])
    assert len(table) == 6 * (len(TESTS) + 1)
    assert table.xs("independence", level="test")["p_value"].tolist() == told["independence"].p_value.tolist()
    assert table.xs("c", level="portfolio")["p_value"].tolist() == told.p_value[:, 2].tolist()
    assert not table.isna().any(axis=None)
    assert table["method"].str.contains("exact|simulated").all()


def test_ties_are_broken_by_the_seed_and_by_nothing_else() -> None:
    hits = some_hits(250, 6, 0.01)
    one, again, other = (battery(hits, None, 0.01, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.randomised, again.randomised)
    assert (one.randomised != other.randomised).any()
    np.testing.assert_array_equal(one.p_value, other.p_value)


@pytest.mark.parametrize(
    ("hits", "margins", "rate", "said"),
    [
        (np.array([0, 2, 1]), None, 0.01, "zeros and ones"),
        (np.array([0, np.nan, 1]), None, 0.01, "zeros and ones"),
        (np.zeros((2, 2, 2)), None, 0.01, "zeros and ones"),
        (np.zeros(5), None, 0.0, "rate must lie"),
        (np.zeros(5), np.ones(4), 0.01, "shaped as hits"),
        (np.zeros(5), np.full(5, np.inf), 0.01, "not infinite"),
        (np.ones(5), np.full(5, np.nan), 0.01, "a hit needs a margin, got NaN at"),
    ],
)
def test_what_cannot_be_tested_is_refused(hits: Floats, margins: Floats | None, rate: float, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        battery(hits, margins, rate)


def test_a_wrong_lag_margin_and_name_are_refused() -> None:
    hits = np.zeros((20, 2), dtype=bool)
    with pytest.raises(ParameterError, match="lags must be at least 1, got 0"):
        dynamic_quantile(hits, None, 0.01, lags=0)
    with pytest.raises(ParameterError, match="finite and shaped as hits"):
        dynamic_quantile(hits, np.full((20, 2), np.nan), 0.01)
    with pytest.raises(ParameterError, match="no test 'pof' in this battery"):
        battery(hits, None, 0.01)["pof"]


def test_bunchings_beyond_all_that_are_enumerated_are_unlikely_and_not_impossible() -> None:
    hits = np.zeros((250, 2), dtype=bool)
    hits[::2, 0] = hits[:60, 1] = True
    told = battery(hits, None, 0.01)
    for test in (INDEPENDENCE, CONDITIONAL_COVERAGE):
        p_value = told[test.name].p_value
        assert (p_value >= LEFT_OUT * 0.999).all()
        assert p_value.min() < 1e-9
        assert (told[test.name].randomised > 0.0).all()
        assert "upper bound" in told[test.name].notes


def test_ties_are_broken_by_place_so_that_books_without_a_breach_are_not_rejected_together() -> None:
    told = battery(np.zeros((250, 2_000), dtype=bool), None, 0.01)[KUPIEC.name]
    assert np.ptp(told.p_value) == 0.0
    assert told.randomised.std() == pytest.approx(0.99**250 / np.sqrt(12.0), rel=0.05)
