"""Which figures of earlier rows still hold, because all that they came from is bitwise the same?"""

import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import Floats, MarketHistory
from data.history import PANELS
from margin_models.base import MarginModel

SUBJECTS = 8  # that are remembered at once: charges and losses of the last four books or fits

Panels = tuple[NDArray[Any], ...]


class Memory:
    """Figures (P,) by row, apart by what they are about; the subject asked for least lately is forgotten first.

    A copy, and what is stored on disk, remembers nothing.
    """

    def __init__(self) -> None:
        self._subjects: OrderedDict[Hashable, tuple[dict[int, Floats], Panels]] = OrderedDict()

    def about(self, subject: Hashable, past: MarketHistory) -> dict[int, Floats]:
        """What is known by row of the past about a subject; to be added to.

        Pasts are the same where they start at the same place in the memory of the machine: their figures cannot change
        there (`MarketHistory` seals them), and are held on to, so that no others can take that place.
        """
        panels = _panels(past)
        facts = (past.underlyings, past.listed, past.clock, past.implied, past.numeraire, past.depth_bands)
        places = tuple((panel.ctypes.data, panel.strides, panel.shape[1:]) for panel in panels)
        key = (subject, places, facts, past.feature_names, _names(past))
        known, _ = self._subjects.setdefault(key, ({}, panels))
        self._subjects.move_to_end(key)
        while len(self._subjects) > SUBJECTS:
            self._subjects.popitem(last=False)
        return known

    def __reduce__(self) -> tuple[type["Memory"], tuple[()]]:
        return Memory, ()


def _names(past: MarketHistory) -> tuple[str, ...]:
    """Which panels and rates there are, in the order of `_panels`."""
    return (*(name for name in PANELS if getattr(past, name) is not None), *past.fx)


def _panels(past: MarketHistory) -> Panels:
    panels = [getattr(past, name) for name in PANELS]
    return (past.time, *(panel for panel in panels if panel is not None), *map(np.asarray, past.fx.values()))


def state_of(fitted: MarginModel) -> Hashable:
    """A key that only models have that learned bitwise the same; of one that cannot be stored, nobody else's.

    So a model that reads the past afresh, and learns nothing but how much of it to read, keeps its key when refitted.
    """
    try:
        return type(fitted), hashlib.blake2b(pickle.dumps(fitted)).digest()
    except (pickle.PicklingError, AttributeError, TypeError):
        return object()
