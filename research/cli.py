"""What can be asked from a shell?

Nothing of ours but options and commands is imported at the top, so that `--help` answers at once.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from research import (
    cli_ablation,
    cli_catalog,
    cli_data,
    cli_evidence,
    cli_fetch,
    cli_formats,
    cli_lab,
    cli_nightly,
    cli_propose,
)
from research.cli_options import (
    LEVEL,
    AsJson,
    Calendar,
    Clock,
    Defaults,
    Files,
    Horizon,
    Jobs,
    Label,
    Level,
    MarketName,
    Missing,
    Models,
    Question,
    StudyMarket,
    Window,
    Zone,
    cores,
    errors_as_sentences,
    is_sample,
    prices_of,
    reading_of,
    refuse,
    say,
    takes_question,
    typed_command,
)

if TYPE_CHECKING:
    from data import MarketHistory

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
data_app.add_typer(cli_fetch.fetch_app, name="fetch")


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
    with errors_as_sentences():
        from research.main_job import main_job

        paths = [*(data or ()), *(files or ())]
        reading = reading_of(clock, tz, calendar, allow_missing, default, label)
        if not paths:
            refuse(
                {**reading, "level": None if level == LEVEL else level, "horizon": horizon, "window": window},
                "only with --data FILE, as the default study is fixed",
            )
        prices = prices_of(paths, reading, level=level, horizon=horizon, window=window) if paths else None
        main_job(prices, jobs=cores(jobs), as_json=as_json, track=track, out=out, say=say, command=typed_command())


@app.command()
@takes_question
def compare(
    question: Question,
    market: StudyMarket,
    model: Models = None,
    jobs: Jobs = 0,
    as_json: AsJson = False,
) -> None:
    """Compare models on one market: a table and nothing else, no report and no record."""
    with errors_as_sentences():
        from research.main_job import quick_comparison

        prices = question.prices(market)
        quick_comparison(market[0], prices, model or (), **question.asked, jobs=cores(jobs), as_json=as_json)


@app.command()
def margin(
    book: Annotated[Path, typer.Option(help="CSV of your positions: symbol, quantity and, if need be, portfolio.")],
    market: Annotated[
        list[Path] | None, typer.Option(help="CSV of an option chain, or such a sample's name; repeatable.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model's name; an unknown one lists them all.")] = None,
    parameters: Annotated[
        Path | None, typer.Option(help="A published margin_parameters.json: charges by that file alone, at its prices.")
    ] = None,
    parameter_market: Annotated[str | None, typer.Option(help="Which market of the parameters, if several do.")] = None,
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
    level: Annotated[
        float | None, typer.Option(help="Share of losses to cover, 0.99 if not given; stated rules know of none.")
    ] = None,
    horizon: Annotated[str, typer.Option(help="Margin period of risk: '8h', '1D'.")] = "1D",
    window: Window = None,
    as_json: AsJson = False,
) -> None:
    """Price a book of your own: what it must post in the market of an option chain, and why."""
    with errors_as_sentences():
        from data import Coverage
        from research.margin_job import margin_job

        reading = reading_of(clock, tz, calendar, allow_missing, default, label)
        if parameters is not None:
            alone = {"market": market, "model": model, "history": history, "at": at, "level": level, "window": window}
            refuse({**reading, **alone, "allow-gap": allow_gap or None}, "not with --parameters, which stand alone")
            _by_parameters(book, parameters, parameter_market, as_json)
            return
        if not market or model is None:
            raise typer.BadParameter("say --market and --model, or --parameters FILE")
        if not history:
            asked = {"allow-gap": allow_gap or None, "window": window}
            refuse({**reading, **asked}, "only with --history")
        margin_job(
            book,
            market,
            model,
            (lambda: _history(history, reading)) if history else None,
            at=at,
            coverage=Coverage(LEVEL if level is None else level, horizon),
            window=window,
            allow_gap=allow_gap,
            as_json=as_json,
            level_stated=level is not None,
            say=say,
        )


@app.command()
def report(
    browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Say where the newest report is."""
    with errors_as_sentences():
        from research.main_job import newest_report

        path = newest_report()
        typer.echo(str(path))
        if browser:
            typer.launch(path.as_uri())


@app.command()
def ui(port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000, host: str = "127.0.0.1") -> None:
    """Browse the recorded runs in MLflow's own pages."""
    with errors_as_sentences():
        from research.tracking import ui_command

        command = ui_command(port=port, host=host)
        say(f"MLflow at http://{host}:{port} (Ctrl-C ends it)")
        os.execvp(command[0], command)


