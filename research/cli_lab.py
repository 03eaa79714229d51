"""Which command tells what prediction is worth as margin?

Nothing of ours but the options is imported at the top, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from research.cli_options import LEVEL, AsJson, Jobs, Level, Models, Window, cores, errors_as_sentences


def lab(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Bars with volume, Binance's klines say, or folders; five coins by the half hour if none."),
    ] = None,
    level: Level = LEVEL,
    horizon: Annotated[str, typer.Option(help="Margin period of risk: '8h', '1D'.")] = "1D",
    window: Window = None,
    model: Models = None,
    jobs: Jobs = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the page, its table and its figure.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge forecasts as margin, on three axes: capital at equal coverage, shortfall, procyclicality."""
    with errors_as_sentences():
        from data import Coverage
        from research.lab_job import lab_job

        lab_job(
            files or (),
            Coverage(level, horizon),
            window=window,
            models=model or (),
            jobs=cores(jobs),
            out=out,
            as_json=as_json,
        )
