"""Do results show themselves: in words, as a table, as a picture?"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from backtest import Comparison, compare, score
from backtest.law_plots import known_pits
from backtest.path_plots import rolling_coverage
from backtest.procyclicality import procyclicality
from data import Coverage, HistoryError, MarketHistory, ModelError, ParameterError
from margin_models import HistoricalVaR, Requirement, StaticMargin
from markets import market, two_coins

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@pytest.fixture(autouse=True)
def off_screen() -> Iterator[None]:
    from matplotlib import pyplot

    matplotlib.use("Agg")
    yield
    pyplot.close("all")


@cache
def told() -> Comparison:
    models = {"static": StaticMargin(), "historical": HistoricalVaR()}
    return compare(models, two_coins(), coverage=Coverage(0.95), window=150, refit_every=60, progress=False)


def requirement() -> Requirement:
    initial = np.array([3.0, 5.0, 0.0])
    parts = {
        "scan": np.array([4.0, 2.0, 0.0]),
        "offset": np.array([-1.0, 0.0, 0.0]),
        "floor": np.array([0.0, 3.0, 0.0]),
    }
    return Requirement(("a", "b", "empty"), initial, initial, parts, ("down", "up", ""))


PICTURES: dict[str, Callable[["Axes | None"], "Axes"]] = {
    "replay.margin": lambda ax: told()["historical"].plot.margin(ax=ax),
    "replay.breaches": lambda ax: told()["historical"].plot.breaches(ax=ax),
    "replay.coverage": lambda ax: told()["historical"].plot.coverage(ax=ax),
    "replay.procyclicality": lambda ax: told()["historical"].plot.procyclicality(ax=ax),
    "replay.pit": lambda ax: told()["historical"].plot.pit(ax=ax),
    "replay.qq": lambda ax: told()["historical"].plot.qq(ax=ax),
    "comparison.ranking": lambda ax: told().plot.ranking(ax=ax),
    "comparison.frontier": lambda ax: told().plot.frontier(ax=ax),
    "comparison.coverage": lambda ax: told().plot.coverage(ax=ax),
    "comparison.procyclicality": lambda ax: told().plot.procyclicality(ax=ax),
    "comparison.margin": lambda ax: told().plot.margin("static", ax=ax),
    "scorecard.coverage": lambda ax: told().scores["static"].plot.coverage(ax=ax),
    "scorecard.margin": lambda ax: told().scores["static"].plot.margin(ax=ax),
    "requirement.components": lambda ax: requirement().plot.components(ax=ax),
    "history.prices": lambda ax: two_coins().plot.prices(ax=ax),
    "history.drawdown": lambda ax: two_coins().plot.drawdown(ax=ax),
    "history.correlation": lambda ax: two_coins().plot.correlation(ax=ax),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_on_the_axes_given_and_on_new_ones_and_has_something_in_it(name: str) -> None:
    from matplotlib import pyplot

    given = pyplot.subplots()[1]
    assert PICTURES[name](given) is given
    assert given.has_data()
    assert given.get_xlabel() or given.get_ylabel() or given.get_title()
    fresh = PICTURES[name](None)
    assert fresh is not given
    fresh.figure.canvas.draw()


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (lambda: told(), "ranking frontier coverage procyclicality margin"),
        (lambda: told()["static"], "margin breaches coverage procyclicality pit qq"),
        (lambda: told().scores["static"], "coverage margin"),
        (requirement, "components"),
        (two_coins, "prices drawdown correlation"),
    ],
    ids=["Comparison", "Replay", "Scorecard", "Requirement", "MarketHistory"],
)
def test_a_result_shows_itself_in_every_way(result: Callable[[], Any], names: str) -> None:
    shown = result()
    assert "<table" in shown._repr_html_()
    assert isinstance(shown.summary(), pd.DataFrame)
    assert len(shown.to_frame())
    assert repr(shown.plot) == ".plot: " + ", ".join(names.split())
    assert all(callable(getattr(shown.plot, name)) for name in names.split())


def test_a_replay_as_a_table_has_each_decision_of_each_book_that_held_something() -> None:
    run = told()["static"]
    table = run.to_frame()
    assert len(table) == run.live.sum()
    one = table.xs(run.portfolios[1], level="portfolio")
    expected = run.book(run.portfolios[1]).dropna()
    assert_allclose(one[["initial", "loss", "shortfall"]], expected[["initial", "loss", "shortfall"]])
    assert table["breached"].sum() == run.breached.sum()


def test_rolling_coverage_is_that_of_the_latest_decisions() -> None:
    run = told()["static"]
    covered = rolling_coverage(run, 40)
    assert len(covered) == len(run.time) - 39
    assert covered.iloc[-1] == pytest.approx(1.0 - run.breached[-40:].sum() / run.live[-40:].sum())
    assert covered.index[-1] == pd.Timestamp(run.time[-1], tz="UTC")
    for wrong in (0, len(run.time) + 1):
        with pytest.raises(ParameterError, match="decisions must lie in"):
            rolling_coverage(run, wrong)


def test_the_picture_of_breaches_has_their_share() -> None:
    run = told()["static"]
    lines: Any = told()["static"].plot.breaches().collections[0]
    top = np.array([segment[1, 1] for segment in lines.get_segments()])
    assert_allclose(top, 100.0 * run.breached.sum(axis=1) / run.live.sum(axis=1))


def test_the_swing_is_named_as_it_is_measured() -> None:
    run = told()["historical"]
    name = run.portfolios[0]
    figures = procyclicality(run, (7,)).loc[name]
    title = run.plot.procyclicality(name, 7).get_title()
    assert (
        f"peak to trough {figures['peak_to_trough']:.1f}, largest call in 7 days {100 * figures['call_7d']:.1f} %"
        in title
    )


def test_pits_are_those_of_disjoint_horizons_and_need_a_law() -> None:
    run = told()["historical"]
    assert run.tail is not None
    name = run.portfolios[0]
    assert_allclose(known_pits(run, name), run.tail.pit[run.disjoint, 0])
    bars: list[Any] = list(run.plot.pit(name, bins=10).patches[:10])
    assert sum(bar.get_height() for bar in bars) == len(run.disjoint)
    with pytest.raises(ModelError, match="static must state a law"):
        told()["static"].plot.pit()
    with pytest.raises(ParameterError, match="no portfolio 'other'"):
        run.plot.qq("other")
    with pytest.raises(ParameterError, match="bins must be"):
        run.plot.pit(bins=1)


def test_a_qq_of_a_law_that_holds_too_little_of_the_tail_lies_above_the_line() -> None:
    run = told()["historical"]
    ax = run.plot.qq(run.portfolios[0])
    seen, said = (np.asarray(values, dtype=float) for values in ax.lines[1].get_data())
    assert_allclose(seen, (np.arange(len(run.disjoint)) + 0.5) / len(run.disjoint))
    assert np.all(np.diff(said) >= 0)


def test_components_are_stacked_to_the_requirement_largest_first() -> None:
    ax = requirement().plot.components(most=2)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "a"]
    bars: list[Any] = list(ax.patches)
    right = dict.fromkeys((0, 1), 0.0)
    for bar in bars:
        right[round(bar.get_y() + bar.get_height() / 2)] += bar.get_width()
    assert right == pytest.approx({0: 5.0, 1: 3.0})
    with pytest.raises(ParameterError, match="most must be"):
        requirement().plot.components(0)


def test_a_requirement_names_its_largest_component() -> None:
    table = requirement().summary()
    assert table["largest component"].tolist()[:2] == ["scan", "floor"]
    assert table["its share"].tolist()[:2] == pytest.approx([4 / 3, 3 / 5])
    assert np.isnan(table["its share"].iloc[2])
    assert table["worst"].tolist() == ["down", "up", ""]
    assert list(Requirement((), np.empty(0), np.empty(0), {"margin": np.empty(0)}).summary()) == [
        "initial",
        "maintenance",
    ]


def test_a_scorecard_in_words_says_what_it_counts() -> None:
    card = score(told()["static"])
    text = card.summary()[""]
    assert text["covered"].startswith(f"{card.coverage:.2%}")
    assert text["margin as charged"] == f"{card.mean_margin:.2%}"


def test_drawdown_and_prices_know_holes_and_defaults() -> None:
    fallen = market([0.5, -0.5, 0.1])
    low = np.asarray(fallen.plot.drawdown().lines[0].get_ydata(), dtype=float)
    assert_allclose(low, [0.0, 0.0, -50.0, -45.0])
    days = pd.date_range("2024-01-01", periods=5)
    frame = pd.DataFrame({"X": [1.0, 2.0, 1.0, 2.0, 3.0], "DEAD": [10.0, 5.0, np.nan, np.nan, np.nan]}, index=days)
    history = MarketHistory.from_frame(frame, defaults={"DEAD": "2024-01-03"}, missing="hole")
    dead = np.asarray(history.plot.drawdown().lines[1].get_ydata(), dtype=float)
    assert_allclose(dead, [0.0, -50.0, -100.0, -100.0, -100.0])
    priced = np.asarray(history.plot.prices().lines[1].get_ydata(), dtype=float)
    assert_allclose(priced[:2], [1.0, 0.5])
    assert np.isnan(priced[2:]).all()


def test_correlations_are_those_of_returns_over_the_horizon_asked_for() -> None:
    history = two_coins()
    coverage = Coverage(0.95, "5D")
    shown = np.asarray(history.plot.correlation(coverage).images[0].get_array(), dtype=float)
    moves = pd.DataFrame(history.returns(coverage))
    assert shown[0, 1] == pytest.approx(moves[0].corr(moves[1]))
    with pytest.raises(HistoryError, match="needs 3 known returns"):
        history.last(3).plot.correlation()
