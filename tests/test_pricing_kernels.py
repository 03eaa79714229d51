"""Do the pricing kernels give what plain loops give, whatever the threads, the shapes and the holes?"""

import math
import os
import platform
import signal
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from data import Floats, pricing, pricing_kernels
from data.compiled import plain
from data.pricing import black76, greeks, reprice
from data.threads import pool
from priced_options import Bools, Places, exact_black, some_options
from research.warm import warm_pricing


@pytest.fixture(scope="module", autouse=True)
def _warmed() -> None:
    """Nothing is compiled while an example is timed."""
    warm_pricing()


def by_the_book(
    forward: Floats, group: Places, scale: Floats, scale_group: Places, strike: Floats, deviation: Floats, call: Bools
) -> Floats:
    """One option and scenario after another, with the error function of the C library."""
    told = np.empty((len(strike), forward.shape[1]))
    for n, s in np.ndindex(*told.shape):
        f, k = float(forward[group[n], s]), float(strike[n])
        spread = float(deviation[n] * scale[scale_group[n], s])
        sign = 1.0 if call[n] else -1.0
        if spread == 0.0:
            told[n, s] = max(sign * (f - k), 0.0)
            continue
        d1 = math.log(f / k) / spread + 0.5 * spread
        tails = [0.5 * math.erfc(-sign * d / math.sqrt(2)) for d in (d1, d1 - spread)]
        told[n, s] = sign * (f * tails[0] - k * tails[1])
    return told


@pytest.mark.parametrize("scenarios", [1, 7, 8, 33])
def test_repricing_gives_what_a_loop_by_the_book_gives(scenarios: int) -> None:
    given_ = some_options(40, scenarios)
    room = 1e-13 * (given_[0][given_[1]] + given_[4][:, None])
    assert (np.abs(reprice(*given_) - by_the_book(*given_)) <= room).all()


def test_repricing_prices_each_option_as_it_is_priced_alone() -> None:
    forward, group, scale, scale_group, strike, deviation, call = given_ = some_options(40, 33)
    alone = black76(forward[group], strike[:, None], deviation[:, None] * scale[scale_group], call[:, None])
    assert (np.abs(reprice(*given_) - alone) <= 1e-15 * (forward[group] + strike[:, None])).all()


def test_repricing_keeps_its_digits_where_prices_are_large() -> None:
    rng = np.random.default_rng(0)
    forward, strike = 6e4 * np.exp(0.1 * rng.standard_t(4, (1, 30))), 6e4 * np.exp(0.1 * rng.standard_normal(30))
    deviation, call, one = rng.uniform(0.02, 2.0, 30), rng.random(30) < 0.5, np.zeros(30, np.intp)
    told = reprice(forward, one, np.ones((1, 30)), one, strike, deviation, call)
    for n, s in np.ndindex(*told.shape):
        exact = exact_black(forward[0, s].item(), strike[n].item(), deviation[n].item(), bool(call[n]))
        assert abs(Decimal(told[n, s].item()) - exact) < 4e-16 * max(forward[0, s], strike[n])


def test_repricing_writes_to_the_memory_that_it_is_given() -> None:
    given_, out = some_options(40, 33), np.empty((40, 33))
    assert reprice(*given_, out=out) is out
    assert_array_equal(out, reprice(*given_))


def test_the_kernels_give_what_their_plain_loops_give() -> None:
    rng = np.random.default_rng(3)
    forward, strike = np.exp(0.3 * rng.standard_normal((2, 50)))
    spread, put = rng.uniform(0.0, 1.0, 50), (rng.random(50) < 0.5).astype(float)
    spread[::10] = 0.0
    log_ratio, root = np.log(forward / strike), rng.uniform(0.0, 2.0, 50)
    fast, slow = np.empty((2, 50)), np.empty((2, 50))
    price_each, explain_each = pricing_kernels.price_each, pricing_kernels.explain_each
    price_each(forward, strike, log_ratio, spread, put, fast[0])
    plain(price_each)(forward, strike, log_ratio, spread, put, slow[0])
    explain_each(fast[0], forward, strike, log_ratio, put, fast[1])
    plain(explain_each)(fast[0], forward, strike, log_ratio, put, slow[1])
    assert_allclose(fast, slow, rtol=1e-9, atol=1e-15)
    compiled, written = np.empty((6, 50)), np.empty((6, 50))
    pricing_kernels.greeks_each(forward, log_ratio, spread, root, put, compiled)
    plain(pricing_kernels.greeks_each)(forward, log_ratio, spread, root, put, written)
    assert_allclose(compiled, written, rtol=1e-12, atol=1e-15)


