"""What can be asked from a shell?

Nothing of ours is imported at the top, so that `--help` answers at once.
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from data import MarketHistory
    from research.user_data import Prices

app = typer.Typer(
    name="marginlab",
    help="What must this book post, and what happened next? Margin models, compared on the same history.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Samples, files and snapshots.", no_args_is_help=True)
app.add_typer(data_app, name="data")
statistics_app = typer.Typer(help="What the tests of a backtest can and cannot tell.", no_args_is_help=True)
app.add_typer(statistics_app, name="statistics")

LEVEL = 0.99

Files = Annotated[
    list[Path] | None,
    typer.Option("--data", help="Your prices: one wide table of closes, or OHLCV files, one an asset."),
]
Jobs = Annotated[int, typer.Option(help="Worker processes; 0 takes every core. Results do not depend on it.")]
Clock = Annotated[str | None, typer.Option(help="When rows fall: '1h', '1D', '1B' (sessions). Inferred if not given.")]
Zone = Annotated[str | None, typer.Option("--tz", help="Zone of naive intraday stamps, e.g. UTC.")]
Calendar = Annotated[str | None, typer.Option(help="Session calendar of daily prices, e.g. NYSE.")]
Missing = Annotated[bool, typer.Option("--allow-missing", help="Take blank cells for instants without a price.")]
Defaults = Annotated[list[str] | None, typer.Option("--default", help="SYMBOL=DATE from which it is worthless.")]
Label = Annotated[Literal["open", "close"] | None, typer.Option(help="What intraday stamps are, if files do not say.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]
Level = Annotated[float, typer.Option(help="Share of losses that margin must cover.")]
Horizon = Annotated[str | None, typer.Option(help="Margin period of risk: '8h', '1D', '2B'. One day if not given.")]
Window = Annotated[int | None, typer.Option(help="Rows that a fit sees.")]


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    """A typed error becomes one sentence on stderr and exit code 2; a bug keeps its traceback."""
    from data.errors import MarginlabError

    try:
        yield
    except MarginlabError as error:
        typer.secho(f"{type(error).__name__}: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


def _cores(jobs: int) -> int:
    if jobs > 0:
        return jobs
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _say(message: str) -> None:
    typer.echo(message, err=True)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"marginlab {installed('marginlab')}")
        raise typer.Exit


@app.command()
def backtest(
    files: Annotated[list[Path] | None, typer.Argument(help="More of your prices, as after --data.")] = None,
    data: Files = None,
    jobs: Jobs = 0,
    clock: Clock = None,
    tz: Zone = None,
    calendar: Calendar = None,
    allow_missing: Missing = False,
    default: Defaults = None,
    label: Label = None,
    level: Level = LEVEL,
    horizon: Horizon = None,
    window: Window = None,
    as_json: AsJson = False,
    track: Annotated[bool, typer.Option(help="Record the study in MLflow under mlruns/.")] = True,
    out: Annotated[Path | None, typer.Option(help="Where the report goes (a file).")] = None,
) -> None:
    """Replay the default models and books on the default markets, or on prices of your own; judge, record, report."""
    with _errors_as_sentences():
        from research.main_job import main_job

        paths = [*(data or ()), *(files or ())]
        reading = _reading(clock, tz, calendar, allow_missing, default, label)
        if not paths:
            _refuse(
                {**reading, "level": None if level == LEVEL else level, "horizon": horizon, "window": window},
                "only with --data FILE, as the default study is fixed",
            )
        prices = _prices(paths, reading, level=level, horizon=horizon, window=window) if paths else None
        main_job(prices, jobs=_cores(jobs), as_json=as_json, track=track, out=out, say=_say, command=_command())


@app.command()
def compare(
    market: Annotated[list[str], typer.Argument(help="A sample's name, or price files.")],
    model: Annotated[
        list[str] | None, typer.Option(help="Only the model of this name, or those whose name holds it; repeatable.")
    ] = None,
    jobs: Jobs = 0,
    clock: Clock = None,
    tz: Zone = None,
    calendar: Calendar = None,
    allow_missing: Missing = False,
    default: Defaults = None,
    label: Label = None,
    level: Level = LEVEL,
    horizon: Horizon = None,
    window: Window = None,
    as_json: AsJson = False,
) -> None:
    """Compare models on one market: a table and nothing else, no report and no record."""
    with _errors_as_sentences():
        from research.main_job import quick_comparison

        reading = _reading(clock, tz, calendar, allow_missing, default, label)
        asked: dict[str, Any] = {"level": level, "horizon": horizon, "window": window}
        prices = None if _is_sample(market, reading) else _prices([Path(name) for name in market], reading, **asked)
        quick_comparison(market[0], prices, model or (), **asked, jobs=_cores(jobs), as_json=as_json)


@app.command()
def margin(
    book: Annotated[Path, typer.Option(help="CSV of your positions: symbol, quantity and, if need be, portfolio.")],
    market: Annotated[list[Path], typer.Option(help="CSV of an option chain, or such a sample's name; repeatable.")],
    model: Annotated[str, typer.Option(help="A model's name; an unknown one lists them all.")],
    history: Annotated[
        list[str] | None, typer.Option(help="What it learns from: a sample's name, or price files; repeatable.")
    ] = None,
    at: Annotated[str | None, typer.Option(help="Instant (UTC) at which the chain is taken; the last if None.")] = None,
    allow_gap: Annotated[
        bool, typer.Option("--allow-gap", help="Take a history that ends more than a week before the chain.")
    ] = False,
    clock: Clock = None,
    tz: Zone = None,
    calendar: Calendar = None,
    allow_missing: Missing = False,
    default: Defaults = None,
    label: Label = None,
    level: Level = LEVEL,
    horizon: Annotated[str, typer.Option(help="Margin period of risk: '8h', '1D'.")] = "1D",
    window: Window = None,
    as_json: AsJson = False,
) -> None:
    """Price a book of your own: what it must post in the market of an option chain, and why."""
    with _errors_as_sentences():
        from data import Coverage
        from research.margin_job import margin_job

        reading = _reading(clock, tz, calendar, allow_missing, default, label)
        if not history:
            asked = {"allow-gap": allow_gap or None, "window": window}
            _refuse({**reading, **asked}, "only with --history")
        margin_job(
            book,
            market,
            model,
            (lambda: _history(history, reading)) if history else None,
            at=at,
            coverage=Coverage(level, horizon),
            window=window,
            allow_gap=allow_gap,
            as_json=as_json,
        )


@app.command()
def report(
    browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Say where the newest report is."""
    with _errors_as_sentences():
        from research.main_job import newest_report

        path = newest_report()
        typer.echo(str(path))
        if browser:
            typer.launch(path.as_uri())


