"""What happens when somebody types `marginlab margin`?"""

from collections.abc import Callable
from pathlib import Path

from data import Coverage, HistoryError, MarketHistory
from data.chain_market import read_chain_market
from research.named_models import named_model, takes_level
from research.price_book import price_book


def margin_job(
    book: Path,
    chains: list[Path],
    name: str,
    history: Callable[[], MarketHistory] | None,
    *,
    at: str | None,
    coverage: Coverage,
    window: int | None,
    allow_gap: bool,
    as_json: bool,
    level_stated: bool,
    say: Callable[[str], None],
) -> None:
    """Price one book with one model, and print the result; raises what `price_book` raises.

    What is asked of it is checked before a file is read. A level that was stated and moves nothing goes to `say`.
    """
    wanted = named_model(name)
    if level_stated and not takes_level(wanted.make()):
        say(f"note: {name} asks what its stated rules say of any level: --level is not used")
    if wanted.learns and history is None:
        raise HistoryError(f"{name} learns from a history: say which with --history, a sample's name or price files")
    priced = price_book(
        book,
        read_chain_market(list(chains), at),
        wanted.make(),
        history() if history else None,
        coverage=coverage,
        window=window,
        allow_gap=allow_gap,
    )
    print(priced.to_json() if as_json else priced, flush=True)
