"""How does an overlay look at what the model it wraps would have charged before?"""

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from data import Book, Coverage, Floats, MarketHistory, ParameterError
from data.arrays import Places
from margin_models.base import Requirement
from margin_models.overlays.base import Overlay, changed_by
from margin_models.overlays.memory import Memory, state_of
from margin_models.overlays.past_charges import PastBook, earlier_rows


class LooksBack(Overlay):
    """An overlay that sets a charge per unit of gross notional by what the same book would have been charged before.

    Nothing is carried from one decision to the next: the charges of before are those of today's fitted model for the
    same shares of notional at earlier rows (`past_charges.PastBook`), made again where they are not remembered. So a
    decision tells the same whether or not there was one before it. They cost one charge of the model for each earlier
    row at the first decision after a fit, and at each decision if the shares of notional change; afterwards, and over
    refits that learn nothing new, one for each row that time has moved on by.
    """

    own: ClassVar[str]  # what its share is called among the components

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """The model's own way to fit many; all share what they remember."""
        memory = Memory()
        for fitted in super().fit_many(history, stops, window, coverage):
            fitted._memory = memory
            yield fitted

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of the model now, and as many again at each earlier row (nearly all of which the memory saves), (P,)."""
        return self.model_.multiplications(past, book) * (1.0 + len(self._rows(past)))

    def _learn(self, past: MarketHistory, coverage: Coverage) -> None:  # noqa: ARG002  the model has learned
        self._refuse_bad_parameters()
        self._state: Hashable = state_of(self.model_)
        self._memory = Memory()

    def _over(self, asked: Requirement, past: MarketHistory, book: Book) -> Requirement:
        gross = book.gross(past.now)
        unit = np.divide(asked.initial, gross, out=np.full_like(gross, np.nan), where=gross > 0)
        then = PastBook(book, past, self._rows(past), self._memory)
        wanted = self._unit_charge(unit, then.charges(self.model_, self._state), then)
        # As a multiple of what the model asks, so that a charge which is to stay does so to the last bit.
        more = np.where(unit > 0, asked.initial * (wanted / np.where(unit > 0, unit, 1.0) - 1.0), wanted * gross)
        return changed_by(asked, free_name(self.own, asked.components), np.nan_to_num(more))

    def _rows(self, past: MarketHistory) -> Places:
        """The earlier rows that are looked at, (K,), oldest first."""
        return earlier_rows(past, *self._reach(past))

    def _refuse_bad_parameters(self) -> None:
        """ParameterError for what is out of range."""
        count, every = getattr(self, "lookback", 1), getattr(self, "every", None)
        if count < 1 or (every is not None and every < 1):
            raise ParameterError(f"{self!r}: lookback and every must be >= 1, got {count} and {every}")

    @abstractmethod
    def _reach(self, past: MarketHistory) -> tuple[int, int]:
        """How many earlier rows to look at, and how many rows apart."""

    @abstractmethod
    def _unit_charge(self, unit: Floats, before: Floats, then: PastBook) -> Floats:
        """What to charge per unit of gross notional, (P,) >= 0, from the model's now (P,) and before, (K, P).

        Both are NaN where unknown; what comes out is NaN where the model's charge is to stay.
        """


def free_name(own: str, taken: Mapping[str, Floats]) -> str:
    """A name that no component has: an overlay may wrap one of its own kind.

    >>> free_name("buffer", {"margin": np.ones(1), "buffer": np.ones(1)})
    'buffer again'
    """
    name = own
    while name in taken:
        name += " again"
    return name
