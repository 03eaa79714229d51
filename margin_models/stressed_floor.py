"""What if the worst period seen so far came again?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np
from scipy import sparse
from sklearn.base import clone

from data import Book, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.arrays import Bools, Places
from margin_models.base import MarginModel, Requirement
from margin_models.historical_law import alike
from margin_models.historical_var import FilteredHistoricalVaR, HistoricalVaR
from margin_models.kernels.tails import upper_quantile

_WHOLE = 0.9  # share of a window's returns that must be known
_THEN = ("curves", "surfaces", "depth", "features")  # of the window, and of today in its last row
_PER_UNDERLYING = ("spot", "high", "low", "volume", "funding", *_THEN)


class StressedWindow(NamedTuple):
    """Rows [start, stop), which underlyings they `known` well enough, and which `remember` them as a crisis, (A,)."""

    start: int
    stop: int
    known: Bools
    remember: Bools


def stressed_windows(
    past: MarketHistory, coverage: Coverage, rows: int, count: int, columns: Bools | None = None
) -> list[StressedWindow]:
    """Every window that was, as it ended, among the `count` wildest yet of some underlying; oldest first.

    Wild by its mean square return, by how far it fell or by how far it rose (at the level): a record stays one whatever
    comes later, and whatever other underlyings do, so that the list only grows. Windows are laid every half window from
    the first row on, and moved back, by a tenth at most, to where most prices are known. An underlying of `columns`
    (all where None) is known where it has that price and, with the others that are, nine tenths of its returns.
    Columns with other holes than these may so keep each other out: ask for those together that one portfolio holds.
    """
    returns = past.returns(coverage)
    columns = np.ones(len(past.underlyings), dtype=bool) if columns is None else columns
    wildest = np.full((count, 3, len(columns)), -np.inf)
    each, found = np.arange(len(columns)), []
    for nominal in range(rows, len(past) + 1, max(rows // 2, 1)):
        stop, known = _known_then(past, returns, nominal, rows, columns)
        if stop < rows or not known.any():
            continue
        told = np.full((3, len(columns)), -np.inf)
        told[:, known] = _wildness(returns[stop - rows : stop - past.steps(coverage), known], coverage.level)
        least = wildest.argmin(axis=0)
        record = told > wildest.min(axis=0)
        for figure in range(3):
            higher = each[record[figure]]
            wildest[least[figure, higher], figure, higher] = told[figure, higher]
        if record.any():
            found.append(StressedWindow(stop - rows, stop, known, record.any(axis=0)))
    return found


def _known_then(past: MarketHistory, returns: Floats, nominal: int, rows: int, columns: Bools) -> tuple[int, Bools]:
    """Where a window that should end at `nominal` does, and which underlyings it knows, (A,)."""
    late = np.isfinite(past.spot[max(nominal - max(rows // 10, 1), 0) : nominal]) & columns
    stop = nominal - int(late[::-1].sum(axis=1).argmax())
    inside = np.isfinite(returns[max(stop - rows, 0) : stop - (len(past) - len(returns))])
    candidates = np.flatnonzero(late[stop - nominal - 1])
    # Best known first: one full of holes may not take the rows of the others.
    order = candidates[np.argsort(-inside[:, candidates].sum(axis=0), kind="stable")]
    shared = np.logical_and.accumulate(inside[:, order], axis=1).sum(axis=0)
    known = np.zeros(len(columns), dtype=bool)
    known[order[shared >= _WHOLE * max(len(inside), 1)]] = True
    if past.numeraire in past.underlyings and not known[past.underlyings.index(past.numeraire)]:
        known[:] = False  # nothing can be counted
    return stop, known


def _wildness(returns: Floats, level: float) -> Floats:
    """Mean squares, falls and rises at a level of (S, A) returns, (3, A); a hole moved nothing."""
    moves = np.where(np.isfinite(returns), returns, 0.0).T
    return np.vstack([(moves**2).mean(axis=1), upper_quantile(-moves, level), upper_quantile(moves, level)])


def only_underlyings(history: MarketHistory, columns: Bools) -> MarketHistory:
    """The same history of fewer underlyings; `columns` is (A,)."""
    if columns.all():
        return history
    names = tuple(name for name, kept in zip(history.underlyings, columns, strict=True) if kept)
    panels = {name: getattr(history, name) for name in _PER_UNDERLYING}
    cut: dict[str, Any] = {name: None if panel is None else panel[:, columns] for name, panel in panels.items()}
    return replace(history, underlyings=names, **cut)


def only_legs(book: Book, underlyings: tuple[str, ...]) -> Book:
    """The same portfolios, with the legs on these underlyings alone."""
    kept = np.array([instrument.underlying in underlyings for instrument in book.instruments], dtype=bool)
    if kept.all():
        return book
    some = tuple(one for one, stays in zip(book.instruments, kept, strict=True) if stays)
    quantity = sparse.csr_array(book.quantity)[:, kept] if sparse.issparse(book.quantity) else book.quantity[:, kept]
    return Book(some, book.portfolios, quantity)


def only_portfolios(book: Book, places: Places) -> Book:
    """The same legs of the portfolios at these places, in order."""
    if len(places) == len(book.portfolios):
        return book
    rows = sparse.csr_array(book.quantity)[places] if sparse.issparse(book.quantity) else book.quantity[places]
    return Book(book.instruments, tuple(book.portfolios[place] for place in places), rows, book.listing)


def _with_the_same_gaps(past: MarketHistory, coverage: Coverage, holds: Bools, numeraire: Bools) -> list[Places]:
    """Portfolios by place, those together that hold the same of what has holes of its own, from their (P, A)."""
    columns = holds.any(axis=0) | numeraire
    own = np.zeros(int(columns.sum()), dtype=bool)
    for panel in (past.returns(coverage), past.spot):
        unknown = ~np.isfinite(panel[:, columns])
        # A hole that all share, as where the clock stood still, tells none from another.
        own |= (unknown & ~unknown.all(axis=1, keepdims=True)).any(axis=0)
    if not own.any() or len(holds) < 2:
        return [np.arange(len(holds))]
    return alike(holds[:, columns][:, own])


def as_if_just_past(
    past: MarketHistory, start: int, stop: int, steps: int, known: Bools | None = None
) -> MarketHistory:
    """A history in which rows [start, stop) of the `known` underlyings have just happened and led to today's state.

    Prices, highs, lows and rates are scaled to end where they stand now, stamps are the newest, and the last curves,
    surfaces, depth and features are today's. The surface a horizon (`steps` rows) before is left out, so that no change
    of volatility runs from then to now.
    """
    window, newest = past.rows(start, stop), past.last(stop - start)
    if known is not None:
        window, newest = only_underlyings(window, known), only_underlyings(newest, known)
    alive = (window.spot[-1] > 0) & (newest.spot[-1] > 0)
    scale = np.divide(newest.spot[-1], window.spot[-1], out=np.zeros(len(alive)), where=alive)
    panels: dict[str, Any] = {"volume": window.volume, "funding": window.funding}
    for name in ("spot", "high", "low"):
        panel = getattr(window, name)
        panels[name] = None if panel is None else panel * scale
    for name in _THEN:
        now = getattr(newest, name)
        if now is not None:
            panels[name] = getattr(window, name).copy()
            panels[name][-1] = now[-1]
    if newest.marks is not None:
        panels["marks"] = np.full_like(newest.marks, np.nan)
        panels["marks"][-1] = newest.marks[-1]
    if newest.surfaces is not None and stop - start > steps:
        panels["surfaces"][-1 - steps] = np.nan
    fx = {name: _ending_at(window.fx[name], rate[-1]) for name, rate in newest.fx.items()}
    return replace(newest, fx=fx, **panels)


def _ending_at(rate: Floats, now: float) -> Floats:
    """A path of rates scaled to end now; no path where its end is unknown."""
    return rate * (now / rate[-1]) if np.isfinite(rate[-1]) else np.full(len(rate), now)


class StressedFloor(MarginModel):
    """Any model, and never less than another asks for as if a crisis of the past had just happened.

    After what article 28 of Regulation (EU) 153/2013 and Eurex's PRISMA ask of stressed observations: a floor that does
    not fall when markets calm. Each underlying remembers its own crises (`stressed_windows`), in all of the past and
    for good, whatever others do and whatever other portfolios hold; a portfolio is asked for the worst of those that
    any of its underlyings remembers, so that at the same state the floor of the same book never falls as time goes by.
    None is looked for ahead, and until the past holds one window there is no floor. A leg on what was not listed then,
    or had too many holes beside the portfolio's others, is left out there: it neither asks nor offsets. What is
    remembered are the crises of single underlyings: one in which only a spread moved is for `CorrelationBreakdown`.

    A charge costs one of `stressed` for each window remembered, of which there are ever more as the past grows, and
    the search runs through all of the past at every decision, once for each set of underlyings with holes of their own
    that some portfolio holds: on a long past it is far dearer than the model itself.

    Parameters
    ----------
    model : what is charged; `FilteredHistoricalVaR()` where None.
    stressed : what is asked of each window; `HistoricalVaR()` where None. One that looks at the newest rows most, as a
        filtered one does, would see little but the window's end; one that reads an underlying by the others that the
        market has makes the floor depend on what others hold where there are holes.
    window : rows of a window, as many as `stressed` needs to fit.
    windows : how many wildest windows yet an underlying remembers; more find more crises and cost more time.
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
        windows: int = 1,
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
        """Of the model, and of the stressed one in each window that a portfolio is asked for, (P,)."""
        asked = self.model_.multiplications(past, book)
        for stress in self._stresses(past, book):
            counted = np.where(stress.asked, stress.model.multiplications(stress.past, stress.book), 0.0)
            asked = asked + stress.of_all(counted, len(asked))
        return asked

    def _floored(self, asked: Requirement, past: MarketHistory, book: Book) -> Requirement:
        initial, maintenance = asked.initial, asked.maintenance
        worst = asked.worst or ("",) * len(book.portfolios)
        for stress in self._stresses(past, book):
            told = stress.model.requirement(stress.past, stress.book)
            floor = stress.of_all(np.where(stress.asked, self.weight * told.initial, 0.0), len(initial))
            worst = tuple(stress.name if higher else one for higher, one in zip(floor > initial, worst, strict=True))
            initial = np.maximum(initial, floor)
            kept = np.where(stress.asked, self.weight * told.maintenance, 0.0)
            maintenance = np.maximum(maintenance, stress.of_all(kept, len(initial)))
        parts = {**asked.components, "stressed floor": initial - asked.initial}
        return Requirement(book.portfolios, initial, maintenance, parts, worst)

    def _stresses(self, past: MarketHistory, book: Book) -> "Iterator[_Stress]":
        """Each window that some portfolio is asked for, of what it and its like hold and what all is counted in."""
        holds = book.by_underlying(np.ones(len(book.instruments)), past.now, gross=True) > 0
        numeraire = np.array([name == past.numeraire for name in past.underlyings])
        for members in _with_the_same_gaps(past, self.coverage_, holds, numeraire):
            alike = only_portfolios(book, members)
            yield from self._stresses_of(past, alike, members, holds[members], numeraire)

    def _stresses_of(
        self, past: MarketHistory, book: Book, members: Places, holds: Bools, numeraire: Bools
    ) -> "Iterator[_Stress]":
        """The same for the portfolios of a book, whose places among all are `members`."""
        steps, legs = past.steps(self.coverage_), dict[tuple[str, ...], Book]()
        columns = holds.any(axis=0) | numeraire
        for one in stressed_windows(past, self.coverage_, self.window, self.windows, columns):
            asked = np.asarray((holds & one.remember & one.known).any(axis=1))
            if asked.any():
                window = only_underlyings(past.rows(one.start, one.stop), one.known)
                if window.underlyings not in legs:
                    legs[window.underlyings] = only_legs(book, window.underlyings)
                yield _Stress(
                    f"window from {str(past.time[one.start])[:10]}",
                    self._fitted(window),
                    as_if_just_past(past, one.start, one.stop, steps, one.known),
                    legs[window.underlyings],
                    asked,
                    members,
                )

    def _fitted(self, window: MarketHistory) -> MarginModel:
        """The stressed model fitted to a window, once for all decisions that meet it."""
        key = (window.time[0], window.underlyings, window.numeraire, window.spot.tobytes())
        if key not in self._fits:
            fresh = HistoricalVaR() if self.stressed is None else clone(self.stressed)
            try:
                self._fits[key] = fresh.fit(window, self.coverage_)
            except HistoryError as error:
                raise HistoryError(f"{self!r}: a window of {self.window} rows is too short: {error}") from error
        return self._fits[key]

    def _model(self) -> MarginModel:
        if self.window < 2 or self.windows < 1 or not 0 < self.weight < np.inf:
            got = (self.window, self.windows, self.weight)
            raise ParameterError(
                f"StressedFloor needs window >= 2 rows, windows >= 1 and weight > 0 (finite), got {got}"
            )
        fresh: MarginModel = FilteredHistoricalVaR() if self.model is None else clone(self.model)
        return fresh

    def _taking(
        self, fitted: MarginModel, rows: int, coverage: Coverage, fits: dict[tuple[object, ...], MarginModel]
    ) -> Self:
        self.model_, self._fits = fitted, fits
        self.coverage_, self.window_ = coverage, rows
        return self


class _Stress(NamedTuple):
    """A window: its name, the model fitted to it, the past it makes, and who holds which of the legs it knows.

    `book` are the portfolios (p,) at the places `members` among all; `asked` says which of them remember it.
    """

    name: str
    model: MarginModel
    past: MarketHistory
    book: Book
    asked: Bools
    members: Places

    def of_all(self, figures: Floats, count: int) -> Floats:
        """Figures of the members (p,) among all portfolios (P,), 0 for the others."""
        told = np.zeros(count)
        told[self.members] = figures
        return told
