"""Was the margin enough, and what did it cost?"""

import margin_models  # noqa: F401  first: it checks whose `data` is about to be imported
from backtest.book_cost import BookCost
from backtest.closeout import LiquidationCost
from backtest.comparison import Comparison, compare
from backtest.option_books import Leg, OptionRecipe, Scheduled, option_books, structures
from backtest.portfolios import standard_books
from backtest.replay import Replay, replay
from backtest.scores import Scorecard, by_book, score
from backtest.subadditivity import subadditivity
from backtest.tail_capture import tail_captured

__all__ = [
    "BookCost",
    "Comparison",
    "Leg",
    "LiquidationCost",
    "OptionRecipe",
    "Replay",
    "Scheduled",
    "Scorecard",
    "by_book",
    "compare",
    "option_books",
    "replay",
    "score",
    "standard_books",
    "structures",
    "subadditivity",
    "tail_captured",
]
