"""Whose file is this, and what does it hold?"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.errors import SourceError
from data.records import Records
from data.sources import (
    binance,
    bitmex,
    bybit,
    ccxt_rows,
    cryptodatadownload,
    deribit,
    exchange_streams,
    freqtrade,
    kaiko,
    tables,
    tardis,
    tardis_messages,
)
from data.sources.csv_rows import SEMICOLONS
from data.sources.layout import Head, Layout, RawFile
from data.sources.raw_files import raw

VENDORS = (
    *(binance, tardis, tardis_messages, deribit, bybit, bitmex, cryptodatadownload, kaiko, ccxt_rows, freqtrade),
    *(exchange_streams, tables),
)


@dataclass(frozen=True, eq=False)
class Recognised:
    """A file, and the one layout that claims it."""

    layout: Layout
    raw: RawFile

    def records(self) -> Iterator[Records]:
        """Its rows, batch by batch in the order of the file; SourceError where it breaks off."""
        return self.layout.read(self.raw)

    def beside(self) -> tuple["Recognised", ...]:
        """The same file as other layouts read it, where a recorder wrote several streams into one."""
        if self.layout not in exchange_streams.LAYOUTS:
            return ()
        return tuple(Recognised(layout, self.raw) for layout in exchange_streams.beside(self.raw))


def layouts() -> tuple[Layout, ...]:
    """Every layout of every vendor."""
    return tuple(layout for vendor in VENDORS for layout in vendor.LAYOUTS)


def recognise(path: str | Path) -> Recognised:
    """Which layout a file has, by what is in it rather than by its name.

    Raises
    ------
    SourceError
        Where there is no file, it cannot be unpacked, holds nothing, or no layout claims it, or several do; says why.
    """
    file = raw(Path(path))
    claims = [layout for layout in layouts() if layout.claims(file.head)]
    if len(claims) == 1:
        return Recognised(claims[0], file)
    if claims:
        raise SourceError(f"{file.head.file}: expected one layout, got {[layout.name for layout in claims]}")
    raise SourceError(f"{file.head.file}: expected a known layout, got {_shown(file.head)}")


def read_records(path: str | Path) -> Iterator[Records]:
    """A file's rows, batch by batch in the order of the file, as `recognise` finds them; raises what it raises."""
    return recognise(path).records()


def _is_table(head: Head) -> bool:
    """Whether lines have several cells, as many as most others have."""
    lines = [line for line in head.lines[head.banner :] if line.strip()]
    for mark in ",;\t|":
        widths = [line.count(mark) for line in lines]
        if max(widths) and widths.count(max(set(widths), key=widths.count)) > len(lines) / 2:
            return max(set(widths), key=widths.count) > 0
    return False


def _shown(head: Head) -> str:
    """What an error says of a file that nobody claims."""
    if head.form == "csv" and not _is_table(head):
        return f"text that is no table, {head.lines[0].strip()[:80]!r}"
    if head.columns:
        hint = SEMICOLONS if any(";" in column for column in head.columns) else ""
        return f"{head.form} with the columns {', '.join(head.columns)[:200]!r}{hint}"
    if head.form == "csv":
        hint = SEMICOLONS if ";" in head.lines[head.banner] else ""
        return f"{len(head.cells)} cells a line without a header, {head.lines[head.banner][:120]!r}{hint}"
    names = list(head.sample)[:12] if isinstance(head.sample, dict) else type(head.sample).__name__
    return f"{head.form} of {names}"
