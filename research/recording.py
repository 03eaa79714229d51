"""How does a study become runs: a parent for the comparison, a child for each model on each market?"""

from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from backtest.replay import Replay
from data import Floats
from research import figures
from research.csv_cells import frame_csv
from research.records import Artifact
from research.study import Judged, StudyResult
from research.tables import as_json, headline
from research.tracking import Comparison, Tracker

EXPERIMENT = "backtest"


def record(result: StudyResult, tracker: Tracker, report: Path, command: str) -> str:
    """Record the study, and return where the parent run can be looked at.

    A child holds the model's parameters, its scores, a figure and its margins; the parent the tables, the report, the
    figures, and the losses that all children of a market share.
    """
    hashes = {f"data.{judged.market.name}": judged.data_hash for judged in result.markets}
    parameters = {"study": result.study.name, "command": command, **_plan(result)}
    with tracker.comparison(EXPERIMENT, result.study.name, parameters, hashes) as parent:
        for judged in result.markets:
            _record_market(parent, judged, result)
        drawn = {
            f"figures/{name}-{judged.market.name}.svg": draw(judged.comparison).encode()
            for judged in result.markets
            for name, draw in (("frontier", figures.frontier_svg), ("ranking", figures.ranking_svg))
        }
        tables = {
            f"tables/{judged.market.name}.csv": frame_csv(judged.comparison.to_frame()).encode()
            for judged in result.markets
        }
        losses = {
            f"losses/{judged.market.name}.parquet": losses_file(next(iter(judged.comparison.replays.values())))
            for judged in result.markets
        }
        files: dict[str, Artifact] = {"report.html": report, "comparison.json": as_json(result).encode()}
        for kind in (drawn, tables, losses):
            files.update(kind)
        parent.log({"seconds": result.seconds}, files)
        return parent.url


def _plan(result: StudyResult) -> dict[str, str]:
    """What was asked, a line a market."""
    return {
        f"market.{judged.market.name}": f"{judged.market.coverage}, window {judged.market.window}, "
        f"refit every {judged.market.refit_every} decisions, a decision every {judged.market.every} rows"
        for judged in result.markets
    } | {"cost": str(result.study.cost)}


def _record_market(parent: Comparison, judged: Judged, result: StudyResult) -> None:
    market, comparison = judged.market, judged.comparison
    book = figures_book(comparison[next(iter(comparison.replays))])
    ratios = comparison.against_best["ratio"]
    for name, run in comparison.replays.items():
        model = result.study.every_model.get(name)
        described = f"rate of {result.study.oracle!r} scaled in hindsight" if model is None else repr(model)
        chosen = {} if model is None else {key: repr(value) for key, value in model.get_params().items()}
        metrics = {**asdict(comparison.scores[name]), "over_the_best": float(ratios[name])}
        artifacts = {
            "margin.svg": figures.margin_svg(run, book).encode(),
            "replay.parquet": margins_file(run),
            "score.csv": frame_csv(
                headline(comparison).loc[[name if name not in comparison.unranked else f"({name})"]]
            ).encode(),
        }
        parent.child(
            f"{market.name}: {name}",
            {"model": described, "market": market.name, **chosen},
            metrics,
            {"market": market.name, "data.hash": judged.data_hash, "notes": "; ".join(run.notes) or "none"},
            artifacts,
        )


def figures_book(run: Replay) -> str:
    """The book a figure shows: the long basket where there is one, else the first."""
    return "basket long" if "basket long" in run.portfolios else run.portfolios[0]


def _parquet(run: Replay, panels: dict[str, Floats]) -> bytes:
    """Panels (R, P) under columns "panel|portfolio", single precision, beside the instants of each decision."""
    columns: dict[str, np.ndarray] = {"time": run.time, "end": run.end}
    for name, panel in panels.items():
        columns |= {f"{name}|{book}": panel[:, p].astype(np.float32) for p, book in enumerate(run.portfolios)}
    buffer = BytesIO()
    pd.DataFrame(columns).to_parquet(buffer, index=False, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def margins_file(run: Replay) -> bytes:
    """A replay's margins as Parquet; maintenance only where it differs from initial."""
    panels = {"initial": run.initial}
    if not np.array_equal(run.maintenance, run.initial, equal_nan=True):
        panels["maintenance"] = run.maintenance
    return _parquet(run, panels)


def losses_file(run: Replay) -> bytes:
    """The losses that every model of a market was judged by, as Parquet."""
    return _parquet(run, {"loss_end": run.loss_end, "loss_worst": run.loss_worst})
