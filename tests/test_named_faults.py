"""Is every fault that was named shown by a test, or where nights meet it by a class of the fault suite?"""

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data import BookRecipe, DataError, Instrument, MarketHistory

HERE = Path(__file__).parent
REFERENCE = HERE.parents[1] / "shared" / "faults.json"
# By name: what must happen, and where it is shown: a class of `night_faults.py`, or a file of tests and a test in it.
NAMED: dict[str, tuple[str, tuple[str, ...]]] = {
    "kill9_mid_artifact": ("champion whole, rerun the same", ("killed", "recover")),
    "disk_full": ("exit 75, leftovers removed", ("disk", "test_store_faults: a_store_survives")),
    "fsync_eio": ("a failed write", ("disk", "unreadable")),
    "bitflip_parquet": ("found by hash or page checksum", ("bit", "test_files_refused: flipped_bit")),
    "schema_drift": ("refused before any fit", ("values", "test_files_refused: not_recognised")),
    "inf_price": ("refused with its place", ("values", "test_history: price_that_cannot_be")),
    "negative_price": ("refused with its place", ("values", "test_history: price_that_cannot_be")),
    "dup_timestamps": ("refused", ("times", "test_history: stamps_that_cannot_be")),
    "tz_shift": ("naive refused, shifted looked at", ("times", "test_night_faults: stamps_that_were_shifted")),
    "missing_days": ("a hole, never a one-day return", ("gap", "test_history: never_makes_a_two_day")),
    "stale_price": ("flagged, margin kept", ("values", "test_history: odd_prices_are_flagged")),
    "nonconvergence": ("not eligible, reason told", ("model", "test_gates: did_not_converge")),
    "explosive": ("refused", ("model", "test_garch: explosive_process")),
    "singular_cov": ("semi-definite", ("test_dependence: twins_leave_correlations",)),
    "quantile_crossing": ("ES at or above VaR, or refused", ("test_every_margin_model: a_stated_tail_is_ordered",)),
    "stale_lock": ("broken after proof of death, told", ("lock", "test_nightly: one_of_the_dead")),
    "tracking_down_mid": ("told later, once", ("mlflow", "test_nightly: told_later_and_once")),
    "poisoned_data": ("promotion blocked by the fall", ("poison", "test_nightly: poisoned_data_is_refused")),
    "sigterm": ("exit 143 within 5 s", ("terminated", "test_nightly: sigterm_ends_a_night")),
    "pickle_model": ("never opened", ("test_security: pickle_in_the_store_of_models", "test_registry: planted_pickle")),
    "path_traversal": (
        "refused, or inside its root",
        ("test_security: are_no_paths", "test_catalog: leads_out_of_its"),
    ),
    "csv_formula": ("text, and numbers stay numeric", ("test_security: no_cell_is_a_formula",)),
    "zip_bomb_parquet": ("bounded", ("test_files_refused: unpacks_to_too_much", "test_security: unpacks_to_too_much")),
    "leak_same_day": ("the audit fails", ("SameDayReturn", "test_lookahead: planted_leak_is_caught")),
    "leak_backfill": ("the audit fails", ("Backfill", "test_lookahead: planted_leak_is_caught")),
    "leak_init_variance": ("the audit fails", ("FullSampleInitialVariance", "test_lookahead: planted_leak_is_caught")),
    "leak_survivorship": (
        "not held before it is listed",
        ("test_named_faults: not_charged_before_it_is_listed", "test_late_listings: a_listing_changes_no_margin"),
    ),
}


@cache
def classes() -> set[str]:
    """The classes of the fault suite, and the leaks that are planted."""
    words = "import night_faults; from backtest.planted_leaks import LEAKS; "
    words += "print(*night_faults.CLASSES, *(type(leak).__name__ for leak in LEAKS))"
    told = subprocess.run([sys.executable, "-c", words], check=True, capture_output=True, text=True, cwd=HERE)
    return set(told.stdout.split())


@cache
def shown_by(file: str) -> tuple[str, ...]:
    """The names of a file's tests."""
    content = ast.parse((HERE / f"{file}.py").read_text(encoding="utf-8"))
    return tuple(node.name for node in content.body if isinstance(node, ast.FunctionDef) and node.name[:5] == "test_")


@pytest.mark.parametrize("name", NAMED)
def test_a_fault_that_was_named_is_shown(name: str) -> None:
    _, places = NAMED[name]
    for place in places:
        file, _, test = place.partition(": ")
        if test:
            assert any(test in one for one in shown_by(file)), f"{file} has no test of {test}"
        else:
            assert file in classes()


def test_a_coin_is_not_charged_before_it_is_listed() -> None:
    closes = pd.DataFrame(
        {"OLD": 100.0 + np.arange(300.0) % 7, "NEW": np.r_[np.full(200, np.nan), np.arange(50.0, 150)]}
    )
    closes.index = pd.date_range("2020-01-01", periods=300)
    history = MarketHistory.from_frame(closes, missing="hole")
    held = BookRecipe((Instrument("OLD-PERP", "OLD"), Instrument("NEW-PERP", "NEW")), ("both",), np.ones((1, 2)))
    with pytest.raises(DataError, match="NEW"):
        held.at(history.rows(0, 150).now)
    assert held.at(history.rows(0, 250).now).exposure(history.rows(0, 250).now).all()


@pytest.mark.shared
@pytest.mark.skipif(not REFERENCE.is_file(), reason=f"the reference list {REFERENCE} is absent")
def test_every_fault_of_the_reference_is_named() -> None:
    told = json.loads(REFERENCE.read_text(encoding="utf-8"))
    assert sorted(one["id"] for one in told["cases"]) == sorted(NAMED)
