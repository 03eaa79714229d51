"""Do the coverage tests give the published figures, and stay honest where there is little to count?"""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.breach_counts import exact_p_values, independence_ratio, pof_ratio, probabilities, rejected_by_bunching
from backtest.coverage_tests import (
    BASEL_1996,
    BASEL_MAR99,
    Transitions,
    basel_multiplier,
    conditional_coverage,
    count_transitions,
    independence,
    kupiec,
    kupiec_region,
    too_many,
    traffic_light,
    tuff,
)
from data import ParameterError

LENGTHS = st.integers(0, 400)
RATES = st.sampled_from([1e-6, 0.001, 0.01, 0.025, 0.05, 0.5, 0.99])


def brute_force_p_value(breaches: int, n: int, rate: float) -> float:
    """Sum over every sequence of breaches whose count is no likelier than the one found."""
    ratio = [float(pof_ratio(np.asarray(count), n, rate)) for count in range(n + 1)]
    as_extreme = [ratio[sum(days)] >= ratio[breaches] - 1e-12 for days in product((0, 1), repeat=n)]
    chance = [rate ** sum(days) * (1 - rate) ** (n - sum(days)) for days in product((0, 1), repeat=n)]
    return float(np.dot(as_extreme, chance))


def test_kupiec_gives_the_ratio_and_both_p_values_of_the_literature() -> None:
    exact, asymptotic = kupiec([0, 5], 250, 0.01), kupiec([0, 5], 250, 0.01, exact=False)
    np.testing.assert_allclose(exact.statistic, [5.025167926750726, 1.956809788230622], rtol=1e-12)
    np.testing.assert_allclose(exact.p_value, [0.0947599640173851, 0.1888708892585561], rtol=1e-11)
    np.testing.assert_allclose(asymptotic.p_value, [0.02498150305344973, 0.1618549171960387], rtol=1e-11)
    assert "exact" in exact.method
    assert "asymptotic" in asymptotic.method


@pytest.mark.parametrize(("n", "rate"), [(1, 0.3), (6, 0.5), (9, 0.1), (10, 0.25)])
def test_exact_p_values_are_sums_over_every_sequence(n: int, rate: float) -> None:
    expected = [brute_force_p_value(breaches, n, rate) for breaches in range(n + 1)]
    np.testing.assert_allclose(kupiec(np.arange(n + 1), n, rate).p_value, expected, rtol=1e-10)


def test_power_at_twice_the_rate_is_as_measured_by_simulation() -> None:
    lengths = np.array([250, 500, 1000])
    np.testing.assert_allclose(kupiec(0, lengths, 0.01, exact=False).power, [0.24, 0.54, 0.77], atol=0.015)
    exact = kupiec(0, lengths, 0.01).power
    np.testing.assert_allclose(exact, [0.23632704, 0.41699702, 0.70529178], rtol=1e-6)


def test_the_exact_test_keeps_its_size_where_the_asymptotic_one_does_not() -> None:
    def size(exact: bool) -> float:
        rejected = kupiec(np.arange(251), 250, 0.01, exact=exact).p_value <= 0.05
        return float(probabilities(250, 0.01)[rejected].sum())

    assert size(exact=True) == pytest.approx(0.014, abs=1e-3)
    assert size(exact=False) == pytest.approx(0.095, abs=1e-3)


def test_the_region_not_rejected_is_that_of_kupiecs_table() -> None:
    table = {(0.01, 252): (1, 6), (0.01, 510): (2, 10), (0.05, 252): (7, 19), (0.025, 1000): (16, 35)}
    assert {key: kupiec_region(key[1], key[0], exact=False) for key in table} == table


@pytest.mark.parametrize("exact", [True, False])
def test_the_region_is_what_the_p_values_say(exact: bool) -> None:
    low, high = kupiec_region(300, 0.02, exact=exact)
    p_value = kupiec(np.arange(301), 300, 0.02, exact=exact).p_value
    assert np.flatnonzero(p_value > 0.05).tolist() == list(range(low, high + 1))


