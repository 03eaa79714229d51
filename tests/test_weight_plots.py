"""Does the picture of weights show them, and refuse what are none?"""

from collections.abc import Iterator

import matplotlib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from backtest.weight_plots import plot_weights
from data import Coverage, ParameterError
from margin_models.volatility import CombinedVolatility, EwmaVolatility
from markets import two_coins


@pytest.fixture(autouse=True)
def off_screen() -> Iterator[None]:
    from matplotlib import pyplot

    matplotlib.use("Agg")
    yield
    pyplot.close("all")


def _table(**columns: list[float]) -> pd.DataFrame:
    rows = len(next(iter(columns.values()), []))
    return pd.DataFrame(columns, index=pd.date_range("2024-01-01", periods=rows, tz="UTC"))


def test_weights_are_stacked_to_a_hundred_and_named_with_their_mean() -> None:
    ax = plot_weights(_table(fast=[0.5, 0.25, 0.0], slow=[0.5, 0.75, 1.0]))
    first, second = (np.asarray(area.get_paths()[0].vertices) for area in ax.collections)
    assert_allclose([first[:, 1].max(), first[:, 1].min()], [50.0, 0.0])
    assert_allclose([second[:, 1].max(), second[:, 1].min()], [100.0, 0.0])
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["fast (25%)", "slow (75%)"]
    assert ax.get_ylim() == (0.0, 100.0)


def test_weights_of_a_fitted_combination_are_drawn_on_given_axes() -> None:
    from matplotlib import pyplot

    history, given = two_coins(), pyplot.subplots()[1]
    model = CombinedVolatility([EwmaVolatility(3), EwmaVolatility(30)], pooled=False).fit(history, Coverage(0.9))
    table = model.weights_over_time(history, 150)
    assert table.shape == (150, 4)
    assert plot_weights(pd.DataFrame(table["ETH"]), given) is given
    assert len(given.collections) == 2
    with pytest.raises(ParameterError, match=r'weights\["BTC"\] where each asset has its own'):
        plot_weights(table)


@pytest.mark.parametrize("wrong", [{"a": [0.5], "b": [0.6]}, {"a": [1.5], "b": [-0.5]}, {"a": [np.nan], "b": [1.0]}])
def test_what_are_no_weights_is_refused(wrong: dict[str, list[float]]) -> None:
    with pytest.raises(ParameterError, match="sum to 1 in every row"):
        plot_weights(_table(**wrong))
    with pytest.raises(ParameterError, match="got 0 rows"):
        plot_weights(_table(**wrong).iloc[:0])
