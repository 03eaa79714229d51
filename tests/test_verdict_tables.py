"""Do verdicts carry their power, and is a model without a law said to have none?"""

from dataclasses import replace

import numpy as np
import pytest

from backtest.replay import Replay
from backtest.tail_path import TailPath
from data import Coverage
from data.laws import unit_tail
from research.verdict_tables import law_tests, some_books, verdict_in_words


def run(rows: int = 500) -> Replay:
    """Standard normal losses of three books, charged their true 95 % quantile."""
    loss = np.random.default_rng(7).standard_normal((rows, 3))
    time = np.datetime64("2020-01-01", "ns") + np.arange(rows) * np.timedelta64(1, "D")
    margin = np.full(loss.shape, unit_tail(0.95)[0])
    end = np.asarray(time + np.timedelta64(1, "D"))
    return Replay("model", Coverage(0.95), time, end, ("a", "b", "c"), margin, margin, loss, loss)


def stating(es: float) -> Replay:
    """The same, with a law of the right quantile and that expected shortfall."""
    told = run()
    return replace(told, tail=TailPath(told.initial, np.full(told.loss.shape, es), np.full(told.loss.shape, np.nan)))


@pytest.mark.parametrize(
    ("p_value", "power", "many", "words"),
    [
        (0.30, 0.24, False, "not rejected; power 24 %: no evidence"),
        (0.30, 0.54, True, "not rejected; power 54 %: weak evidence"),
        (0.30, 0.97, True, "not rejected; power 97 %"),
        (0.01, 0.24, True, "rejected: too many breaches"),
        (0.01, 0.97, False, "rejected: too few breaches"),
    ],
)
def test_a_verdict_carries_its_power(p_value: float, power: float, many: bool, words: str) -> None:
    assert verdict_in_words(p_value, power, many) == words


def test_some_books_are_cut_out_with_their_laws() -> None:
    told = some_books(stating(2.0), ["c", "a"])
    assert told.portfolios == ("c", "a")
    np.testing.assert_array_equal(told.loss, run().loss[:, [2, 0]])
    assert told.tail is not None
    assert told.tail.es.shape == (500, 2)
    assert some_books(run(), ["b"]).tail is None


def test_a_right_law_stands_a_halved_shortfall_falls_and_no_law_is_said() -> None:
    right = unit_tail(0.95)[1]
    short = unit_tail(0.95)[0] + 0.3 * (right - unit_tail(0.95)[0])
    told = law_tests({"right": stating(right), "short": stating(short), "none": run()}, ["a", "b"])
    cells = {name: dict(zip(told["law_tests"], row, strict=True)) for name, row in told["laws"].items()}
    assert cells["right"]["McNeil-Frey exceedance residuals"]["words"] == "0 of 2"
    assert cells["short"]["McNeil-Frey exceedance residuals"]["words"] == "2 of 2"
    assert cells["right"]["Berkowitz"]["words"] == "no distribution"
    assert cells["short"]["McNeil-Frey exceedance residuals"]["figures"][1].startswith("power ")
    assert {cell["words"] for cell in cells["none"].values()} == {"no law"}


def test_where_no_model_states_a_law_there_is_no_table() -> None:
    assert law_tests({"none": run()}, ["a"]) == {"law_tests": [], "laws": {}}