@app.command()
def ui(port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000, host: str = "127.0.0.1") -> None:
    """Browse the recorded runs in MLflow's own pages."""
    with _errors_as_sentences():
        from research.tracking import ui_command

        command = ui_command(port=port, host=host)
        _say(f"MLflow at http://{host}:{port} (Ctrl-C ends it)")
        os.execvp(command[0], command)


@app.command()
def audit(
    rows: Annotated[int, typer.Option(help="Rows before the cut, each refitted.")] = 20, as_json: AsJson = False
) -> None:
    """Prove on every default model that tomorrow cannot change today, and that planted leaks are caught."""
    with _errors_as_sentences():
        from research.audits import audit_default_models

        table = audit_default_models(rows=rows, progress=not as_json)
        typer.echo(table.to_json(orient="records", indent=1) if as_json else table.to_string(index=False))
        if not table["as it should be"].all():
            raise typer.Exit(1)


@data_app.command("list")
def data_list() -> None:
    """The samples that can be had, and which are here already."""
    with _errors_as_sentences():
        from research.main_job import samples_table

        typer.echo(samples_table().to_string())


@data_app.command("pull")
def data_pull(
    names: Annotated[list[str] | None, typer.Argument(help="Samples; all where none is named.")] = None,
) -> None:
    """Fetch samples into the store (only what is not there yet)."""
    with _errors_as_sentences():
        from data.sources.samples import pull

        for path in pull(names or None):
            typer.echo(str(path))


@data_app.command("check")
def data_check(
    market: Annotated[list[str], typer.Argument(help="A sample's name, or price files.")],
    clock: Clock = None,
    tz: Zone = None,
    calendar: Calendar = None,
    allow_missing: Missing = False,
    default: Defaults = None,
    label: Label = None,
) -> None:
    """Read a sample or files, and say what is odd about them."""
    with _errors_as_sentences():
        from research.user_data import findings_table

        history = _history(market, _reading(clock, tz, calendar, allow_missing, default, label))
        typer.echo(f"{history!r}\n\n{history.summary().to_string()}\n")
        findings = findings_table(history)
        typer.echo("nothing odd was found" if findings.empty else findings.to_string(index=False))


