"""What if the worst period seen so far came again?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import clone

from data import Book, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from margin_models.base import MarginModel, Requirement
from margin_models.historical_var import FilteredHistoricalVaR, HistoricalVaR
from margin_models.kernels.tails import complete

_WHOLE = 0.9  # share of a window's returns that must be complete


def stressed_windows(past: MarketHistory, coverage: Coverage, rows: int, count: int) -> list[tuple[int, int]]:
    """Where the most volatile windows of the past lie, [start, stop), wildest first; at most `count`, none overlapping.

    Windows are laid every half window from the first row on, and moved back to a row with every price. What is compared
    is the mean square return of each underlying over that of all its past, averaged over underlyings; a window in which
    a tenth of the returns has a hole is none.
    """
    returns, priced = past.returns(coverage), np.flatnonzero(complete(past.spot))
    known = complete(returns)
    square = np.where(known[:, None], returns, 0.0) ** 2
    usual = square.mean(axis=0) if len(square) else np.zeros(len(past.underlyings))
    wildness = np.divide(square, usual, out=np.zeros_like(square), where=usual > 0).mean(axis=1)
    found = []
    for nominal in range(rows, len(past) + 1, max(rows // 2, 1)):
        before = np.searchsorted(priced, nominal) - 1
        stop = int(priced[before]) + 1 if before >= 0 else 0
        inside = slice(stop - rows, stop - past.steps(coverage))
        if stop >= rows and known[inside].mean() >= _WHOLE:
            found.append((float(wildness[inside].mean()), stop - rows, stop))
    picked: list[tuple[int, int]] = []
    for _, start, stop in sorted(found, reverse=True):
        if len(picked) < count and all(stop <= one or start >= other for one, other in picked):
            picked.append((start, stop))
    return picked


def as_if_just_past(past: MarketHistory, start: int, stop: int, steps: int) -> MarketHistory:
    """A history in which rows [start, stop) have just happened and led to today's state.

    Prices, highs, lows and rates are scaled to end where they stand now, stamps are the newest, and the last curves and
    surfaces are today's. The surface a horizon (`steps` rows) before is left out, so that no change of volatility runs
    from then to now.
    """
    window, newest = past.rows(start, stop), past.last(stop - start)
    alive = (window.spot[-1] > 0) & (past.spot[-1] > 0)
    scale = np.divide(past.spot[-1], window.spot[-1], out=np.zeros(len(alive)), where=alive)
    panels: dict[str, Any] = {"volume": window.volume, "funding": window.funding}
    for name in ("spot", "high", "low"):
        panel = getattr(window, name)
        panels[name] = None if panel is None else panel * scale
    for name, now in (("marks", past.marks), ("curves", past.curves), ("surfaces", past.surfaces)):
        if now is not None:
            panels[name] = (
                np.full_like(getattr(window, name), np.nan) if name == "marks" else getattr(window, name).copy()
            )
            panels[name][-1] = now[-1]
    if past.surfaces is not None and stop - start > steps:
        panels["surfaces"][-1 - steps] = np.nan
    fx = {name: _ending_at(window.fx[name], rate[-1]) for name, rate in past.fx.items()}
    return replace(newest, fx=fx, **panels)


def _ending_at(rate: Floats, now: float) -> Floats:
    """A path of rates scaled to end now; no path where its end is unknown."""
    return rate * (now / rate[-1]) if np.isfinite(rate[-1]) else np.full(len(rate), now)


class StressedFloor(MarginModel):
    """Any model, and never less than another asks for as if the worst window of the past had just happened.

    After what article 28 of Regulation (EU) 153/2013 and Eurex's PRISMA ask of stressed observations: a floor that does
    not fall when markets calm. Windows are sought in all of the past, so that what was seen stays seen; none is looked
    for ahead. Until the past holds one window there is no floor.

    Parameters
    ----------
    model : what is charged; `FilteredHistoricalVaR()` where None.
    stressed : what is asked of each window; `HistoricalVaR()` where None. One that looks at the newest rows most, as a
        filtered one does, would see little but the window's end.
    window : rows of a window, as many as `stressed` needs to fit.
    windows : how many of the most volatile are tried for each book.
    weight : share of the stressed margin that is the floor, > 0.

    Attributes
    ----------
    model_ : the fitted model.
    """

    def __init__(
        self,
        model: MarginModel | None = None,
        stressed: MarginModel | None = None,
        window: int = 250,
        windows: int = 3,
        weight: float = 1.0,
    ) -> None:
        self.model = model
        self.stressed = stressed
        self.window = window
        self.windows = windows
        self.weight = weight

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit the model; windows are fitted when they are first met. ParameterError for what is out of range."""
        return self._taking(self._model().fit(past, coverage), len(past), coverage, {})

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """The model's own way to fit many, each with a floor."""
        fits: dict[tuple[object, ...], MarginModel] = {}
        for stop, fitted in zip(stops, self._model().fit_many(history, stops, window, coverage), strict=True):
            fresh: Self = clone(self)
            yield fresh._taking(fitted, min(stop, window), coverage, fits)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The larger of the model's margin and the floor, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """The model's components, and what the floor adds; `worst` names the window where it does.

        HistoryError where a window is too short for the stressed model.
        """
        return self._floored(self.model_.requirement(past, book), past, book)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The same with the model's finest components."""
        return self._floored(self.model_.explain(past, book), past, book)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of the model, and of the stressed one a window, (P,)."""
        asked = self.model_.multiplications(past, book)
        for start, stop in self._windows(past):
            asked = asked + self._fitted(past, start, stop).multiplications(
                self._stressed_past(past, start, stop), book
            )
        return asked

    def _floored(self, asked: Requirement, past: MarketHistory, book: Book) -> Requirement:
        initial, maintenance = asked.initial, asked.maintenance
        worst = asked.worst or ("",) * len(book.portfolios)
        for start, stop in self._windows(past):
            told = self._fitted(past, start, stop).requirement(self._stressed_past(past, start, stop), book)
            floor = self.weight * told.initial
            name = f"window from {str(past.time[start])[:10]}"
            worst = tuple(name if higher else one for higher, one in zip(floor > initial, worst, strict=True))
            initial, maintenance = np.maximum(initial, floor), np.maximum(maintenance, self.weight * told.maintenance)
        parts = {**asked.components, "stressed floor": initial - asked.initial}
        return Requirement(book.portfolios, initial, maintenance, parts, worst)

    def _windows(self, past: MarketHistory) -> list[tuple[int, int]]:
        return stressed_windows(past, self.coverage_, self.window, self.windows)

    def _stressed_past(self, past: MarketHistory, start: int, stop: int) -> MarketHistory:
        return as_if_just_past(past, start, stop, past.steps(self.coverage_))

    def _fitted(self, past: MarketHistory, start: int, stop: int) -> MarginModel:
        """The stressed model fitted to a window, once for all decisions that meet it."""
        window = past.rows(start, stop)
        key = (window.time[0], window.underlyings, past.numeraire, window.spot.tobytes())
        if key not in self._fits:
            fresh = HistoricalVaR() if self.stressed is None else clone(self.stressed)
            try:
                self._fits[key] = fresh.fit(window, self.coverage_)
            except HistoryError as error:
                raise HistoryError(f"{self!r}: a window of {self.window} rows is too short: {error}") from error
        return self._fits[key]

    def _model(self) -> MarginModel:
        if self.window < 2 or self.windows < 1 or not self.weight > 0:
            got = (self.window, self.windows, self.weight)
            raise ParameterError(f"StressedFloor needs window >= 2 rows, windows >= 1 and weight > 0, got {got}")
        fresh: MarginModel = FilteredHistoricalVaR() if self.model is None else clone(self.model)
        return fresh

    def _taking(
        self, fitted: MarginModel, rows: int, coverage: Coverage, fits: dict[tuple[object, ...], MarginModel]
    ) -> Self:
        self.model_, self._fits = fitted, fits
        self.coverage_, self.window_ = coverage, rows
        return self
