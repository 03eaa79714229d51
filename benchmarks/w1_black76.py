"""W1: how fast are 2,000 options repriced in 1,000 scenarios, on one core and on two?"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from race import Measurement, race
from scipy.special import ndtr

from data import Floats
from data.pricing import reprice

OPTIONS, SCENARIOS = 2000, 1000
LOOPED = 40_000  # prices that a loop is timed on; a whole surface of them would take it four seconds
METRIC = f"reprice {OPTIONS} options x {SCENARIOS} scenarios"
CLOSE = 2e-15  # of the forward: what scipy's normal distribution is good for


def workload() -> list[Measurement]:
    """Ours on one and on two cores against whole-array numpy, and against QuantLib where it is installed."""
    rng = np.random.default_rng(0)
    strike = np.exp(0.3 * rng.standard_normal(OPTIONS))
    tenor, volatility = rng.uniform(1 / 365, 1.0, OPTIONS), rng.uniform(0.3, 1.2, OPTIONS)
    call = rng.random(OPTIONS) < 0.5
    forward = np.exp(0.04 * rng.standard_t(4, (1, SCENARIOS)))
    scale = np.exp(0.15 * rng.standard_normal((1, SCENARIOS)))
    one = np.zeros(OPTIONS, np.intp)
    deviation = volatility * np.sqrt(tenor)

    room = np.empty((OPTIONS, SCENARIOS))

    def ours(threads: int) -> Floats:
        return reprice(forward, one, scale, one, strike, deviation, call, threads, room)

    def numpy() -> Floats:
        return whole_arrays(forward, scale, strike, deviation, call)

    apart = np.abs(ours(1) - numpy()).max()
    np.testing.assert_array_less(apart, CLOSE)
    np.testing.assert_array_equal(ours(1).copy(), ours(2))
    print(f"W1: the largest difference from numpy and scipy.special.ndtr is {apart:.1e} of the forward", flush=True)
    took = race({"one": lambda: ours(1), "two": lambda: ours(2), "numpy": numpy})
    results = [
        Measurement(
            "W1", f"{METRIC}, {cores}", "numpy and ndtr", took["numpy"] / took[name], goal, took[name], took["numpy"]
        )
        for name, cores, goal in (("one", "one core", 10.0), ("two", "two cores", 20.0))
    ]
    if find_spec("QuantLib") is None:
        print("W1: QuantLib is not installed, its engine was not timed", flush=True)
        return results
    loop = quantlib_loop(forward[0], scale[0], strike, tenor, call)
    looped = race({"QuantLib": loop}, rounds=3)["QuantLib"] * OPTIONS * SCENARIOS / LOOPED
    best = min(took["one"], took["two"])
    return [*results, Measurement("W1", METRIC, "QuantLib's engine", looped / best, 1300.0, best, looped)]


def whole_arrays(forward: Floats, scale: Floats, strike: Floats, deviation: Floats, call: np.ndarray) -> Floats:
    """The same as one would write it in numpy."""
    spread, k = deviation[:, None] * scale, strike[:, None]
    sign = np.where(call, 1.0, -1.0)[:, None]
    d1 = np.log(forward / k) / spread + 0.5 * spread
    return np.asarray(sign * (forward * ndtr(sign * d1) - k * ndtr(sign * (d1 - spread))))


def quantlib_loop(
    forward: Floats, scale: Floats, strike: Floats, tenor: Floats, call: np.ndarray
) -> Callable[[], None]:
    """The analytic engine asked for the values of 200 instruments, scenario after scenario."""
    ql: Any = import_module("QuantLib")
    today, days = ql.Date(1, 1, 2025), ql.Actual365Fixed()
    ql.Settings.instance().evaluationDate = today
    price, volatility = ql.SimpleQuote(1.0), ql.SimpleQuote(0.5)
    rates = ql.YieldTermStructureHandle(ql.FlatForward(today, 0.0, days))
    flat = ql.BlackConstantVol(today, ql.NullCalendar(), ql.QuoteHandle(volatility), days)
    process = ql.BlackProcess(ql.QuoteHandle(price), rates, ql.BlackVolTermStructureHandle(flat))
    engine = ql.AnalyticEuropeanEngine(process)
    options = []
    for k, years, right in zip(strike[:200].tolist(), tenor.tolist(), call.tolist(), strict=False):
        payoff = ql.PlainVanillaPayoff(ql.Option.Call if right else ql.Option.Put, k)
        options.append(ql.VanillaOption(payoff, ql.EuropeanExercise(today + max(1, int(365 * years)))))
        options[-1].setPricingEngine(engine)
    moves = list(zip(forward.tolist(), (0.5 * scale).tolist(), strict=True))[: LOOPED // 200]

    def loop() -> None:
        for moved, shocked in moves:
            price.setValue(moved)
            volatility.setValue(shocked)
            for option in options:
                option.NPV()

    return loop
