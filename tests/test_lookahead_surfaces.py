"""Is a model caught that sees tomorrow's surfaces or curves, and do rewritten ones stay what they are?"""

from collections.abc import Callable

import numpy as np
import pytest

from backtest.lookahead import REWRITINGS, audit, truncated
from backtest.planted_leaks import Leak
from backtest.portfolios import standard_books
from data import Coverage, Floats, MarketHistory
from data.curves import forward_ratio
from data.quality import refuse_bad_structures
from data.surface import volatilities_at
from margin_models import MarginModel
from markets import coins_with_options

MONTH = 30.0 / 365.25
HISTORY = coins_with_options(320)


def implied(history: MarketHistory, row: int) -> Floats:
    assert history.surfaces is not None
    told = volatilities_at(history.surfaces[min(row, len(history) - 1)], np.zeros(2), MONTH)
    return np.asarray(np.nan_to_num(told))


def carried(history: MarketHistory, row: int) -> Floats:
    assert history.curves is not None
    told = history.curves[min(row, len(history) - 1)]
    return np.array([np.nan_to_num(abs(forward_ratio(curve, np.array([MONTH]))[0] - 1.0)) for curve in told])


class Now(Leak):
    """Margin by today's surface."""

    def _deviation(self, history: MarketHistory, stop: int, coverage: Coverage) -> Floats:
        return implied(history, stop - 1)


class NextSurface(Leak):
    """Margin by the volatility that tomorrow's surface implies."""

    def _deviation(self, history: MarketHistory, stop: int, coverage: Coverage) -> Floats:
        return implied(history, stop)


class NextCurve(Leak):
    """Margin by the carry of tomorrow's curve."""

    def _deviation(self, history: MarketHistory, stop: int, coverage: Coverage) -> Floats:
        return carried(history, stop)


class WholeSampleFigures(Leak):
    """Margin by the mean of a figure of the smiles over the whole sample, tenors unread."""

    def _deviation(self, history: MarketHistory, stop: int, coverage: Coverage) -> Floats:
        assert history.surfaces is not None
        return np.asarray(np.nanmean(history.surfaces[..., 2], axis=(0, 2)))


def found(model: MarginModel) -> set[str]:
    books = standard_books(HISTORY.underlyings, makers=2)
    told = audit(model, HISTORY, books, Coverage(0.95), window=100, rows=4)
    return {leak.partition(":")[0] for leak in told.leaks}


@pytest.mark.parametrize(
    ("leak", "by"),
    [
        (NextSurface(), {"perturbed", "one row changed", "blanked"}),
        (NextCurve(), {"perturbed", "one row changed", "blanked"}),
        (WholeSampleFigures(), {"blanked"}),
        (Now(), set()),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_leak_through_surfaces_or_curves_is_caught(leak: MarginModel, by: set[str]) -> None:
    told = found(leak)
    assert by <= told
    assert bool(told) == bool(by)


@pytest.mark.parametrize("rewrite", [one for one in REWRITINGS.values() if one is not truncated])
@pytest.mark.parametrize("holes", [False, True])
def test_rewritten_surfaces_and_curves_stay_sound_and_change(
    rewrite: Callable[[MarketHistory, int], MarketHistory], holes: bool
) -> None:
    history = HISTORY
    if holes:
        history = rewrite(HISTORY, 280)
    other = rewrite(history, 250)
    for name in ("curves", "surfaces"):
        panel, before = getattr(other, name), getattr(history, name)
        refuse_bad_structures(panel, other.time, other.underlyings, name)
        np.testing.assert_array_equal(panel[:251], before[:251])
        assert not np.array_equal(panel[251:], before[251:], equal_nan=True)
