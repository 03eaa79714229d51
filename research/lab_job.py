"""On which market is the laboratory run, and what does it print and keep?"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from backtest.comparison import default_window
from backtest.portfolios import baskets, directional
from data import BookRecipe, Coverage, Instrument, MarketHistory, ParameterError
from data.code_version import told_version
from data.flow.history_features import ohlcv_features
from data.flow.panels import with_features
from data.sources.samples import load
from data.storage import write_whole
from research.bar_files import read_bars
from research.lab import OURS, RIVALS, Candidate, Laboratory, candidates, laboratory
from research.lab_candidates import absent_kinds
from research.lab_extras import lab_extras
from research.lab_figures import frontier_svg
from research.lab_pages import lab_page
from research.study import Market, Study, run_study

DEFAULT = "coins-30min"
REFIT, DECISIONS = 21, 6  # horizons between fits, and decisions a horizon at most
DEFAULT_DAYS = 75  # of the window on the default market


def long_and_short(underlyings: tuple[str, ...]) -> BookRecipe:
    """Every underlying long and short, and all of them in one basket, long and short."""
    held = {**directional(underlyings), **baskets(underlyings)}
    return BookRecipe.of(tuple(Instrument(f"{name}-PERP", name) for name in underlyings), held)


def lab_job(
    files: Sequence[Path],
    coverage: Coverage,
    *,
    window: int | None = None,
    models: Sequence[str] = (),
    jobs: int = 1,
    out: Path | None = None,
    as_json: bool = False,
) -> Laboratory:
    """Run the laboratory on users' bars, or on the default market, print it, and keep its page in `out`.

    `models` are the candidates to judge beside the proposal and its rivals; all of them where none is named.
    """
    history, notes = _history(files)
    market = market_of(history, coverage, window if window is not None else _window(files, history, coverage))
    chosen = asked_for(models, candidates(history))
    study = Study("laboratory", (market,), {name: one.model for name, one in chosen.items()})
    result = run_study(study, jobs=jobs, progress=not as_json)
    absent = () if models else absent_kinds(history)
    told = laboratory(result.markets[0].comparison, {name: one.role for name, one in chosen.items()}, notes, absent)
    print(told.to_json() if as_json else repr(told), flush=True)
    if out is not None:
        _keep(told, history, market, out)
    return told


def _keep(told: Laboratory, history: MarketHistory, market: Market, out: Path) -> None:
    """The table, the figure and the page; what stands in `out` under these names is replaced."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "laboratory.json", told.to_json().encode())
    write_whole(out / "frontier.svg", frontier_svg(told).encode())
    extras = lab_extras(told, history, market, candidates(history))
    page = lab_page(told, extras, command="marginlab lab", code_version=told_version())
    write_whole(out / "laboratory.html", page.encode())


def asked_for(names: Sequence[str], every: dict[str, Candidate]) -> dict[str, Candidate]:
    """The proposal, its rivals, and those of a name or whose name holds it; ParameterError where no name does."""
    kept = {OURS, *RIVALS} if names else set(every)
    for word in names:
        found = {name for name in every if word in name} if word not in every else {word}
        if not found:
            raise ParameterError(f"no candidate is named {word!r} or has it in its name; there are {', '.join(every)}")
        kept |= found
    return {name: one for name, one in every.items() if name in kept}


def market_of(history: MarketHistory, coverage: Coverage, window: int) -> Market:
    """How the laboratory replays a history: refits every 21 horizons, six decisions a horizon at most."""
    steps = history.steps(coverage)
    every = max(steps // DECISIONS, 1)
    title = f"{', '.join(history.underlyings)} by {history.clock.step}"
    refit_every = REFIT * max(steps // every, 1)
    return Market("bars", title, partial(_as_it_is, history), coverage, window, refit_every, long_and_short, every)


def _history(files: Sequence[Path]) -> tuple[MarketHistory, tuple[str, ...]]:
    """Users' bars with every feature they tell, or the default market with those of its ranges and volume."""
    if files:
        bars = read_bars(files)
        return bars.history, bars.notes
    coins = load(DEFAULT)
    return with_features(coins, ohlcv_features(coins)), ()


def _window(files: Sequence[Path], history: MarketHistory, coverage: Coverage) -> int:
    return default_window(history, coverage) if files else DEFAULT_DAYS * history.steps(coverage)


def _as_it_is(history: MarketHistory) -> MarketHistory:
    return history
