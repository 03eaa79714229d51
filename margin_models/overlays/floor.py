"""What if a second model asks for more?"""

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from sklearn.base import clone

from data import Book, Coverage, Floats, MarketHistory
from margin_models.base import MarginModel, Requirement
from margin_models.overlays.base import Overlay


class FlooredBy(Overlay):
    """The larger of two models' charges, portfolio by portfolio, initial and maintenance each for itself.

    A venue's schedule under a model of one's own, or a static rate under a volatility model: a floor that is there in
    calm times is what keeps a margin from falling to where the next step of the market calls for most (EMIR RTS
    153/2013, article 28, names three such means; this one is any model at all).

    Parameters
    ----------
    model : what is charged.
    floor : what is charged at least.

    Attributes
    ----------
    model_, floor_ : both as fitted, on the same window.
    """

    def __init__(self, model: MarginModel, floor: MarginModel) -> None:
        self.model = model
        self.floor = floor

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit both."""
        fresh: MarginModel = clone(self.floor)
        self.floor_ = fresh.fit(past, coverage)
        return super().fit(past, coverage)

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """Each model's own way to fit many."""
        lower: MarginModel = clone(self.floor)
        floors = lower.fit_many(history, stops, window, coverage)
        for floor, fitted in zip(floors, super().fit_many(history, stops, window, coverage), strict=True):
            fitted.floor_ = floor
            yield fitted

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of both models, (P,)."""
        return self.model_.multiplications(past, book) + self.floor_.multiplications(past, book)

    def _over(self, asked: Requirement, past: MarketHistory, book: Book) -> Requirement:
        least = self.floor_.requirement(past, book)
        higher = least.initial > asked.initial
        initial = np.where(higher, least.initial, asked.initial)
        maintenance = np.maximum(asked.maintenance, least.maintenance)
        parts = {**asked.components, "floor": initial - asked.initial}
        none = ("",) * len(book.portfolios)
        worst = zip(higher, least.worst or none, asked.worst or none, strict=True)
        named = tuple(low if up else own for up, low, own in worst) if least.worst or asked.worst else ()
        return Requirement(book.portfolios, initial, maintenance, parts, named)
