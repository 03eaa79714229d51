"""Does a stored history come back as it was, or not at all?"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data import Clock, Floats, MarketHistory, SnapshotError, snapshot, storage

NAMES = st.lists(st.text(max_size=6), max_size=3, unique=True).map(tuple)
PRICES = st.floats(1e-9, 1e9) | st.just(np.nan)
ANY = st.floats(allow_infinity=False).map(lambda number: np.nan if np.isnan(number) else number)
ROOT = Path(__file__).resolve().parents[1]


def _full(rows: int = 40) -> MarketHistory:
    """A session market with every kind of series, holes and a default."""
    clock = Clock("1B", ("2024-01-01", "2024-01-15"))
    time = clock.grid(np.datetime64("2024-01-02", "ns"), np.datetime64("2025-01-01", "ns"))[:rows]
    spot = 100.0 + np.arange(rows * 3).reshape(rows, 3) ** 2 % 17 / 8
    spot[3, 0] = np.nan
    spot[5:, 2] = 0.0
    surfaces = 1.0 + np.arange(rows * 42.0).reshape(rows, 3, 2, 7) / 128
    surfaces[..., 1] = 1.0
    return MarketHistory(
        time,
        ("BTC", "ETH", "LUNA"),
        spot,
        clock,
        high=spot + 1,
        low=spot * 0.5,
        volume=spot * 7,
        funding=np.full_like(spot, -0.0),
        listed=("BTC-PERP",),
        marks=spot[:, :1] * 1.25,
        curves=1.0 + np.arange(rows * 18.0).reshape(rows, 3, 2, 3) / 64,
        surfaces=surfaces,
        implied="quotes",
        fx={"EUR": 1.0 + np.arange(rows) / 64, "AUD": 0.5 + np.arange(rows) / 64},
        numeraire="EUR",
        source="made by hand",
    )


def _deep() -> MarketHistory:
    """The full one with depth, unknown in places, and features."""
    full = _full()
    depth = np.cumsum(np.arange(len(full) * 12.0).reshape(len(full), 3, 2, 2) % 7, axis=3)
    depth[2, 1, 0, 1], depth[3] = np.nan, np.nan
    features = np.arange(len(full) * 9.0).reshape(len(full), 3, 3) - 50.0
    return full.with_depth(depth, (0.001, 0.05)).with_features(features, ("imbalance", "vpin", "żar"))


def _plain(**changes: Any) -> MarketHistory:
    time = Clock("1D").grid(np.datetime64("2024-01-01", "ns"), np.datetime64("2024-01-03", "ns"))
    return replace(MarketHistory(time, ("BTC",), np.array([[1.0], [np.nan], [2.0]])), **changes)


def _same_bits(a: MarketHistory, b: MarketHistory) -> None:
    for item in fields(MarketHistory):
        one, other = getattr(a, item.name), getattr(b, item.name)
        if isinstance(one, np.ndarray):
            assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), item.name
        elif item.name == "fx":
            assert {name: rate.tobytes() for name, rate in one.items()} == {n: r.tobytes() for n, r in other.items()}
        else:
            assert one == other, item.name


@st.composite
def histories(draw: st.DrawFn) -> MarketHistory:
    rows, names, listed = draw(st.integers(0, 5)), draw(NAMES), draw(NAMES)
    clock = draw(st.sampled_from([Clock("1D"), Clock("30min"), Clock("1B", ("2024-01-03",))]))
    time = clock.grid(np.datetime64("2024-01-01", "ns"), np.datetime64("2024-02-01", "ns"))[:rows]
    shape = (rows, len(names))

    def maybe(shape: tuple[int, ...], elements: st.SearchStrategy[float] = ANY) -> Floats | None:
        return draw(st.none() | arrays(np.float64, shape, elements=elements))

    bands = draw(st.lists(st.floats(1e-6, 1.0), max_size=3, unique=True).map(sorted).map(tuple)) if names else ()
    features = tuple(name for name in draw(NAMES) if name)
    offered = draw(arrays(np.float64, (*shape, 2, len(bands)), elements=st.floats(0.0, 1e12)))
    unknown = draw(arrays(np.bool_, (*shape, 2, len(bands))))
    return MarketHistory(
        time,
        names,
        draw(arrays(np.float64, shape, elements=PRICES)),
        clock,
        high=maybe(shape, PRICES),
        low=maybe(shape, PRICES),
        volume=maybe(shape),
        funding=maybe(shape),
        listed=listed,
        marks=maybe((rows, len(listed)), PRICES),
        fx={name: draw(arrays(np.float64, (rows,), elements=ANY)) for name in draw(NAMES)},
        numeraire=draw(st.sampled_from(["USD", *names])),
        source=draw(st.text()),
        depth=np.where(unknown, np.nan, np.maximum.accumulate(offered, axis=3)) if bands else None,
        depth_bands=bands,
        features=draw(arrays(np.float64, (*shape, len(features)), elements=ANY)) if features else None,
        feature_names=features,
    )


@settings(max_examples=40, deadline=None)
@given(history=histories())
def test_any_history_comes_back_bit_by_bit(history: MarketHistory, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("snapshots")
    name = snapshot.freeze(history, folder)
    again = snapshot.load(name, folder)
    _same_bits(history, again)
    assert snapshot.content_hash(again) == name


@pytest.mark.parametrize("make", [_full, _deep])
def test_every_kind_of_series_comes_back_sealed_and_row_by_row(
    tmp_path: Path, make: Callable[[], MarketHistory]
) -> None:
    again = snapshot.load(snapshot.freeze(make(), tmp_path), tmp_path)
    _same_bits(make(), again)
    assert again.spot.flags.c_contiguous
    assert not again.spot.flags.writeable


def test_no_field_of_a_history_is_forgotten() -> None:
    told = {"time", "underlyings", "clock", "listed", "fx", "numeraire", "implied", "source", *snapshot.PANELS}
    told |= {"depth_bands", "feature_names"}
    assert {item.name for item in fields(MarketHistory)} == told


def test_the_hash_of_a_known_history_never_changes() -> None:
    assert snapshot.content_hash(_plain()) == "a477db41cd10eaa642239a6e1ab5179de72c22f45933c1dbcc8791902bbfa51e"
    assert snapshot.content_hash(_full()) == "437fcd09abb5c969bc6c00f0086a2b50873eeba7a0b43f1832005f1a8047798a"


ONE, TWO = np.array([[1.0], [np.nan], [2.0]]), np.array([[1.0], [np.nan], [np.nextafter(2.0, 3.0)]])
CHANGES: dict[str, dict[str, Any]] = {
    "one bit of a price": {"spot": TWO},
    "a hole elsewhere": {"spot": ONE[[1, 0, 2]]},
    "a later start": {"time": _plain().time + np.timedelta64(1, "D")},
    "a session clock": {"clock": Clock("1B")},
    "a holiday": {"clock": Clock("1B", ("2024-12-25",))},
    "another name": {"underlyings": ("ETH",)},
    "another numeraire": {"numeraire": "BTC"},
    "an instrument": {"listed": ("P",)},
    "marks": {"listed": ("P",), "marks": ONE},
    "a curve": {"curves": np.ones((3, 1, 1, 3))},
    "a surface": {"surfaces": np.ones((3, 1, 1, 7)), "implied": "quotes"},
    "a surface from elsewhere": {"surfaces": np.ones((3, 1, 1, 7)), "implied": "proxy: realised"},
    "a volume": {"volume": ONE},
    "a funding instead of a volume": {"funding": ONE},
    "an empty funding instead of none": {"funding": ONE * np.nan},
    "depth": {"depth": np.ones((3, 1, 2, 1)), "depth_bands": (0.01,)},
    "depth at another distance": {"depth": np.ones((3, 1, 2, 1)), "depth_bands": (0.02,)},
    "a feature": {"features": ONE[:, :, None], "feature_names": ("imbalance",)},
    "another feature": {"features": ONE[:, :, None], "feature_names": ("vpin",)},
    "zero": {"funding": ONE * 0.0},
    "minus zero": {"funding": ONE * -0.0},
    "a rate": {"fx": {"EUR": ONE[:, 0]}},
    "the rate of another currency": {"fx": {"AUD": ONE[:, 0]}},
}


def test_every_fact_has_its_part_in_the_hash() -> None:
    hashes = {snapshot.content_hash(_plain(**change)) for change in ({}, *CHANGES.values())}
    assert len(hashes) == 1 + len(CHANGES)


def test_layout_remark_and_kind_of_nan_have_no_part_in_the_hash() -> None:
    history = _full()
    other_nan = np.where(np.isnan(history.spot), -np.nan, history.spot)
    assert other_nan.tobytes() != history.spot.tobytes()
    turned: dict[str, Any] = {"spot": np.asfortranarray(other_nan), "source": "elsewhere"}
    turned["volume"] = (history.spot * 7).astype(">f8")
    assert snapshot.content_hash(replace(history, **turned)) == snapshot.content_hash(history)
    assert snapshot.content_hash(history.rows(3, 9)) != snapshot.content_hash(history)


@pytest.mark.parametrize("suffix", ["parquet", "json"])
def test_no_flipped_bit_gets_through(tmp_path: Path, suffix: str) -> None:
    name = snapshot.freeze(_full(), tmp_path)
    path = tmp_path / f"{name}.{suffix}"
    whole = path.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 80).astype(int):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(place) % 8
        path.write_bytes(damaged)
        with pytest.raises(SnapshotError, match=name[:12]):
            snapshot.load(name, tmp_path)
    path.write_bytes(whole)
    _same_bits(snapshot.load(name, tmp_path), _full())


@pytest.mark.parametrize("suffix", ["parquet", "json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused_with_its_place(tmp_path: Path, suffix: str, share: float) -> None:
    name = snapshot.freeze(_full(), tmp_path)
    path = tmp_path / f"{name}.{suffix}"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(SnapshotError, match=str(path)):
        snapshot.load(name, tmp_path)


def test_a_changed_blank_in_the_manifest_is_refused(tmp_path: Path) -> None:
    name = snapshot.freeze(_full(), tmp_path)
    path = tmp_path / f"{name}.json"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(SnapshotError, match="checksum"):
        snapshot.load(name, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"manifest": 1}', "[" * 50_000, "\xff"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    name = snapshot.freeze(_plain(), tmp_path)
    (tmp_path / f"{name}.json").write_text(text, encoding="latin-1")
    with pytest.raises(SnapshotError, match="manifest"):
        snapshot.load(name, tmp_path)
    assert [found.fault != "" for found in snapshot.listed(tmp_path)] == [True]


def test_a_snapshot_under_another_name_is_refused(tmp_path: Path) -> None:
    name = snapshot.freeze(_plain(), tmp_path)
    other = "0" * 64
    for suffix in ("parquet", "json"):
        (tmp_path / f"{name}.{suffix}").rename(tmp_path / f"{other}.{suffix}")
    with pytest.raises(SnapshotError, match=f"manifest of {other}, got that of {name}"):
        snapshot.load(other, tmp_path)


def _forge(folder: Path, name: str, sha256: str | None = None, **header: Any) -> None:
    """Write a manifest that is sealed but says something else."""
    path = folder / f"{name}.json"
    facts = json.loads(path.read_bytes())
    del facts["manifest"]
    facts["header"] |= header
    facts["sha256"] = sha256 or facts["sha256"]
    facts["manifest"] = storage.sha256_of(json.dumps(facts, sort_keys=True, indent=1).encode())
    path.write_bytes(json.dumps(facts, sort_keys=True, indent=1).encode())


FORGED: list[tuple[dict[str, Any], str]] = [
    ({"underlyings": ["ETH"]}, "must hold what its name says"),
    ({"numeraire": "BTC"}, "must hold what its name says"),
    ({"format": 4}, "expected format 2 or 3, got 4"),
    ({"format": 3}, "no readable snapshot"),
    ({"panels": ["spot", "volume"]}, "no readable snapshot"),
    ({"panels": ["nonsense"]}, "no readable snapshot"),
    ({"clock": "1h"}, "no readable snapshot"),
    ({"clock": 5}, "no readable snapshot"),
]


@pytest.mark.parametrize(("header", "why"), FORGED)
def test_a_sealed_manifest_that_lies_is_refused(tmp_path: Path, header: dict[str, Any], why: str) -> None:
    name = snapshot.freeze(_plain(), tmp_path)
    _forge(tmp_path, name, **header)
    with pytest.raises(SnapshotError, match=why):
        snapshot.load(name, tmp_path)


def test_pages_carry_checksums_that_are_verified(tmp_path: Path) -> None:
    name = snapshot.freeze(_full(), tmp_path)
    path = tmp_path / f"{name}.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 4] ^= 1
    path.write_bytes(damaged)
    _forge(tmp_path, name, storage.sha256_of(bytes(damaged)))
    with pytest.raises(SnapshotError, match="CRC checksum"):
        snapshot.load(name, tmp_path)


@pytest.mark.parametrize("name", ["", "abc", "../../etc", "ABCDEF", "abcd*", "abcd/..", "a" * 65, "abcd\n", "ab\x00cd"])
def test_only_hex_digits_become_part_of_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(SnapshotError, match="4 to 64 of the digits"):
        snapshot.load(name, tmp_path)


def test_a_prefix_will_do_as_long_as_it_names_one(tmp_path: Path) -> None:
    name = snapshot.freeze(_plain(), tmp_path)
    _same_bits(snapshot.load(name[:8], tmp_path), _plain())
    (tmp_path / f"{name[:8]}{'0' * 56}.json").write_text("{}")
    with pytest.raises(SnapshotError, match=f"begin with {name[:8]}, got {name[:8]}.*, {name[:8]}"):
        snapshot.load(name[:8], tmp_path)
    with pytest.raises(SnapshotError, match="got none"):
        snapshot.load("0000", tmp_path / "absent")


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_between_the_files_leaves_a_usable_folder(tmp_path: Path, renames: int) -> None:
    kept = snapshot.freeze(_plain(), tmp_path)
    program = (
        "import os, signal, sys; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path; from test_snapshot import _full; from data import snapshot\n"
        "rename, left = os.replace, [int(sys.argv[4])]\n"
        "def cut(*paths):\n"
        "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    left[0] -= 1; rename(*paths)\n"
        "os.replace = cut\n"
        "snapshot.freeze(_full(), Path(sys.argv[3]))\n"
    )
    paths = [str(ROOT), str(ROOT / "tests"), str(tmp_path), str(renames)]
    run = subprocess.run([sys.executable, "-c", program, *paths], check=False, capture_output=True)
    assert run.returncode == -9, run.stderr
    assert len(list(tmp_path.glob(f"{storage.PARTIAL}*"))) == 1
    assert [found.hash for found in snapshot.listed(tmp_path)] == [kept]
    _same_bits(snapshot.load(kept, tmp_path), _plain())
    _same_bits(snapshot.load(snapshot.freeze(_full(), tmp_path), tmp_path), _full())
    assert not list(tmp_path.glob(f"{storage.PARTIAL}*"))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_no_snapshot_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(SnapshotError, match="No space left"):
            snapshot.freeze(_plain(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert snapshot.load(snapshot.freeze(_plain(), tmp_path), tmp_path).underlyings == ("BTC",)


def test_a_folder_that_cannot_be_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match="folder that can be written"):
        snapshot.freeze(_plain(), tmp_path / "file")


def test_freezing_again_writes_nothing_unless_it_must_repair(tmp_path: Path) -> None:
    name = snapshot.freeze(_plain(), tmp_path)
    path = tmp_path / f"{name}.parquet"
    written = path.stat().st_mtime_ns, path.stat().st_ino
    assert snapshot.freeze(_plain(source="elsewhere"), tmp_path) == name
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == written
    path.write_bytes(b"PAR1")
    assert snapshot.freeze(_plain(), tmp_path) == name
    _same_bits(snapshot.load(name, tmp_path), _plain())


def test_a_listing_says_what_each_snapshot_holds(tmp_path: Path) -> None:
    names = [snapshot.freeze(_plain(), tmp_path), snapshot.freeze(_full(), tmp_path)]
    (tmp_path / "notes.json").write_text("{}")
    found = {it.hash: it for it in snapshot.listed(tmp_path)}
    assert sorted(found) == sorted(names)
    full = found[names[1]]
    assert (full.source, full.rows, full.clock, full.fault) == ("made by hand", 40, "1B", "")
    assert full.underlyings == ("BTC", "ETH", "LUNA")
    assert (full.first[:10], full.last[:10]) == ("2024-01-02", "2024-02-27")
    assert snapshot.listed(tmp_path / "absent") == []
