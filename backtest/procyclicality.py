"""How hard does a margin model pull on its members when markets turn?

Measures of a margin that was charged on a portfolio that does not change (a replay's books are rebuilt to unit gross
notional, so that what moves is the rate and not the position), and an experiment: a market whose volatility,
correlation or depth steps once and stays.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from backtest.replay import Replay, charges
from backtest.scores import peak_to_trough
from data import Book, Coverage, Floats, HistoryError, Instrument, MarketHistory, ParameterError
from data.clock import Stamps
from margin_models import MarginModel

__all__ = ["ImpulseResponse", "impulse_response", "largest_call", "peak_to_trough", "procyclicality", "responsiveness"]

DAYS = (1, 5, 30)
_MOST_STEP = 20.0
_DEPTH, _BAND = 1e6, 0.01  # USD offered on either side within a share of the mid, before a step in depth
_QUARTER = 4  # of the rows after the step: the newest are where a model has settled


def largest_call(margin: Floats, time: Stamps, days: int) -> Floats:
    """Largest increase of (R, P) margins over so many days, (P,); 0 where margin never rose, NaN where never known.

    The n-day measure of Murphy, Vasios and Vause (2014), Bank of England Financial Stability Paper 29: margin at the
    last decision within `days` of another, less margin at that other. `time` (R,) ascends.

    Raises
    ------
    ParameterError
        For days below 1.
    HistoryError
        Where the decisions do not span so many days.
    """
    if days < 1:
        raise ParameterError(f"days must be >= 1, got {days}. Typical values: 1, 5, 30.")
    later = np.searchsorted(time, time + np.timedelta64(days, "D"), side="right") - 1
    whole = time + np.timedelta64(days, "D") <= time[-1]
    start, end = np.flatnonzero(whole), later[whole]
    if not len(start):
        raise HistoryError(f"a call over {days} days needs as many, got decisions from {time[0]} to {time[-1]}")
    rise = margin[end] - margin[start]
    known = np.isfinite(rise).any(axis=0)
    largest = np.max(np.where(np.isfinite(rise), rise, -np.inf), axis=0)
    return np.where(known, np.maximum(largest, 0.0), np.nan)


def procyclicality(replay: Replay, days: tuple[int, ...] = DAYS) -> pd.DataFrame:
    """One row a portfolio: peak-to-trough, and the largest call over each number of days, per unit of gross notional.

    A call over more days than the replay spans is NaN. ParameterError for days below 1.
    """
    margin = np.where(replay.live, replay.initial, np.nan)
    columns = {"peak_to_trough": peak_to_trough(margin)}
    for length in days:
        spans = replay.time[-1] - replay.time[0] >= np.timedelta64(length, "D")
        unknown = np.full(len(replay.portfolios), np.nan)
        columns[f"call_{length}d"] = largest_call(margin, replay.time, length) if spans or length < 1 else unknown
    return pd.DataFrame(columns, index=pd.Index(replay.portfolios, name="portfolio"))


@dataclass(frozen=True, eq=False)
class ImpulseResponse:
    """What margin does when the market steps up once and stays.

    Attributes
    ----------
    model, kind, step : what was charged, what stepped, and to what multiple (volatility, depth) or level (correlation).
    rows : (K,) days since the step; the first margin that can know of it is that of day 1.
    margin : (K,) the mean of the books' margin over what it was before.
    due : what a margin that follows the true risk of the books would settle at; NaN where depth stepped, as that is up
        to the size of the accounts.
    settled : the level reached in the newest quarter of the rows.
    overshoot : by what share of the settled level margin went beyond it; chance leaves a few percent even where a
        model moves smoothly.
    half_life : days until margin has gone half of the way to where it settles, and 0 where it does not move. It is that
        of the books' mean margin, which after a step up lags the root of their mean variance: where a book's estimate
        has been led by chance its margin, a root, gains less than another's loses. An EWMA of variances with a
        half-life of 10 days comes to 8.2 days, against 7.8 without chance.
    """

    model: str
    kind: str
    step: float
    rows: Floats
    margin: Floats
    due: float
    settled: float
    overshoot: float
    half_life: float

    def to_frame(self) -> pd.DataFrame:
        """One row: the response in figures."""
        names = ("kind", "step", "due", "settled", "overshoot", "half_life")
        return pd.DataFrame({name: [getattr(self, name)] for name in names}, index=pd.Index([self.model], name="model"))

    def path(self) -> pd.Series:
        """Margin over what it was before, by day since the step."""
        return pd.Series(self.margin, pd.Index(self.rows.astype(np.int64), name="day"), name=self.model)

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(float_format="{:.4g}".format)


def impulse_response(
    model: MarginModel,
    step: float = 2.0,
    kind: Literal["volatility", "correlation", "depth"] = "volatility",
    *,
    coverage: Coverage | None = None,
    window: int = 250,
    before: int = 40,
    after: int = 500,
    refit_every: int = 20,
    books: int = 30,
    volatility: float = 0.02,
    correlation: float = 0.0,
    seed: int = 20190503,
) -> ImpulseResponse:
    """Replay a model over a market that steps once, on `books` that are alike and draw their own chance.

    Gurrola-Perez and Murphy's question to a margin model: how it answers a step in volatility. Daily normal returns,
    balanced across the books on every day, so that their mean margin shows the model more than the draw. A step in
    volatility multiplies it by `step` and each book is long one underlying of its own; a step in correlation takes
    that of each book's two underlyings, both held long, from `correlation` to `step`; one in depth multiplies what
    order books offer, a million USD on either side within a percent before it, and leaves prices alone.

    Parameters
    ----------
    coverage : 99 % over one day where None; the horizon must be one day.
    window, refit_every : as in `replay`; rows a fit sees, and decisions between fits.
    before, after : decisions on either side of the step.
    volatility : standard deviation of a day's return before the step.

    Raises
    ------
    ParameterError
        For a step, a correlation or a number outside its range, a kind that is neither, or a horizon other than a day.
    HistoryError
        Where the model asks for no margin before the step, so that there is nothing to compare with.
    """
    asked = Coverage() if coverage is None else coverage
    _check(step, kind, correlation, asked, (window, before, after, books))
    rows = window + before + after
    struck = np.arange(rows - 1) >= window + before - 2  # the first that row window + before - 1 knows
    returns = volatility * _balanced(rows - 1, books, kind == "correlation", seed)
    if kind == "volatility":
        returns[struck] *= step
        due = step
    elif kind == "depth":
        due = math.nan
    else:
        returns = _paired(returns, np.where(struck, step, correlation))
        due = math.sqrt((1.0 + step) / (1.0 + correlation))
    history, book = _market(returns), _books(returns.shape[1], books)
    if kind == "depth":
        history = _with_depth(history, window + before - 1, step)
    margin = _charged(model, history, book, asked, window, refit_every)
    told = margin.mean(axis=1)
    calm = told[:before].mean()
    if not calm > 0:
        raise HistoryError(f"{model!r} asks for no margin before the step: there is nothing to compare with")
    return _read(repr(model), kind, step, told[before:] / calm, due)


def responsiveness(
    models: dict[str, MarginModel],
    step: float = 2.0,
    kind: Literal["volatility", "correlation", "depth"] = "volatility",
) -> pd.DataFrame:
    """One row a model: how each answers the same step. Errors as `impulse_response`."""
    rows = [impulse_response(model, step, kind).to_frame() for model in models.values()]
    return pd.concat(rows).set_axis(pd.Index(list(models), name="model"))


def _read(model: str, kind: str, step: float, path: Floats, due: float) -> ImpulseResponse:
    """Settled level, overshoot and half-life of margin (K,) over what it was."""
    settled = float(path[-max(len(path) // _QUARTER, 1) :].mean())
    furthest = float(path.max() if settled >= 1.0 else path.min())
    overshoot = max((furthest / settled - 1.0) * (1.0 if settled >= 1.0 else -1.0), 0.0) if settled > 0 else 0.0
    rows = np.arange(1.0, len(path) + 1.0)
    return ImpulseResponse(model, kind, step, rows, path, due, settled, overshoot, _half_life(path, settled))


def _half_life(path: Floats, settled: float) -> float:
    """Days until half of the way from 1 to the settled level, between days by straight lines."""
    way = settled - 1.0
    if abs(way) < 1e-9:
        return 0.0
    gone = np.concatenate([[0.0], (path - 1.0) / way])
    first = int(np.argmax(gone >= 0.5))
    return first - 1 + float((0.5 - gone[first - 1]) / (gone[first] - gone[first - 1]))


def _balanced(rows: int, books: int, in_pairs: bool, seed: int) -> Floats:
    """(rows, A) normal scores, dealt out to the books afresh every day: each day's mean is zero and variance one."""
    from scipy.special import ndtri

    score = ndtri((np.arange(books) + 0.5) / books)
    score /= math.sqrt(float(np.mean(score**2)))
    rng = np.random.default_rng(seed)
    dealt = [rng.permuted(np.tile(score, (rows, 1)), axis=1) for _ in range(2 if in_pairs else 1)]
    return np.hstack(dealt)


