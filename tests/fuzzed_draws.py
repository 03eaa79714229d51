"""What are the calls of the fuzzer made from: drawn arguments, and what they begin with?"""

import math
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from backtest import standard_books
from backtest.replay import replay
from backtest.scores import judge
from data import (
    Coverage,
    Instrument,
    MarketHistory,
)
from margin_models import HistoricalVaR, MarginModel
from research.gates import Judged
from research.measured_parameters import measured
from research.night_state import MarketState, NightState, Version
from research.parameters import MarginParameters, MarketParameters

# No larger than what a product of three holds: what a model makes of 1e300 coins is nobody's margin.
NUMBERS = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 0.99, 1.01, 1e-30, 1e30, -1e30, math.nan, math.inf, -math.inf, 7.0, 250.0)
COUNTS = (0, 1, -1, 2, 3, 5, 10, 30, 100, 1000, -7)
TEXTS = ("", "1D", "1h", "8h", "1B", "0D", "-1D", "1x", "USD", "BTC", "..", "a'b", "\x00", "2024-01-01", "nan", "1e5")
OTHERS: tuple[Any, ...] = (None, True, "x", [], {}, (), b"x")


class Draw:
    """What a call draws its arguments from."""

    def __init__(self, seed: int, number: int) -> None:
        self.rng = np.random.default_rng([seed, number])
        self.other_type = False  # whether a value of another Python type was drawn

    def one(self, values: Any) -> Any:
        """One of some values."""
        return values[int(self.rng.integers(len(values)))]

    def chance(self, share: float) -> bool:
        """Whether something of this probability happens."""
        return bool(self.rng.random() < share)

    def mostly(self, right: Any, *wrong: Any, share: float = 0.12) -> Any:
        """What is right, but for a share."""
        return self.one(wrong) if self.chance(share) else right

    def like(self, value: Any, other_type: float = 0.05) -> Any:
        """Something in the place of a value: of its type mostly, and then often outside its range."""
        if self.chance(other_type):
            self.other_type = True
            return self.one(OTHERS)
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            return self.one(COUNTS)
        if isinstance(value, float):
            return self.one(NUMBERS) if self.chance(0.6) else value * float(np.exp(self.rng.normal()))
        if isinstance(value, str):
            return self.one(TEXTS)
        if isinstance(value, tuple) and value:
            at = int(self.rng.integers(len(value)))
            return (*value[:at], self.like(value[at], other_type), *value[at + 1 :])
        return self.one((*COUNTS, *NUMBERS, *TEXTS)) if value is None else value

    def numbers(self, shape: tuple[int, ...], bad: float = 0.1) -> Any:
        """An array of plain numbers, of which a share is none."""
        values = self.rng.normal(size=shape)
        if self.chance(0.4):
            wrong = self.rng.random(shape) < bad
            values = np.where(wrong, self.rng.choice(np.array(NUMBERS), size=shape), values)
        return values


class WrongAnswerError(AssertionError):
    """An answer that cannot be right."""


def holds(said: bool, told: object) -> None:
    """Break where an answer cannot be right."""
    if not said:
        raise WrongAnswerError(str(told)[:200])


def probabilities(values: Any) -> None:
    """Numbers within [0, 1]."""
    told = np.asarray(values, dtype=np.float64)
    holds(bool(((told >= 0) & (told <= 1.0 + 1e-9)).all()), told)


# ---- What calls begin with, made once


@cache
def market(name: str) -> MarketHistory:
    """A market to ask margins on."""
    rng = np.random.default_rng(5)
    moves = rng.standard_normal((260, 3)) @ np.array([[1.0, 0.6, 0.3], [0.0, 0.8, 0.2], [0.0, 0.0, 1.0]]) * 0.02
    closes = np.array([3e4, 2e3, 50.0]) * np.exp(moves.cumsum(0))
    if name == "holes":
        closes[rng.random(closes.shape) < 0.05] = np.nan
    if name == "constant":
        closes[:, 1] = 2e3
    if name == "alike":
        closes[:, 1] = closes[:, 0] / 15.0
    if name == "wild":
        closes[100:, 2] *= 1e6
    if name == "tiny":
        closes *= 1e-12
    if name == "dead":
        closes[200:, 2] = 0.0
    days = pd.date_range("2020-01-01", periods=len(closes))
    frame = pd.DataFrame(closes, days, ["BTC", "ETH", "SOL"])
    dead = {"SOL": str(days[200].date())} if name == "dead" else None
    return MarketHistory.from_frame(frame, missing="hole", defaults=dead).rows(0, 5 if name == "short" else 260)


MARKETS = ("plain", "plain", "plain", "holes", "constant", "alike", "wild", "tiny", "dead", "short")
PERPETUALS = tuple(Instrument(f"{name}-PERP", name) for name in ("BTC", "ETH", "SOL"))
COVERAGE = Coverage(0.95, "1D")
SLOW = ("Boosted", "MonteCarlo", "Arch", "Dcc", "Garch", "Conformal", "Combined", "Buffer", "StressedWeight")


@cache
def models() -> list[MarginModel]:
    """One of each model that is soon asked."""
    from examples import EXAMPLES

    return [model for model in EXAMPLES if not any(word in repr(model) for word in SLOW)]


@cache
def published() -> tuple[MarketParameters, bytes]:
    """What a night would publish of the plain market, and the bytes of it."""
    past, books = market("plain"), standard_books(("BTC", "ETH", "SOL"), makers=4)
    fitted = HistoricalVaR().fit(past, COVERAGE)
    told = measured(fitted, past, books, COVERAGE, model_hash="0" * 64, data_hash="1" * 64)
    return told, MarginParameters("toy", "2024-01-01", 3, "", "code", {"two": told}).payload()


@cache
def judged() -> tuple[Judged, Judged]:
    """Two replays and what they come to."""
    books = standard_books(("BTC", "ETH", "SOL"), makers=2)
    runs = [
        replay(model, market("plain"), books, COVERAGE, window=120, refit_every=70)
        for model in (HistoricalVaR(), models()[0])
    ]
    return Judged(runs[0], judge(runs[0])), Judged(runs[1], judge(runs[1]))


@cache
def state() -> NightState:
    """A state with a model in force."""
    told, _ = published()
    version = Version("h", "0" * 64, "1" * 64, "2024-01-01", "k", "d", "f", 200, told.told())
    market_state = MarketState(version, version, None, None, ("2024-01-01",), ("1" * 64,), {"rows": 200})
    return NightState(3, "toy", {"two": market_state}, ({"as_of": "2024-01-01", "key": "k", "exit": 0},))
