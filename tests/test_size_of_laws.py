"""Are the sizes and powers of tests of tails and laws those that the tests themselves tell of?"""

from typing import Any

import numpy as np
import pytest

from backtest.coverage_tests import Verdict
from backtest.shortfall_tests import acerbi_szekely_1
from backtest.size_of_laws import HEAVY, RIGHT, TESTS, LawTest, TailPanel, size_of_laws, tail_panel, too_thin
from backtest.tail_hits import quantile_of
from data import ParameterError
from data.laws import unit_tail

BY_NAME = {test.name: test for test in TESTS}
QUICK = [BY_NAME[name] for name in ("Acerbi-Szekely Z1", "Acerbi-Szekely Z2", "McNeil-Frey residuals", "Berkowitz")]


def test_sizes_hold_and_powers_are_those_that_verdicts_print() -> None:
    table = size_of_laws((250,), 0.01, 2_000, 5, tests=QUICK)
    assert table["holds"].all(), table
    by_test: Any = table.reset_index("n").to_dict("index")
    panel = tail_panel(250, 500, 0.01, RIGHT, 1)
    for test in QUICK:
        printed = float(test.judge(panel).power[0])
        assert by_test[test.name]["power"] == pytest.approx(printed, abs=0.09), test.name
    none = 0.99**250
    assert by_test["Acerbi-Szekely Z1"]["undefined"] == pytest.approx(none, abs=0.02)
    assert by_test["McNeil-Frey residuals"]["undefined"] == pytest.approx(none + 250 * 0.01 * 0.99**249, abs=0.03)
    assert by_test["Acerbi-Szekely Z1"]["power_of_tail"] > 0.3
    assert np.isnan(by_test["Acerbi-Szekely Z1"]["size_asymptotic"])
    assert by_test["Berkowitz"]["size_asymptotic"] == pytest.approx(0.05, abs=0.02)


def test_a_law_as_a_sample_is_judged_on_fewer() -> None:
    z3 = BY_NAME["Acerbi-Szekely Z3"]
    table = size_of_laws((100,), 0.05, 500, 5, tests=[z3])
    row: Any = table.to_dict("records")[0]
    assert row["repetitions"] == 50
    assert row["undefined"] == 0
    assert row["holds"]
    assert row["power"] > row["size"]


def test_a_test_that_rejects_too_often_does_not_hold() -> None:
    def eager(panel: TailPanel) -> Verdict:
        told = acerbi_szekely_1(panel.loss, panel.var, panel.es, panel.rate)
        return Verdict(told.statistic, 0.5 * told.p_value, told.power, told.testable, "", "")

    table = size_of_laws((250,), 0.05, 1_000, 5, tests=[LawTest("eager", eager)])
    assert table["size"].item() == pytest.approx(0.10, abs=0.03)
    assert not table["holds"].any()


def test_cells_are_the_middles_of_the_law() -> None:
    panel = tail_panel(50, 20, 0.05, RIGHT, 3, cells=40)
    assert panel.sample.shape == (50, 20, 40)
    assert (np.isclose(panel.sample, panel.loss[..., None], rtol=1e-9, atol=1e-12).sum(axis=-1) == 1).all()
    heavy = tail_panel(50, 20, 0.05, too_thin(0.05), 3, cells=40)
    ranks = np.unique(np.round(heavy.loss / heavy.deviation, 9))
    told = too_thin(0.05).scale * quantile_of((np.arange(40) + 0.5) / 40, HEAVY)
    np.testing.assert_allclose(ranks, np.round(np.sort(told), 9))


def test_the_thin_tail_understates_what_lies_beyond() -> None:
    truth = too_thin(0.01)
    var, es = unit_tail(0.99)
    heavy_var, heavy_es = unit_tail(0.99, HEAVY)
    assert truth.scale * heavy_var == pytest.approx(var)
    assert truth.scale * heavy_es == pytest.approx(1.2161 * es, rel=1e-3)


@pytest.mark.parametrize(
    ("ns", "rate", "repetitions"), [((), 0.01, 1), ((0,), 0.01, 1), ((9,), 0.2, 1), ((9,), 0.01, 0)]
)
def test_a_study_of_nothing_is_refused(ns: tuple[int, ...], rate: float, repetitions: int) -> None:
    with pytest.raises(ParameterError):
        size_of_laws(ns, rate, repetitions, 1)