@app.command()
def audit(
    rows: Annotated[int, typer.Option(help="Rows before the cut, each refitted.")] = 20, as_json: AsJson = False
) -> None:
    """Prove on every default model that tomorrow cannot change today, and that planted leaks are caught."""
    with errors_as_sentences():
        from research.audits import audit_default_models

        table = audit_default_models(rows=rows, progress=not as_json)
        typer.echo(table.to_json(orient="records", indent=1) if as_json else table.to_string(index=False))
        if not table["as it should be"].all():
            raise typer.Exit(1)


@data_app.command("list")
def data_list() -> None:
    """The samples that can be had, and which are here already."""
    with errors_as_sentences():
        from research.main_job import samples_table

        typer.echo(samples_table().to_string())


@data_app.command("pull")
def data_pull(
    names: Annotated[list[str] | None, typer.Argument(help="Samples; all where none is named.")] = None,
) -> None:
    """Fetch samples into the store (only what is not there yet)."""
    with errors_as_sentences():
        from data.sources.samples import pull

        for path in pull(names or None):
            typer.echo(str(path))


@data_app.command("freeze")
def data_freeze(
    market: MarketName,
    clock: Clock = None,
    tz: Zone = None,
    calendar: Calendar = None,
    allow_missing: Missing = False,
    default: Defaults = None,
    label: Label = None,
    folder: Annotated[Path | None, typer.Option(help="Where snapshots are kept; the store if not given.")] = None,
) -> None:
    """Freeze a sample or files under their content hash, and print it."""
    with errors_as_sentences():
        from data.snapshot import freeze
        from data.storage import store_folder

        history = _history(market, reading_of(clock, tz, calendar, allow_missing, default, label))
        typer.echo(freeze(history, folder or store_folder() / "snapshots"))


@statistics_app.command("size")
def statistics_size(
    repetitions: Annotated[int, typer.Option(help="Samples a row of the table.")] = 20_000,
    seed: Annotated[int | None, typer.Option(help="Of all that is drawn; the published one if not given.")] = None,
    length: Annotated[
        list[int] | None, typer.Option(help="Decisions in a sample; repeatable. 250, 500 and 1000 if not given.")
    ] = None,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(help="Where the tables go as Markdown (a file).")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Where sizes and powers go as a chart (an .svg file), which the page shows.")
    ] = None,
) -> None:
    """Measure how often each test, and evidence, rejects a model that is right, and one that is wrong."""
    with errors_as_sentences():
        from backtest.simulated_p_values import SEED
        from backtest.size_study import LENGTHS, size_study
        from backtest.statistics_plots import save_size_and_power
        from data.errors import ParameterError

        if figure is not None and figure.suffix.lower() != ".svg":
            raise ParameterError(f"--figure: the chart is an .svg file, got {figure}")
        drawn_from = SEED if seed is None else seed
        study = size_study(tuple(length or LENGTHS), repetitions=repetitions, seed=drawn_from, progress=not as_json)
        if figure is not None:
            save_size_and_power(study.panels, figure)
        if out is not None:
            shown = None if figure is None else Path(os.path.relpath(figure, out.parent)).as_posix()
            out.write_text(study.to_markdown(typed_command(), shown), encoding="utf-8")
        typer.echo(study.to_json() if as_json else repr(study))
        if not study.holds:
            raise typer.Exit(1)


def _by_parameters(book: Path, parameters: Path, market: str | None, as_json: bool) -> None:
    from research.parameter_margin import parameter_job

    parameter_job(book, parameters, market, as_json=as_json, say=say)


def _history(market: list[str], reading: dict[str, Any]) -> "MarketHistory":
    if is_sample(market, reading):
        from data.sources.samples import load

        return load(market[0])
    return prices_of([Path(name) for name in market], reading).read()


app.command()(cli_ablation.ablation)
app.command()(cli_lab.lab)
cli_nightly.register(app)
app.command()(cli_propose.propose)
app.command()(cli_propose.verify)
app.command()(cli_evidence.disclose)
app.command()(cli_evidence.monitor)
app.command()(cli_evidence.venues)
app.command("correlation-break")(cli_evidence.correlation_break)
data_app.command("import")(cli_data.data_import)
data_app.command("check")(cli_data.data_check)
data_app.command("formats")(cli_formats.data_formats)
data_app.command("build")(cli_catalog.data_build)
data_app.add_typer(cli_catalog.catalog_app, name="catalog")


def main(run: Callable[[], None] = app) -> None:
    """The console command."""
    run()


if __name__ == "__main__":
    main()
