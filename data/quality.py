"""Is this data fit to become a margin?

What cannot be right is refused with its place (`refuse_*`); what may be right but deserves a look is listed by `check`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.clock import Stamps
from data.errors import DataError

Floats = NDArray[np.float64]

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
        raise DataError(f"{source}: rows must be labelled by instants (a DatetimeIndex), got {type(index).__name__}")
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
        checks.append((np.isnan(prices), "known (missing='hole' takes a NaN for an instant without a price)"))
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
    rules: list[tuple[str, NDArray[np.bool_], str, Literal["refuse", "flag"]]] = [
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


def _stale(prices: Floats) -> NDArray[np.bool_]:
    """Rows that end a run of STALE equal positive prices, or continue one."""
    same = np.zeros(prices.shape, dtype=np.int64)
    for row in range(1, len(prices)):
        same[row] = np.where((prices[row] == prices[row - 1]) & (prices[row] > 0), same[row - 1] + 1, 0)
    return same >= STALE


def refuse_bad_structures(panel: Floats, time: Stamps, underlyings: Sequence[str], name: str) -> None:
    """DataError for the first curve or surface of (T, A, K, 3) or (T, A, K, 7) that is none.

    Tenors must rise from above zero, and a smile must have a variance at the money; a row with a hole is unknown, not
    wrong.
    """
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(panel).all(axis=3))
    tenor = np.where(whole, panel[..., 0], 0.0)
    before = np.maximum.accumulate(np.pad(tenor, ((0, 0), (0, 0), (1, 0))), axis=2)[:, :, :-1]
    sound = tenor > before
    if name == "surfaces":
        sound &= _variance_at_the_money(np.where(np.expand_dims(whole, 3), panel, 0.0)) > 0
    wrong: NDArray[np.bool_] = np.asarray((whole & ~sound).any(axis=2))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"{name} of {underlyings[column]} at {time[row]} must have rising tenors above 0 and a variance > 0 at the "
            f"money, got {panel[row, column].tolist()}"
        )


def _variance_at_the_money(surfaces: Floats) -> Floats:
    """Total variance at the forward of each smile (T, A, K): raw SVI, or the middle knot of a cubic."""
    a, b, rho, m, s = np.moveaxis(surfaces[..., 2:], -1, 0)
    variance: Floats = np.where(surfaces[..., 1] == 0, a + b * (np.sqrt(m**2 + s**2) - rho * m), rho)
    return variance
