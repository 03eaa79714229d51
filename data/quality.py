"""Is this data fit to become a margin?

What cannot be right is refused with its place (`refuse_*`); what may be right but deserves a look is listed by `check`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from data.arrays import Bools, Floats
from data.clock import Stamps
from data.errors import DataError

SPIKE = 3.0  # a price that triples or falls to a third in one row, and is back in the next, is an error until explained
STALE = 20  # rows without any change


@dataclass(frozen=True)
class Finding:
    """One check on one column: how often it struck and where first."""

    check: str
    symbol: str
    count: int
    first: str
    rule: str
    outcome: Literal["refuse", "flag"]


def utc_stamps(index: pd.Index, tz: str | None, source: str) -> Stamps:
    """An index as datetime64[ns] in UTC.

    Dates without a time of day are labels and need no zone; DataError for naive intraday stamps without `tz`, and for
    an index that is no index of instants.
    """
    if not isinstance(index, pd.DatetimeIndex):
        got = f"{type(index).__name__}{_no_instant(index)}"
        raise DataError(f"{source}: rows must be labelled by instants (a DatetimeIndex), got {got}")
    if index.hasnans:
        raise DataError(f"{source}: every row needs an instant, got none at row {int(index.isna().argmax())}")
    if index.tz is None:
        dates = bool((index == index.normalize()).all())
        if tz is None and not dates:
            raise DataError(
                f"{source}: intraday stamps need a zone, got naive ones ({index[0]}): say which, e.g. tz='UTC'"
            )
        index = _localized(index, "UTC" if dates else str(tz), source)
    try:
        return np.asarray(index.tz_convert("UTC").tz_localize(None).as_unit("ns").to_numpy())
    except pd.errors.OutOfBoundsDatetime as error:
        raise DataError(f"{source}: instants must lie in 1678..2261, got {index.min()} to {index.max()}") from error


def _no_instant(index: pd.Index) -> str:
    """What keeps labels from being instants: the first that is none in ISO 8601, or zones that are mixed."""
    if not len(index):
        return " without a row"
    if not (pd.api.types.is_string_dtype(index.dtype) or index.dtype == object) or isinstance(index, pd.MultiIndex):
        return f": the first is {index[0]!s:.60}"
    none = pd.to_datetime(index, format="ISO8601", errors="coerce", utc=True).isna()
    if none.any():
        row = int(none.argmax())
        return f": {index[row]!r:.60} at row {row} is none, as 2024-01-31 would be"
    try:
        pd.to_datetime(index, format="ISO8601")
    except ValueError:
        return f" of mixed time zones, from {index[0]!s:.40} to {index[-1]!s:.40}: pd.to_datetime(index, utc=True)"
    return f" of texts such as {index[0]!s:.40}: pd.to_datetime(index)"


def _localized(index: pd.DatetimeIndex, tz: str, source: str) -> pd.DatetimeIndex:
    """A naive index in its zone; DataError for an unknown zone, or an hour that the zone skips or has twice."""
    try:
        return index.tz_localize(tz)
    except (ValueError, KeyError) as error:
        raise DataError(f"{source}: stamps cannot be read in the zone {tz!r}: {error}") from error


def refuse_bad_stamps(time: Stamps, source: str) -> None:
    """DataError for an empty, unsorted or duplicate index, with the first offending row."""
    if not len(time):
        raise DataError(f"{source}: at least one row is needed, got none")
    step = np.diff(time)
    for wrong, word in (
        (step == np.timedelta64(0, "ns"), "duplicate"),
        (step < np.timedelta64(0, "ns"), "out of order"),
    ):
        rows = np.flatnonzero(wrong) + 1
        if rows.size:
            raise DataError(
                f"{source}: stamps must rise, got {word} {time[rows[0]]} at row {rows[0]} ({rows.size} in all)"
            )


def refuse_bad_prices(
    prices: Floats,
    time: Stamps,
    names: Sequence[str],
    source: str,
    *,
    holes: bool = True,
    stated: Sequence[str] = (),
) -> None:
    """DataError for a price that is infinite, negative, zero without a stated default, or (unless `holes`) NaN.

    `stated` names what may default: its zeros run to the end, and one with a price after it is refused always.
    """
    revived = (prices == 0) & (np.cumsum((prices > 0)[::-1], axis=0)[::-1] > 0)
    zero_is_wrong = np.where([name in stated for name in names], revived, prices == 0)
    checks = [
        (np.isinf(prices), "finite"),
        (prices < 0, "positive"),
        (zero_is_wrong, "positive (an asset that dies is a stated default: defaults={symbol: instant})"),
    ]
    if not holes:
        checks.append(
            (
                np.isnan(prices),
                "known (missing='hole', or --allow-missing in a shell command that has it, takes a NaN for an instant "
                "without one)",
            )
        )
    for wrong, rule in checks:
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise DataError(
                f"{source}: prices must be {rule}, got {prices[row, column]} for {names[column]} at row {row}, "
                f"{time[row]} ({int(wrong.sum())} in all)"
            )


def check(prices: Floats, time: Stamps, names: Sequence[str]) -> list[Finding]:
    """Every check of this module on (T, A) prices; an empty list where nothing struck."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = prices[1:] / prices[:-1]
    spike = np.zeros(prices.shape, dtype=bool)
    if len(prices) > 2:
        out, back = ratio[:-1], ratio[1:]
        spike[1:-1] = ((out > SPIKE) & (back < 1 / SPIKE)) | ((out < 1 / SPIKE) & (back > SPIKE))
    rules: list[tuple[str, Bools, str, Literal["refuse", "flag"]]] = [
        ("infinite", np.isinf(prices), "a price is finite", "refuse"),
        ("negative", prices < 0, "a price is positive", "refuse"),
        ("zero", prices == 0, "a price is 0 only from a stated default on", "flag"),
        ("hole", np.isnan(prices), "an instant of the clock has a price", "flag"),
        ("spike", spike, f"no move beyond x{SPIKE:g} that is back in the next row", "flag"),
        ("stale", _stale(prices), f"a price moves within {STALE} rows", "flag"),
    ]
    return [
        Finding(name, str(names[a]), int(struck[:, a].sum()), str(time[int(struck[:, a].argmax())])[:19], rule, outcome)
        for name, struck, rule, outcome in rules
        for a in range(len(names))
        if struck[:, a].any()
    ]


