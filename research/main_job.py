"""What happens when somebody types `marginlab backtest`?

Markets are loaded, every model is replayed on each, the comparison is printed, a report written and the study recorded.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import pandas as pd

from data import ParameterError, SourceError
from data.sources.samples import SAMPLES, available, offered
from margin_models import ExtremeValueVaR, MarginModel
from research.default_study import MODELS, default_study
from research.records import OWN_PAGES
from research.study import Market, Study, StudyResult, run_study
from research.tables import as_json as to_json
from research.tables import text
from research.tracking import MlflowTracker, NullTracker, Tracker, mlruns_folder

if TYPE_CHECKING:
    from research.user_data import Prices

Say = Callable[[str], None]


def main_job(
    prices: "Prices | None",
    *,
    jobs: int,
    as_json: bool,
    track: bool,
    out: Path | None,
    say: Say,
    command: str,
) -> StudyResult:
    """Run the default study, or the default models on a user's prices; print, report and record.

    Progress and where things are go through `say`, the result to stdout.
    """
    started = time.perf_counter()
    study = study_of(prices)
    path = report_place(study.name, out)
    left_out = [name for name in MODELS if name not in study.models]
    if left_out:
        say(f"marginlab: not asked, as they know nothing of losses so common: {', '.join(left_out)}")
    say(f"marginlab: {len(study.every_model)} models on {len(study.markets)} market(s), {jobs} process(es)")
    result = run_study(study, jobs=jobs)
    print(to_json(result) if as_json else text(result), flush=True)
    write(result, path, command)
    say(f"\nreport: {path}")
    if track:
        say("recording the runs in MLflow ...")
        runs = record(result, path, command, say)
        if runs:
            say(f"runs: {runs}" + ("\nlook at them with: marginlab ui" if runs.startswith(OWN_PAGES) else ""))
    say(f"done in {time.perf_counter() - started:.0f} s")
    return result


def study_of(prices: "Prices | None") -> Study:
    """The default study, or the default models on the prices that somebody brought."""
    if prices is None:
        return default_study()
    history = prices.read()
    from research.user_data import market_of

    market = market_of(history, prices.title(), level=prices.level, horizon=prices.horizon, window=prices.window)
    return Study("your-data", (market,), models_at(prices.level), oracle="static, cross")


def report_place(name: str, out: Path | None) -> Path:
    """Where the report goes: where it was asked for, or beside the recorded runs; ParameterError where it cannot."""
    path = (out or mlruns_folder() / "reports" / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.html").resolve()
    if path.is_dir():
        raise ParameterError(f"--out must be a file, got the folder {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ParameterError(f"the report must go where files can be written, got {path}: {error}") from error
    return path


def write(result: StudyResult, path: Path, command: str) -> Path:
    """Write the report there."""
    from research.report import write_report

    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return write_report(result, path, command=command, code_version=version_line(), date=today)


def version_line() -> str:
    """The version and, in a checkout, the commit."""
    from research.records import code_version

    facts = code_version()
    commit = facts.get("git_commit", "")[:12]
    dirty = " with changes" if facts.get("git_dirty") == "true" else ""
    return f"marginlab {facts['version']}" + (f" at {commit}{dirty}" if commit else "")


def record(result: StudyResult, report: Path, command: str, say: Say) -> str | None:
    """Record in MLflow, and return where; a store that fails is said, and costs neither the table nor the report.

    Runs that a dead process of this host left open are ended first.
    """
    from data import MarginlabError
    from research import recording

    try:
        store = tracker()
        left = store.recover()
        if left:
            say(f"{len(left)} run(s) of dead processes, left open, ended as KILLED")
        return recording.record(result, store, report, command)
    except MarginlabError as error:
        say(f"not recorded: {error}")
        return None


def tracker() -> Tracker:
    """MLflow where it is installed, else nothing."""
    from importlib.util import find_spec

    return MlflowTracker() if find_spec("mlflow") else NullTracker()


def quick_comparison(
    name: str,
    prices: "Prices | None",
    wanted: Sequence[str],
    *,
    level: float,
    horizon: str | None,
    window: int | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Print one market's table: a market of the default study as it is set up there, another sample, or files."""
    study = one_market(name, prices, wanted, level=level, horizon=horizon, window=window)
    result = run_study(study, jobs=jobs)
    print(to_json(result) if as_json else text(result), flush=True)


def one_market(
    name: str, prices: "Prices | None", wanted: Sequence[str], *, level: float, horizon: str | None, window: int | None
) -> Study:
    """Some models, or all where none is `wanted`, on one market: of the default study, of another sample, or of files.

    ParameterError for a word that no model's name holds.
    """
    market = _market(name, prices, level, horizon, window)
    models = _chosen(wanted, {**models_at(market.coverage.level), **market.models})
    return Study(
        market.name, (replace(market, models={}),), models, "static, cross" if "static, cross" in models else None
    )


def models_at(level: float) -> dict[str, MarginModel]:
    """The default models that can be asked for a level: a fitted tail knows nothing of losses before its threshold."""
    return {
        name: model
        for name, model in MODELS.items()
        if not isinstance(model, ExtremeValueVaR) or 1.0 - level <= model.share
    }


def _market(name: str, prices: "Prices | None", level: float, horizon: str | None, window: int | None) -> Market:
    from research.user_data import market_of

    if prices is not None:
        return market_of(
            prices.read(), prices.title(), level=prices.level, horizon=prices.horizon, window=prices.window
        )
    known = {market.name: market for market in default_study().markets}
    if name in known and level == known[name].coverage.level and horizon is None and window is None:
        return known[name]
    if name not in SAMPLES:
        raise ParameterError(f"{name} is replayed as the default study has it: no --level, --horizon or --window")
    from data.sources.samples import load

    other = market_of(load(name), SAMPLES[name].title, level=level, horizon=horizon, window=window)
    return replace(other, name=name)


def _chosen(wanted: Sequence[str], models: Mapping[str, MarginModel]) -> dict[str, MarginModel]:
    """The models asked for, in their usual order: a word is one model's name, or else part of several."""
    asked = {name for word in wanted for name in _matching(word.strip().lower(), models)}
    return {name: model for name, model in models.items() if name in asked or not wanted}


def _matching(word: str, models: Mapping[str, MarginModel]) -> list[str]:
    exact = [name for name in models if name.lower() == word]
    found = exact or [name for name in models if word and word in name.lower()]
    if not found:
        raise ParameterError(f"--model must match one of {'; '.join(models)}, got {word!r}")
    return found


def newest_report() -> Path:
    """The newest report in the store; SourceError where there is none."""
    reports = sorted((mlruns_folder() / "reports").glob("*.html"), key=lambda path: path.stat().st_mtime)
    if not reports:
        raise SourceError(f"no report in {mlruns_folder() / 'reports'} yet: run marginlab backtest first")
    return reports[-1]


def samples_table() -> pd.DataFrame:
    """One row a sample or option chain: what it is, its licence, whether it is here."""
    here = set(available())
    rows = {
        name: {"title": sample.title, "licence": sample.licence, "here": "yes" if name in here else "not yet"}
        for name, sample in offered().items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
