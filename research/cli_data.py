"""What can be asked from a shell of the files that a user brings?

Nothing of ours but options is imported at the top, so that `--help` answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from research.cli_options import (
    AsJson,
    Calendar,
    Clock,
    Defaults,
    Label,
    MarketName,
    Missing,
    Zone,
    errors_as_sentences,
    is_sample,
    prices_of,
    reading_of,
    say,
)

if TYPE_CHECKING:
    from data.import_report import ImportReport

Paths = Annotated[list[Path], typer.Argument(help="Files as venues and vendors publish them, or folders of such.")]
Store = Annotated[Path | None, typer.Option(help="Where records are kept; the store if not given.")]
Kept = Annotated[Path | None, typer.Option(help="Where the JSON goes (a file); the store's checks/ if not given.")]


def data_import(paths: Paths, as_json: AsJson = False, store: Store = None) -> None:
    """Bring files into the store: what each was recognised as, what was kept, and what was not, and why.

    Exit code 0 where all was accepted, 1 where rows were quarantined, 2 where a file was refused.
    """
    with errors_as_sentences():
        from data.imports import import_paths
        from data.storage import store_folder

        report = import_paths(paths, store or store_folder())
        typer.echo(report.to_json() if as_json else repr(report))
        raise typer.Exit(report.exit_code)


def data_check(
    market: MarketName,
    clock: Clock = None,
    tz: Zone = None,
    calendar: Calendar = None,
    allow_missing: Missing = False,
    default: Defaults = None,
    label: Label = None,
    as_json: AsJson = False,
    out: Kept = None,
) -> None:
    """Read a sample or files, and say what is odd about them.

    Exit code 0 where all can be used, 1 where some rows cannot, 2 where a file cannot be read.
    """
    with errors_as_sentences():
        reading = reading_of(clock, tz, calendar, allow_missing, default, label)
        frozen = all(name.startswith("snapshot:") for name in market)
        if frozen or is_sample(market, reading) or any(value is not None and value != [] for value in reading.values()):
            _as_history(market, reading)  # whoever says how prices are read has prices
            return
        _refuse_absent(market)
        from data.imports import check_paths

        report = check_paths(market)
        _keep(report, out)
        if as_json:
            typer.echo(report.to_json())
            raise typer.Exit(report.exit_code)
        raise typer.Exit(_told(report, market, reading))


def _refuse_absent(market: list[str]) -> None:
    """SourceError for the first name that is neither a file nor a folder."""
    from data.errors import SourceError
    from data.sources.raw_files import shown

    for name in market:
        if not Path(name).exists():
            raise SourceError(f"{shown(name)}: expected a file, a folder or a sample, got nothing of that name")


def _keep(report: "ImportReport", out: Path | None) -> None:
    """Write the JSON, under a name that follows from what the files hold; SourceError where it cannot be kept."""
    from data.errors import SourceError
    from data.storage import sha256_of, store_folder, write_whole

    payload = report.to_json().encode()
    path = out or store_folder() / "checks" / f"{sha256_of(payload)[:16]}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, payload)
    except OSError as error:
        if out is not None:
            raise SourceError(f"{path}: the checks cannot be kept: {error.strerror or error}") from error
        say(f"the checks are not kept in {path}: {error.strerror or error}")
        return
    say(f"the checks are kept in {path}")


def _told(report: "ImportReport", market: list[str], reading: dict[str, Any]) -> int:
    """Print all that is known of the files, and tell the exit code."""
    from data.errors import DataError, HistoryError

    refused = [file for file in report.files if file.refused]
    kinds = {file.kind for file in report.files if not file.refused}
    if len(refused) < len(report.files):
        typer.echo(f"{report!r}\n")
    else:
        for file in refused:
            say(file.refused)
    if kinds == {"options"}:
        return max(report.exit_code, _chains_told(report, market))
    if not kinds <= {"bars", "index"} or any(Path(name).is_dir() for name in market):
        return report.exit_code
    try:
        _as_history(market, reading)
    except (DataError, HistoryError) as error:
        if refused:
            return _neither(report, market, error)
        say(f"not read as a table of prices: {error}")
        return report.exit_code
    return int(any(file.quarantined for file in report.files))


def _neither(report: "ImportReport", market: list[str], error: Exception) -> int:
    """Files that are no prices: perhaps option chains; raises what was wrong with them as prices otherwise."""
    from data.errors import MarginlabError

    if any(not file.refused for file in report.files):
        return report.exit_code
    try:
        return _as_chains(market)
    except MarginlabError:
        raise error from None


def _chains_told(report: "ImportReport", market: list[str]) -> int:
    """What the files that were taken tell as chains, one by one; one that is none is said to be so."""
    from data.brought_files import files_of, sha256_of_file
    from data.errors import MarginlabError

    left = {file.sha256 for file in report.files if not file.refused}
    code = 0
    for path in files_of(market):
        if not path.is_file() or (sha256 := sha256_of_file(path)) not in left:
            continue
        left.remove(sha256)
        try:
            code = max(code, _as_chains([str(path)]))
        except MarginlabError as error:
            say(f"{path.name}: not read as a chain of one instant: {error}")
    return code


def _as_chains(market: list[str]) -> int:
    """What option chains tell, how well their surfaces do, and which quotes are left out; 1 where there are some."""
    from data.chain_market import read_chain_market

    left_out = 0
    for name in market:
        chain = read_chain_market(name)
        typer.echo(f"{chain!r}\n\n{chain.quality.to_string(index=False)}\n")
        counts = chain.quarantine.groupby(["underlying", "rule"]).size()
        typer.echo("no quote was left out" if counts.empty else f"left out\n{counts.to_string()}")
        left_out += len(chain.quarantine)
    return int(left_out > 0)


def _as_history(market: list[str], reading: dict[str, Any]) -> None:
    """The sample, or the files taken together as one table of prices."""
    from data.sources.samples import load
    from research.user_data import findings_table

    sample = is_sample(market, reading)
    history = load(market[0]) if sample else prices_of([Path(name) for name in market], reading).read()
    typer.echo(f"{history!r}\n\n{history.summary().to_string()}\n")
    findings = findings_table(history)
    typer.echo("nothing odd was found" if findings.empty else findings.to_string(index=False))