@given(n=LENGTHS, share=st.floats(0, 1), rate=RATES)
def test_no_count_gives_anything_but_probabilities(n: int, share: float, rate: float) -> None:
    breaches = round(share * n)
    for verdict in (kupiec(breaches, n, rate), kupiec(breaches, n, rate, exact=False), too_many(breaches, n, rate)):
        assert np.isfinite(verdict.statistic)
        assert 0 <= verdict.p_value <= 1
        assert 0 <= verdict.power <= 1 + 1e-9
        assert bool(verdict.testable) == (n > 0)
    assert 0 <= traffic_light(breaches, n, rate).cumulative <= 1


def test_a_hundred_thousand_decisions_are_no_trouble() -> None:
    verdict = kupiec([0, 1000, 1200, 100_000], 100_000, 0.01)
    assert np.isfinite(verdict.statistic).all()
    assert verdict.p_value[0] == verdict.p_value[3] == 0
    assert verdict.p_value[1] == pytest.approx(1, abs=1e-9)
    assert verdict.power[0] == pytest.approx(1, abs=1e-9)
    assert conditional_coverage(1000, 100_000, Transitions(98_009, 990, 990, 10), 0.01).power <= 1


def test_portfolios_are_judged_each_by_its_own_length() -> None:
    together = kupiec([1, 5, 0], [100, 250, 0], 0.01)
    apart = [kupiec(x, n, 0.01) for x, n in ((1, 100), (5, 250), (0, 0))]
    np.testing.assert_array_equal(together.p_value, [verdict.p_value for verdict in apart])
    np.testing.assert_array_equal(together.power, [verdict.power for verdict in apart])
    assert together.testable.tolist() == [True, True, False]


@pytest.mark.parametrize(
    "wrong", [(5, 4, 0.01), (-1, 4, 0.01), (1.5, 4, 0.01), (1, np.nan, 0.01), (1, 4, 0.0), (1, 4, 1.0)]
)
def test_impossible_counts_are_refused(wrong: tuple[float, float, float]) -> None:
    for test in (kupiec, too_many, traffic_light):
        with pytest.raises(ParameterError, match=r"breaches|rate|n must"):
            test(*wrong)


def test_tuff_gives_the_published_ratio_and_rounding() -> None:
    assert tuff(58, 0.05).statistic == pytest.approx(1.7353554170428183, rel=1e-12)
    assert tuff(100, 0.01).p_value == pytest.approx(0.999999979406944, rel=1e-12)
    assert tuff(1, 0.05).statistic == pytest.approx(-2 * np.log(0.05), rel=1e-12)


def test_tuff_without_a_breach_tests_nothing() -> None:
    verdict = tuff([0, 7], 0.01)
    assert verdict.testable.tolist() == [False, True]
    assert verdict.p_value[0] == 1


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 0.9])
def test_tuff_power_is_the_chance_of_a_rejected_first_breach(rate: float) -> None:
    first = np.arange(1, 4000)
    verdict = tuff(first, rate)
    chance = np.minimum(2 * rate, 1) * (1 - np.minimum(2 * rate, 1)) ** (first - 1.0)
    assert verdict.power[0] == pytest.approx(chance[verdict.p_value <= 0.05].sum(), abs=1e-9)


def test_christoffersen_gives_the_published_ratios() -> None:
    table = Transitions(932, 53, 53, 4)
    alone, both = independence(table, 0.05), conditional_coverage(57, 1043, table, 0.05)
    assert alone.statistic == pytest.approx(0.25866315258576833, rel=1e-10)
    assert alone.p_value == pytest.approx(0.6110400778479612, rel=1e-10)
    assert both.statistic == pytest.approx(0.7201295479147518, rel=1e-10)
    assert both.p_value == pytest.approx(0.6976311362780008, rel=1e-10)


