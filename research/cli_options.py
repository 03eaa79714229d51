"""How is what a person types in a shell read, and how are they told what was wrong with it?

Nothing of ours is imported at the top, so that `--help` answers at once.
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from research.user_data import Prices

LEVEL = 0.99

MarketName = Annotated[list[str], typer.Argument(help="A sample's name, or price files.")]
StudyMarket = Annotated[
    list[str], typer.Argument(help="A market of the default study, another sample's name, or price files.")
]
Models = Annotated[
    list[str] | None, typer.Option(help="Only the model of this name, or those whose name holds it; repeatable.")
]
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
def errors_as_sentences() -> Iterator[None]:
    """A typed error becomes one sentence on stderr and exit code 2; a bug keeps its traceback."""
    from data.errors import MarginlabError

    try:
        yield
    except MarginlabError as error:
        typer.secho(f"{type(error).__name__}: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


def cores(jobs: int) -> int:
    """So many processes, or one a core where none is said."""
    if jobs > 0:
        return jobs
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def say(message: str) -> None:
    """A line on stderr."""
    typer.echo(message, err=True)


@dataclass(frozen=True)
class Question:
    """What is asked of a market, and how its files are read, as it was typed."""

    level: float
    horizon: str | None
    window: int | None
    reading: dict[str, Any]

    @property
    def asked(self) -> dict[str, Any]:
        """Level, horizon and window by name."""
        return {"level": self.level, "horizon": self.horizon, "window": self.window}

    def prices(self, market: list[str]) -> "Prices | None":
        """As `market_prices` gives them."""
        return market_prices(market, self.reading, **self.asked)


def _question(
    clock: Clock = None,
    tz: Zone = None,
    calendar: Calendar = None,
    allow_missing: Missing = False,
    default: Defaults = None,
    label: Label = None,
    level: Level = LEVEL,
    horizon: Horizon = None,
    window: Window = None,
) -> Question:
    """The options that `takes_question` gives a command."""
    return Question(level, horizon, window, reading_of(clock, tz, calendar, allow_missing, default, label))


def takes_question(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first argument is a `Question`, with the options of one in its place, after its own."""
    (_, *own), options = (signature(one).parameters.values() for one in (command, _question))

    @wraps(command)
    def typed(**given: Any) -> None:
        question = _question(**{one.name: given.pop(one.name) for one in options})
        command(question, **given)

    whole = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in (*own, *options)]
    typed.__signature__ = Signature(whole)  # type: ignore[attr-defined]
    typed.__annotations__ = {one.name: one.annotation for one in whole}
    return typed


def is_sample(market: list[str], reading: dict[str, Any]) -> bool:
    """Whether a sample is named; it is read in one way, so what says how to read is refused."""
    from data.sources.samples import SAMPLES

    sample = len(market) == 1 and market[0] in SAMPLES
    if sample:
        refuse(reading, f"only with files, as the sample {market[0]} is read in one way")
    return sample


def market_prices(market: list[str], reading: dict[str, Any], **asked: Any) -> "Prices | None":
    """Files and what is asked of them; None for a market of the default study, or another sample."""
    from research.default_study import default_study

    if len(market) == 1 and market[0] in {one.name for one in default_study().markets}:
        refuse(reading, f"only with files, as {market[0]} is read in one way")
        return None
    return None if is_sample(market, reading) else prices_of([Path(name) for name in market], reading, **asked)


def reading_of(
    clock: str | None, tz: str | None, calendar: str | None, missing: bool, default: list[str] | None, label: str | None
) -> dict[str, Any]:
    """How files are read, by option; None is not given."""
    flag = missing or None
    return {"clock": clock, "tz": tz, "calendar": calendar, "allow-missing": flag, "default": default, "label": label}


def prices_of(files: list[Path], reading: dict[str, Any], **asked: Any) -> "Prices":
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


def refuse(options: dict[str, Any], why: str) -> None:
    """An option that would have no effect is refused rather than ignored."""
    from data.errors import ParameterError

    given = [f"--{name}" for name, value in options.items() if value is not None and value != []]
    if given:
        raise ParameterError(f"{', '.join(given)}: {why}")


def typed_command() -> str:
    """What was typed, as it can be pasted into a shell."""
    return shlex.join(["marginlab", *sys.argv[1:]])