@data_app.command("freeze")
def data_freeze(
    market: Annotated[list[str], typer.Argument(help="A sample's name, or price files.")],
    clock: Clock = None,
    tz: Zone = None,
    calendar: Calendar = None,
    allow_missing: Missing = False,
    default: Defaults = None,
    label: Label = None,
    folder: Annotated[Path | None, typer.Option(help="Where snapshots are kept; the store if not given.")] = None,
) -> None:
    """Freeze a sample or files under their content hash, and print it."""
    with _errors_as_sentences():
        from data.snapshot import freeze
        from data.storage import store_folder

        history = _history(market, _reading(clock, tz, calendar, allow_missing, default, label))
        typer.echo(freeze(history, folder or store_folder() / "snapshots"))


@statistics_app.command("size")
def statistics_size(
    repetitions: Annotated[int, typer.Option(help="Samples a row of the table.")] = 20_000,
    seed: Annotated[int | None, typer.Option(help="Of all that is drawn; the published one if not given.")] = None,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(help="Where the tables go as Markdown (a file).")] = None,
    figure: Annotated[Path | None, typer.Option(help="Where sizes and powers go as a chart (an .svg file).")] = None,
) -> None:
    """Measure how often each test of breaches rejects a model that is right, and one that is wrong."""
    with _errors_as_sentences():
        from backtest.simulated_p_values import SEED
        from backtest.size_study import size_study
        from backtest.statistics_plots import save_size_and_power
        from data.errors import ParameterError

        if figure is not None and figure.suffix.lower() != ".svg":
            raise ParameterError(f"--figure: the chart is an .svg file, got {figure}")
        study = size_study(repetitions=repetitions, seed=SEED if seed is None else seed, progress=not as_json)
        if out is not None:
            out.write_text(study.to_markdown(_command()), encoding="utf-8")
        if figure is not None:
            save_size_and_power(study.tests, figure)
        typer.echo(study.to_json() if as_json else repr(study))
        if not study.holds:
            raise typer.Exit(1)


def _is_sample(market: list[str], reading: dict[str, Any]) -> bool:
    """Whether a sample is named; it is read in one way, so what says how to read is refused."""
    from data.sources.samples import SAMPLES

    sample = len(market) == 1 and market[0] in SAMPLES
    if sample:
        _refuse(reading, f"only with files, as the sample {market[0]} is read in one way")
    return sample


def _history(market: list[str], reading: dict[str, Any]) -> "MarketHistory":
    if _is_sample(market, reading):
        from data.sources.samples import load

        return load(market[0])
    return _prices([Path(name) for name in market], reading).read()


def _reading(
    clock: str | None, tz: str | None, calendar: str | None, missing: bool, default: list[str] | None, label: str | None
) -> dict[str, Any]:
    """How files are read, by option; None is not given."""
    flag = missing or None
    return {"clock": clock, "tz": tz, "calendar": calendar, "allow-missing": flag, "default": default, "label": label}


def _prices(files: list[Path], reading: dict[str, Any], **asked: Any) -> "Prices":
    """Files, how they are read, and level, horizon and window where they are asked for."""
    from research.user_data import Prices

    return Prices(
        files=tuple(files),
        clock=reading["clock"],
        tz=reading["tz"],
        calendar=reading["calendar"],
        allow_missing=bool(reading["allow-missing"]),
        defaults=tuple(reading["default"] or ()),
        label=reading["label"],
        **asked,
    )


def _refuse(options: dict[str, Any], why: str) -> None:
    """An option that would have no effect is refused rather than ignored."""
    from data.errors import ParameterError

    given = [f"--{name}" for name, value in options.items() if value is not None and value != []]
    if given:
        raise ParameterError(f"{', '.join(given)}: {why}")


def _command() -> str:
    return shlex.join(["marginlab", *sys.argv[1:]])


def main(run: Callable[[], None] = app) -> None:
    """The console command."""
    run()


if __name__ == "__main__":
    main()
