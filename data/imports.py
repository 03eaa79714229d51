"""How do files that a user brings become rows that a margin may rest on?

Each file is verified, recognised, checked row by row and as a series, and what is accepted goes into the store; a file
is taken whole or refused with the reason. Files of one symbol are read in the order of time, as one series.
"""

import csv
import hashlib
import traceback
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.brought_files import Brought, Series, files_of, period_of, series_of, verified
from data.catalog import write_records
from data.check_results import Ledger
from data.checking import Checked, RecordChecker
from data.errors import MarginlabError
from data.import_report import FileReport, ImportReport
from data.quarantine import Quarantine
from data.record_checks import Instant
from data.records import Records
from data.sources.raw_files import shown

Write = Callable[..., Any]
# What files make readers stumble over; anything else is a fault of ours, and is told as one.
READERS_RAISE = (MarginlabError, OSError, ValueError, OverflowError, EOFError, RecursionError, MemoryError, csv.Error)


class _Stumbled(Exception):
    """One file of a series could not be read to its end, for the reason that is its cause."""

    def __init__(self, file: Brought, error: Exception) -> None:
        super().__init__(file, error)
        self.file, self.error = file, error


@dataclass
class _Passage:
    """One file's rows of one symbol on their way through the checks."""

    file: Brought
    ledger: Ledger = field(default_factory=Ledger)
    first: Instant | None = None
    last: Instant | None = None
    quarantine: str = ""


def import_paths(
    paths: Iterable[str | Path], store: Path, *, now: Instant | None = None, write: Write | None = None
) -> ImportReport:
    """Bring files, and all files of folders, into the store.

    Parameters
    ----------
    store : accepted rows go to its `records/`, those set aside and the log of repairs to its `quarantine/`.
    now : nothing has happened later; today's clock if None.
    write : what keeps the accepted rows of a symbol, `write_records` of data/catalog.py if None.

    Nothing is raised for what a file holds: the report says which were refused, and why. An error of another kind than
    readers raise refuses its file alone too, and is told as a fault of ours, with its type and place.
    """
    return _brought(paths, write or write_records, store, now)


def check_paths(paths: Iterable[str | Path], *, now: Instant | None = None) -> ImportReport:
    """What an import of these files would find; nothing is kept."""
    return _brought(paths, None, None, now)


def _brought(paths: Iterable[str | Path], write: Write | None, store: Path | None, now: Instant | None) -> ImportReport:
    reports: list[tuple[str, FileReport]] = []
    waiting: dict[tuple[Series, str], list[Brought]] = defaultdict(list)
    seen: dict[str, str] = {}
    listed = files_of(paths)
    for path in listed:
        try:
            streams = verified(path, seen)
        except Exception as error:  # the others are brought
            reports.append((str(path), FileReport(shown(path.name), refused=_reason(error))))
            continue
        for file in streams:
            waiting[file.series, file.origin].append(file)
    done: set[tuple[Series, str]] = set()
    while waiting:
        series, origin = next(iter(waiting))
        files = sorted(waiting.pop((series, origin)), key=lambda one: (np.isnat(one.begins), one.begins, one.path.name))
        done |= {(series, file.sha256) for file in files}
        told, others = _import_series(series, files, write, store, now)
        reports += [(str(file.path), report) for file, report in zip(files, told, strict=True)]
        for other, file in others:
            if (other, file.sha256) not in done and file not in waiting[other, file.origin]:
                waiting[other, file.origin].append(file)
        waiting = defaultdict(list, {key: left for key, left in waiting.items() if left})
    place = {str(path): at for at, path in enumerate(listed)}
    return ImportReport([report for _, report in sorted(reports, key=lambda one: place[one[0]])])


def _import_series(
    series: Series, files: Sequence[Brought], write: Write | None, store: Path | None, now: Instant | None
) -> tuple[list[FileReport], list[tuple[Series, Brought]]]:
    """Reports of the files as to one symbol, and the other symbols that were met in them.

    A file that cannot be read to its end is refused, and the series brought once more without it.
    """
    refused: dict[str, FileReport] = {}
    others: dict[tuple[Series, str], Brought] = {}
    told: list[FileReport] = []
    while left := [file for file in files if file.sha256 not in refused]:
        others.clear()
        try:
            told = _series_taken(series, left, write, store, now, others)
            break
        except _Stumbled as stumbled:
            file = stumbled.file
            refused[file.sha256] = replace(_identity(file, series), refused=_reason(stumbled.error))
        except Exception as error:  # of no one file: the store is full, say
            told = [replace(_identity(file, series), refused=_reason(error)) for file in left]
            break
    by_file = {**refused, **{report.sha256: report for report in told}}
    return [by_file[file.sha256] for file in files], [(other, file) for (other, _), file in others.items()]


def _series_taken(
    series: Series,
    files: Sequence[Brought],
    write: Write | None,
    store: Path | None,
    now: Instant | None,
    others: dict[tuple[Series, str], Brought],
) -> list[FileReport]:
    """Reports of files all of which are taken; `others` is filled. _Stumbled where one cannot be."""
    passages: list[_Passage] = []
    findings: list[dict[str, Any]] = []
    with ExitStack() as kept:  # what was set aside stays only if the rest of the series does
        aside = _shelf(kept, store, series)
        rows = kept.enter_context(
            closing(_accepted(series, files, RecordChecker(now), passages, others, findings, aside))
        )
        name = _kept(rows, series, files, findings, write, store)
        return [_report(passage, series, name) for passage in passages]


