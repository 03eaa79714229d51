"""How much was on offer at each instant of a history?"""

from collections.abc import Iterable, Mapping

import numpy as np

from data.arrays import Bools, Floats, Places
from data.clock import Stamps
from data.errors import DataError, ParameterError
from data.history import MarketHistory
from data.records import DEPTH, Records

STALE = 600.0  # seconds after which what was on offer says nothing of what is


def lay_depth(
    history: MarketHistory,
    sources: Mapping[str, Records | Iterable[Records]],
    *,
    latency: float = 0.0,
    stale: float = STALE,
) -> MarketHistory:
    """The history with the depth of its order books: at each row the newest that was known then.

    Parameters
    ----------
    sources : {underlying: its DEPTH, in one batch or several}, notional in USD, in any order; underlyings without one
        stay unknown.
    latency : seconds from the instant of a sample until it was known.
    stale : seconds from then on for which it counts; older is unknown.

    Raises
    ------
    DataError
        If a source is of another kind, of no underlying or of no batch, a band is 0 or twice in one sample, or the
        depth is such as no book has (see `MarketHistory`).
    ParameterError
        For a latency below 0 or a limit that is not positive.
    """
    if not (0 <= latency < np.inf and 0 < stale < np.inf):
        raise ParameterError(f"expected a latency >= 0 s and a limit > 0 s, got {latency} and {stale}")
    told = {name: _whole(history, name, source) for name, source in sources.items()}
    bands = np.unique(np.concatenate([np.abs(source["band"]) for source in told.values()] or [np.empty(0)]))
    depth = np.full((len(history), len(history.underlyings), 2, len(bands)), np.nan)
    for name, source in told.items():
        known, offered = _samples(source, bands)
        row, fresh = _newest(known, history.time, latency, stale)
        depth[fresh, history.underlyings.index(name)] = offered[row[fresh]]
    return history.with_depth(depth, bands.tolist())


def _whole(history: MarketHistory, name: str, source: Records | Iterable[Records]) -> Records:
    """All samples of one underlying; DataError for what is none."""
    batches = [source] if isinstance(source, Records) else list(source)
    if name not in history.underlyings:
        raise DataError(f"depth of {name!r}, which is none of {history.underlyings}")
    if not batches or any(batch.kind is not DEPTH for batch in batches):
        raise DataError(
            f"expected depth of {name}, got {', '.join(batch.kind.name for batch in batches) or 'no batch'}"
        )
    for batch in batches:
        wrong = np.isnat(batch["time"]) | ~(np.abs(batch["band"]) > 0)
        if wrong.any():
            row = batch.row[wrong.argmax()]
            raise DataError(f"depth of {name} needs an instant and a band on a side, got row {row} without")
    one = batches[0]
    columns = {column: np.concatenate([batch[column] for batch in batches]) for column in DEPTH.required}
    return Records(DEPTH, one.venue, one.symbol, columns, np.concatenate([batch.row for batch in batches]))


def _samples(source: Records, bands: Floats) -> tuple[Stamps, Floats]:
    """Instants, rising (S,), and USD within each band on either side (S, 2, K); NaN where a sample says nothing."""
    time, at = np.unique(source["time"], return_inverse=True)
    side = (source["band"] > 0).astype(np.intp)
    band = np.searchsorted(bands, np.abs(source["band"]))
    cell = np.ravel_multi_index((at, side, band), (len(time), 2, len(bands)))
    twice = np.bincount(cell, minlength=1) > 1
    if twice.any():
        row = source.row[cell == int(twice.argmax())][1]
        raise DataError(f"depth of {source.symbol}: a sample has a band once, got it again at row {row}")
    offered = np.full((len(time), 2, len(bands)), np.nan)
    offered.ravel()[cell] = source["notional"]
    return time, offered


def _newest(known: Stamps, time: Stamps, latency: float, stale: float) -> tuple[Places, Bools]:
    """The sample that is newest at each of (T,) instants, and whether there is one that is not stale."""
    late, limit = (np.timedelta64(round(seconds * 1e9), "ns") for seconds in (latency, stale))
    row = np.searchsorted(known + late, time, side="right") - 1
    if not len(known):
        return row, np.zeros(len(time), dtype=bool)
    return row, (row >= 0) & (time - (known + late)[row] <= limit)
