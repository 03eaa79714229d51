"""What happens when somebody types `marginlab disclose`, `monitor` or `venues`?"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from backtest.disclosure import ALL_BOOKS, FIELDS, FIELDS_NOTE
from backtest.e_backtests import THRESHOLDS
from backtest.replay import Replay
from data import ParameterError
from margin_models.venues import catalogue
from research.csv_cells import frame_csv
from research.evidence_tables import disclosure_table, evidence_in_words, evidence_of, plain
from research.main_job import one_market
from research.study import Judged, run_study

if TYPE_CHECKING:
    from research.user_data import Prices

SIZES = ("average uncovered", "peak uncovered")


@dataclass(frozen=True, eq=False)
class _Replayed:
    """One market, and the replays of the models that were asked for, by name."""

    judged: Judged
    runs: dict[str, Replay]

    def heading(self) -> str:
        run = next(iter(self.runs.values()))
        plan = self.judged.market
        return (
            f"{plan.title}: {len(run.portfolios)} books, {len(run.time)} decisions from {str(run.time[0])[:10]} to "
            f"{str(run.time[-1])[:10]}, {len(run.disjoint)} independent trials; margin is to cover "
            f"{100 * plan.coverage.level:g} % of losses over {plan.coverage.horizon}"
        )

    def facts(self) -> dict[str, Any]:
        plan = self.judged.market
        return {
            "market": plan.name,
            "title": plan.title,
            "data_hash": self.judged.data_hash,
            "level": plan.coverage.level,
            "horizon": plan.coverage.horizon,
        }


def _replayed(
    name: str,
    prices: "Prices | None",
    wanted: Sequence[str],
    level: float,
    horizon: str | None,
    window: int | None,
    jobs: int,
) -> _Replayed:
    study = one_market(name, prices, wanted, level=level, horizon=horizon, window=window)
    (judged,) = run_study(study, jobs=jobs).markets
    return _Replayed(judged, {model: judged.comparison[model] for model in study.models})


def disclosure_job(
    name: str,
    prices: "Prices | None",
    wanted: Sequence[str],
    *,
    level: float,
    horizon: str | None,
    window: int | None,
    jobs: int,
    months: int | None,
    form: Literal["text", "json", "csv"],
) -> None:
    """Print the supervisors' table of some models on one market; raises what `one_market` and `disclose` raise."""
    if months is not None and months < 1:
        raise ParameterError(f"--months must be >= 1, got {months}. The disclosures ask for 12.")
    told = _replayed(name, prices, wanted, level, horizon, window, jobs)
    table = disclosure_table(told.runs, months)
    if form == "csv":
        print(frame_csv(table), end="", flush=True)
    elif form == "json":
        print(_disclosure_json(told, table), flush=True)
    else:
        print(_disclosure_text(told, table), flush=True)


def _disclosure_json(told: _Replayed, table: pd.DataFrame) -> str:
    models = [
        {"model": model, "books": rows.droplevel("model").reset_index().to_dict("records")}
        for model, rows in table.groupby("model", sort=False)
    ]
    document = {**told.facts(), "fields": FIELDS, "note": FIELDS_NOTE, "models": models}
    return json.dumps(plain(document), indent=1, allow_nan=False)


def _disclosure_text(told: _Replayed, table: pd.DataFrame) -> str:
    """All books together, a row a model; and book by book where one model was asked for."""
    whole = table[table.index.get_level_values("portfolio") == ALL_BOOKS].droplevel("portfolio")
    zones = table["zone"].groupby("model", sort=False).agg(_zones)
    parts = [f"{told.heading()}\nAll books, % of gross notional\n{_shown(whole).assign(zones=zones).to_string()}"]
    if len(told.runs) == 1:
        books = table.droplevel("model").drop(ALL_BOOKS)
        counts = books[["trials", "trial breaches", "zone"]]
        parts.append(f"By book\n{_shown(books).join(counts).to_string()}")
    told_of = "zones: books green / yellow / red, on decisions whose horizons do not overlap"
    return "\n\n".join([*parts, f"{told_of}. The {FIELDS_NOTE}: {_numbers()}."])


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    shown = table[["breaches", "observations"]].astype("int64")
    shown["coverage, %"] = [f"{100 * value:.3f}" for value in table["achieved coverage"]]
    for name in SIZES:
        shown[f"{name}, %"] = [f"{100 * value:.3f}" for value in table[name]]
    return shown.replace("nan", "-")


