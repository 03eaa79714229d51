"""Which history, and which features of order flow, do files of bars give?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from data import DataError, MarketHistory, ParameterError, SourceError
from data.build_history import TAKEN, history_from, usual_features, whole_set
from data.catalog import record_set
from data.clock import infer_clock
from data.flow.history_features import ohlcv_features
from data.imports import import_paths


@dataclass(frozen=True, eq=False)
class Bars:
    """A history with features, those of them that only taker volume tells, and what was not taken from the files."""

    history: MarketHistory
    taker: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_bars(files: Sequence[Path]) -> Bars:
    """Bars of files as venues publish them, checked as an import does, one underlying a symbol, with all features.

    Raises
    ------
    SourceError
        Where a file is refused, or holds no bars.
    DataError
        Where bars do not tell what takers bought, or two of a symbol end at one instant.
    ParameterError
        Where two venues' bars are of one symbol.
    """
    with TemporaryDirectory() as folder:
        store = Path(folder)
        report = import_paths(files, store)
        strange = [one for one in report.files if one.refused or one.kind != "bars"]
        wrong = [f"{one.file}: {one.refused or f'holds {one.kind}'}" for one in strange]
        if wrong or not report.files:
            raise SourceError(f"an ablation needs files of bars, got {'; '.join(wrong) or 'none'}")
        venues = {(one.symbol, one.venue) for one in report.files}
        named = {one.symbol: one.record_set for one in report.files if one.record_set}
        if len(venues) > len({symbol for symbol, _ in venues}):
            raise ParameterError(f"an ablation needs one venue a symbol, got {sorted(venues)}")
        sets = {name: record_set(word, store) for name, word in named.items()}
        poor = [name for name, found in sets.items() if not TAKEN.issubset(found.columns)]
        if poor or not sets:
            raise DataError(f"an ablation needs bars that tell what takers bought ({', '.join(sorted(TAKEN))}): {poor}")
        clock = infer_clock(whole_set(next(iter(sets.values())), store)["time"]).step
        history = usual_features(history_from(store, named, clock), store, named)
    own = set(ohlcv_features(history).names)
    notes = [f"{one.file}: {one.quarantined} of {one.rows} rows set aside." for one in report.files if one.quarantined]
    first, late = _all_there(history)
    if first:
        notes.append(
            f"{first} rows of {len(history)} left out: bars of {late} begin at {str(history.time[first])[:16]}."
        )
    history = history.rows(first, len(history))
    return Bars(history, tuple(name for name in history.feature_names if name not in own), tuple(notes))


def _all_there(history: MarketHistory) -> tuple[int, str]:
    """The first row by which every underlying has had a price, and the last to come: books hold all of them."""
    begins = np.isfinite(history.spot).argmax(axis=0)
    return int(begins.max()), history.underlyings[int(begins.argmax())]
