"""One day of filtered historical simulation with options: reprice once and share it, against numpy."""

import os
from dataclasses import dataclass

import numpy as np
import pandas as pd
from race import Measurement, race
from scipy import sparse
from scipy.special import ndtr
from threadpoolctl import threadpool_limits

from data import Book, Floats, Instrument, MarketHistory, MarketState
from margin_models.kernels.tails import book_tails
from margin_models.revalue import book_pnl
from margin_models.scenarios import PARALLEL, Scenarios

OPTIONS, ASSETS, SCENARIOS, BOOKS, LEGS = 2000, 20, 1000, 500, 10
EXPIRIES = (1, 2, 3, 9, 16, 23, 37, 65, 86, 177, 268, 359)  # days, as a venue lists them
LEVEL = 0.99


@dataclass(frozen=True, eq=False)
class Day:
    """The same day for us and for the peer; `option` and `linear` are (P, M) and (P, A) holdings."""

    state: MarketState
    book: Book
    scenarios: Scenarios
    underlying: np.ndarray
    strike: Floats
    deviation: Floats
    sign: Floats
    option: sparse.csr_array
    linear: Floats


def day() -> Day:
    rng = np.random.default_rng(3)
    names = tuple(f"U{a:02d}" for a in range(ASSETS))
    underlying = np.sort(rng.integers(0, ASSETS, OPTIONS))
    strike = np.exp(rng.normal(0.0, 0.25, OPTIONS))
    days, call = rng.choice(EXPIRIES, OPTIONS), rng.random(OPTIONS) < 0.5
    expiry = np.datetime64("2026-01-01") + days.astype("timedelta64[D]")
    volatility = rng.uniform(0.4, 1.1, ASSETS)
    instruments = [
        Instrument(f"O{n}", names[u], "option", expiry=str(e), strike=float(k), right="call" if c else "put")
        for n, (u, e, k, c) in enumerate(zip(underlying, expiry, strike, call, strict=True))
    ]
    perpetuals = [Instrument(f"{name}-PERP", name) for name in names]
    rows = np.repeat(np.arange(BOOKS), LEGS)
    option = sparse.csr_array(
        (rng.normal(size=BOOKS * LEGS), (rows, rng.integers(0, OPTIONS, BOOKS * LEGS))), shape=(BOOKS, OPTIONS)
    )
    linear = np.zeros((BOOKS, ASSETS))
    for p in range(BOOKS):
        linear[p, rng.choice(ASSETS, LEGS, replace=False)] = rng.normal(size=LEGS)
    smiles = np.zeros((1, ASSETS, 1, 7))
    smiles[0, :, 0] = [[1.0, 0.0, v * v, 0.0, 0.0, 0.0, 1.0] for v in volatility]
    time = pd.date_range("2026-01-01", periods=1).to_numpy().astype("datetime64[ns]")
    state = MarketHistory(time, names, np.ones((1, ASSETS)), surfaces=smiles, implied="quotes").now
    quantity = sparse.csr_array(sparse.hstack([option, sparse.csr_array(linear)]))
    book = Book((*instruments, *perpetuals), tuple(f"book {p}" for p in range(BOOKS)), quantity)
    moves = np.exp(0.04 * rng.standard_t(5, (SCENARIOS, ASSETS))) - 1.0
    vols = np.exp(0.15 * rng.standard_normal((SCENARIOS, ASSETS))) - 1.0
    scenarios = Scenarios(moves, vols, tuple(str(s) for s in range(SCENARIOS)), term=PARALLEL)
    deviation = volatility[underlying] * np.sqrt(days / 365.25)
    return Day(state, book, scenarios, underlying, strike, deviation, np.where(call, 1.0, -1.0), option, linear)


def black(forward: Floats, strike: Floats, deviation: Floats, sign: Floats) -> Floats:
    above = np.log(forward / strike) / deviation + 0.5 * deviation
    return np.asarray(sign * (forward * ndtr(sign * above) - strike * ndtr(sign * (above - deviation))))


def tail(pnl: Floats) -> Floats:
    return np.asarray(np.quantile(-pnl, LEVEL, axis=-1, method="weibull"))


def ours(it: Day, threads: int = min(2, os.cpu_count() or 1)) -> Floats:
    return book_tails(-book_pnl(it.book, it.state, it.scenarios, threads=threads), LEVEL)[0]


def shared(it: Day) -> Floats:
    """What careful numpy does: every option repriced once."""
    forward = 1.0 + it.scenarios.spot[:, it.underlying]
    deviation = it.deviation * (1.0 + it.scenarios.vol[:, it.underlying])
    gains = black(forward, it.strike, deviation, it.sign) - black(np.ones(OPTIONS), it.strike, it.deviation, it.sign)
    return tail(it.option @ gains.T + it.linear @ it.scenarios.spot.T)


def apart(it: Day, every: int) -> Floats:
    """What most scripts do: every book reprices its own options; only each `every`-th book is asked."""
    found = []
    for p in range(0, BOOKS, every):
        held = slice(it.option.indptr[p], it.option.indptr[p + 1])
        n, w = it.option.indices[held], it.option.data[held]
        forward, deviation = 1.0 + it.scenarios.spot[:, it.underlying[n]], it.deviation[n]
        moved = deviation * (1.0 + it.scenarios.vol[:, it.underlying[n]])
        gains = black(forward, it.strike[n], moved, it.sign[n])
        gains -= black(np.ones(len(n)), it.strike[n], deviation, it.sign[n])
        found.append(tail(gains @ w + it.scenarios.spot @ it.linear[p]))
    return np.array(found)


def workload() -> list[Measurement]:
    """500 books of ten options and ten linear legs each, 2,000 options, 1,000 scenarios."""
    it, every = day(), 10
    assert np.allclose(ours(it), shared(it), rtol=0, atol=1e-12)
    assert np.allclose(ours(it)[::every], apart(it, every), rtol=0, atol=1e-12)
    with threadpool_limits(1):  # as in a replay
        took = race({"ours": lambda: ours(it), "shared": lambda: shared(it), "apart": lambda: apart(it, every)})
    metric = f"{OPTIONS} options, {SCENARIOS} scenarios, {BOOKS} books"
    own, together, alone = took["ours"], took["shared"], every * took["apart"]
    return [
        Measurement("W3", metric, "numpy, repricing shared", together / own, 7.0, own, together),
        Measurement("W3", metric, "numpy, a book at a time", alone / own, 15.0, own, alone),
    ]
