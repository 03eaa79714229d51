"""Was the margin enough, and what did it cost?"""

import margin_models  # noqa: F401  first: it checks whose `data` is about to be imported
from backtest.closeout import LiquidationCost
from backtest.comparison import Comparison, compare
from backtest.portfolios import standard_books
from backtest.replay import Replay, replay
from backtest.scores import Scorecard, by_book, score

__all__ = [
    "Comparison",
    "LiquidationCost",
    "Replay",
    "Scorecard",
    "by_book",
    "compare",
    "replay",
    "score",
    "standard_books",
]
