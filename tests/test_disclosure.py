"""Does the supervisors' table say what a replay holds?"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from backtest import Replay, replay
from backtest.disclosure import ALL_BOOKS, FIELDS, FIELDS_NOTE, disclose
from data import Coverage, HistoryError, ParameterError
from margin_models import CorrelationVaR
from markets import some_books, two_coins


def by_hand(loss: list[list[float]], margin: float = 1.0, horizon: int = 1) -> Replay:
    """Daily decisions of two books that post `margin`."""
    lost = np.array(loss)
    time = pd.date_range("2024-01-01", periods=len(lost)).to_numpy()
    asked = np.where(np.isnan(lost), np.nan, margin)
    end = time + np.timedelta64(horizon, "D")
    return Replay("mine", Coverage(0.99, f"{horizon}D"), time, end, ("a", "b"), asked, asked, lost, lost)


HELD = [[0.0, 3.0], [2.0, np.nan], [1.5, 0.0], [0.0, 1.0]]


def test_figures_by_hand() -> None:
    table = disclose(by_hand(HELD)).to_frame()
    assert table["breaches"].to_list() == [2, 1, 3]
    assert table["observations"].to_list() == [4, 3, 7]
    assert table["achieved coverage"].to_numpy() == pytest.approx([0.5, 2 / 3, 4 / 7])
    assert table["average uncovered"].to_numpy() == pytest.approx([0.75, 2.0, 3.5 / 3])
    assert table["peak uncovered"].to_numpy() == pytest.approx([1.0, 2.0, 2.0])
    assert table.index.to_list() == ["a", "b", ALL_BOOKS]


def test_aggregate_by_date_by_hand() -> None:
    told = disclose(by_hand(HELD)).by_date()
    assert told["books"].to_list() == [2, 1, 2, 2]
    assert told["books in breach"].to_list() == [1, 1, 1, 0]
    assert told["margin"].to_list() == [2.0, 1.0, 2.0, 2.0]
    assert told["uncovered"].to_numpy() == pytest.approx([2.0, 1.0, 0.5, 0.0])
    assert told["peak uncovered"].to_numpy() == pytest.approx([2.0, 1.0, 0.5, 0.0])
    assert told["achieved coverage"].to_numpy() == pytest.approx([0.5, 0.0, 0.5, 1.0])


@pytest.mark.parametrize(("breaches", "zone"), [(4, "green"), (5, "yellow"), (9, "yellow"), (10, "red")])
def test_the_light_of_250_days(breaches: int, zone: str) -> None:
    loss = np.zeros((250, 2))
    loss[:breaches, 0] = 2.0
    assert disclose(by_hand(loss.tolist())).zone.tolist() == [zone, "green"]


def test_the_light_is_read_from_horizons_that_do_not_overlap() -> None:
    loss = np.zeros((500, 2))
    loss[:8, 0] = 2.0
    told = disclose(by_hand(loss.tolist(), horizon=2))
    assert (told.breaches[0], told.trial_breaches[0], told.trials[0]) == (8, 4, 250)
    assert told.zone[0] == "green"


def test_the_last_months_alone() -> None:
    loss = np.zeros((400, 2))
    loss[0], loss[-1] = 5.0, 2.0
    whole, year = disclose(by_hand(loss.tolist())), disclose(by_hand(loss.tolist()), months=12)
    assert whole.to_frame().loc[ALL_BOOKS, "breaches"] == 4
    assert year.to_frame().loc[ALL_BOOKS, "breaches"] == 2
    assert year.to_frame().loc[ALL_BOOKS, "peak uncovered"] == 1.0
    assert len(year.time) in (365, 366)
    assert year.first > whole.first


def test_a_replay_is_disclosed_as_its_summary_says() -> None:
    run = replay(CorrelationVaR(), two_coins(), some_books(), Coverage(0.9), window=200, refit_every=50)
    told = disclose(run).to_frame()
    summary = run.summary()
    books = told.drop(index=ALL_BOOKS)
    assert books["breaches"].to_list() == summary["breaches"].to_list()
    np.testing.assert_allclose(books["peak uncovered"], summary["peak shortfall"])
    np.testing.assert_allclose(
        books["average uncovered"] * books["breaches"], summary["mean shortfall"] * summary["decisions"], atol=1e-12
    )
    assert told["achieved coverage"].isna().to_list() == [name == "empty" for name in told.index]
    assert told.loc["empty", "zone"] == ""
    assert told.loc[ALL_BOOKS, "observations"] == summary["decisions"].sum()


def test_fields_are_marked_as_from_memory() -> None:
    told = disclose(by_hand(HELD))
    assert told.fields().index.str.endswith("[M]").all()
    assert told.fields()["quantity"].to_list() == list(FIELDS)
    assert told.fields().loc["6.5.5 [M]", "value"] == 2.0
    assert "[M]" in FIELDS_NOTE
    page = replace(told, model="<b>")._repr_html_()
    assert FIELDS_NOTE in page
    assert "&lt;b&gt;" in page


def test_bad_input_is_refused() -> None:
    with pytest.raises(ParameterError, match="months"):
        disclose(by_hand(HELD), months=0)
    with pytest.raises(HistoryError, match="with a position"):
        disclose(by_hand([[np.nan, np.nan]] * 3))


@pytest.mark.parametrize("asked", [np.nan, np.inf])
def test_a_loss_without_a_margin_is_refused(asked: float) -> None:
    told = by_hand(HELD)
    initial = told.initial.copy()
    initial[1, 0] = asked
    with pytest.raises(ParameterError, match=r"got (nan|inf) for 2.0 in row 1, a \(1 pairs\)"):
        disclose(replace(told, initial=initial))
    initial[1, 0], initial[1, 1] = 1.0, asked  # nothing was held
    assert disclose(replace(told, initial=initial)).observations.tolist() == [4, 3]
    endless = np.where(np.isnan(told.loss), np.inf, told.loss)
    with pytest.raises(ParameterError, match="finite margin for every loss"):
        disclose(replace(told, loss_end=endless, loss_worst=endless))
