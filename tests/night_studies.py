"""A small market, a study of it, and a night: what tests of the nights share."""

import io
import json
from collections.abc import Mapping
from contextlib import ExitStack, redirect_stderr
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

from research import night_commit, nightly_job
from research.night_journal import Entry, Recorder
from research.night_report import Log
from research.nightly_job import NightRequest

DAYS = ("2021-10-01", "2021-10-02", "2021-10-03", "2021-10-04", "2021-10-05")
STUDY = """
import numpy as np
import pandas as pd

from backtest.portfolios import standard_books
from data import Coverage, MarketHistory
from margin_models import CorrelationVaR, HistoricalVaR, StaticMargin
from research.limits import Limits
from research.study import Market, Study

{extra}

def load():
    rng = np.random.default_rng(3)
    moves = rng.standard_normal((700, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]]) * 0.02
    days = pd.date_range("2020-01-01", periods=700)
    closes = pd.DataFrame(np.array([3e4, 2e3]) * np.exp(moves.cumsum(0)), index=days, columns=["ETH", "BTC"])
    {spoil}
    return MarketHistory.from_frame(closes, missing="hole")


def books(names):
    return standard_books(names, makers=4)


def study():
    market = Market("two", "Two coins", load, Coverage(0.95, "1D"), window=200, refit_every=60, every=2, books=books)
    return Study("toy", (market,), {models})


def limits():
    return Limits(shadow=2)
"""
MODELS = '{"static": StaticMargin(), "historical": HistoricalVaR()}'


def study_file(folder: Path, *, spoil: str = "", models: str = MODELS, extra: str = "") -> Path:
    """A study file; `spoil` is a statement about the frame `closes`."""
    path = folder / "study.py"
    told = STUDY.replace("{spoil}", spoil or "pass").replace("{models}", models).replace("{extra}", extra)
    path.write_text(told, encoding="utf-8")
    return path


def night(
    folder: Path, day: str, study: Path, recorder: Recorder | None = None, events: TextIO | None = None, **options: Any
) -> dict[str, Any]:
    """One night; its events go to a stream, or are thrown away. Our code counts as the same, whoever edits it."""
    request = NightRequest(day, study, folder / "state", **options)
    with ExitStack() as same:
        for module, name in (
            (nightly_job, "code_digest"),
            (nightly_job, "told_version"),
            (night_commit, "told_version"),
        ):
            same.enter_context(mock.patch.object(module, name, return_value="the same"))
        same.enter_context(redirect_stderr(events or io.StringIO()))
        return nightly_job.run_night(request, recorder, Log())


class Kept(Recorder):
    """A recorder that remembers what it was told; it is down while `down`."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.entries: dict[str, Entry] = {}
        self.down = False

    def receive(self, entry: Entry, id: str, folder: Path) -> str:  # noqa: A002
        """Remember an entry."""
        from data.errors import MarginlabError

        if self.down:
            raise MarginlabError("the store of runs is down")
        self.told.append(id)
        self.entries[id] = entry
        return "kept"


def facts_of(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint of a night's only market."""
    places = [path for path in (folder / "state" / "nights" / result["key"]).glob("*.json") if path.stem != "result"]
    return dict(json.loads(places[0].read_bytes()))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder of nights but for its lock, by its path."""
    found = [path for path in (folder / "state").rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