def _zones(zones: pd.Series) -> str:
    return " / ".join(str(int((zones == zone).sum())) for zone in ("green", "yellow", "red"))


def _numbers() -> str:
    return ", ".join(f"{name} {number}" for name, number in FIELDS.items())


def monitor_job(
    name: str,
    prices: "Prices | None",
    wanted: Sequence[str],
    *,
    level: float,
    horizon: str | None,
    window: int | None,
    jobs: int,
    book: str | None,
    as_json: bool,
) -> None:
    """Print when evidence against each model crossed 2, 5 and 10; ParameterError for a book that is not replayed."""
    told = _replayed(name, prices, wanted, level, horizon, window, jobs)
    run = next(iter(told.runs.values()))
    chosen = _book(run, told.judged.history.underlyings, book)
    print(_monitor_json(told, chosen) if as_json else _monitor_text(told, chosen), flush=True)


def _book(run: Replay, underlyings: Sequence[str], book: str | None) -> str:
    from research.report import standing_for

    if book is None:
        return standing_for(run.portfolios, underlyings)[0]
    if book not in run.portfolios:
        shown = ", ".join(run.portfolios[:12]) + (" ..." if len(run.portfolios) > 12 else "")
        raise ParameterError(f"--book must be one of {len(run.portfolios)} books ({shown}), got {book!r}")
    return book


def _monitor_text(told: _Replayed, book: str) -> str:
    rows = {}
    for model, run in told.runs.items():
        evidence = evidence_of(run, (book,))
        path, crossed = evidence.of(book), evidence.crossed(book)
        rows[model] = {
            **{f"crossed {c:g}": "-" if when is None else str(when)[:10] for c, when in crossed.items()},
            "most": evidence_in_words(float(path.max(initial=1.0))),
            "now": evidence_in_words(float(path[-1])),
            "breaches": int((evidence.loss > evidence.margin).sum()),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return (
        f"{told.heading()}\nBook {book!r}: evidence against the margin, from 1, on horizons that do not overlap\n"
        f"{table.to_string()}\nA right margin comes ever to {THRESHOLDS[-1]:g} with a chance of "
        f"{100 / THRESHOLDS[-1]:g} % at most."
    )


def _monitor_json(told: _Replayed, book: str) -> str:
    models = []
    for model, run in told.runs.items():
        evidence = evidence_of(run, (book,))
        path = evidence.of(book)
        crossed = {f"{threshold:g}": when for threshold, when in evidence.crossed(book).items()}
        days = evidence.to_frame(book).reset_index().to_dict("records")
        figures = {"highest": float(path.max(initial=1.0)), "now": float(path[-1])}
        models.append({"model": model, "crossed": crossed, **figures, "days": days})
    return json.dumps(plain({**told.facts(), "book": book, "models": models}), indent=1, allow_nan=False)


def venues_job(venue: str | None, *, as_json: bool) -> None:
    """Print the catalogue of what venues publish, or one venue's part of it; ParameterError for an unknown venue."""
    table = catalogue()
    if venue is not None:
        names = table["venue"].unique()
        if venue not in names:
            raise ParameterError(f"a venue is one of {', '.join(names)}; got {venue!r}")
        table = table[table["venue"] == venue]
    if as_json:
        print(table.to_json(orient="records", indent=1), flush=True)
        return
    labels = "V recomputed to published figures, S read in a primary source, 3P third party's code, M from memory"
    dates = "when the source was read or took effect, or a protocol's genesis; blank where it tells none"
    print(f"{table.to_string(index=False)}\n\nlabel: {labels}\ndate: {dates}", flush=True)
