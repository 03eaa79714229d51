"""Is the past what it was last night, where the two nights do not begin at the same instant?

A feed that gives the newest thousand days begins a day later every night, so that its content hash says nothing. Each
calendar month has a digest of its own, which holds as long as the month is whole in both nights.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from data import MarketHistory

_DIGITS = 16  # of a digest: chance never makes two of a few hundred months alike


def remembered(history: MarketHistory) -> dict[str, Any]:
    """What a later night compares with: the newest instant, and digests by month of prices up to it."""
    return {"until": str(history.time[-1]), "months": month_digests(history)}


def month_digests(history: MarketHistory) -> dict[str, str]:
    """By month ("2024-02"): a digest of its instants, its underlyings and their prices; a cut month has its rows'."""
    months = history.time.astype("datetime64[M]")
    starts = np.flatnonzero(np.diff(months, prepend=months[:1] - 1).astype(np.int64))
    ends = [*starts[1:].tolist(), len(history)]
    names = "\n".join(history.underlyings).encode()
    told = {}
    for start, end in zip(starts.tolist(), ends, strict=True):
        digest = hashlib.sha256(names)
        digest.update(history.time[start:end].astype("datetime64[ns]").tobytes())
        digest.update((np.asarray(history.spot[start:end], dtype=np.float64) + 0.0).tobytes())  # -0.0 is 0.0
        told[str(months[start])] = digest.hexdigest()[:_DIGITS]
    return told


def restated(history: MarketHistory, last: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence where months that both nights have whole are not the same; nothing where none is comparable.

    `last` is what `remembered` told of the night before, beside its first instant; nothing is said where the histories
    begin at the same instant, as their content hashes tell then (`research.night_data`), and are at least as long.
    """
    if "months" not in last or not len(history):
        return ()
    first, until = np.datetime64(last["first"]), np.datetime64(last["until"])
    if history.time[0] == first and len(history) >= int(last["rows"]):
        return ()
    cut = history.rows(0, int(np.searchsorted(history.time, until, side="right")))
    if not len(cut):
        return ()
    begun, ended = max(cut.time[0], first), cut.time[-1]
    mine, theirs = month_digests(cut), last["months"]
    whole = [month for month in sorted({*mine, *theirs}) if _whole(month, begun, ended, until)]
    changed = [month for month in whole if mine.get(month) != theirs.get(month)]
    if not changed:
        return ()
    more = f" and {len(changed) - 1} more of {len(whole)} months" if len(changed) > 1 else ""
    return (f"the past was restated in {changed[0]}{more}: its rows are not those of the night before",)


def _whole(month: str, begun: np.datetime64, ended: np.datetime64, until: np.datetime64) -> bool:
    """Whether a month begins after both histories do, and ends before tonight's rows, or with the same one."""
    start = np.datetime64(month, "M")
    return bool(start.astype("datetime64[ns]") > begun) and (start < ended.astype("datetime64[M]") or ended == until)
