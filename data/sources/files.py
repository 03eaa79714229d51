"""What do a user's own files say about prices, and when was each price known?

Either wide tables of closes (a time column, then one column an asset) or bars, one file an asset (open, high, low,
close, volume, by name; `close` is used, "price" or "adj close" only where there is no `close`). CSV, plain, .gz or a
.zip of one CSV, or Parquet; Binance klines without a header are recognised by their 12 numbers. Files that differ in
nothing but a date at the end of their names (BTC-1h-2024-01, BTC-1h-2024-02) are one series.

A close is known at the end of its bar, so rows are labelled by that end: assets labelled by the open beside assets
labelled by the end would show one asset the future of another.

- Plain dates stay as they are: a date labels the day that ends with the close.
- `open_time` moves to the end of the bar, `close_time` is that end (its last millisecond is rounded up).
- Bars of whole days that end at midnight UTC are labelled by the last day they cover.
- Other names (timestamp, time, date) do not say. They are taken as stamped unless `label` says what they are; files
  that say are not joined to files that do not, nor daily bars to intraday ones.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from data.clock import Clock, plain_span
from data.errors import DataError, ParameterError, SourceError
from data.history import MarketHistory
from data.sources.cells import KLINES, Sheet, read_sheet

Label = Literal["open", "close"]

TOLERANCE = 1e-6  # share by which a close may leave its bar's range: adjusted prices are rounded

_PIECE = re.compile(r"[-_.]\d{4}-\d{2}(-\d{2})?$")
_DAY = np.timedelta64(1, "D").astype("timedelta64[ns]")
_TIMES: Mapping[str, Label | None] = {  # in order of preference, with what each says
    **{"open_time": "open", "opentime": "open", "close_time": "close", "closetime": "close"},
    **dict.fromkeys(("timestamp", "datetime", "date_time", "time", "date", "unix", "ts")),
}
_CLOSES = ("close", "price", "adj_close")
_BARS = ("open", "high", "low", "volume")
_UNUSED = (
    *("symbol", "quote_asset_volume", "trades", "number_of_trades", "trade_count", "tradecount", "vwap", "turnover"),
    *("taker_buy_base", "taker_buy_quote", "taker_buy_base_asset_volume", "taker_buy_quote_asset_volume", "amount"),
    *("dividends", "stock_splits", "capital_gains", "index", "index_level_0", "unnamed_0", ""),
)
_KNOWN = frozenset((*KLINES, *_TIMES, *_CLOSES, *_BARS, *_UNUSED))


@dataclass(frozen=True, eq=False)
class _Part:
    """One file's prices, labelled by the end of their bars where it `says` what its stamps are."""

    file: str
    history: MarketHistory
    says: bool
    piece: bool

    @property
    def step(self) -> np.timedelta64:
        return _DAY if self.history.clock.by_session else plain_span(self.history.clock.step, "clock")


def read_prices(
    paths: str | Path | Sequence[str | Path],
    *,
    clock: str | Clock | None = None,
    tz: str | None = None,
    missing: Literal["refuse", "hole"] = "refuse",
    holidays: Sequence[str] = (),
    defaults: Mapping[str, str] | None = None,
    label: Label | None = None,
) -> MarketHistory:
    """Prices from files, joined on every instant of their clock; what a file lacks is a hole, counted in `source`.

    Parameters
    ----------
    paths : the files. An asset is named by its `symbol` column, its column in a wide table, or its file's name up to
        the first separator where that is unique.
    clock : "1h", "1D", "1B" or a `Clock`; None infers it from each file, and they must agree.
    tz : the zone of naive intraday stamps.
    missing : what a blank close is: refused, or a "hole".
    holidays : days without a session, for a market that has sessions.
    defaults : {asset: instant from which it is worthless}.
    label : what stamps are where the name of their column does not say; None takes them as stamped.

    Raises
    ------
    SourceError
        For a file that is not there, cannot be unpacked, or whose columns are not recognised.
    DataError
        For what cannot be right in a file, with its line and column or symbol, and for files that do not fit together.
    HistoryError
        For stamps off the clock.
    ParameterError
        For no files, an argument outside its range, or holidays with a clock that has no sessions.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not files:
        raise ParameterError("expected one file of prices at least, got none")
    _refuse_bad_arguments(tz, missing, label)
    if holidays:
        clock = Clock(clock.step if isinstance(clock, Clock) else clock or "1B", tuple(sorted(holidays)))
    stated, parts = dict(defaults or {}), []
    for path, (asset, piece) in zip(files, _assets(files), strict=True):
        sheet = read_sheet(path)
        column = _time_column(sheet)
        stamps = sheet.instants(column, tz)
        _refuse_sparse(sheet, stamps)
        plain = stamps.tz is None
        said = None if plain else _TIMES.get(_plain(sheet.columns[column])) or label
        frames: dict[str, Any] = _frames(sheet, stamps.ceil("s") if said == "close" else stamps, column, asset)
        own = {name: instant for name, instant in stated.items() if name in frames["close"]}
        with sheet.located():
            history = MarketHistory.from_frame(
                frames.pop("close"), clock, missing=missing, defaults=own, source=sheet.file, **frames
            )
        parts.append(_Part(sheet.file, _ended(history, said), plain or said is not None, piece))
    return _joined(parts, stated)


def _refuse_bad_arguments(tz: str | None, missing: str, label: str | None) -> None:
    if missing not in ("refuse", "hole") or label not in (None, "open", "close"):
        got = f"{missing!r} and {label!r}"
        raise ParameterError(f"missing must be 'refuse' or 'hole', and label 'open', 'close' or None, got {got}")
    try:
        ZoneInfo(tz or "UTC")
    except (KeyError, ValueError, OSError) as error:
        raise ParameterError(f"tz must be a zone such as 'UTC' or 'America/New_York', got {tz!r}") from error


def _refuse_sparse(sheet: Sheet, stamps: pd.DatetimeIndex) -> None:
    """DataError where a clock that fits the stamps would have vastly more rows than the file (ticks; a wrong year)."""
    gaps = np.abs(np.diff(stamps.asi8))
    gaps = gaps[gaps > 0]
    if gaps.size and gaps.sum(dtype=float) / gaps.min() > 1e6 + 100 * len(stamps):
        got = f"gaps from {pd.Timedelta(gaps.min())} to {pd.Timedelta(gaps.max())}"
        raise DataError(f"{sheet.file}: expected rows at equal steps, got {got}")


def _assets(files: Sequence[Path]) -> list[tuple[str, bool]]:
    """Each file's asset by its name, and whether the file is a dated piece of a series."""
    stems = [re.sub(r"(\.csv|\.gz|\.zip|\.parquet|\.pq)+$", "", path.name, flags=re.IGNORECASE) for path in files]
    series = [_PIECE.sub("", stem) for stem in stems]
    short = {name: re.split(r"[-_.\s]", name)[0] for name in series}
    unique = {name for name, start in short.items() if start and list(short.values()).count(start) == 1}
    return [(short[s] if s in unique else s, s != stem) for s, stem in zip(series, stems, strict=True)]


