"""Which commands tell a supervisor what was covered, and when evidence against a margin came in?

Nothing of ours but the options is imported at the top, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from research.cli_options import (
    AsJson,
    Jobs,
    Models,
    Question,
    StudyMarket,
    cores,
    errors_as_sentences,
    refuse,
    takes_question,
)


@takes_question
def disclose(
    question: Question,
    market: StudyMarket,
    model: Models = None,
    months: Annotated[int | None, typer.Option(help="Of the replay's last months (12, say); all if not given.")] = None,
    jobs: Jobs = 0,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every model and book as CSV on stdout.")] = False,
) -> None:
    """Print what supervisors ask of a margin: what was covered, what was not, by model and by book."""
    with errors_as_sentences():
        from research.evidence_job import disclosure_job

        if as_json:
            refuse({"csv": as_csv or None}, "not with --json")
        disclosure_job(
            market[0],
            question.prices(market),
            model or (),
            **question.asked,
            jobs=cores(jobs),
            months=months,
            form="json" if as_json else "csv" if as_csv else "text",
        )


@takes_question
def monitor(
    question: Question,
    market: StudyMarket,
    model: Models = None,
    book: Annotated[str | None, typer.Option(help="A book's name; the one that stands for the market if None.")] = None,
    jobs: Jobs = 0,
    as_json: AsJson = False,
) -> None:
    """Say on which day the evidence against each model's margin crossed 2, 5 and 10; --json tells every day."""
    with errors_as_sentences():
        from research.evidence_job import monitor_job

        prices = question.prices(market)
        monitor_job(market[0], prices, model or (), **question.asked, jobs=cores(jobs), book=book, as_json=as_json)


def venues(
    venue: Annotated[str | None, typer.Argument(help="Only this venue.")] = None, as_json: AsJson = False
) -> None:
    """List the parameter sets and formulas of venues, with date and source, and how sure each is."""
    with errors_as_sentences():
        from research.evidence_job import venues_job

        venues_job(venue, as_json=as_json)


def correlation_break(
    figure: Annotated[Path | None, typer.Option(help="Where margins and losses go as a chart (an .svg file).")] = None,
    as_json: AsJson = False,
) -> None:
    """Plant a break of correlations against a book, and count breaches with an add-on for it and without."""
    with errors_as_sentences():
        from research.planted_break import break_job

        break_job(figure, as_json=as_json)
