"""Compile every kernel now, so that nobody waits for it in a first call: `python -m research.warm`."""

import numpy as np
from scipy import sparse

from backtest import compare, option_books, standard_books
from backtest.hit_battery import battery
from backtest.replay import outcomes
from data import Book, Coverage
from data.csv_kernels import COUNT, DISTINCT, FIGURE, SKIPPED, WORD, line_count, read_lines
from data.flow.bar_rules import ImbalanceBars, TimeBars, VolumeBars
from data.flow.book import follow
from data.flow.history_features import ohlcv_features
from data.flow.liquidity import kyle_lambda
from data.flow.orderflow import decayed_flow, exact_vpin, order_flow_events, order_flow_imbalance
from data.flow.tape import fold
from data.pricing import greeks, implied_deviation, reprice
from data.proxy_surface import with_proxy_surfaces
from data.records import BOOK, TRADES, Records
from data.sources.synthetic import garch_t
from margin_models import (
    BoostedVolatility,
    CombinedVolatility,
    ConformalTracking,
    CorrelationVaR,
    DccCovariance,
    EgarchVolatility,
    EwmaVolatility,
    ExtremeValueVaR,
    FilteredHistoricalVaR,
    GarchVolatility,
    HarVolatility,
    HistoricalVaR,
    ScenarioMargin,
    SpanLike,
    StaticMargin,
)


def warm() -> None:
    """A small comparison that calls every kernel with the types it meets in earnest."""
    history = garch_t(420, (0.02, 0.03), seed=1).history
    forecasters = (
        EwmaVolatility(),
        GarchVolatility(),
        GarchVolatility(asymmetric=True),
        EgarchVolatility(),
        HarVolatility(),
        BoostedVolatility(trees=2),
        CombinedVolatility([EwmaVolatility(), EwmaVolatility(half_life=30)]),
    )
    models = [
        StaticMargin(),
        SpanLike(),
        CorrelationVaR(),
        CorrelationVaR(DccCovariance()),
        HistoricalVaR(),
        ExtremeValueVaR(),
        ConformalTracking(HistoricalVaR(), lookback=20),
    ]
    told = compare(
        [*models, *(FilteredHistoricalVaR(forecaster) for forecaster in forecasters)],
        history,
        standard_books(history.underlyings, makers=2),
        Coverage(0.9),
        window=400,
        refit_every=100,
        progress=False,
    )
    assert np.isfinite(told.to_frame()["mean_margin"]).all()
    warm_pricing()
    warm_options()
    warm_tests()
    warm_tapes()
    warm_books()
    warm_features()
    warm_files()


def warm_pricing() -> None:
    """One option priced, explained and repriced."""
    forward, call, row = np.full((1, 1), 100.0), np.array([True]), np.zeros(1, dtype=np.intp)
    told = greeks(forward[0], 110.0, 0.5, 0.25, call)
    deviation = implied_deviation(told.price, forward[0], 110.0, call)
    again = reprice(forward, row, np.ones((1, 1)), row, np.full(1, 110.0), deviation, call)
    assert np.allclose(again[0], told.price)


def warm_options() -> None:
    """Option books on a proxy surface, dense and sparse, valued, scanned and closed out."""
    history = with_proxy_surfaces(garch_t(160, (0.02, 0.03), seed=1).history)
    recipe, state = option_books(history.underlyings), history.now
    told = outcomes(history, recipe, Coverage(0.9), window=100, every=20)
    assert np.isfinite(told.loss[:, : len(recipe.structures)]).any()
    model, book = ScenarioMargin().fit(history, Coverage(0.9)), recipe.at(state)
    thin = Book(book.instruments, book.portfolios, sparse.csr_array(book.quantity))
    assert np.allclose(model.margin(history, thin), model.margin(history, book))
    assert np.isfinite(history.implied_changes(Coverage(0.9))).all()


def warm_tests() -> None:
    """The coverage tests of a few breaches, margins moving."""
    rng = np.random.default_rng(1)
    margins = 1.0 + 0.1 * rng.random((300, 2))
    told = battery(rng.random((300, 2)) < 0.05, margins, 0.05)
    assert np.isfinite(told.to_frame()["statistic"]).all()


def warm_tapes() -> None:
    """A few trades folded by every kind of rule."""
    count = 50
    row, rng = np.arange(1, count + 1), np.random.default_rng(1)
    columns = {
        "time": np.datetime64("2024-01-01", "ns") + row * np.timedelta64(7, "s"),
        "price": 100.0 + rng.random(count),
        "size": 0.1 + rng.random(count),
        "side": rng.choice(np.array([-1, 1], dtype=np.int8), count),
    }
    tape = Records(TRADES, "synthetic", "BTC", columns, row)
    for rule in (TimeBars(), TimeBars("1min", sampled="10s"), VolumeBars(1.0), ImbalanceBars(5.0, 1.0)):
        assert fold([tape], rule).volume.sum() <= columns["size"].sum() + 1e-9


def warm_books() -> None:
    """A whole book of two levels, and one change."""
    columns = {
        "time": np.datetime64("2024-01-01", "ns") + np.array([0, 0, 90]) * np.timedelta64(1, "s"),
        "side": np.array([1, -1, 1], dtype=np.int8),
        "price": np.array([99.0, 101.0, 100.0]),
        "size": np.ones(3),
        "snapshot": np.array([True, True, False]),
    }
    told = follow([Records(BOOK, "synthetic", "BTC", columns, np.arange(1, 4))], (0.02,))
    assert told is not None


def warm_features() -> None:
    """The features of a history, of quotes and of arrivals."""
    history = garch_t(160, (0.02, 0.03), seed=1).history
    assert ohlcv_features(history).values.shape[0] == len(history)
    bid = 100.0 + np.cumsum(np.random.default_rng(1).standard_normal(60)) / 10.0
    size = np.ones(60)
    events = order_flow_events(bid, size, bid + 0.1, size)
    assert np.isfinite(events[1:]).all()
    time = np.datetime64("2024-01-01", "ns") + np.arange(60) * np.timedelta64(1, "s")
    order_flow_imbalance(time, events, time[9::10], time[9::10] + np.timedelta64(10, "s"))
    decayed_flow(time, size, time)
    exact_vpin(size, np.ones(60, dtype=np.int8), 3.0, window=5)
    kyle_lambda(np.diff(bid), size[1:], 20)


def warm_files() -> None:
    """Lines with a cell of every kind."""
    lines = np.frombuffer(bytearray(b"1,2.5,buy,x\n" * 40), np.uint8)
    kinds, slots = np.array([COUNT, FIGURE, WORD, SKIPPED]), np.zeros(4, np.int64)
    figures, counts, words = np.empty((1, 40)), np.empty((1, 40), np.int64), np.empty((1, 40), np.int32)
    said = np.zeros((1, DISTINCT, 2), np.int64)
    assert read_lines(lines, kinds, slots, figures, counts, words, said) == line_count(lines)


if __name__ == "__main__":
    warm()
