"""Which commands write evidence for a proposal, and check what somebody else wrote?

Nothing of ours but the options is imported at the top, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from research.cli_options import (
    LEVEL,
    AsJson,
    Calendar,
    Clock,
    Defaults,
    Horizon,
    Jobs,
    Label,
    Level,
    Missing,
    Window,
    Zone,
    cores,
    errors_as_sentences,
    market_prices,
    reading_of,
    say,
)

_NAMED = "A model's name, and what differs: 'static, cross:rate=0.05'; an unknown one lists them all."


def propose(
    current: Annotated[str, typer.Option(help=f"What is charged today. {_NAMED}")],
    candidate: Annotated[str, typer.Option(help="What is proposed, named in the same way.")],
    market: Annotated[
        list[str],
        typer.Option(help="A market of the default study, another sample, snapshot:NAME, or price files; repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="A new or empty folder for the bundle.")],
    why: Annotated[str, typer.Option(help="The reason for it, in the author's words.")] = "",
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
) -> None:
    """Write a bundle of evidence for one model in place of another: pages, a model card, numbers, hashes."""
    with errors_as_sentences():
        from research.propose_job import propose_job

        reading = reading_of(clock, tz, calendar, allow_missing, default, label)
        asked: dict[str, Any] = {"level": level, "horizon": horizon, "window": window}
        prices = market_prices(market, reading, **asked)
        propose_job(market[0], prices, current, candidate, out, **asked, why=why, jobs=cores(jobs), say=say)


def verify(
    folder: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    expect: Annotated[
        str | None, typer.Option(help="The manifest's sha256, or 12 digits of it, known from elsewhere.")
    ] = None,
    jobs: Jobs = 0,
    as_json: AsJson = False,
) -> None:
    """Check every file of a bundle, recompute every number from the data, and say which differs: exit code 1."""
    with errors_as_sentences():
        from research.propose_job import verify_job

        if not verify_job(folder, expect, jobs=cores(jobs), as_json=as_json):
            raise typer.Exit(1)
