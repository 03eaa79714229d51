"""What do a replay, a smile and a book of options look like?"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backtest.path_plots import rolling_coverage
from backtest.scores import frontier
from data import Book, Floats, MarketState, ParameterError
from data.axes import ALARM, FAINT, INK, QUIET
from data.axes import axes as _axes
from data.coverage import DAYS_A_YEAR
from data.history import titled
from data.option_quotes import OptionQuotes
from data.pricing import implied_deviation
from data.smiles import SurfaceFit
from data.surface import implied_volatility
from margin_models.revalue import book_pnl
from margin_models.scenarios import Scenarios, grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from backtest.comparison import Comparison
    from backtest.replay import Replay

__all__ = [
    "ALARM",
    "FAINT",
    "INK",
    "QUIET",
    "_axes",
    "plot_break",
    "plot_frontier",
    "plot_margin",
    "plot_pnl_surface",
    "plot_ranking",
    "plot_rolling_coverage",
    "plot_smile",
]

_WIDE = 0.3, 0.5  # either way in price and in volatility, where no scenarios are asked


def plot_margin(run: "Replay", portfolio: str, ax: "Axes | None" = None) -> "Axes":
    """One portfolio's margin against what it lost, breaches marked, in percent of gross notional."""
    ax = _axes(ax)
    table = 100.0 * run.book(portfolio)
    loss, margin = table["loss"].clip(lower=0.0), table["initial"]
    breached = table["loss"] > margin
    ax.vlines(table.index, 0.0, loss, color=QUIET, linewidth=0.7, label="loss")
    ax.plot(table.index, margin, color=INK, linewidth=1.2, label="margin")
    ax.plot(table.index[breached], loss[breached], "o", color=ALARM, markersize=4, label=f"breach ({breached.sum()})")
    ax.set(ylabel="% of gross notional", title=titled(f"{run.model}: {portfolio}", run.implied), ylim=(0.0, None))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False, fontsize=8, ncols=3)
    return ax


def plot_break(runs: Sequence["Replay"], portfolio: str, at: str | np.datetime64, ax: "Axes | None" = None) -> "Axes":
    """One portfolio's margin under several models against what it lost, before and after the instant of a break.

    In percent of gross notional; the legend counts each model's breaches from then on. ParameterError for no run or an
    unknown portfolio.
    """
    if not runs:
        raise ParameterError("a figure of a break needs one run at least, got none")
    ax, instant = _axes(ax), np.datetime64(at)
    for run, color in zip(runs, cycle((INK, ALARM, QUIET, FAINT)), strict=False):
        table = 100.0 * run.book(portfolio)
        breaches = int((table["loss"] > table["initial"])[run.time >= instant].sum())
        ax.plot(table.index, table["initial"], color=color, label=f"{run.model} ({breaches} breaches after the break)")
    ax.vlines(table.index, 0.0, table["loss"].clip(lower=0.0), color=QUIET, linewidth=0.7, zorder=0, label="loss")
    when = pd.DatetimeIndex([instant], tz="UTC")
    ax.vlines(when, 0.0, 1.0, color=FAINT, linestyle="--", transform=ax.get_xaxis_transform(), label="break")
    ax.set(ylabel="% of gross notional", title=titled(portfolio, runs[0].implied), ylim=(0.0, None))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncol=2, frameon=False, fontsize=8)
    return ax


def plot_frontier(comparison: "Comparison", ax: "Axes | None" = None) -> "Axes":
    """Mean shortfall against mean margin as each model is scaled; the dot is the margin as charged."""
    ax = _axes(ax, 8.0, 5.0)
    multiples, lowest = np.linspace(0.3, 2.5, 45), np.inf
    for name, run in comparison.replays.items():
        margin, shortfall = frontier(run, multiples)
        charged, lost = frontier(run, np.ones(1))
        style = ":" if name in comparison.unranked else "-"
        (line,) = ax.plot(100 * margin, 1e4 * shortfall, style, linewidth=1.3, label=name)
        ax.plot(100 * charged, 1e4 * lost, "o", color=line.get_color(), markersize=5)
        lowest = min([lowest, *(1e4 * lost[lost > 0])])
    ax.set(xlabel="mean margin, % of gross notional", ylabel="mean shortfall, basis points", yscale="log")
    if np.isfinite(lowest):
        ax.set_ylim(bottom=lowest / 30.0)  # below, a curve hangs on a loss or two and runs down for ever
    ax.set_title(f"{comparison.market}: nearer the lower left is better")
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_ranking(comparison: "Comparison", ax: "Axes | None" = None) -> "Axes":
    """Margin at equal coverage of each model with its 95 % interval, least first, and hollow the margin as charged."""
    from matplotlib.ticker import LogFormatter

    ax = _axes(ax, 8.0, 4.0)
    table = 100.0 * comparison.to_frame()[["equal_margin", "equal_low", "equal_high", "mean_margin"]]
    place = np.arange(len(table))
    ranked = ~table.index.isin(comparison.unranked)
    for some, color in ((ranked, INK), (~ranked, FAINT)):
        ax.hlines(place[some], table["equal_low"][some], table["equal_high"][some], color=color, linewidth=2.0)
        ax.plot(table["equal_margin"][some], place[some], "o", color=color, markersize=6)
    ax.plot(table["mean_margin"], place, "D", color=INK, markerfacecolor="white", markersize=5)
    ax.set_yticks(place, [str(name) for name in table.index])
    ax.set(xlabel="mean margin, % of gross notional", xscale="log", ylim=(len(table) - 0.4, -0.6))
    ax.xaxis.set_major_formatter(LogFormatter())
    ax.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2.0, 0.5)))  # no powers of ten for figures near one
    ax.set_title(f"{comparison.market}: dot at equal coverage with 95 % interval, diamond as charged")
    return ax


