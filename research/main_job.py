"""What happens when somebody types `marginlab backtest`?

Markets are loaded, every model is replayed on each, the comparison is printed, a report written and the study recorded.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from data import ParameterError, SourceError
from data.sources.samples import SAMPLES, available
from margin_models import MarginModel
from research.default_study import MODELS, default_study
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
    say(f"marginlab: {len(study.models)} models on {len(study.markets)} market(s), {jobs} process(es)")
    result = run_study(study, jobs=jobs)
    print(to_json(result) if as_json else text(result), flush=True)
    path = write(result, out, command)
    say(f"\nreport: {path}")
    if track:
        say("recording the runs in MLflow ...")
        say(f"runs: {record(result, path, command, say)}\nlook at them with: marginlab ui")
    say(f"done in {time.perf_counter() - started:.0f} s")
    return result


def study_of(prices: "Prices | None") -> Study:
    """The default study, or the default models on the prices that somebody brought."""
    if prices is None:
        return default_study()
    history = prices.read()
    from research.user_data import market_of

    market = market_of(history, prices.title(), level=prices.level, horizon=prices.horizon, window=prices.window)
    return Study("your-data", (market,), MODELS, oracle="static, cross")


def write(result: StudyResult, out: Path | None, command: str) -> Path:
    """The report, where it was asked for or beside the recorded runs."""
    from research.report import write_report

    now = datetime.now(UTC)
    folder = mlruns_folder() / "reports"
    path = out or folder / f"{result.study.name}-{now:%Y%m%dT%H%M%SZ}.html"
    return write_report(result, path.resolve(), command=command, code_version=version_line(), date=f"{now:%Y-%m-%d}")


def version_line() -> str:
    """The version and, in a checkout, the commit."""
    from research.records import code_version

    facts = code_version()
    commit = facts.get("git_commit", "")[:12]
    dirty = " with changes" if facts.get("git_dirty") == "true" else ""
    return f"marginlab {facts['version']}" + (f" at {commit}{dirty}" if commit else "")


def record(result: StudyResult, report: Path, command: str, say: Say) -> str:
    """Record in MLflow; a store that fails is said, and costs neither the table nor the report."""
    from data import MarginlabError
    from research import recording

    try:
        return recording.record(result, tracker(), report, command)
    except MarginlabError as error:
        say(f"not recorded: {error}")
        return "none"


def tracker() -> Tracker:
    """MLflow where it is installed, else nothing."""
    from importlib.util import find_spec

    return MlflowTracker() if find_spec("mlflow") else NullTracker()


def quick_comparison(
    name: str,
    prices: "Prices | None",
    wanted: str | None,
    *,
    level: float,
    window: int | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Print one market's table: a market of the default study as it is set up there, another sample, or files."""
    models = _chosen(wanted)
    market = _market(name, prices, level, window)
    study = Study(market.name, (market,), models, "static, cross" if "static, cross" in models else None)
    result = run_study(study, jobs=jobs)
    print(to_json(result) if as_json else text(result), flush=True)


def _market(name: str, prices: "Prices | None", level: float, window: int | None) -> Market:
    from research.user_data import market_of

    if prices is not None:
        return market_of(
            prices.read(), prices.title(), level=prices.level, horizon=prices.horizon, window=prices.window
        )
    known = {market.name: market for market in default_study().markets}
    if name in known and level == known[name].coverage.level and window is None:
        return known[name]
    from data.sources.samples import load

    return market_of(load(name), SAMPLES[name].title, level=level, window=window)


def _chosen(wanted: str | None) -> dict[str, MarginModel]:
    if wanted is None:
        return dict(MODELS)
    words = [word.strip().lower() for word in wanted.split(",") if word.strip()]
    chosen = {name: model for name, model in MODELS.items() if any(word in name.lower() for word in words)}
    if not chosen:
        raise ParameterError(f"--models must match one of {', '.join(MODELS)}; got {wanted!r}")
    return chosen


def newest_report() -> Path:
    """The newest report in the store; SourceError where there is none."""
    reports = sorted((mlruns_folder() / "reports").glob("*.html"), key=lambda path: path.stat().st_mtime)
    if not reports:
        raise SourceError(f"no report in {mlruns_folder() / 'reports'} yet: run marginlab backtest first")
    return reports[-1]


def samples_table() -> pd.DataFrame:
    """One row a sample: what it is, its licence, whether it is here."""
    here = set(available())
    rows = {
        name: {"title": sample.title, "licence": sample.licence, "here": "yes" if name in here else "not yet"}
        for name, sample in SAMPLES.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
