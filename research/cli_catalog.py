"""What can be asked from a shell of what is in the store?

Nothing of ours but options is imported at the top, so that `--help` answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from research.cli_options import AsJson, Defaults, errors_as_sentences, say

if TYPE_CHECKING:
    from data.history import MarketHistory

catalog_app = typer.Typer(help="Record sets and snapshots that are in the store.", no_args_is_help=True)

Store = Annotated[Path | None, typer.Option(help="The store, where it is not the usual one.")]
Word = Annotated[str, typer.Argument(help="A name, or how a hash begins (four digits at least).")]
Sets = Annotated[list[str] | None, typer.Option(help="[UNDERLYING=]RECORD-SET; repeatable.")]


@catalog_app.command("list")
def catalog_list(as_json: AsJson = False, store: Store = None) -> None:
    """Every record set and snapshot, and what it is called."""
    with errors_as_sentences():
        from research.catalog_tables import catalog_table

        table = catalog_table(_store(store))
        if as_json:
            typer.echo(table.to_json(orient="records", indent=1))
        else:
            typer.echo("the store is empty" if table.empty else table.to_string(index=False))


@catalog_app.command("show")
def catalog_show(
    word: Word,
    verify: Annotated[bool, typer.Option("--verify", help="Read all of it, and say what is damaged.")] = False,
    store: Store = None,
) -> None:
    """Where a record set is from, what the checks found, and whether it is whole; or what a snapshot holds.

    Exit code 1 where files are damaged.
    """
    with errors_as_sentences():
        from research.catalog_tables import damage, found, told

        one = found(word, _store(store))
        typer.echo(told(one, _store(store)))
        if verify:
            wrong = damage(one, _store(store))
            typer.echo("\n".join(wrong) or "every byte is what was written")
            raise typer.Exit(int(bool(wrong)))


@catalog_app.command("diff")
def catalog_diff(one: Word, other: Word, store: Store = None) -> None:
    """In what two record sets differ: sources, findings, and the first row. Exit code 1 where they do."""
    with errors_as_sentences():
        from data.set_difference import diff

        difference = diff(one, other, _store(store))
        typer.echo(repr(difference))
        raise typer.Exit(int(bool(difference)))


@catalog_app.command("name")
def catalog_name(
    name: Annotated[str, typer.Argument(help="What it is to be called.")],
    word: Word,
    move: Annotated[bool, typer.Option("--move", help="Even if the name means something else so far.")] = False,
    store: Store = None,
) -> None:
    """Give a record set or a snapshot a name, and print the hash that it means."""
    with errors_as_sentences():
        from research.catalog_tables import found, give_name

        typer.echo(give_name(name, found(word, _store(store)), _store(store), move=move))


@catalog_app.command("gc")
def catalog_gc(
    keep: Annotated[list[str] | None, typer.Option(help="A name or hash to keep as well; repeatable.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it, rather than list it.")] = False,
    store: Store = None,
) -> None:
    """List, or remove, what no name points to and no named snapshot was made of."""
    with errors_as_sentences():
        from data.garbage import collect_garbage

        garbage = collect_garbage(_store(store), keep or (), remove=remove)
        for one in garbage:
            typer.echo(f"{one.hash[:12]}  {one.size / 2**20:10.1f} MiB  {one.what}")
        done = "removed" if remove else "would be removed with --remove"
        say(f"{len(garbage)} things, {sum(one.size for one in garbage) / 2**20:.1f} MiB, {done}")


def data_build(
    clock: Annotated[str, typer.Option(help="When rows fall: '1min', '1h', '1D'.")],
    bars: Annotated[list[str], typer.Option(help="[UNDERLYING=]RECORD-SET of bars; repeatable.")],
    funding: Sets = None,
    marks: Sets = None,
    depth: Sets = None,
    features: Annotated[bool, typer.Option("--features", help="Add the features that bars and funding allow.")] = False,
    start: Annotated[str | None, typer.Option("--from", help="The first instant wanted (UTC).")] = None,
    stop: Annotated[str | None, typer.Option("--to", help="The first instant not wanted (UTC).")] = None,
    default: Defaults = None,
    name: Annotated[str | None, typer.Option(help="What the snapshot is to be called.")] = None,
    move: Annotated[bool, typer.Option("--move", help="Even if the name means another snapshot so far.")] = False,
    store: Store = None,
) -> None:
    """Lay record sets on one clock, freeze the history and print its hash; `--data snapshot:NAME` takes it up again."""
    with errors_as_sentences():
        from data.build_history import history_from, usual_features
        from data.snapshot import freeze, name_snapshot

        place = _store(store)
        of_bars, of_funding = _sets(bars, place), _sets(funding, place)
        history = history_from(
            place,
            of_bars,
            clock,
            funding=of_funding,
            marks=_sets(marks, place),
            depth=_sets(depth, place),
            start=start,
            stop=stop,
            defaults=_pairs(default),
        )
        if features:
            history = usual_features(history, place, of_bars, of_funding)
        frozen = freeze(history, place / "snapshots")
        if name is not None:
            name_snapshot(name, frozen, place / "snapshots", move=move)
        _tell(history)
        _tell_unknown(history)
        typer.echo(frozen)


def _tell(history: "MarketHistory") -> None:
    say(f"{history!r}\n{history.summary().to_string()}")


def _tell_unknown(history: "MarketHistory") -> None:
    """Which features are unknown at how many rows: they need the rows before, and have holes where bars have."""
    import numpy as np

    if history.features is None:
        return
    holes = np.isnan(history.features).sum(axis=(0, 1))
    cells = len(history) * len(history.underlyings)
    told = [f"{name} {count}" for name, count in zip(history.feature_names, holes.tolist(), strict=True) if count]
    why = "their first rows, and where bars or fundings are missing"
    say(f"features unknown of {cells} rows each, {why}: {', '.join(told) or 'none'}")


def _store(given: Path | None) -> Path:
    from data.storage import store_folder

    return given or store_folder()


def _sets(words: list[str] | None, store: Path) -> dict[str, str]:
    """Record sets by underlying, or other symbol; their own symbol where none is said."""
    from data.errors import ParameterError

    out: dict[str, str] = {}
    for word in words or ():
        symbol, sign, name = word.rpartition("=")
        own = _symbol(name, store)
        symbol = symbol if sign else own
        if symbol in out or not symbol:
            raise ParameterError(f"{word}: each symbol has one record set of a kind, got {symbol!r} again")
        out[symbol] = name
    return out


def _symbol(word: str, store: Path) -> str:
    """The symbol of a record set; SnapshotError where there is none, with those that there are."""
    from data.catalog import listed, record_set
    from data.errors import SnapshotError

    try:
        return record_set(word, store).symbol
    except SnapshotError as error:
        own = [found for found in listed(store) if found.symbol.upper().startswith(word.upper())]
        told = ", ".join(f"{found.symbol}={found.hash[:12]} ({found.kind} of {found.venue})" for found in own[:5])
        hint = f"; of that symbol there are {told}" if told else "; `marginlab data catalog list` shows what there is"
        raise SnapshotError(f"[UNDERLYING=]RECORD-SET: {error}{hint}") from error


def _pairs(default: list[str] | None) -> dict[str, str]:
    from data.errors import ParameterError

    pairs = [text.partition("=") for text in default or ()]
    odd = ["".join(pair) for pair in pairs if not all(pair)]
    if odd:
        raise ParameterError(f"--default must be SYMBOL=DATE, got {', '.join(odd)}")
    return {symbol: instant for symbol, _, instant in pairs}