def plot_rolling_coverage(
    comparison: "Comparison", models: Sequence[str], decisions: int, ax: "Axes | None" = None
) -> "Axes":
    """Share of losses covered over the latest `decisions`, all books together, beside the level that was asked for.

    ParameterError for an unknown model, or more decisions than there are.
    """
    ax = _axes(ax)
    for name, style in zip(models, cycle(("-", "--", "-.", ":")), strict=False):
        covered = 100.0 * rolling_coverage(comparison[name], decisions)
        ax.plot(covered.index, covered, style, linewidth=1.3, label=name)
    ax.axhline(100.0 * comparison[models[0]].coverage.level, color=ALARM, linewidth=0.8, zorder=1)
    ax.set(ylabel="covered, %", title=f"{comparison.market}: coverage over the latest {decisions:,} decisions")
    ax.legend(loc="lower left", frameon=False, fontsize=8)
    return ax


def plot_smile(quotes: OptionQuotes, fit: SurfaceFit, expiry: str | np.datetime64, ax: "Axes | None" = None) -> "Axes":
    """One expiry's bid-ask in implied volatility, and the fitted smile through it.

    ParameterError for an expiry (UTC) that the chain does not have.
    """
    ax = _axes(ax, 6.0)
    rows = quotes.only(quotes.expiry == np.datetime64(expiry))
    if not len(rows):
        raise ParameterError(f"no expiry {expiry} in this chain, there are {np.unique(quotes.expiry).astype(str)}")
    thousand = rows.strike / 1e3
    bid, ask = (100.0 * _volatility(rows, price) for price in (rows.bid, rows.ask))
    ax.vlines(thousand, bid, ask, color=QUIET, linewidth=4.0, label="bid to ask")
    strike = np.geomspace(rows.strike.min(), rows.strike.max(), 200)
    tenor = rows.tenor()
    fitted = implied_volatility(fit.surface, np.log(strike / np.median(rows.forward)), np.full(200, tenor[0]))
    ax.plot(strike / 1e3, 100.0 * fitted, color=INK, linewidth=1.3, label="fitted")
    ax.axvline(np.median(rows.forward) / 1e3, color=QUIET, linewidth=0.8, linestyle=":", label="forward")
    ax.set(xlabel="strike, thousand USD", ylabel="implied volatility, %")
    ax.set_title(f"{quotes.underlying} {str(rows.expiry[0])[:10]}, {DAYS_A_YEAR * tenor[0]:.0f} days", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _volatility(quotes: OptionQuotes, price: Floats) -> Floats:
    """Implied by each price, (N,); NaN where it is missing or outside its bounds."""
    told, known = np.full(len(price), np.nan), np.isfinite(price)
    told[known] = implied_deviation(price[known], quotes.forward[known], quotes.strike[known], quotes.call[known])
    return np.asarray(told / np.sqrt(quotes.tenor()))


def plot_pnl_surface(
    book: Book,
    state: MarketState,
    portfolio: str,
    ax: "Axes | None" = None,
    *,
    underlying: str | None = None,
    scenarios: Scenarios | None = None,
    elapsed: float = 0.0,
) -> "Axes":
    """What one portfolio gains as the price of one underlying and its implied volatility move.

    Parameters
    ----------
    underlying : what moves, while the others stand still; None for the first that the portfolio holds.
    scenarios : drawn where they stand, the worst of them named with what it counts; the picture reaches as far as they
        do, and volatility fades with tenor as they say. None reaches 30 % either way in price, 50 % in volatility.
    elapsed : years that pass meanwhile.

    Raises
    ------
    ParameterError
        For a portfolio that is unknown or empty, or an underlying that it does not hold.
    """
    one, column = _held_alone(book, state, portfolio, underlying)
    either = np.array([[-1.0], [1.0]]) * np.ones(len(state.underlyings))
    shown = grid(_WIDE[0] * either, _WIDE[1] * either) if scenarios is None else scenarios
    price, vol = _reach(shown.spot[:, column]), _reach(shown.vol[:, column])
    moves, changes = np.zeros((2, price.size * vol.size, len(state.underlyings)))
    moves[:, column], changes[:, column] = np.tile(price, vol.size), np.repeat(vol, price.size)
    fine = Scenarios(moves, changes, ("",) * len(moves), term=shown.term)
    gain = book_pnl(one, state, fine, elapsed).reshape(vol.size, price.size)
    ax, top = _axes(ax, 9.0, 4.6), float(np.abs(gain).max()) or 1.0
    shade = ax.pcolormesh(100 * price, 100 * vol, gain, cmap="RdBu", vmin=-top, vmax=top, shading="gouraud")
    lines = ax.contour(100 * price, 100 * vol, gain, levels=9, colors="black", linewidths=0.6)
    ax.clabel(lines, fontsize=8, fmt=_amount)
    ax.figure.colorbar(shade, ax=ax, label=f"gain, {state.numeraire}", format="{x:,.5g}")
    ax.set(xlabel=f"move of {state.underlyings[column]}, %", ylabel="change of 30-day implied volatility, %")
    ax.set_title(f"{portfolio} [implied volatility: {state.implied or 'none'}]", fontsize=10)
    if scenarios is not None:
        _mark_worst(ax, one, state, scenarios, column, elapsed)
    return ax


def _held_alone(book: Book, state: MarketState, portfolio: str, underlying: str | None) -> tuple[Book, int]:
    """What one portfolio holds on one underlying, and where that stands; ParameterError where it is nothing."""
    if portfolio not in book.portfolios:
        raise ParameterError(f"no portfolio {portfolio!r} in this book, there are {book.portfolios[:8]} ...")
    quantity = book.dense[book.portfolios.index(portfolio)]
    names = np.array([instrument.underlying for instrument in book.instruments], dtype=object)
    on = dict.fromkeys(names[quantity != 0])
    name = underlying if underlying is not None else next(iter(on), None)
    if name not in on:
        raise ParameterError(f"{portfolio!r} must hold something on {name or 'an underlying'}, it holds {tuple(on)}")
    kept = np.flatnonzero((quantity != 0) & (names == name))
    instruments = tuple(book.instruments[n] for n in kept)
    return Book(instruments, (portfolio,), quantity[None, kept]), state.underlyings.index(str(name))


def _amount(gain: float) -> str:
    return f"{gain:,.0f}" if abs(gain) >= 100 else f"{gain:.3g}"


def _reach(moves: Floats, points: int = 61) -> Floats:
    """From a little below the least to a little above the largest of some relative moves, never to a loss of all."""
    room = 0.08 * (moves.max() - moves.min()) or 0.1
    return np.linspace(max(moves.min() - room, -0.99), moves.max() + room, points)


def _mark_worst(ax: "Axes", one: Book, state: MarketState, scenarios: Scenarios, column: int, elapsed: float) -> None:
    """Scenarios as dots, hollow where only a share of the gain counts, and the worst with its name and gain."""
    alone = np.zeros((2, *scenarios.spot.shape))
    alone[0, :, column], alone[1, :, column] = scenarios.spot[:, column], scenarios.vol[:, column]
    gain = book_pnl(one, state, replace(scenarios, spot=alone[0], vol=alone[1]), elapsed)[0]
    x, y = 100.0 * scenarios.spot[:, column], 100.0 * scenarios.vol[:, column]
    weight = np.ones(len(scenarios)) if scenarios.weight is None else scenarios.weight
    for share in np.unique(weight)[::-1]:
        at, label = weight == share, "scenario" if share == 1.0 else f"{share:.0%} of the gain counts"
        ax.plot(x[at], y[at], "o", color=INK, markerfacecolor=INK if share == 1.0 else "white", ms=5, label=label)
    s = int(gain.argmin())
    told = f"worst: {scenarios.names[s]}, {_amount(gain[s])} {state.numeraire}"
    ax.plot(x[s], y[s], "o", color=ALARM, markersize=11, markerfacecolor="none", markeredgewidth=2.0, label=told)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncol=3, frameon=False, fontsize=8)
