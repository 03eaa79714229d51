"""Do the pictures of smiles and of books of options show what they say?"""

from collections.abc import Iterator

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.lines import Line2D
from numpy.testing import assert_allclose

from backtest.plots import plot_pnl_surface, plot_smile
from data import Book, Coverage, Floats, MarketState, ParameterError
from data.option_quotes import read_chain
from data.pricing import black76
from data.smiles import fit_surface
from margin_models import SpanLike
from margin_models.revalue import book_pnl
from margin_models.scenarios import Scenarios
from markets import coins_with_options, option_book

COVERAGE = Coverage(0.98, "1D")


@pytest.fixture(autouse=True)
def off_screen() -> Iterator[None]:
    from matplotlib import pyplot

    matplotlib.use("Agg")
    yield
    pyplot.close("all")


def _gain(book: Book, state: MarketState, portfolio: str, move: float, change: float) -> float:
    """What a portfolio gains as BTC alone moves."""
    one = Scenarios(np.array([[move, 0.0]]), np.array([[change, 0.0]]), ("one",))
    return float(book_pnl(book, state, one)[book.portfolios.index(portfolio), 0])


@pytest.mark.parametrize("portfolio", ["short strangle", "butterfly", "covered call", "volatility pair"])
def test_every_point_of_the_surface_is_the_gain_of_what_is_held_on_that_underlying(portfolio: str) -> None:
    state = coins_with_options().now
    book = option_book(state)
    (mesh,) = [it for it in plot_pnl_surface(book, state, portfolio).collections if isinstance(it, QuadMesh)]
    at = np.asarray(mesh.get_coordinates(), dtype=np.float64) / 100.0
    shown = np.asarray(mesh.get_array()).reshape(at.shape[:2])
    assert at[..., 0].min() <= -0.3
    assert at[..., 0].max() >= 0.3
    for row, column in ((0, 0), (30, 30), (60, 5), (13, 60)):
        move, change = at[row, column]
        assert_allclose(shown[row, column], _gain(book, state, portfolio, move, change), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("portfolio", ["short strangle", "straddle", "risk reversal"])
def test_the_marked_scenario_is_the_one_that_span_names(portfolio: str) -> None:
    history = coins_with_options()
    book, state = option_book(history.now), history.now
    model = SpanLike().fit(history, COVERAGE)
    ax = plot_pnl_surface(book, state, portfolio, scenarios=model.scenarios(), elapsed=COVERAGE.years)
    ring = next(line for line in ax.lines if str(line.get_label()).startswith("worst"))
    told = model.explain(history, book)
    worst = told.worst[book.portfolios.index(portfolio)]
    name = str(ring.get_label()).removeprefix("worst: ").rpartition(", ")[0]
    assert name in worst
    scenario = model.scenarios().names.index(name)
    assert_allclose(_point(ring), 100.0 * np.array([model.scenarios().spot[scenario, 0], _vol(model, scenario)]))
    asked = told.components["scan BTC"][book.portfolios.index(portfolio)]
    assert f", -{asked:,.0f} USD" in str(ring.get_label())


def _vol(model: SpanLike, scenario: int) -> float:
    return float(model.scenarios().vol[scenario, 0])


def _point(line: Line2D) -> Floats:
    return np.array([line.get_xdata()[0], line.get_ydata()[0]])  # type: ignore[index]


def test_the_picture_says_where_implied_volatility_is_from() -> None:
    state = coins_with_options().now
    assert "[implied volatility: quotes]" in plot_pnl_surface(option_book(state), state, "butterfly").get_title()


@pytest.mark.parametrize(("portfolio", "underlying"), [("nobody", None), ("empty", None), ("butterfly", "ETH")])
def test_what_cannot_be_drawn_is_refused(portfolio: str, underlying: str | None) -> None:
    state = coins_with_options().now
    with pytest.raises(ParameterError, match=portfolio):
        plot_pnl_surface(option_book(state), state, portfolio, underlying=underlying)


def _chain(volatility: float, half: float) -> pd.DataFrame:
    """Calls at one volatility, bid and ask so far from it, and one of them without a bid."""
    strike = np.arange(80.0, 125.0, 5.0)
    root = np.sqrt(31.0 / 365.25)
    call = np.ones(len(strike), dtype=bool)
    bid, ask = (black76(np.full(len(strike), 100.0), strike, v * root, call) for v in _sides(volatility, half))
    frame = pd.DataFrame({"strike": strike, "bid": bid, "ask": ask, "right": "call", "underlying": "X"})
    frame.loc[0, "bid"] = 0.0
    frame["symbol"] = [f"X-{level:g}" for level in strike]
    return frame.assign(time="2024-01-01", expiry="2024-02-01", forward=100.0, spot=100.0)


def _sides(volatility: float, half: float) -> tuple[float, float]:
    return volatility - half, volatility + half


def test_a_smile_shows_bid_and_ask_in_volatility_and_passes_between_them() -> None:
    quotes = read_chain(_chain(0.5, 0.02))["X"]
    ax = plot_smile(quotes, fit_surface(quotes), "2024-02-01")
    (bars,) = [it for it in ax.collections if isinstance(it, LineCollection)]
    ends = np.array([segment[:, 1] for segment in bars.get_segments()[1:]])
    assert_allclose(ends, np.broadcast_to([48.0, 52.0], ends.shape), rtol=1e-6)
    fitted = np.asarray(ax.lines[0].get_ydata(), dtype=np.float64)
    assert ((fitted > 48.0) & (fitted < 52.0)).all()
    with pytest.raises(ParameterError, match="no expiry 2024-03-01"):
        plot_smile(quotes, fit_surface(quotes), "2024-03-01")
