"""Does evidence against a right model stay as rare as promised in the study, and its table say what the paths do?"""

import math
from typing import Any

import numpy as np
import pytest

from backtest.e_backtests import evidence_path
from backtest.size_of_evidence import ALPHAS, size_of_evidence
from backtest.size_of_laws import RIGHT, Truth, tail_panel, too_small, too_thin
from backtest.stakes import Constant, Gree, Grel
from data import ParameterError

FAST = (Constant(), Constant(0.05), Gree())


def test_evidence_against_a_right_model_is_never_more_frequent_than_promised() -> None:
    table = size_of_evidence((100, 250), 0.05, 2_000, 3, stakes=FAST)
    assert table["holds"].all(), table
    assert (table["share"] <= table["alpha"] + 3 * np.sqrt(table["alpha"] * (1 - table["alpha"]) / 2_000)).all()
    longer, shorter = table.loc[250], table.loc[100]
    assert (longer["share"] >= shorter["share"]).all()  # the same paths, longer
    assert (
        table["share"].groupby(["n", "evidence", "stake"]).diff().dropna() <= 0
    ).all()  # a higher threshold is rarer
    assert table["share"].max() > 0.25  # or the promise would not be put to the test
    es = longer.xs("ES", level="evidence").xs(20.0, level="threshold")
    assert (es["power"] > 0.5).all()
    assert (es["power_of_tail"] > 3 * es["share"]).all()
    assert es["median_day"].between(1, 250).all()


def test_a_wrong_promise_is_told() -> None:
    """Bets at a rate of 5 % on margins that breach at 10 %: as the study's own wrong model."""
    table = size_of_evidence((250,), 0.05, 500, 3, stakes=(Gree(),))
    wrong = table["power"].to_numpy()
    reach = table["alpha"] + 3 * np.sqrt(table["alpha"] * (1 - table["alpha"]) / 100)
    assert (wrong > reach).any()


def test_the_table_is_what_the_paths_tell() -> None:
    table = size_of_evidence((60, 120), 0.05, 40, 9, stakes=(Gree(), Grel()))
    told: Any = table.to_dict("index")
    for stake, paths in ((Gree(), 40), (Grel(), 10)):
        panel = tail_panel(120, 40, 0.05, RIGHT, (9, 0))
        es = panel.es[:60, :paths]
        path = evidence_path(panel.loss[:60, :paths], panel.var[:60, :paths], 0.05, es=es, stake=stake)
        for alpha in ALPHAS:
            row = told[(60, "ES", str(stake), 1.0 / alpha)]
            assert row["share"] == (path.highest >= 1.0 / alpha).mean()
            assert row["repetitions"] == paths
        small = tail_panel(120, 8, 0.05, too_small(0.05), (10, 0))
        few = max(paths // 5, 1) if isinstance(stake, Gree) else 2
        days = evidence_path(small.loss[:, :few], small.var[:, :few], 0.05, stake=stake).first_day(2.0)
        row = told[(120, "VaR", str(stake), 2.0)]
        assert row["power"] == (days > 0).mean()
        median = np.median(days[days > 0]) if (days > 0).any() else math.nan
        assert row["median_day"] == pytest.approx(median, nan_ok=True)


@pytest.mark.parametrize("truth", [RIGHT, too_small(0.05), too_thin(0.05)], ids=["right", "small", "thin"])
def test_the_truths_are_what_they_say(truth: Truth) -> None:
    panel = tail_panel(500, 1_000, 0.05, truth, 5)
    hit = panel.loss > panel.var
    assert hit.mean() == pytest.approx(0.10 if truth == too_small(0.05) else 0.05, abs=0.001)
    assert (hit[1:] & hit[:-1]).mean() == pytest.approx(hit.mean() ** 2, abs=0.0003)
    beyond = (panel.loss / panel.es)[hit].mean()
    assert beyond == pytest.approx(1.0, abs=0.01) if truth == RIGHT else beyond > 1.015
    assert (panel.pit[hit] < 0.05).all()
    assert (panel.deviation.max(axis=0) > 1.2 * panel.deviation.min(axis=0)).all()


@pytest.mark.parametrize(
    ("ns", "rate", "repetitions"), [((), 0.01, 1), ((0,), 0.01, 1), ((9,), 0.2, 1), ((9,), 0.01, 0)]
)
def test_a_study_of_nothing_is_refused(ns: tuple[int, ...], rate: float, repetitions: int) -> None:
    with pytest.raises(ParameterError):
        size_of_evidence(ns, rate, repetitions, 1)
