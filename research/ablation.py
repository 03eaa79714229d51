"""What does knowing the order flow add to a forecast of volatility, and to the margin that rests on it?

One model, filtered historical simulation on a boosted volatility, is replayed with several sets of features over the
same decisions, so that nothing but the features differs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from backtest.block_means import StationaryBlocks
from backtest.bootstrap import block_length, interval
from backtest.comparison import Comparison, compare, default_window
from backtest.loss_comparison import LossComparison, compare_dates
from backtest.portfolios import Books
from data import Coverage, Floats, MarketHistory
from data.errors import HistoryError
from margin_models import BoostedVolatility, FilteredHistoricalVaR
from research.bar_files import Bars, read_bars

BASE, OHLCV, TAKER, ALL = "no features", "OHLCV features", "taker features", "all features"
FLOW = (TAKER, ALL)  # those that know who took
PINBALL, QLIKE = "pinball loss", "QLIKE"
REFIT, DECISIONS = 63, 6  # horizons between fits, and decisions a horizon at most


@dataclass(frozen=True, eq=False)
class Ablation:
    """The same model with each set of features.

    Parameters
    ----------
    features : names by set, `BASE` having none.
    comparison : the replays, by set.
    qlike : mean QLIKE over underlyings of each decision, (R,) by set, less what no forecast changes: ln s^2 + r^2/s^2
        (Patton 2011, "Volatility forecast comparison using imperfect volatility proxies", J. Econometrics 160).
    notes : what was not taken from the files.
    """

    features: Mapping[str, tuple[str, ...]]
    comparison: Comparison
    qlike: Mapping[str, Floats]
    notes: tuple[str, ...] = ()

    @cached_property
    def losses(self) -> dict[str, LossComparison]:
        """The sets held against each other, by measure."""
        pinball = self.comparison.losses
        return {PINBALL: pinball, QLIKE: compare_dates(self.qlike, pinball.overlap, "QLIKE, mean over underlyings")}

    def to_frame(self) -> pd.DataFrame:
        """One row a set of features: means, and by how much each differs from no features, with 95 % intervals.

        Pinball loss and margin at equal coverage differ by shares of those without features, QLIKE, which may be below
        0, by itself. Dates are drawn in blocks, the same for both sides. `in_set` and `p` are of the model confidence
        set by that measure; they alone allow for several sets having been tried.
        """
        cards, pinball = self.comparison.scores, self._by_date(PINBALL)
        columns: dict[str, Mapping[str, float]] = {
            "equal_margin": {name: card.equal_margin for name, card in cards.items()},
            "equal_coverage": {name: card.equal_coverage for name, card in cards.items()},
        }
        margins = {name: one.drawn for name, one in self.comparison.judgements.items()}
        told: list[pd.DataFrame | pd.Series] = [_changes("margin", columns["equal_margin"], margins, shares=True)]
        for what, by_date, shares in (("pinball", pinball, True), ("qlike", self._by_date(QLIKE), False)):
            columns[what] = {name: float(losses.mean()) for name, losses in by_date.items()}
            drawn = _drawn(by_date, self.losses[PINBALL].overlap)
            told.append(_changes(what, columns[what], drawn, shares=shares))
        for what, losses in (("pinball", self.losses[PINBALL]), ("qlike", self.losses[QLIKE])):
            chosen = losses.to_frame()
            told.append(chosen[["in_set", "set_p"]].rename(columns={"in_set": f"{what}_in_set", "set_p": f"{what}_p"}))
        table = pd.DataFrame(columns).join(told)
        table.insert(0, "features", [len(self.features[name]) for name in table.index])
        return table.rename_axis("model")

    def _by_date(self, measure: str) -> dict[str, Floats]:
        """Losses of the dates on which every set has one."""
        judged = self.comparison.judgements
        by_set = self.qlike if measure == QLIKE else {name: one.by_date for name, one in judged.items()}
        known = np.logical_and.reduce([np.isfinite(losses) for losses in by_set.values()])
        return {name: losses[known] for name, losses in by_set.items()}

    @property
    def sentence(self) -> str:
        """What order flow added, by either measure, or that nothing can be told."""
        return " ".join(verdict(what, losses) for what, losses in self.losses.items())

    def to_json(self) -> str:
        """The table, the sentence, the names of the features and the notes."""
        told = {
            "market": self.comparison.market,
            "verdict": self.sentence,
            "features": {name: list(features) for name, features in self.features.items()},
            "sets": json.loads(self.to_frame().reset_index().to_json(orient="records", double_precision=15)),
            "confidence_sets": {what: losses.sentence for what, losses in self.losses.items()},
            "notes": list(self.notes),
        }
        return json.dumps(told, indent=1)

    def summary(self) -> pd.DataFrame:
        """The columns a person reads first: changes against no features, in percent but for QLIKE."""
        table = self.to_frame()
        shown = {
            "features": table["features"],
            "margin at equal coverage, %": 100.0 * table["equal_margin"],
            "change, %": _with_interval(table, "margin", 100.0),
            "pinball change, %": _with_interval(table, "pinball", 100.0),
            "pinball set p": _with_mark(table, "pinball"),
            "QLIKE change": _with_interval(table, "qlike", 1.0),
            "QLIKE set p": _with_mark(table, "qlike"),
        }
        return pd.DataFrame(shown)

    def __repr__(self) -> str:
        asked = self.losses[PINBALL]
        head = (
            f"{self.comparison.market}: {asked.dates} dates at equal coverage, changes against {BASE} with 95 % "
            "intervals; * in the model confidence set"
        )
        lines = [head, self.summary().to_string(float_format="{:.4g}".format), *self.notes, self.sentence]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        table = self.summary().to_html(float_format="{:.4g}".format)
        return f"<p>{escape(self.comparison.market)}</p>{table}<p>{escape(self.sentence)}</p>"


def verdict(what: str, losses: LossComparison) -> str:
    """What order flow did to these losses, by the model confidence set, in one sentence.

    A set is better for sure only where the other is out of the set and it is in.
    """
    if not losses.testable:
        return f"Of the {what} nothing can be told: {losses.notes}."
    kept = losses.included
    known, unknown = [name for name in FLOW if name in kept], [name for name in (BASE, OHLCV) if name in kept]
    share = f"{100.0 * (1.0 - losses.confidence_set.size):g} % model confidence set"
    if known and not unknown:
        return f"Order flow lowers the {what}: every forecast without it is out of the {share}."
    if unknown and not known:
        return f"Order flow does not lower the {what}: every forecast with it is out of the {share}."
    if BASE not in kept:
        return f"Features lower the {what}, but whether order flow does cannot be told: {OHLCV} are as good as it."
    return f"Of the {what} nothing can be told: with order flow and without are in the {share}."


def ablate(
    bars: Bars,
    coverage: Coverage,
    *,
    window: int,
    refit_every: int,
    every: int = 1,
    books: Books | None = None,
    volatility: BoostedVolatility | None = None,
    progress: bool = False,
) -> Ablation:
    """Replay the model without features, with those of bars, with those of takers and with all.

    Parameters
    ----------
    window, refit_every, every : rows a fit sees, decisions between fits, rows between decisions.
    books : the standard books where None.
    volatility : the forecaster, whose features are replaced.

    Raises
    ------
    HistoryError, ParameterError
        As `compare` does.
    """
    told = tuple(name for name in bars.history.feature_names if name not in bars.taker)
    features = {BASE: (), OHLCV: told, TAKER: bars.taker, ALL: told + bars.taker}
    forecasters = {name: _with(volatility or BoostedVolatility(), names) for name, names in features.items()}
    comparison = compare(
        {name: FilteredHistoricalVaR(forecaster) for name, forecaster in forecasters.items()},
        bars.history,
        books,
        coverage,
        window=window,
        refit_every=refit_every,
        every=every,
        market=f"{', '.join(bars.history.underlyings)} by {bars.history.clock.step}",
        progress=progress,
    )
    rows = np.searchsorted(bars.history.time, comparison[BASE].time)
    with threadpool_limits(1):
        qlike = {
            name: qlike_by_date(forecaster, bars.history, coverage, rows, window=window, refit_every=refit_every)
            for name, forecaster in forecasters.items()
        }
    return Ablation(features, comparison, qlike, bars.notes)


def qlike_by_date(
    forecaster: BoostedVolatility,
    history: MarketHistory,
    coverage: Coverage,
    rows: np.ndarray,
    *,
    window: int,
    refit_every: int,
) -> Floats:
    """ln s^2 + r^2/s^2 of each decision, mean over underlyings, (R,), refitted as a replay is; NaN where none is known.

    What QLIKE has beside it depends on the return alone, and has no value where that is 0.
    """
    returns = history.returns(coverage)
    losses = np.full(len(rows), np.nan)
    for start in range(0, len(rows), refit_every):
        block = rows[start : start + refit_every]
        first, last = int(block[0]), int(block[-1])
        fitted = clone(forecaster).fit(history.rows(max(first + 1 - window, 0), first + 1), coverage)
        forecasts = fitted.forecasts(history.rows(0, last + 1), last - first + 1)[block - first]
        variance = np.where(forecasts > 0, forecasts, np.nan) ** 2
        by_underlying = np.log(variance) + returns[block] ** 2 / variance
        known = np.isfinite(by_underlying)
        count = known.sum(axis=1)
        total = np.where(known, by_underlying, 0.0).sum(axis=1)
        losses[start : start + len(block)] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return losses


def ablation_job(files: Sequence[Path], coverage: Coverage, *, window: int | None, as_json: bool) -> None:
    """Print what order flow added to the margin on these files; six decisions a horizon at most."""
    bars = read_bars(files)
    steps = bars.history.steps(coverage)
    every = max(steps // DECISIONS, 1)
    rows = window if window is not None else default_window(bars.history, coverage)
    refit_every = REFIT * max(steps // every, 1)
    try:
        result = ablate(bars, coverage, window=rows, refit_every=refit_every, every=every, progress=not as_json)
    except HistoryError as error:
        got = f"the files give {len(bars.history)} rows of {bars.history.clock.step}"
        hint = f"a fit on {rows} rows and judgement of as many need {2 * rows + steps}"
        raise HistoryError(f"{error}; {got}; {hint}") from error
    print(result.to_json() if as_json else repr(result), flush=True)


def _with(volatility: BoostedVolatility, features: Sequence[str]) -> BoostedVolatility:
    forecaster: BoostedVolatility = clone(volatility).set_params(features=tuple(features))
    return forecaster


def _drawn(by_date: Mapping[str, Floats], overlap: int) -> dict[str, Floats]:
    """Mean losses on each draw of the dates, (B,) by set; nothing drawn where there are under two dates."""
    panel = np.column_stack(list(by_date.values()))
    if len(panel) < 2:
        return {name: np.empty(0) for name in by_date}
    means = StationaryBlocks(block_length(len(panel), overlap)).means(panel)
    return dict(zip(by_date, means.T, strict=True))


def _changes(what: str, mean: Mapping[str, float], drawn: Mapping[str, Floats], *, shares: bool) -> pd.DataFrame:
    """By how much each set differs from `BASE`, and the 95 % interval of that, the spread laid about the figure."""
    rows = {}
    for name, value in mean.items():
        told = value / mean[BASE] - 1.0 if shares else value - mean[BASE]
        draws = drawn[name] / drawn[BASE] - 1.0 if shares else drawn[name] - drawn[BASE]
        middle = np.nanmedian(draws) if np.isfinite(draws).any() else np.nan
        rows[name] = (told, *interval(told + draws - middle))
    columns = [f"{what}_change", f"{what}_low", f"{what}_high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _with_interval(table: pd.DataFrame, what: str, scale: float) -> pd.Series:
    figures = scale * table[[f"{what}_change", f"{what}_low", f"{what}_high"]]
    told = [f"{change:+.3g} ({low:+.3g} to {high:+.3g})" for change, low, high in figures.to_numpy()]
    return pd.Series(told, index=table.index).mask(table.index == BASE, "")


def _with_mark(table: pd.DataFrame, what: str) -> pd.Series:
    marked = table[f"{what}_in_set"].map({True: "*", False: ""})
    return table[f"{what}_p"].map("{:.2f}".format) + marked