def _stale(prices: Floats) -> Bools:
    """Rows that end a run of STALE equal positive prices, or continue one."""
    same = np.zeros(prices.shape, dtype=np.int64)
    for row in range(1, len(prices)):
        same[row] = np.where((prices[row] == prices[row - 1]) & (prices[row] > 0), same[row - 1] + 1, 0)
    return same >= STALE


def refuse_bad_structures(panel: Floats, time: Stamps, underlyings: Sequence[str], name: str) -> None:
    """DataError for the first curve or surface of (T, A, K, 3) or (T, A, K, 7) that is none.

    Tenors must rise from above zero, and every smile of a surface must be one (`sound_smiles`); nothing may stand
    behind the padding of a surface, where no one would look for it. A row with a hole is unknown, not wrong.
    """
    whole: Bools = np.asarray(~np.isnan(panel).any(axis=3))
    tenor = np.where(whole, panel[..., 0], 0.0)
    before = np.maximum.accumulate(np.pad(tenor, ((0, 0), (0, 0), (1, 0))), axis=2)[:, :, :-1]
    faults = [(whole & ~((tenor > before) & np.isfinite(panel).all(axis=3)), "finite figures, tenors rising from 0")]
    if name == "surfaces":
        known = ~np.isnan(panel[..., 0])
        hidden = known & ~np.logical_and.accumulate(known, axis=2)
        faults += [
            (hidden, "no smile behind its padding"),
            (whole & ~sound_smiles(panel), "smiles of raw SVI (0) or the cubic (1), total variance >= 0, > 0 at k = 0"),
        ]
    for wrong, rule in faults:
        if wrong.any():
            row, column, _ = np.argwhere(wrong)[0]
            got = panel[row, column].tolist()
            raise DataError(f"{name} of {underlyings[column]} at {time[row]} must have {rule}, got {got}")


