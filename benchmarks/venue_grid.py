"""How long does one day of a venue's grid take: 33 scenarios, 500 books of 20 legs?"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from race import Measurement, race
from scipy import sparse
from threadpoolctl import threadpool_limits

from data import Book, Coverage, Floats, Instrument, MarketHistory
from margin_models import MarginModel, ScenarioGrid, ScenarioMargin
from margin_models.venues import DeribitPortfolioMargin, DerivePmrm2Margin

BOOKS, LEGS, OPTIONS, LIMIT = 500, 20, 600, 2.0
EXPIRIES = (1, 2, 3, 9, 16, 23, 37, 65, 86, 177, 268, 359)
GRID = ScenarioGrid(tuple(np.linspace(-0.18, 0.18, 11)), (0.5, 0.0, -0.3))


def market() -> MarketHistory:
    """One instant of BTC and ETH with flat smiles."""
    smiles = np.array([[[[1.0, 0.0, v * v, 0.0, 0.0, 0.0, 1.0]] for v in (0.6, 0.75)]])
    time = pd.date_range("2026-01-01", periods=1).to_numpy().astype("datetime64[ns]")
    return MarketHistory(time, ("BTC", "ETH"), np.array([[9e4, 3e3]]), surfaces=smiles, implied="quotes")


def books(seed: int = 5) -> Book:
    """500 books of twenty legs each: options of two coins on twelve expiries, and perpetuals."""
    rng = np.random.default_rng(seed)
    spot, listed = {"BTC": 9e4, "ETH": 3e3}, []
    for n in range(OPTIONS):
        name = "BTC" if n % 2 else "ETH"
        expiry = np.datetime64("2026-01-01") + np.timedelta64(int(rng.choice(EXPIRIES)), "D")
        strike = float(f"{spot[name] * np.exp(rng.normal(0.0, 0.2)):.4g}")
        right = "call" if rng.random() < 0.5 else "put"
        listed.append(Instrument(f"O{n}", name, "option", expiry=f"{expiry}T08:00", strike=strike, right=right))  # type: ignore[arg-type]
    listed += [Instrument(f"{name}-PERP", name) for name in spot]
    rows = np.repeat(np.arange(BOOKS), LEGS)
    column = rng.integers(0, len(listed), BOOKS * LEGS)
    quantity = sparse.csr_array((rng.normal(size=BOOKS * LEGS), (rows, column)), shape=(BOOKS, len(listed)))
    quantity.sum_duplicates()
    return Book(tuple(listed), tuple(f"book {p}" for p in range(BOOKS)), quantity)


def workload() -> list[Measurement]:
    """A bare grid of 33 scenarios, and two venues' whole charge, beside a limit of two milliseconds."""
    past, book = market(), books()
    models: dict[str, MarginModel] = {
        "bare grid": ScenarioMargin(GRID, learned=False, elapsed=False),
        "Deribit portfolio margin": DeribitPortfolioMargin(),
        "Derive PMRM_2": DerivePmrm2Margin(),
    }
    fitted = {name: model.fit(past, Coverage()) for name, model in models.items()}

    def charge(model: MarginModel) -> Callable[[], Floats]:
        return lambda: model.margin(past, book)

    with threadpool_limits(1):  # as in a replay
        took = race({name: charge(model) for name, model in fitted.items()})
    metric = f"{BOOKS} books x {LEGS} legs, {OPTIONS} options"
    return [
        Measurement("venue grid", f"{name}, {metric}", "limit of 2 ms", LIMIT / ms, 1.0, ms, LIMIT)
        for name, ms in took.items()
    ]
