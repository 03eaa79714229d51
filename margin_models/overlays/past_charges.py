"""What would today's fitted model have charged this very book at earlier rows, and what did the book lose then?"""

from collections.abc import Callable, Hashable, Iterator

import numpy as np

from data import Book, Coverage, DataError, Floats, HistoryError, MarketHistory
from data.arrays import Bools, Places
from margin_models.base import MarginModel
from margin_models.overlays.memory import Memory
from margin_models.overlays.past_losses import past_loss
from margin_models.overlays.proportions import Proportions
from margin_models.stressed_floor import only_portfolios

LEAST = 1e-6  # of gross notional: a smaller charge is the float noise of a hedged book, and nothing is relative to it


def earlier_rows(past: MarketHistory, count: int, every: int) -> Places:
    """At most `count` rows that lie `every`, twice `every`, ... rows before now, oldest first.

    >>> import pandas as pd
    >>> days = pd.DataFrame({"X": 1.0}, index=pd.date_range("2024-01-01", periods=10))
    >>> earlier_rows(MarketHistory.from_frame(days), 3, 2).tolist()
    [3, 5, 7]
    """
    last = len(past) - 1
    return np.arange(last - every * min(count, last // every), last, every)


class PastBook:
    """The same shares of notional, at the same size, at earlier rows (K,) of the past: `data.BookRecipe` rebuilds so.

    What a row tells depends on the rows up to it alone (a loss, on those to the end of its horizon). It is NaN where
    the portfolio could not be held then, as something in it had no price, and where the model could not charge it, as
    there was too little past. The memory saves time and changes no figure.
    """

    def __init__(self, book: Book, past: MarketHistory, rows: Places, memory: Memory) -> None:
        self.past, self.rows = past, rows
        self._memory = memory
        self._proportions = Proportions.of(book, past.now)
        self._key = self._proportions.key

    def charges(self, model: MarginModel, state: Hashable) -> Floats:
        """Margin per unit of gross notional by a fitted model, (K, P); `state` is the model's (`memory.state_of`)."""
        return self._remembered((self._key, state), self.rows, lambda row: self._charge(model, row))

    def losses(self, coverage: Coverage) -> Floats:
        """Loss per unit of gross notional over the horizon that starts at each row, (K, P); NaN where it goes on."""
        ended = self.rows + self.past.steps(coverage) < len(self.past)
        told = np.full((len(self.rows), len(self._proportions.gross)), np.nan)
        told[ended] = self._remembered((self._key, coverage), self.rows[ended], lambda row: self._loss(coverage, row))
        return told

    def _remembered(self, subject: Hashable, rows: Places, tell: Callable[[int], Floats]) -> Floats:
        known = self._memory.about(subject, self.past)
        for row in rows.tolist():
            if row not in known:
                known[row] = tell(row)
        return np.array([known[row] for row in rows.tolist()]).reshape(len(rows), len(self._proportions.gross))

    def _then(self, row: int) -> tuple[Book, Floats]:
        """The book as it was at a row, and its gross notional in the numeraire, (P,), NaN where there was none."""
        state = self.past.at(row)
        book, known = self._proportions.at(state)
        gross = book.gross(state)
        return book, np.where(known & (gross > 0), gross, np.nan)

    def _loss(self, coverage: Coverage, row: int) -> Floats:
        try:
            book, gross = self._then(row)
            return past_loss(book, self.past, row, coverage) / gross
        except DataError:  # nothing could be valued
            return np.full(len(self._proportions.gross), np.nan)

    def _charge(self, model: MarginModel, row: int) -> Floats:
        none = np.full(len(self._proportions.gross), np.nan)
        try:
            book, gross = self._then(row)
        except DataError:
            return none
        if np.isnan(gross).all():
            return none
        then = self.past.rows(0, row + 1)
        try:
            return model.margin(then, book) / gross
        except (DataError, HistoryError):
            return self._charge_apart(model, then, book, none) / gross

    def _charge_apart(self, model: MarginModel, then: MarketHistory, book: Book, none: Floats) -> Floats:
        """The same by when what a portfolio holds was listed, as one that holds nothing new may well be charged."""
        told = none.copy()
        groups = list(_listed_together(then, book))
        for members in groups if len(groups) > 1 else []:
            try:
                told[members] = model.margin(then, only_portfolios(book, members))
            except (DataError, HistoryError):
                continue
        return told


def _listed_together(then: MarketHistory, book: Book) -> Iterator[Places]:
    """Places of the portfolios whose youngest underlying was listed at the same row."""
    listed = np.isfinite(then.spot).argmax(axis=0)
    holds: Bools = book.by_underlying(np.ones(len(book.instruments)), then.now, gross=True) > 0
    youngest = np.where(holds, listed, 0).max(axis=1, initial=0)
    for row in np.unique(youngest):
        yield np.flatnonzero(youngest == row)
