"""Which few numbers tell what a fitted model asks tonight?

Single positions give scan ranges, pairs give correlations, and the test books say how far the formula that is made of
both is from the model.
"""

import math

import numpy as np

from backtest.portfolios import Books
from data import BookRecipe, Coverage, Floats, Instrument, MarketHistory, ModelError, ParameterError
from margin_models import EwmaVolatility, MarginModel, VolatilityForecaster
from research.parameters import MOST_MULTIPLIER, AssetParameters, MarketParameters

LEAST_SHARE = 0.2  # of all scan risks is charged whatever offsets: EMIR RTS 153/2013, article 27, caps credit at 80 %
LEAST_NET = 0.05  # books that net to less of their gross are not what a formula on net exposures can tell
_SIDES = ((1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0))


def measured(
    fitted: MarginModel, past: MarketHistory, books: Books, coverage: Coverage, *, model_hash: str, data_hash: str
) -> MarketParameters:
    """What a fitted model asks at the newest row of single positions, of pairs and of the test books.

    An asset that has defaulted is left out. ParameterError for a coverage that is not in USD; ModelError where the
    model asks nothing, or no finite number, of a position that can be held, or of all the test books.
    """
    if coverage.numeraire != "USD":
        raise ParameterError(f"parameters are published in USD, got a coverage in {coverage.numeraire}")
    # By name, as they stand in the file: the rows of a matrix there are in no other order.
    alive = np.array(sorted(np.flatnonzero(past.now.spot > 0), key=past.underlyings.__getitem__), dtype=np.intp)
    names = tuple(past.underlyings[a] for a in alive)
    if not names:
        raise ModelError(f"{fitted!r}: no asset has a price at {past.now.time}")
    long, short, pairs = _asked(fitted, past, names)
    scan = np.maximum(long, short)
    ewma = EwmaVolatility().fit(past, coverage).forecast(past)[alive]
    vol = _own_forecast(fitted, past, alive, ewma)
    figures = np.column_stack(
        [past.now.spot[alive], scan, long, short, vol, ewma, scan / np.where(vol > 0, vol, np.nan)]
    )
    assets = {name: AssetParameters(*row) for name, row in zip(names, figures.tolist(), strict=True)}
    asked, gross, exposure, linear = _test_books(fitted, past, books)
    held = gross > 0
    mean = float((asked[held] / gross[held]).mean()) if held.any() else math.nan
    wrong = [name for name, one in assets.items() if not all(map(math.isfinite, vars(one).values()))]
    if wrong or not (scan > 0).all() or not mean > 0:
        raise ModelError(
            f"{fitted!r} must ask positive margins of {names} and of the test books, got {scan}, mean {mean}"
        )
    plain = MarketParameters(
        " ".join(repr(fitted).split()),
        model_hash,
        data_hash,
        str(past.now.time)[:19],
        coverage.level,
        coverage.horizon,
        assets,
        *_offsets(scan, pairs),
        1.0,
        LEAST_SHARE,
        mean,
        math.nan,
        0.0,
    )
    told = linear & held & (np.abs(exposure).sum(axis=1) > LEAST_NET * gross) & (asked > 0)
    formula = plain.charge(exposure[told][:, alive])
    ratio = asked[told] / formula
    multiplier = float(np.clip(ratio.max(initial=1.0), 1.0, MOST_MULTIPLIER))
    fidelity = float(np.median(multiplier / ratio)) if told.any() else math.nan
    uncovered = float((ratio > multiplier * (1.0 + 1e-9)).mean()) if told.any() else 0.0
    found = {"multiplier": multiplier, "fidelity": fidelity, "uncovered": uncovered}
    return MarketParameters(**{**vars(plain), **found})


def refused_fits(fitted: object) -> tuple[str, ...]:
    """What a fitted model and its parts say of fits that they refused, each once."""
    said: dict[str, None] = {}
    for part in (fitted, *(value for key, value in vars(fitted).items() if key.endswith("_"))):
        for key, why in getattr(part, "failures_", {}).items():
            said[key if isinstance(why, int) else f"{key}: {why}"] = None
    return tuple(said)


def _asked(fitted: MarginModel, past: MarketHistory, names: tuple[str, ...]) -> tuple[Floats, Floats, Floats]:
    """Margin of one unit long, and short, (A,) each; and of two units in a pair, (4, A, A) by _SIDES, NaN below."""
    size = len(names)
    first, second = np.triu_indices(size, 1)
    weight = np.zeros((2 * size + 4 * len(first), size))
    weight[:size], weight[size : 2 * size] = np.eye(size), -np.eye(size)
    for n, (one, other) in enumerate(_SIDES):
        rows = 2 * size + n * len(first) + np.arange(len(first))
        weight[rows, first], weight[rows, second] = one, other
    listed = tuple(Instrument(f"{name}-PERP", name) for name in names)
    recipe = BookRecipe(listed, tuple(f"probe {n}" for n in range(len(weight))), weight)
    margin = _margin(fitted, past, recipe)
    pairs = np.full((4, size, size), np.nan)
    for n in range(4):
        pairs[n, first, second] = 2.0 * margin[2 * size + n * len(first) : 2 * size + (n + 1) * len(first)]
    return margin[:size], margin[size : 2 * size], pairs


def _margin(fitted: MarginModel, past: MarketHistory, books: Books) -> Floats:
    margin = fitted.requirement(past, books.at(past.now)).initial
    if not (np.isfinite(margin) & (margin >= 0)).all():
        raise ModelError(f"{fitted!r} must ask finite margins >= 0, got {margin[~(margin >= 0)][:3]}")
    return margin


def _offsets(scan: Floats, pairs: Floats) -> tuple[Floats, Floats]:
    """The correlations that give the margins of pairs, the dearer side of each, (A, A): held together, and against."""
    a, b = scan[:, None], scan[None, :]
    square, own = np.stack([np.fmax(pairs[0], pairs[1]), np.fmax(pairs[2], pairs[3])]) ** 2, a**2 + b**2
    sides = []
    for value in ((square[0] - own) / (2.0 * a * b), (own - square[1]) / (2.0 * a * b)):
        upper = np.triu(np.clip(np.nan_to_num(value), -1.0, 1.0), 1)
        sides.append(upper + upper.T + np.eye(len(scan)))
    return sides[0], sides[1]


def _own_forecast(fitted: MarginModel, past: MarketHistory, alive: np.ndarray, ewma: Floats) -> Floats:
    """The forecast of the model's own forecaster, wherever it is among its parts, else the EWMA's, (A,)."""
    parts = [fitted]
    for part in parts:
        for key, value in vars(part).items():
            if isinstance(value, VolatilityForecaster) and key.endswith("_"):
                own = value.forecast(past)[alive]
                return np.where(np.isnan(own), ewma, own)
            if isinstance(value, MarginModel) and key.endswith("_"):
                parts.append(value)
    return ewma


def _test_books(fitted: MarginModel, past: MarketHistory, books: Books) -> tuple[Floats, Floats, Floats, np.ndarray]:
    """Margin (P,), gross (P,), exposures (P, A), and which hold neither options nor dated futures, (P,)."""
    book = books.at(past.now)
    margin = _margin(fitted, past, books)
    portfolio, instrument, quantity = book.holdings()
    bent = (book.listing.option | book.listing.future)[instrument] & (quantity != 0)
    linear = np.ones(len(book.portfolios), dtype=bool)
    linear[portfolio[bent]] = False
    return margin, book.gross(past.now), book.exposure(past.now), linear
