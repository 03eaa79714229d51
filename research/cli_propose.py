"""Which commands write evidence for a proposal, and check what somebody else wrote?

Nothing of ours but the options is imported at the top, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from research.cli_options import (
    AsJson,
    Jobs,
    Question,
    cores,
    errors_as_sentences,
    say,
    takes_question,
)

_NAMED = "A model's name, and what differs: 'static, cross:rate=0.05'; an unknown one lists them all."


@takes_question
def propose(
    question: Question,
    current: Annotated[str, typer.Option(help=f"What is charged today. {_NAMED}")],
    candidate: Annotated[str, typer.Option(help="What is proposed, named in the same way.")],
    market: Annotated[
        list[str],
        typer.Option(help="A market of the default study, another sample, snapshot:NAME, or price files; repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="A new or empty folder for the bundle.")],
    why: Annotated[str, typer.Option(help="The reason for it, in the author's words.")] = "",
    book: Annotated[
        Path | None,
        typer.Option(help="CSV of positions of your own (symbol, quantity, portfolio), which the bundle then tells."),
    ] = None,
    jobs: Jobs = 0,
) -> None:
    """Write a bundle of evidence for one model in place of another: pages, a model card, numbers, hashes."""
    with errors_as_sentences():
        from research.propose_job import propose_job

        prices = question.prices(market)
        propose_job(
            market[0], prices, current, candidate, out, **question.asked, why=why, book=book, jobs=cores(jobs), say=say
        )


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

        if not verify_job(folder, expect, jobs=cores(jobs), as_json=as_json, say=say):
            raise typer.Exit(1)
