"""How does a frame of closes become panels on a clock?"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from data.arrays import Floats, Places
from data.clock import Clock, Stamps, infer_clock
from data.errors import DataError, HistoryError

MOST_HOLES = 1000  # rows a stamp: a grid with more is a clock misread, and would fill the memory


def kept_clock(time: Stamps, clock: str | Clock | None, source: str) -> Clock:
    """The clock asked for, or the one the stamps seem to keep; HistoryError where they do not keep it."""
    kept = clock if isinstance(clock, Clock) else Clock(clock) if clock else infer_clock(time)
    off = kept.off(time)
    if off.size:
        raise HistoryError(
            f"{source}: stamps must lie on a {kept.step} clock from {time[0]}, got {time[off[0]]} at row {off[0]} "
            f"({off.size} in all): pass the clock they keep"
        )
    if kept.count(time[0], time[-1]) > MOST_HOLES * len(time) + MOST_HOLES:
        raise HistoryError(
            f"{source}: {len(time)} stamps from {time[0]} to {time[-1]} are mostly holes on a {kept.step} clock: "
            "pass the clock they keep"
        )
    return kept


def as_floats(frame: pd.DataFrame, source: str) -> Floats:
    """A float copy; DataError names the first column that is not numeric."""
    for name, column in frame.items():
        if not pd.api.types.is_numeric_dtype(column.dtype):
            raise DataError(f"{source}: column {name!r} must be numbers, got {column.dtype}")
    return frame.to_numpy(dtype=np.float64, copy=True, na_value=np.nan)


def apply_defaults(values: Floats, time: Stamps, names: Sequence[str], defaults: Mapping[str, str]) -> None:
    """Set prices to 0 from the stated instant on, in place."""
    for name, instant in defaults.items():
        if name not in names:
            raise DataError(f"defaults names {name!r}, the frame has {tuple(names)}")
        try:
            stamp = pd.Timestamp(instant)
        except ValueError as error:
            raise DataError(
                f"the default of {name!r} must be an instant such as 2022-05-13, got {instant!r}"
            ) from error
        stamp = stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")
        values[time >= stamp.tz_localize(None).to_datetime64(), list(names).index(name)] = 0.0


def _like(frame: pd.DataFrame, closes: pd.DataFrame, name: str) -> pd.DataFrame:
    """The panel on the labels of the closes; DataError where it has others."""
    extra = [column for column in frame.columns if column not in closes.columns]
    if extra or not frame.index.isin(closes.index).all():
        raise DataError(f"{name} must have the labels of the closes, got also {extra or 'other instants'}")
    return frame.reindex(index=closes.index, columns=closes.columns)


def laid_out(closes: pd.DataFrame, at: Places, size: int, panel: pd.DataFrame | None, name: str) -> Floats | None:
    """A panel on the grid, None where there is none; DataError for other labels or an infinite value."""
    if panel is None:
        return None
    values = as_floats(_like(panel, closes, name), name)
    if np.isinf(values).any():
        raise DataError(f"{name} must be finite or blank, got an infinite value")
    return on_grid(values, at, size)


def on_grid(values: Floats, at: Places, size: int) -> Floats:
    """Rows of values laid at their places among `size` rows, (size, A); NaN between them."""
    panel = np.full((size, values.shape[1]), np.nan)
    panel[at] = values
    return panel
