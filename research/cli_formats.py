"""Which files can be read, and what is asked of every row?

Nothing of ours but options is imported at the top, so that `--help` answers at once.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from research.cli_options import AsJson, errors_as_sentences, say

if TYPE_CHECKING:
    import pandas as pd

    from data.check_results import Check
    from data.records import Kind

Markdown = Annotated[bool, typer.Option("--markdown", help="Print the whole page as Markdown.")]
Out = Annotated[Path | None, typer.Option(help="Write the Markdown page to this file.")]
_INTRODUCTION = """\
# Files that can be read, and what is asked of them

Made by `marginlab data formats --out docs/data.md`. Do not edit: run it again.

A file is known by what is in it and not by its name: its columns or, where there is no header, the form of its first
lines; zip, gz, CSV, JSON, JSON lines, Parquet and feather; seconds, milliseconds, microseconds or nanoseconds by
magnitude. `marginlab data import FILES` says what each file was taken for, or why it was refused; `marginlab data check
FILES` says what is wrong with it, and keeps no row. *Verified* formats were written with a real file at hand, the
others after documentation alone.
"""
_OUTCOMES = """\
Every row is asked what its kind is asked. Rows that break a rule are *accepted* and noted, *repaired* (logged, and
reversible) or put into *quarantine*: kept apart under `quarantine/` in the store, with the rule and their numbers.
"""


def data_formats(markdown: Markdown = False, out: Out = None, as_json: AsJson = False) -> None:
    """Every file format that is recognised, and every check that rows must pass."""
    with errors_as_sentences():
        formats, kinds, checks = formats_table(), kinds_table(), checks_table()
        if as_json:
            import json

            tables = {"formats": formats, "kinds": kinds, "checks": checks}
            typer.echo(json.dumps({name: table.to_dict("records") for name, table in tables.items()}, indent=1))
        elif out is not None:
            out.write_text(page(formats, kinds, checks))
            say(f"written to {out}")
        elif markdown:
            typer.echo(page(formats, kinds, checks), nl=False)
        else:
            typer.echo(f"{formats.to_string(index=False)}\n\n{checks.to_string(index=False)}")


def formats_table() -> "pd.DataFrame":
    """A row a format: what it is called, which rows it becomes, whether verified, and where it is documented."""
    import pandas as pd

    from data.sources.recognise import layouts

    told = [(one.name, one.kind.name, "yes" if one.verified else "no", one.documented) for one in layouts()]
    return pd.DataFrame(told, columns=["format", "kind", "verified", "documented"])


def kinds_table() -> "pd.DataFrame":
    """A row a kind of rows: what one says, and its columns with their units, optional ones in brackets."""
    import pandas as pd

    from data.records import KINDS

    told = [(kind.name, kind.says, "; ".join(_columns(kind))) for kind in KINDS.values()]
    return pd.DataFrame(told, columns=["kind", "a row says", "columns"])


def _columns(kind: "Kind") -> Iterator[str]:
    for column in kind.columns:
        told = f"{column.name}: {column.unit}"
        yield told if column.required else f"[{told}]"


def checks_table() -> "pd.DataFrame":
    """A row a check: its name, rule, what becomes of a row that breaks it, and which kinds are asked."""
    import pandas as pd

    told = [(check.name, check.rule, check.outcome, kinds) for check, kinds in _checks()]
    return pd.DataFrame(told, columns=["check", "rule", "outcome", "asked of"])


def _checks() -> Iterator[tuple["Check", str]]:
    """Checks of rows, then of their order and number, then of whole series, each with the kinds that it is asked of."""
    import numpy as np

    from data import record_order, series_checks, tape_checks
    from data.check_results import Check
    from data.record_checks import Scope, row_rules

    def rules(those: Sequence[Any]) -> Iterator[tuple[Check, str]]:
        for rule in those:
            yield rule.check, _named(rule.kinds)

    yield from rules(row_rules(Scope(np.datetime64("now", "ns"))))
    for module, asked in (
        (record_order, "what has an order"),
        (series_checks, "bars"),
        (tape_checks, "trades, quotes"),
    ):
        yield from ((one, asked) for one in vars(module).values() if isinstance(one, Check))
    yield from rules(series_checks.SERIES_RULES)


def _named(kinds: Sequence["Kind"]) -> str:
    from data.records import KINDS

    return "all" if len(kinds) == len(KINDS) else ", ".join(kind.name for kind in kinds)


def page(formats: "pd.DataFrame", kinds: "pd.DataFrame", checks: "pd.DataFrame") -> str:
    """The tables as one Markdown page."""
    parts = [
        f"{_INTRODUCTION}\n{_markdown(formats)}",
        f"## What a row says\n\nColumns in brackets are there where a source has them.\n\n{_markdown(kinds)}",
        f"## Checks\n\n{_OUTCOMES}\n{_markdown(checks)}",
    ]
    return "\n".join(parts)


def _markdown(table: "pd.DataFrame") -> str:
    told = [[*table.columns], *table.to_numpy().tolist()]
    rows = [[str(cell).replace("|", "\\|") for cell in row] for row in told]
    lines = [f"| {' | '.join(row)} |\n" for row in rows]
    return "".join([lines[0], f"| {' | '.join(['---'] * len(rows[0]))} |\n", *lines[1:]])
