"""Does any feature know more than had happened?"""

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from backtest.lookahead import REWRITINGS
from data.flow import (
    feature_sets,
    history_features,
    liquidity,
    orderflow,
    panels,
    pressure,
    range_volatility,
    realised,
    windows,
)
from feature_examples import EXAMPLES, MINUTE, START, Table, Told, Values, World, world

MEASURES = (windows, orderflow, liquidity, pressure, range_volatility, realised)
MODULES = (*MEASURES, panels, history_features, feature_sets)
# What tells no figure of a row: a weight, a refusal, a calendar, and what only carries figures on.
NO_FEATURES = {
    realised.parzen,
    windows.refuse_window,
    panels.next_session,
    panels.with_features,
    panels.on_rows,
}
CUTS = tuple(START + MINUTE * at + np.timedelta64(1, "s") for at in (25, 44))


def public(module: ModuleType) -> set[Callable[..., Any]]:
    found = inspect.getmembers(module, inspect.isfunction)
    return {one for name, one in found if not name.startswith("_") and one.__module__ == module.__name__}


def scaled(future: Values) -> Values:
    if future.dtype == np.int8:
        return -future
    return np.asarray(future * np.linspace(3.0, 5.0, len(future)).reshape(-1, *[1] * (future.ndim - 1)))


def shifted(future: Values) -> Values:
    return np.roll(future, 1, axis=0) if future.dtype == np.int8 else future + 7.0


def blank(future: Values) -> Values:
    return np.zeros_like(future) if future.dtype == np.int8 else np.full_like(future, np.nan)


def none(future: Values) -> Values:
    return future[:0]


def reversed_(future: Values) -> Values:
    return future[::-1].copy()


# How tables and the history are rewritten, side by side.
FUTURES: dict[str, tuple[Callable[[Values], Values], str]] = {
    "scaled": (scaled, "perturbed"),
    "shifted": (shifted, "one row changed"),
    "blanked": (blank, "blanked"),
    "truncated": (none, "truncated"),
    "reversed": (reversed_, "shuffled"),
}


def rewritten(it: World, cut: np.datetime64, how: str) -> World:
    """The same world up to the cut, another after it."""
    change, of_history = FUTURES[how]
    tables: dict[str, Any] = {}
    for field in fields(World):
        table = getattr(it, field.name)
        if isinstance(table, Table):
            past = int(np.searchsorted(table.time, cut, side="right"))
            columns = {name: np.concatenate([v[:past], change(v[past:])]) for name, v in table.columns.items()}
            kept = past if how == "truncated" else len(table.time)
            tables[field.name] = Table(table.time[:kept], columns)
    row = int(np.searchsorted(it.history.time, cut, side="right")) - 1
    return replace(it, history=REWRITINGS[of_history](it.history, row), **tables)


def known(told: Told, cut: np.datetime64) -> list[bytes]:
    """All that is known by the cut, and since when, to the last bit."""
    return [part for time, values in told for part in (time[time <= cut].tobytes(), values[time <= cut].tobytes())]


def leaks(example: Callable[[World], Told]) -> list[str]:
    """The futures that change what was known before."""
    it = world()
    found = []
    for cut in CUTS:
        honest = known(example(it), cut)
        assert any(len(part) for part in honest), "nothing is known by the cut"
        found += [how for how in FUTURES if known(example(rewritten(it, cut, how)), cut) != honest]
    return found


def test_every_public_function_has_an_example_or_says_it_is_no_feature() -> None:
    functions = set().union(*(public(module) for module in MODULES))
    assert {f.__name__ for f in functions - EXAMPLES.keys() - NO_FEATURES} == set()
    assert {f.__name__ for f in (EXAMPLES.keys() | NO_FEATURES) - functions} == set()


@pytest.mark.parametrize("function", EXAMPLES, ids=lambda function: function.__name__)
def test_another_future_changes_no_bit_of_the_past(function: Callable[..., Any]) -> None:
    assert leaks(EXAMPLES[function]) == []


@pytest.mark.parametrize("function", EXAMPLES, ids=lambda function: function.__name__)
def test_every_example_tells_finite_figures_that_differ_between_worlds(function: Callable[..., Any]) -> None:
    figures = [np.concatenate([values.ravel() for _, values in EXAMPLES[function](world(seed))]) for seed in (3, 4)]
    assert np.isfinite(figures[0]).mean() > 0.3
    if function not in (history_features.ohlcv_features, history_features.surface_features):  # of one history
        assert figures[0].tobytes() != figures[1].tobytes()


def _standardised(it: World) -> Told:
    close = it.bars["close"]
    return [(it.bars.time, (close - np.nanmean(close)) / np.nanstd(close))]


def _centred(it: World) -> Told:
    close = it.bars["close"]
    return [(it.bars.time, np.convolve(close, np.ones(3) / 3, mode="same"))]


def _next_row(it: World) -> Told:
    return [(it.bars.time, np.append(it.bars["close"][1:], np.nan))]


def _known_too_early(it: World) -> Told:
    """A realised spread taken for known at its trade."""
    _, spread = EXAMPLES[liquidity.realised_spreads](it)[0]
    return [(it.trades.time, spread)]


def _filled_backwards(it: World) -> Told:
    rate = it.bars["rate"].copy()
    rate[20:26] = np.nan
    places = np.where(np.isfinite(rate), np.arange(len(rate)), len(rate) - 1)
    return [(it.bars.time, rate[np.minimum.accumulate(places[::-1])[::-1]])]


@pytest.mark.parametrize("leak", [_standardised, _centred, _next_row, _known_too_early, _filled_backwards])
def test_planted_leaks_are_found(leak: Callable[[World], Told]) -> None:
    assert leaks(leak)
