"""How much of the tail does a cheap model catch, and for how much arithmetic?"""

import numpy as np
import pandas as pd

from backtest.comparison import Models, named
from data import Book, Coverage, MarketHistory
from margin_models import MarginModel


def tail_captured(
    models: Models, yardstick: MarginModel, past: MarketHistory, book: Book, coverage: Coverage
) -> pd.DataFrame:
    """One row a model: the share of the yardstick's margin it also asks for, and what it asks for beyond.

    All are fitted on `past`. `captured` is the sum over portfolios of the lesser of both margins, over the yardstick's
    sum; `beyond` the same of what exceeds it. `multiplications` are those of a mean portfolio, and `per million` is
    what a million of them would catch at that rate. The yardstick comes last.
    """
    truth = yardstick.fit(past, coverage).margin(past, book)
    whole = truth.sum()
    rows = {}
    for name, model in {**named(models), "yardstick": yardstick}.items():
        fitted = model.fit(past, coverage)
        margin = fitted.margin(past, book)
        captured = np.minimum(margin, truth).sum() / whole
        effort = float(np.mean(fitted.multiplications(past, book)))
        rows[name] = {
            "captured": captured,
            "beyond": np.maximum(margin - truth, 0.0).sum() / whole,
            "multiplications": effort,
            "per million": 1e6 * captured / effort,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
