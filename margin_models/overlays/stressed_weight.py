"""What if part of the margin were always that of the worst period seen so far?"""

import numpy as np

from data import Book, Coverage, MarketHistory, ParameterError
from margin_models.base import MarginModel, Requirement
from margin_models.overlays.base import Overlay
from margin_models.stressed_floor import StressedFloor


class StressedWeight(Overlay):
    """(1 - weight) of the model's margin and `weight` of a stressed one, wherever the stressed one is larger.

    EMIR RTS 153/2013, article 28(1)(b): at least 25 % weight to stressed observations. `StressedFloor` is another
    thing, a floor at a share of the stressed margin, which binds in calm times alone; this moves margin up at all times
    and so takes as much less of a rise. A stressed margin below the model's lowers nothing.

    The stressed margin is that of the wildest windows which each underlying remembers, as in `StressedFloor`.

    Parameters
    ----------
    model : what is charged outside stress.
    stressed : what is asked of each stressed window; `HistoricalVaR()` where None.
    weight : of the stressed margin, in (0, 1].
    window, windows : rows of a stressed window, and how many an underlying remembers.

    Attributes
    ----------
    model_ : the fitted `StressedFloor` that finds the windows.
    """

    def __init__(
        self,
        model: MarginModel,
        stressed: MarginModel | None = None,
        weight: float = 0.25,
        window: int = 250,
        windows: int = 1,
    ) -> None:
        self.model = model
        self.stressed = stressed
        self.weight = weight
        self.window = window
        self.windows = windows

    def _inner(self) -> MarginModel:
        return StressedFloor(self.model, self.stressed, self.window, self.windows)

    def _over(self, asked: Requirement, past: MarketHistory, book: Book) -> Requirement:  # noqa: ARG002  all is in asked
        parts = dict(asked.components)
        own = self.weight * parts.pop("stressed floor")
        calm = asked.initial - own / self.weight
        initial = calm + own
        ratio = np.divide(initial, asked.initial, out=np.ones_like(initial), where=asked.initial > 0)
        parts["stressed weight"] = own
        maintenance = np.minimum(asked.maintenance * ratio, initial)
        return Requirement(book.portfolios, initial, maintenance, parts, asked.worst)

    def _learn(self, past: MarketHistory, coverage: Coverage) -> None:  # noqa: ARG002  only the parameters are checked
        if not 0 < self.weight <= 1:
            raise ParameterError(f"StressedWeight needs a weight in (0, 1], got {self.weight}. Typical value: 0.25.")
