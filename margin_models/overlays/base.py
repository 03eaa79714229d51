"""What is asked on top of what a margin model asks?"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from sklearn.base import clone

from data import Book, Coverage, Floats, MarketHistory
from margin_models.base import MarginModel, Requirement


class Overlay(MarginModel):
    """A margin model around another, which is its first argument, `model`.

    It keeps nothing from one decision to the next: what it must know of earlier ones it finds in the past that it is
    shown, so that a refit forgets and no order of calls matters. It states no law of the loss, even where the model
    does: what is charged is no longer read off that law.

    Attributes
    ----------
    model_ : the fitted model.
    """

    model: MarginModel

    @abstractmethod
    def _over(self, asked: Requirement, past: MarketHistory, book: Book) -> Requirement:
        """The overlay's own word on what the model asked."""

    def _inner(self) -> MarginModel:
        """What is fitted inside: the model, not fitted yet."""
        fresh: MarginModel = clone(self.model)
        return fresh

    def _learn(self, past: MarketHistory, coverage: Coverage) -> None:
        """What the overlay itself learns from the fit window, and its parameters' errors; nothing by default."""

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit the model, then the overlay. ParameterError for what is out of range."""
        return self._around(self._inner().fit(past, coverage), past, coverage)

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """The model's own way to fit many, each with an overlay."""
        for stop, fitted in zip(stops, self._inner().fit_many(history, stops, window, coverage), strict=True):
            fresh: Self = clone(self)
            yield fresh._around(fitted, history.rows(max(stop - window, 0), stop), coverage)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The model's margin and what the overlay makes of it, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """The model's components and the overlay's own."""
        return self._over(self.model_.requirement(past, book), past, book)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The same with the model's finest components."""
        return self._over(self.model_.explain(past, book), past, book)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of the model, (P,): an overlay's own are few."""
        return self.model_.multiplications(past, book)

    @property
    def failures_(self) -> dict[str, str | int]:
        """What the parts of the model say about fits they refused; what the model says itself it says itself."""
        told: dict[str, str | int] = {}
        for part in _parts(self):
            for inner in _parts(part):
                told |= getattr(inner, "failures_", {})
        return told

    def _around(self, fitted: MarginModel, past: MarketHistory, coverage: Coverage) -> Self:
        self.model_, self.coverage_, self.window_ = fitted, coverage, len(past)
        self._learn(past, coverage)
        return self


def _parts(fitted: object) -> list[object]:
    """The fitted things that something fitted is made of."""
    return [value for key, value in getattr(fitted, "__dict__", {}).items() if key.endswith("_")]


def changed_by(asked: Requirement, name: str, share: Floats) -> Requirement:
    """The requirement with a share (P,) of its own on top, negative where it is a relief; maintenance scales alike.

    Where nothing was asked before, maintenance is the share itself.
    """
    initial = np.maximum(asked.initial + share, 0.0)
    nothing = asked.initial <= 0
    ratio = np.where(nothing, 0.0, initial / np.where(nothing, 1.0, asked.initial))
    maintenance = np.where(nothing, initial, np.minimum(asked.maintenance * ratio, initial))
    parts = {**asked.components, name: initial - asked.initial}
    return Requirement(asked.portfolios, initial, maintenance, parts, asked.worst)
