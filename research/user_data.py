"""What are the prices that a user brings, and how is a study made of them?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from backtest.comparison import default_window
from data import Coverage, HistoryError, MarketHistory, ParameterError
from data.calendars import FIRST_YEAR, LAST_YEAR
from data.calendars import calendar as holidays_of
from data.quality import check
from data.snapshot import load
from data.sources.files import Label, read_prices
from data.storage import store_folder
from margin_models import BoostedVolatility
from margin_models.kernels.tails import needed
from margin_models.volatility.boosted import LEAST_ROWS, LOOKBACK
from margin_models.volatility.garch import LEAST_RETURNS
from research.study import Market

DECISIONS = 6  # a horizon, where it spans that many rows
SNAPSHOT = "snapshot:"  # how what is named instead of a file begins
REFITS = 60  # about how many fits a model gets over the whole replay


@dataclass(frozen=True)
class Prices:
    """Files, how they are read, and what is asked of them; None is inferred, or the default."""

    files: tuple[Path, ...]
    clock: str | None = None
    tz: str | None = None
    calendar: str | None = None
    allow_missing: bool = False
    defaults: tuple[str, ...] = ()
    label: Label | None = None
    level: float = 0.99
    horizon: str | None = None
    window: int | None = None

    def read(self) -> MarketHistory:
        """The history; raises what `read_prices` raises, and ParameterError for a default that is not SYMBOL=DATE.

        One file called `snapshot:NAME`, or `snapshot:HASH`, is a frozen history of the store: it is loaded, and
        SnapshotError is raised where it is not what was frozen.
        """
        if any(str(file).startswith(SNAPSHOT) for file in self.files):
            return self._frozen()
        return read_prices(
            self.files,
            clock=self.clock,
            tz=self.tz,
            missing="hole" if self.allow_missing else "refuse",
            holidays=holidays_of(self.calendar, FIRST_YEAR, LAST_YEAR) if self.calendar else (),
            defaults=dict(self._default(text) for text in self.defaults),
            label=self.label,
        )

    def _frozen(self) -> MarketHistory:
        reading = (self.clock, self.tz, self.calendar, self.label, *self.defaults)
        if len(self.files) != 1 or self.allow_missing or any(reading):
            raise ParameterError(
                f"{SNAPSHOT}NAME stands alone, as what was frozen is read in one way: no files, no reading options"
            )
        return load(str(self.files[0]).removeprefix(SNAPSHOT), store_folder() / "snapshots")

    def title(self) -> str:
        """The files' names."""
        names = [file.name for file in self.files]
        return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

    @staticmethod
    def _default(text: str) -> tuple[str, str]:
        symbol, sign, instant = text.partition("=")
        if not (symbol and sign and instant):
            raise ParameterError(f"--default must be SYMBOL=DATE, got {text!r}")
        return symbol, instant


def market_of(
    history: MarketHistory, title: str, *, level: float = 0.99, horizon: str | None = None, window: int | None = None
) -> Market:
    """A market of a study made of any history: standard books, about REFITS refits.

    ParameterError where `window` holds no row, HistoryError where the history is too short for a window that every
    default model can be fitted on.
    """
    if window is not None and window < 1:
        raise ParameterError(f"--window must be at least 1 row, got {window}")
    coverage = Coverage(level, horizon or ("1B" if history.clock.by_session else "1D"))
    steps = history.steps(coverage)
    rows = window if window is not None else max(default_window(history, coverage), least_window(level, steps))
    if len(history) < rows + 2 * steps:
        raise HistoryError(
            f"{title}: the default models need a window of {rows} rows and two horizons of {steps} beyond it, "
            f"got {len(history)} rows in all: bring more history, or say a shorter --window"
        )
    every = max(steps // DECISIONS, 1)
    refit_every = max((len(history) - rows) // REFITS, 5 * steps) // every
    return Market(
        "your-data", title, lambda: history, coverage, rows, refit_every, every=every, remarks=_remarks(history)
    )


def least_window(level: float, steps: int) -> int:
    """Rows that every default model can be fitted on, for a horizon of `steps` rows.

    GARCH asks for its returns, historical VaR for enough disjoint horizons that the largest loss reaches `level`, the
    boosted volatility for its lookback and its folds; a horizon more, because the last one has not ended.
    """
    boosted = (LOOKBACK + 1) * steps + BoostedVolatility().folds * (steps + LEAST_ROWS)
    return max(LEAST_RETURNS + 1, (needed(level) + 1) * steps, boosted) + steps


def _remarks(history: MarketHistory) -> str:
    """What the checks flagged, in one line."""
    table = findings_table(history)
    if table.empty:
        return ""
    return "Flagged: " + ", ".join(
        f"{row.check} {row.symbol} {row.count}x from {row.first}" for row in table.itertuples()
    )


def findings_table(history: MarketHistory) -> pd.DataFrame:
    """What the quality checks say of a history that was accepted, a row a check and underlying."""
    found = check(np.asarray(history.spot), history.time, history.underlyings)
    return pd.DataFrame([vars(one) for one in found])
