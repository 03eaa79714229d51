"""What was traded, what was held, and what happened?"""

from data.account import Account, Standing, standing
from data.arrays import Floats
from data.books import Book, BookRecipe
from data.clock import Clock
from data.coverage import Coverage
from data.errors import (
    ConvergenceError,
    DataError,
    HistoryError,
    MarginlabError,
    ModelError,
    ParameterError,
    SnapshotError,
    SourceError,
)
from data.history import MarketHistory, MarketState
from data.instruments import Instrument, Listing
from data.version import __version__

__all__ = [
    "Account",
    "Book",
    "BookRecipe",
    "Clock",
    "ConvergenceError",
    "Coverage",
    "DataError",
    "Floats",
    "HistoryError",
    "Instrument",
    "Listing",
    "MarginlabError",
    "MarketHistory",
    "MarketState",
    "ModelError",
    "ParameterError",
    "SnapshotError",
    "SourceError",
    "Standing",
    "__version__",
    "standing",
]