def _reason(error: Exception) -> str:
    """Why a file was refused; what nobody foresaw is told with its type, and a fault of ours with its place."""
    said = str(error)
    if not isinstance(error, MarginlabError | OSError):
        said = f"unexpected {type(error).__name__}: {error}"
    if not isinstance(error, READERS_RAISE):
        said += f" ({_place(error)}): a fault of marginlab, not of the file; please report it"
    return shown(said)


def _place(error: Exception) -> str:
    """Where in our own code an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(__file__).parent in Path(frame.filename).parents] or [*frames]
    return f"{Path(ours[-1].filename).name}, line {ours[-1].lineno}" if ours else "nowhere"


def _shelf(kept: ExitStack, store: Path | None, series: Series) -> Callable[[Brought], Quarantine | None]:
    """What opens the quarantine of a file, to be settled or dropped when `kept` ends; None where nothing is kept."""

    def opened(file: Brought) -> Quarantine | None:
        return kept.enter_context(Quarantine(store / "quarantine", _name(file, series))) if store else None

    return opened


def _accepted(
    series: Series,
    files: Sequence[Brought],
    checker: RecordChecker,
    passages: list[_Passage],
    others: dict[tuple[Series, str], Brought],
    findings: list[dict[str, Any]],
    shelf: Callable[[Brought], Quarantine | None],
) -> Generator[Records, None, None]:
    """The accepted rows of all files; by the end `passages`, `others` and `findings` are filled."""
    for file in files:
        passage = _Passage(file)
        passages.append(passage)
        aside = shelf(file)
        for checked in _read(file, series, others, checker, passage.ledger):
            for check, away in checked.away:
                if aside is not None:
                    aside.add(check, away)
                    passage.quarantine = f"quarantine/{aside.path.name}"
            if len(checked.accepted):
                if passage.ledger.accepted:
                    _spanned(passage, checked.accepted)
                yield checked.accepted
        if aside is not None:
            aside.end(passage.ledger.repairs)
        findings += [{"file": shown(file.path.name), **result.to_dict()} for result in passage.ledger.results()]


def _read(
    file: Brought,
    series: Series,
    others: dict[tuple[Series, str], Brought],
    checker: RecordChecker,
    ledger: Ledger,
) -> Iterator[Checked]:
    """A file's rows of one symbol, checked; _Stumbled, with the reason, where that cannot be done to the end."""
    try:
        yield from checker.check(_own(file, series, others), ledger, period_of(file.path.name))
    except Exception as error:  # a reader raises whatever a file makes it stumble over
        raise _Stumbled(file, error) from error


def _own(file: Brought, series: Series, others: dict[tuple[Series, str], Brought]) -> Iterator[Records]:
    """A file's rows of one symbol, the others' names noted."""
    for records in file.known.records():
        here = series_of(records)
        if here == series:
            yield records
        else:
            others[here, file.sha256] = file


def _spanned(passage: _Passage, records: Records) -> None:
    passage.first = passage.first if passage.first is not None else records["time"].min()
    passage.last = records["time"].max()


def _kept(
    rows: Iterator[Records],
    series: Series,
    files: Sequence[Brought],
    findings: list[dict[str, Any]],
    write: Write | None,
    store: Path | None,
) -> str:
    """The name of the record set; "" where nothing was accepted, or nothing is to be kept."""
    first = next(rows, None)
    if first is None:
        return ""
    if write is None:
        for _ in rows:
            pass
        return ""
    _, venue, symbol = series
    made = write(
        _chained(first, rows),
        kind=first.kind,
        venue=venue,
        symbol=symbol,
        sources=[_source(file) for file in files],
        findings=findings,
        store=store,
    )
    return str(getattr(made, "hash", made))


def _chained(first: Records, others: Iterator[Records]) -> Iterator[Records]:
    yield first
    yield from others


def _source(file: Brought) -> Mapping[str, Any]:
    told = {"file": shown(file.path.name), "sha256": file.sha256, "size": file.size}
    return {**told, "layout": file.known.layout.name, "checksum": file.verified}


def _name(file: Brought, series: Series) -> str:
    """Of the quarantine's file: by what is in the source, whatever it and its symbol are called."""
    return f"{file.sha256[:16]}-{hashlib.sha256(repr(series).encode()).hexdigest()[:8]}"


def _identity(file: Brought, series: Series) -> FileReport:
    kind, venue, symbol = series
    told = FileReport(shown(file.path.name), file.sha256, file.known.layout.name, kind, venue, symbol)
    return replace(told, verified=file.verified)


def _report(passage: _Passage, series: Series, name: str) -> FileReport:
    ledger = passage.ledger
    results = tuple(ledger.results())
    return replace(
        _identity(passage.file, series),
        rows=ledger.rows,
        accepted=ledger.accepted,
        repaired=sum(one.count for one in results if one.check.outcome == "repair"),
        quarantined=ledger.quarantined,
        first=_told(passage.first),
        last=_told(passage.last),
        results=results,
        record_set=name if ledger.accepted else "",
        quarantine=passage.quarantine,
    )


def _told(instant: Instant | None) -> str:
    return "" if instant is None else str(instant)[:23]