def _plain(name: str) -> str:
    """A column's name as venues vary it: "Adj Close" and "adj_close" are one."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _find(sheet: Sheet, name: str) -> int | None:
    """Where the column of this name stands; SourceError where two that hold something have it."""
    same = [j for j, column in enumerate(sheet.columns) if _plain(column) == name]
    filled = [j for j in same if not sheet.blank(j)] if len(same) > 1 else same
    if len(filled) > 1:
        raise SourceError(f"{sheet.file}: expected one column {name!r}, got {len(filled)}")
    return filled[0] if filled else None


def _time_column(sheet: Sheet) -> int:
    """The column that is named as a time is, else the first unless it is named as a price is."""
    named = [j for name in _TIMES if (j := _find(sheet, name)) is not None]
    if not named and _plain(sheet.columns[0]) in {*_CLOSES, *_BARS}:
        raise SourceError(f"{sheet.file}: expected a time column, got {sheet.header!r}")
    return named[0] if named else 0


def _frames(sheet: Sheet, stamps: pd.DatetimeIndex, time: int, asset: str) -> dict[str, pd.DataFrame]:
    """Closes and, where the file has them, highs, lows and volumes: {panel: (rows, assets)}."""
    close = next((j for name in _CLOSES if (j := _find(sheet, name)) is not None), None)
    bars = {name: j for name in _BARS if (j := _find(sheet, name)) is not None}
    if close is None and bars:
        raise SourceError(f"{sheet.file}: expected a column of closes beside {sorted(bars)}, got {sheet.header!r}")
    if close is None:
        wide = _wide_columns(sheet, time)
        return {"close": pd.DataFrame({sheet.columns[j].strip(): sheet.numbers(j) for j in wide}, index=stamps)}
    unknown = [c for j, c in enumerate(sheet.columns) if _plain(c) not in _KNOWN and j != time and not sheet.blank(j)]
    if unknown:
        raise SourceError(
            f"{sheet.file}: expected bars (open, high, low, close, volume), got also {unknown}: drop them"
        )
    columns = {"close": close, **{name: j for name, j in bars.items() if name != "open"}}
    name = _symbol(sheet) or asset
    frames = {panel: pd.DataFrame({name: sheet.numbers(j)}, index=stamps) for panel, j in columns.items()}
    _refuse_bad_bars(sheet, frames, columns)
    return frames


def _wide_columns(sheet: Sheet, time: int) -> list[int]:
    """The columns that hold an asset each: all but times, and what has neither name nor cells."""
    held: list[int] = []
    for j, column in enumerate(sheet.columns):
        row_number = j == 0 and _plain(column) in ("", "unnamed_0")
        if j == time or _plain(column) in _TIMES or row_number or (not column.strip() and sheet.blank(j)):
            continue
        if not column.strip() or column.strip() in (sheet.columns[k].strip() for k in held):
            raise SourceError(f"{sheet.file}: expected every asset under a name of its own, got {sheet.header!r}")
        held.append(j)
    if not held:
        raise SourceError(f"{sheet.file}: expected a column of prices, got {sheet.header!r}")
    return held


def _symbol(sheet: Sheet) -> str | None:
    """The one asset that a symbol column names; DataError where it names two."""
    column = _find(sheet, "symbol")
    if column is None or sheet.blank(column):
        return None
    names = [str(name) for name in sheet.cells[column].to_pylist()]
    other = next((row for row, name in enumerate(names) if name != names[0]), None)
    if other is not None:
        raise sheet.wrong(other, column, f"{names[0]!r} throughout (one asset a file)")
    return names[0]


def _refuse_bad_bars(sheet: Sheet, frames: Mapping[str, pd.DataFrame], columns: Mapping[str, int]) -> None:
    """DataError where a close leaves its bar's range, or a volume is negative, or either is infinite."""
    close = frames["close"].to_numpy()[:, 0]
    for panel in [panel for panel in columns if panel != "close"]:
        values = frames[panel].to_numpy()[:, 0]
        wrong = np.isinf(values)
        if panel == "high":
            wrong |= values < close * (1 - TOLERANCE)
        elif panel == "low":
            wrong |= (values > close * (1 + TOLERANCE)) | (values <= 0)
        else:
            wrong |= values < 0
        rows = np.flatnonzero(wrong & (close > 0))
        if rows.size:
            raise sheet.wrong(int(rows[0]), columns[panel], f"a {panel} that fits a close of {close[rows[0]]:g}")


