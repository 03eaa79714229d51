"""Where does a whole book post more than its parts, and by how much?

Expected shortfall on common scenarios, and the worst of a bare grid, never do (Artzner, Delbaen, Eber and Heath 1999,
"Coherent measures of risk", Math. Finance 9). Dampeners, credits, minima and quantiles may.
"""

import numpy as np
import pandas as pd
from scipy import sparse

from backtest.comparison import Models, named
from data import Book, Coverage, Floats, MarketHistory
from data.arrays import Places

Parted = tuple[Book, Places]

ROUNDING = 1e-9  # of the parts' margin: less is no excess


def subadditivity(
    models: Models, past: MarketHistory, book: Book, coverage: Coverage, *, splits: int = 20, seed: int = 7
) -> pd.DataFrame:
    """One row a model: how often a book posts more than its parts, the largest excess and where it is.

    Every portfolio is taken apart into its legs, and `splits` times at random into two. `excess` is a share of what the
    parts post.
    """
    rng = np.random.default_rng(seed)
    ways = [_legs(book), *(_halves(book, rng) for _ in range(splits))]
    rows = {}
    for name, model in named(models).items():
        fitted = model.fit(past, coverage)
        whole = fitted.margin(past, book)
        parts = np.stack([_sums(fitted.margin(past, parted), owner, len(whole)) for parted, owner in ways])
        excess = np.divide(whole - parts, parts, out=np.zeros_like(parts), where=parts > 0)
        worst = np.unravel_index(int(excess.argmax()), excess.shape)
        broken = excess > ROUNDING
        rows[name] = {
            "tried": excess.size,
            "broken": int(broken.sum()),
            "largest excess": float(max(excess[worst], 0.0)) if broken.any() else 0.0,
            "where": f"{book.portfolios[worst[1]]}, {'legs' if worst[0] == 0 else 'two parts'}" if broken.any() else "",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def _legs(book: Book) -> Parted:
    """Every leg as a portfolio of its own, and whose it is."""
    held = sparse.coo_array(book.quantity)
    count = len(held.data)
    quantity = sparse.csr_array((held.data, (np.arange(count), held.col)), shape=(count, len(book.instruments)))
    names = tuple(f"leg {n}" for n in range(count))
    return Book(book.instruments, names, quantity, book.listing), held.row.astype(np.intp)


def _halves(book: Book, rng: np.random.Generator) -> Parted:
    """Every portfolio in two random parts, leg by leg, and whose they are."""
    dense = book.dense
    share = rng.random(dense.shape)
    share = np.where(rng.random(dense.shape) < 0.5, np.round(share), share)
    names = tuple(f"{name}, part {n}" for n in (1, 2) for name in book.portfolios)
    parted = Book(book.instruments, names, np.vstack([share * dense, (1 - share) * dense]), book.listing)
    return parted, np.tile(np.arange(len(book.portfolios)), 2)


def _sums(margin: Floats, owner: Places, size: int) -> Floats:
    sums: Floats = np.bincount(owner, margin, minlength=size).astype(np.float64)
    return sums
