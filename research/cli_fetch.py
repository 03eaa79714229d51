"""Which commands bring the files that venues publish?

Nothing of ours but the options is imported at the top, so that `--help` answers at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from research.cli_options import AsJson, errors_as_sentences, say

if TYPE_CHECKING:
    from data.fetch.outcome import Outcome
    from data.fetch.pages import Piece
    from data.fetch.waiting import Waiter

fetch_app = typer.Typer(
    help="Bring what venues publish: resumed, checked, and nothing half-fetched.", no_args_is_help=True
)

Since = Annotated[str, typer.Option("--from", help="The first month or day: 2019-09 or 2019-09-08.")]
Until = Annotated[str | None, typer.Option("--to", help="The last month or day, included; yesterday if not given.")]
Out = Annotated[Path | None, typer.Option(help="The folder to fetch to; one of the store if not given.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be asked for, and ask for nothing.")]


@fetch_app.command()
def binance(
    symbols: Annotated[str, typer.Option(help="Such as BTCUSDT,ETHUSDT (BTCUSD_PERP on cm, BTCBVOLUSDT on option).")],
    kind: Annotated[str, typer.Option(help="Such as klines-1h,aggTrades,fundingRate; an unknown one lists them all.")],
    since: Since,
    until: Until = None,
    market: Annotated[str, typer.Option(help="spot, um (USD-margined), cm (coin-margined) or option.")] = "um",
    out: Out = None,
    base_url: Annotated[str | None, typer.Option(help="A mirror of data.binance.vision.")] = None,
    jobs: Annotated[int, typer.Option(help="Transfers at a time, 1 to 32.")] = 4,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read files that are here again; fetch what changed.")
    ] = False,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Take a zip without a published checksum, if its own sums hold.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Fetch files of Binance's public archive, each verified by its published sha256."""
    with errors_as_sentences():
        from data.fetch.plan import BASE, plan
        from data.fetch.transfer import fetch
        from data.fetch.waiting import Timing
        from data.fetch.web import Web
        from research.fetch_job import superseded, tell_plan

        files = plan(_listed(symbols), market, _listed(kind), since, until, Timing().now().date())
        web, folder = Web(base_url or BASE, connections=max(jobs, 1)), _folder(out, "binance")
        if dry_run:
            tell_plan(files, web.base, as_json)
            return
        found = fetch(files, folder, web, jobs=jobs, unverified=allow_unverified, verify=verify, progress=not as_json)
        days = superseded(found, folder)
        if days:
            say(f"{len(days)} files of days are of months that are here whole too (import one or the other): {days[0]}")
        _end(found, folder, as_json)


@fetch_app.command()
def deribit(
    since: Since,
    until: Until = None,
    currency: Annotated[str, typer.Option(help="BTC or ETH.")] = "BTC",
    kind: Annotated[str, typer.Option(help="Of dvol,trades,funding.")] = "dvol",
    instrument: Annotated[
        list[str] | None, typer.Option(help="Of trades and funding; repeatable. The currency's perpetual if not given.")
    ] = None,
    resolution: Annotated[str, typer.Option(help="Of dvol: 1, 60, 3600 or 43200 seconds, or 1D.")] = "3600",
    out: Out = None,
    base_url: Annotated[
        str | None, typer.Option(help="Another server, such as https://history.deribit.com/api/v2/ for older trades.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the public history of Deribit: its volatility index, trades and funding, page after page."""
    with errors_as_sentences():
        from data.fetch.deribit import BASE, INTERVAL, Deribit
        from data.fetch.plan import span
        from data.fetch.waiting import Waiter
        from data.fetch.web import Web

        web = Web(base_url or BASE, Waiter(interval=INTERVAL))
        days = span(since, until, web.waiter.timing.now().date())
        pieces = Deribit(web).pieces(_listed(kind), currency, instrument or (), *days, resolution)
        _collect(pieces, _folder(out, "deribit"), web.waiter, dry_run, as_json)


@fetch_app.command()
def ccxt(
    exchange: Annotated[str, typer.Option(help="As ccxt names it: binanceusdm, okx, kraken.")],
    symbols: Annotated[str, typer.Option(help="As ccxt names them: BTC/USDT,BTC/USDT:USDT.")],
    since: Since,
    until: Until = None,
    kind: Annotated[str, typer.Option(help="Such as ohlcv-1h,funding.")] = "ohlcv-1h",
    out: Out = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Fetch candles and funding through ccxt, which is an extra (pip install ccxt)."""
    with errors_as_sentences():
        from data.fetch import exchanges
        from data.fetch.plan import span

        asked = exchanges.exchange(exchange)
        days = span(since, until, asked.waiter.timing.now().date())
        pieces = asked.pieces(_listed(kind), _listed(symbols), *days)
        _collect(pieces, _folder(out, "ccxt"), asked.waiter, dry_run, as_json)


def _collect(pieces: "Sequence[Piece]", folder: Path, waiter: "Waiter", dry_run: bool, as_json: bool) -> None:
    from data.fetch.pages import collect

    if dry_run:
        typer.echo("\n".join(piece.path for piece in pieces))
        return
    _end(collect(pieces, folder, waiter, progress=not as_json), folder, as_json)


def _end(found: "Sequence[Outcome]", folder: Path, as_json: bool) -> None:
    """Print what became of it, and say what may come next; exit code 1 where something failed."""
    from data.fetch.outcome import State
    from research.fetch_job import tell

    code = tell(found, folder, as_json)
    if any(one.state in (State.FETCHED, State.HERE) for one in found):
        say(f"\nread it with: marginlab data import {folder}")
    if code:
        raise typer.Exit(code)


def _folder(out: Path | None, venue: str) -> Path:
    from data.storage import store_folder

    return (out or store_folder() / "raw" / venue).resolve()


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