def test_the_rows_of_the_kernel_are_those_of_its_plain_loop() -> None:
    forward, group, scale, scale_group, strike, deviation, call = given_ = some_options(6, 5)
    inverse, out = 1.0 / np.maximum(scale, pricing_kernels.LEAST_DEVIATION), np.empty((6, 5))
    rows = (np.log(forward), group, scale, inverse, scale_group, strike, np.log(strike), deviation)
    plain(pricing_kernels.reprice)(forward, *rows, np.where(call, 0.0, 1.0), out)
    assert (np.abs(reprice(*given_) - out) <= 1e-14 * (forward[group] + strike[:, None])).all()


def test_a_kernel_told_nan_says_nan() -> None:
    out = np.empty(3)
    for place in range(4):
        f, k, log_ratio, deviation = (np.array([1.0, math.nan if n == place else 1.0, 1.0]) for n in range(4))
        pricing_kernels.price_each(f, k, log_ratio, deviation, np.ones(3), out)
        assert np.isnan(out).tolist() == [False, True, False]


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 9), st.integers(0, 5), st.integers(1, 90))
def test_the_number_of_threads_never_changes_a_bit(threads: int, seed: int, options: int) -> None:
    given_ = some_options(options, 37, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pricing, "_ENOUGH_FOR_THREADS", 0)
        assert_array_equal(reprice(*given_, threads=threads), reprice(*given_))


def test_a_small_job_stays_in_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def asked_for(threads: int) -> ThreadPoolExecutor:
        asked.append(threads)
        return pool(threads)

    monkeypatch.setattr(pricing, "pool", asked_for)
    reprice(*some_options(10, 10), threads=3)
    assert asked == []
    reprice(*some_options(500, 500), threads=3)
    assert set(asked) == {2}


def test_callers_at_the_same_time_do_not_disturb_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "_ENOUGH_FOR_THREADS", 0)

    def priced(seed: int, threads: int = 2) -> Floats:
        return reprice(*some_options(60, 200, seed=seed), threads=threads)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(priced, range(8)))
    for seed, told in enumerate(together):
        assert_array_equal(told, priced(seed, threads=1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "_ENOUGH_FOR_THREADS", 0)
    job = some_options(8, 4)
    reprice(*job, threads=2)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        reprice(*job, threads=2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_every_kernel_is_compiled_at_installation_for_the_types_it_meets() -> None:
    kernels = [getattr(pricing_kernels, name) for name in ("reprice", "price_each", "greeks_each", "explain_each")]
    reprice(*some_options(300, 900), threads=2)
    greeks(np.ones((2, 3)), 1.0, 0.5, [[1.0], [2.0]], True)
    assert [len(kernel.signatures) for kernel in kernels] == [1, 1, 1, 1]


def test_arrays_that_may_not_be_written_to_compile_nothing_new() -> None:
    given_ = some_options(5, 4)
    told = reprice(*given_)
    before = len(pricing_kernels.reprice.signatures)  # type: ignore[attr-defined]
    for one in given_:
        one.flags.writeable = False
    assert_array_equal(reprice(*given_), told)
    assert len(pricing_kernels.reprice.signatures) == before  # type: ignore[attr-defined]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
def test_several_scenarios_are_priced_at_once_with_one_division() -> None:
    # Compiled anew, for numba does not show the assembly of what it takes from its cache.
    fresh = numba.njit(error_model="numpy", fastmath=pricing_kernels._FUSED)(plain(pricing_kernels.reprice))
    forward, group, scale, scale_group, strike, deviation, call = some_options(6, 5)
    rows = (np.log(forward), group, scale, scale + 1.0, scale_group, strike, np.log(strike), deviation)
    fresh(forward, *rows, call.astype(float), np.empty((6, 5)))
    assembly = next(iter(fresh.inspect_asm().values()))
    assert assembly.count("divpd") == 1