def refuse_bad_depth(depth: Floats | None, bands: Sequence[float], time: Stamps, underlyings: Sequence[str]) -> None:
    """DataError for the first depth of (T, A, 2, K) that no order book has, or for bands that do not fit it.

    What is offered within a band is all that is offered within a narrower one, and more. NaN is unknown, not wrong.
    """
    width = np.asarray(bands, dtype=np.float64)
    if (depth is None) != (not len(width)):
        raise DataError(f"depth, and only depth, has bands, got {'none' if depth is None else 'some'} and {bands}")
    if not (np.isfinite(width).all() and (np.diff(width, prepend=0.0) > 0).all()):
        raise DataError(f"bands of depth must be finite shares of the mid that rise from above 0, got {bands}")
    if depth is None:
        return
    within = np.fmax.accumulate(np.where(np.isnan(depth), 0.0, depth), axis=3)
    for wrong, rule in ((~((depth >= 0) & (depth < np.inf)), ">= 0 and finite"), (depth < within, "rising outwards")):
        wrong = wrong & ~np.isnan(depth)
        if wrong.any():
            row, column, side, _ = np.argwhere(wrong)[0]
            raise DataError(
                f"depth of {underlyings[column]} at {time[row]} must be {rule}, got {'asks' if side else 'bids'} "
                f"{depth[row, column, side].tolist()} ({int(wrong.sum())} in all)"
            )


def refuse_bad_features(
    features: Floats | None, names: Sequence[str], time: Stamps, underlyings: Sequence[str]
) -> None:
    """DataError for features (T, A, F) without a name each, or with an infinite figure; NaN is unknown."""
    if (features is None) != (not len(names)) or len(set(names)) < len(names) or "" in names:
        raise DataError(f"features, and only features, have names that differ, got {tuple(names)}")
    wrong = np.isinf(features) if features is not None else np.zeros((0, 0, 0), dtype=bool)
    if wrong.any():
        row, column, feature = np.argwhere(wrong)[0]
        raise DataError(
            f"{names[feature]} of {underlyings[column]} at {time[row]} must be finite or NaN, got an infinite value "
            f"({int(wrong.sum())} in all)"
        )


def sound_smiles(smiles: Floats) -> Bools:
    """Whether each smile (..., 7) is one of data/surface.py, (...); a smile with a hole is not.

    Raw SVI (a, b, rho, m, s) needs b >= 0, |rho| <= 1, s > 0 and a least total variance a + b s sqrt(1 - rho^2) >= 0
    (Gatheral and Jacquier 2014, section 3.1), the cubic five total variances > 0; both more than 0 at the forward.

    >>> sound_smiles(np.array([[0.5, 0, 0.04, 0.1, -0.3, 0, 0.2], [0.5, 0, -0.04, 0.1, -0.3, 0, 0.2]])).tolist()
    [True, False]
    """
    form, figures = smiles[..., 1], smiles[..., 2:]
    a, b, rho, m, s = np.moveaxis(figures, -1, 0)
    least = a + b * s * np.sqrt(np.maximum(1.0 - rho**2, 0.0))
    at_the_money = a + b * (np.hypot(m, s) - rho * m)
    svi = (form == 0) & (b >= 0) & (np.abs(rho) <= 1) & (s > 0) & (least >= 0) & (at_the_money > 0)
    cubic = (form == 1) & (figures > 0).all(axis=-1)
    sound: Bools = (svi | cubic) & np.isfinite(smiles).all(axis=-1)
    return sound