def _paired(returns: Floats, correlation: Floats) -> Floats:
    """The second half of the columns made to move with the first as (rows,) correlations say."""
    first, second = np.hsplit(returns, 2)
    shared = correlation[:, None]
    return np.hstack([first, shared * first + np.sqrt(1.0 - shared**2) * second])


def _market(returns: Floats) -> MarketHistory:
    spot = 100.0 * np.vstack([np.ones(returns.shape[1]), 1.0 + returns]).cumprod(axis=0)
    names = [f"U{n:03d}" for n in range(returns.shape[1])]
    return MarketHistory.from_frame(pd.DataFrame(spot, pd.date_range("2000-01-01", periods=len(spot)), names))


def _with_depth(history: MarketHistory, row: int, step: float) -> MarketHistory:
    """The same market with books of one band that are `step` times as deep from a row on."""
    depth = np.full((len(history), len(history.underlyings), 2, 1), _DEPTH)
    depth[row:] *= step
    return history.with_depth(depth, (_BAND,))


def _books(underlyings: int, books: int) -> Book:
    """Each book long one underlying, or two of them in equal notional."""
    listed = tuple(Instrument(f"U{n:03d}-PERP", f"U{n:03d}") for n in range(underlyings))
    held = np.hstack([np.eye(books)] * (underlyings // books))
    return Book(listed, tuple(f"book {n:03d}" for n in range(books)), held)


def _charged(
    model: MarginModel, history: MarketHistory, book: Book, coverage: Coverage, window: int, refit_every: int
) -> Floats:
    """Initial margin per unit of gross notional at each row from `window` on, (K, P)."""
    rows = list(range(window - 1, len(history)))
    with threadpool_limits(1):
        asked = charges(model, history, book, coverage, rows, window=window, refit_every=refit_every)
        return np.array([requirement.initial / gross for _, requirement, gross in asked])


def _check(step: float, kind: str, correlation: float, coverage: Coverage, counts: tuple[int, ...]) -> None:
    if kind not in ("volatility", "correlation", "depth"):
        raise ParameterError(f'kind must be "volatility", "correlation" or "depth", got {kind!r}')
    if kind != "correlation" and not 0 < step <= _MOST_STEP:
        raise ParameterError(f"a step multiplies {kind} by 0 to {_MOST_STEP:g}, got {step}. Typical value: 2.")
    if kind == "correlation" and not (-1 < step < 1 and -1 < correlation < 1):
        raise ParameterError(f"correlations must lie within (-1, 1), got {correlation} and then {step}")
    if coverage.horizon != "1D":
        raise ParameterError(f"the response is that of a horizon of one day, got {coverage.horizon!r}")
    if min(counts) < 2:
        raise ParameterError(f"window, before, after and books must each be at least 2, got {counts}")
