"""How do the answers of an interface that gives page after page become whole files, a period each?

A file is written once all pages of its period are here. That of a period which is not over says so in the journal,
and is fetched again by the next run.
"""

import calendar
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from data.errors import SourceError
from data.fetch.journal import Journal, alone
from data.fetch.outcome import Outcome, State
from data.fetch.waiting import TryAgain, Waiter
from data.storage import sha256_of, write_whole

LATE = 60_000  # milliseconds after which nothing more is published of an instant


@dataclass(frozen=True)
class Piece:
    """One file: the rows of one period.

    Parameters
    ----------
    group, period, path : as in an Outcome.
    begin, end : milliseconds since 1970; rows at `end` are of the next piece.
    rows : all rows from one instant to before another.
    document : what is written, made of the rows.
    width : milliseconds after its stamp from which a row is final: a bar that runs is not one.
    """

    group: str
    period: str
    path: str
    begin: int
    end: int
    rows: Callable[[int, int], list[Any]]
    document: Callable[[list[Any]], Any]
    width: int


def milliseconds(day: date) -> int:
    """The beginning of a day in UTC, in milliseconds since 1970.

    >>> milliseconds(date(1970, 1, 2))
    86400000
    """
    return calendar.timegm(datetime.combine(day, time(), UTC).timetuple()) * 1000


def by_day(first: date, last: date) -> Iterator[tuple[str, int, int]]:
    """Name, begin and end of each day."""
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        yield day.isoformat(), milliseconds(day), milliseconds(day + timedelta(days=1))


def by_month(first: date, last: date) -> Iterator[tuple[str, int, int]]:
    """Name, begin and end of each month that has one of the days: whole, so that its file is the same whoever asks."""
    begin = first.replace(day=1)
    while begin <= last:
        after = (begin + timedelta(days=31)).replace(day=1)
        yield f"{begin:%Y-%m}", milliseconds(begin), milliseconds(after)
        begin = after


def collect(pieces: Sequence[Piece], folder: Path, waiter: Waiter, *, progress: bool = True) -> list[Outcome]:
    """Fetch pieces into a folder one by one, skipping those that are there; one failure does not stop the others.

    Raises
    ------
    SourceError
        Where the folder cannot be written, or another process fetches to it.
    """
    from tqdm.auto import tqdm

    with alone(folder):
        journal = Journal(folder, waiter.timing)
        lost, out = 0, list[Outcome]()
        for piece in tqdm(pieces, unit="file", disable=not progress):
            try:
                if lost >= 3:
                    raise SourceError("not tried, as the server cannot be reached (no network?)")
                out.append(_one(piece, folder, journal, waiter))
                lost = 0
            except (SourceError, OSError) as error:
                lost += isinstance(error, TryAgain) and error.unreachable
                out.append(Outcome(piece.group, piece.period, piece.path, State.FAILED, why=str(error)))
    return out


def _one(piece: Piece, folder: Path, journal: Journal, waiter: Waiter) -> Outcome:
    place = folder / piece.path
    if journal.holds(piece.path) and journal.entry(piece.path).get("until") == piece.end:
        return Outcome(piece.group, piece.period, piece.path, State.HERE, place.stat().st_size)
    if place.exists() and piece.path not in journal and not _ours(place):
        raise SourceError("another file of that name is here already: move it away")
    until = min(piece.end, int(waiter.timing.now().timestamp() * 1000) - piece.width + 1)
    rows = piece.rows(piece.begin, until) if until > piece.begin else []
    if not rows:
        return Outcome(piece.group, piece.period, piece.path, State.ABSENT)
    payload = json.dumps(piece.document(rows), separators=(",", ":")).encode()
    place.parent.mkdir(parents=True, exist_ok=True)
    write_whole(place, payload)
    journal.add(piece.path, sha256=sha256_of(payload), until=until, rows=len(rows))
    why = "" if until == piece.end else "its period is not over, the next run fetches it again"
    return Outcome(piece.group, piece.period, piece.path, State.FETCHED, len(payload), why)


def _ours(place: Path) -> bool:
    """Whether a file may be one that a kill kept out of the journal: JSON to its end, as it was written."""
    try:
        json.loads(place.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True
