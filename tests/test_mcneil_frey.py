"""Are published counts and estimates reproduced on the very series that they were published of?"""

from dataclasses import replace

import numpy as np
import pytest

from golden_cases import OWN, REFERENCE_SERIES, Case, check, read_folder
from golden_served import SERVED
from golden_tails import mcneil_frey_backtest
from margin_models.volatility.garch import fit_garch, mean_square

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not REFERENCE_SERIES.is_dir(), reason=f"{REFERENCE_SERIES} is absent"),
]
# McNeil and Frey (2000), J. Empirical Finance 7, backtests at 95, 99 and 99.5 %: S&P 500, 1960-1993.
SP500 = {"conditional_EVT": [366, 73, 43], "unconditional_EVT": [402, 86, 50]}


def bmw() -> Case:
    """The case as published, of 5,146 refits."""
    (case,) = (case for case in read_folder(OWN, SERVED.keys()) if (case.family, case.id) == (FAMILY, "BMW"))
    return case


FAMILY = "mcneil_frey_2000_backtest"


def test_bmw_breaches_are_those_of_mcneil_and_frey() -> None:
    case = bmw()
    assert {"published", "own_violations", "accept_abs"} <= case.expected.keys()
    check(case, mcneil_frey_backtest(case))


def test_sp500_breaches_are_those_of_mcneil_and_frey() -> None:
    """Within what the case of the other series accepts, and 7,414 of them."""
    accepted = bmw().expected["accept_abs"]
    expected = {"n_test": 7414, "published": SP500, "accept_abs": accepted}
    case = replace(bmw(), inputs=dict(bmw().inputs) | {"data": "data/sp500_1960_1993_levels.csv"}, expected=expected)
    told = mcneil_frey_backtest(case)
    check(case, told)
    counts, due = told["own_violations"], 7414 * np.array([0.05, 0.01, 0.005])
    astray = {name: np.abs(count - due)[1:] for name, count in counts.items()}
    assert (astray["conditional_EVT"] < astray["conditional_normal"]).all()  # what the paper is about
    assert (astray["conditional_EVT"] < astray["unconditional_EVT"]).all()


def test_garch_of_marks_and_pounds_to_four_digits() -> None:
    """Bollerslev and Ghysels (1996); Fiorentini, Calzolari and Panattoni (1996): h0 is the mean squared residual."""
    case = replace(bmw(), inputs={}, expected={})
    (returns,) = case.table("data/dmbp.csv").values()
    assert len(returns) == 1974
    fit = fit_garch(returns, constant_mean=True, backcast=mean_square)
    published = {"mu": -0.00619041, "omega": 0.0107613, "alpha[1]": 0.153134, "beta[1]": 0.805974}
    for name, value in published.items():
        assert abs(fit.parameters[name] / value - 1.0) < 1e-4, name
    assert fit.loglikelihood == pytest.approx(-1106.607881, abs=1e-5)