def test_independence_without_breaches_cannot_be_tested() -> None:
    nothing = independence(Transitions([249, 0, 200], [0, 0, 20], [0, 0, 20], [0, 249, 9]), 0.01)
    assert nothing.testable.tolist() == [False, False, True]
    assert nothing.p_value[:2].tolist() == [1, 1]
    assert nothing.statistic[:2].tolist() == [0, 0]
    assert not conditional_coverage(0, 250, Transitions(249, 0, 0, 0), 0.01).testable


@pytest.mark.parametrize(("n", "rate"), [(1, 0.3), (2, 0.5), (7, 0.2), (11, 0.4)])
def test_bunching_is_enumerated_as_every_sequence_would(n: int, rate: float) -> None:
    days = np.array(list(product((False, True), repeat=n))).T
    breaches = days.sum(axis=0)
    counts = [np.asarray(count) for count in count_transitions(days)]
    chance = rate**breaches * (1 - rate) ** (n - breaches)
    alone = independence_ratio(*counts)
    both = alone + pof_ratio(breaches, n, 0.1)
    expected = chance[alone > 3.841458820694124].sum(), chance[both > 5.991464547107979].sum()
    assert rejected_by_bunching(n, 0.1, rate, 0.05) == pytest.approx(expected, abs=1e-12)


def test_christoffersen_sizes_are_as_measured_by_simulation() -> None:
    sizes = [rejected_by_bunching(n, 0.01, 0.01, 0.05) for n in (250, 500, 1000)]
    # 4,000 repetitions leave a standard error of 0.25 %.
    np.testing.assert_allclose(sizes, [(0.013, 0.006), (0.012, 0.017), (0.020, 0.024)], atol=0.006)


def test_transitions_are_counted_forwards() -> None:
    days = np.array([[1, 0], [1, 0], [0, 0], [0, 1]], dtype=bool)
    counted = count_transitions(days)
    assert [np.asarray(count).tolist() for count in counted] == [[1, 2], [0, 1], [1, 0], [1, 0]]


def test_basel_zones_and_multipliers_are_those_of_the_tables() -> None:
    light = traffic_light(np.arange(12), 250, 0.01)
    assert light.zone.tolist() == ["green"] * 5 + ["yellow"] * 5 + ["red"] * 2
    assert light.cumulative[4] == pytest.approx(0.8921876269036251, rel=1e-12)
    assert light.power[0] == pytest.approx(1 - probabilities(250, 0.02)[:5].sum(), rel=1e-9)
    assert basel_multiplier([4, 5, 9, 10, 30], BASEL_1996).tolist() == [3, 3.4, 3.85, 4, 4]
    assert basel_multiplier([4, 5, 9, 10, 30], BASEL_MAR99).tolist() == [1.5, 1.7, 1.92, 2, 2]


def test_one_sided_test_rejects_only_too_many() -> None:
    verdict = too_many([0, 5, 7], 250, 0.01)
    assert verdict.p_value[0] == 1
    assert verdict.p_value[1] == pytest.approx(0.1078123730963749, rel=1e-11)
    assert verdict.power[0] == pytest.approx(probabilities(250, 0.02)[6:].sum(), rel=1e-9)


def test_tables_are_remembered_and_not_changed_by_their_reader() -> None:
    before = exact_p_values(50, 0.1).copy()
    kupiec([1, 2], 50, 0.1).p_value[:] = 7
    np.testing.assert_array_equal(exact_p_values(50, 0.1), before)


def test_a_count_as_likely_as_the_size_is_rejected_whatever_its_rounding() -> None:
    for rate in (0.05, 0.01, 0.02):
        told = kupiec(1, 1, rate)
        assert told.p_value == pytest.approx(rate)
        assert told.power == pytest.approx(2 * rate)
        assert kupiec_region(1, rate) == (0, 0)