def _ended(history: MarketHistory, said: Label | None) -> MarketHistory:
    """The history with its rows labelled by the end of their bars."""
    if said is None:
        return history
    step = _DAY if history.clock.by_session else plain_span(history.clock.step, "clock")
    end = history.time + step if said == "open" else history.time
    whole_days = step % _DAY == np.timedelta64(0, "ns") and (end == end.astype("datetime64[D]")).all()
    return replace(history, time=end - _DAY if whole_days else end)


def _joined(parts: Sequence[_Part], defaults: Mapping[str, str]) -> MarketHistory:
    """All files on one clock; DataError where they do not fit together."""
    _refuse_overlaps(parts)
    clock = _common_clock(parts)
    panels: dict[str, Any] = {name: _panel(parts, name) for name in ("high", "low", "volume")}
    files = ", ".join(part.file for part in parts)
    history = MarketHistory.from_frame(
        _panel(parts, "spot"),
        clock,
        missing="hole",
        defaults=defaults,
        source=files,
        **{name: panel for name, panel in panels.items() if not panel.empty},
    )
    return replace(history, source=f"{files}: {int(np.isnan(history.spot).sum())} holes")


def _panel(parts: Sequence[_Part], panel: str) -> pd.DataFrame:
    """One panel of all files, rows the instants of any; empty where no file has it."""
    columns: dict[str, list[pd.Series]] = {}
    for part in parts:
        values = getattr(part.history, panel)
        for asset, name in enumerate(part.history.underlyings if values is not None else ()):
            columns.setdefault(name, []).append(
                pd.Series(values[:, asset], pd.DatetimeIndex(part.history.time, tz="UTC"))
            )
    return pd.DataFrame({name: pd.concat(pieces).sort_index() for name, pieces in columns.items()})


def _refuse_overlaps(parts: Sequence[_Part]) -> None:
    """DataError where an asset has no proper name, or stands in two files that are not pieces of one series."""
    until: dict[str, _Part] = {}
    for part in sorted(parts, key=lambda part: part.history.time[0]):
        for name in part.history.underlyings:
            if not name.isprintable():
                raise SourceError(f"{part.file}: expected an asset's name in plain characters, got {name!r}")
            earlier = until.setdefault(name, part)
            if earlier is part:
                continue
            if not (earlier.piece and part.piece):
                raise DataError(f"expected {name!r} in one file, got it in {earlier.file} and {part.file}")
            if part.history.time[0] <= earlier.history.time[-1]:
                got = f"{part.history.time[0]}, and {earlier.file} ends at {earlier.history.time[-1]}"
                raise DataError(f"{part.file}: expected {name!r} to go on after {earlier.file}, got a start at {got}")
            until[name] = part


def _common_clock(parts: Sequence[_Part]) -> Clock:
    """The clock that all files keep; DataError where one has other bars, another phase or another kind of label."""
    first = parts[0]
    for part in parts[1:]:
        if part.step != first.step:
            got = f"{part.history.clock.step} in {part.file}, {first.history.clock.step} in {first.file}"
            raise DataError(f"expected bars of one length, got {got}")
        if part.says != first.says:
            mute, plain = (part, first) if first.says else (first, part)
            raise DataError(
                f"expected stamps of one kind, got {mute.file}, whose time column does not say whether it opens or "
                f"ends a bar, beside {plain.file}, which does: pass label='open' or label='close'"
            )
        if (part.history.time[0] - first.history.time[0]) % first.step != np.timedelta64(0, "ns"):
            got = f"{part.history.time[0]} in {part.file}, {first.history.time[0]} in {first.file}"
            raise DataError(f"expected rows at the same times of day, got {got}")
    clocks = {part.history.clock for part in parts}
    return clocks.pop() if len(clocks) == 1 else Clock("1D")
