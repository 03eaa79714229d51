"""Does a model come back from its files to the last bit, and does nothing else come back?"""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from data import Book, Coverage, Floats, MarketHistory, ParameterError
from data.errors import SnapshotError
from data.sealed import sealed
from data.storage import sha256_of
from examples import EXAMPLES
from margin_models import FilteredHistoricalVaR, MarginModel, SpanLike
from margin_models.volatility import BoostedVolatility
from markets import coins_with_options, some_books
from research import model_files
from research.model_files import from_files, hash_of, read_model, to_files, verified, write_model

COVERAGE = Coverage(0.95, "1D")


@pytest.fixture(scope="module")
def past() -> MarketHistory:
    return coins_with_options(420).rows(0, 410)


@pytest.fixture(scope="module")
def kept(past: MarketHistory, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("models")
    return folder, write_model(FilteredHistoricalVaR(BoostedVolatility(trees=3)).fit(past, COVERAGE), folder)


@pytest.mark.parametrize("model", EXAMPLES, ids=repr)
def test_a_configuration_comes_back_and_gives_the_same_bytes(model: MarginModel) -> None:
    files = to_files(clone(model))
    back = from_files(files)
    assert repr(back) == repr(model)
    assert to_files(back) == files


@pytest.mark.parametrize("model", EXAMPLES, ids=repr)
def test_a_fitted_model_asks_the_same_to_the_last_bit(model: MarginModel, past: MarketHistory) -> None:
    try:
        fitted = clone(model).fit(past.rows(0, 400), COVERAGE)
    except ValueError as error:
        pytest.skip(f"{model!r} cannot be fitted here: {error}")
    files = to_files(fitted)
    back, book = from_files(files), some_books().at(past.now)
    assert hash_of(to_files(back)) == hash_of(files)
    assert back.margin(past, book).tobytes() == fitted.margin(past, book).tobytes()


def test_two_fits_of_the_same_rows_are_one_model(past: MarketHistory) -> None:
    first, second = (to_files(SpanLike().fit(past, COVERAGE)) for _ in range(2))
    assert first == second
    assert hash_of(first) != hash_of(to_files(SpanLike().fit(past.rows(0, 409), COVERAGE)))


class Theirs(MarginModel):
    """A model of somebody's own."""

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Nothing."""
        return np.zeros(len(book.portfolios))


def test_a_class_that_is_not_ours_is_not_kept_and_not_made(past: MarketHistory) -> None:
    with pytest.raises(ParameterError, match="it is not ours to keep"):
        to_files(Theirs())
    files = _with_model(to_files(SpanLike()), lambda node: {**node, "class": "subprocess.Popen"})
    with pytest.raises(SnapshotError, match="KeyError"):
        from_files(files)


def _with_model(files: dict[str, bytes], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, bytes]:
    """The files with another root, sealed as if they had been written so."""
    content = json.loads(files["model.json"])
    payload = json.dumps({**content, "model": change(content["model"])}).encode()
    told = {"model.json": {"sha256": sha256_of(payload), "bytes": len(payload)}}
    return {"model.json": payload, "manifest.json": sealed({"format": 1, "class": "X", "files": told})}


def test_any_flipped_byte_of_any_file_is_refused(kept: tuple[Path, str], tmp_path: Path) -> None:
    folder, name = kept
    rng = np.random.default_rng(5)
    files = {path.name: path.read_bytes() for path in (folder / name).iterdir()}
    assert sorted(files) == sorted(
        ["arrays.npz", "manifest.json", "model.json", *(f"booster-{n}.txt" for n in range(4))]
    )
    place = tmp_path / name
    place.mkdir()
    for file, content in files.items():
        (place / file).write_bytes(content)
    read_model(tmp_path, name)
    for file, content in files.items():
        for at in rng.integers(0, len(content), 8):
            broken = bytearray(content)
            broken[at] ^= 1 << int(rng.integers(8))
            (place / file).write_bytes(bytes(broken))
            with pytest.raises(SnapshotError):
                read_model(tmp_path, name)
        (place / file).write_bytes(content[: len(content) // 2])
        with pytest.raises(SnapshotError):
            read_model(tmp_path, name)
        (place / file).write_bytes(content)


class Opened(RuntimeError):
    """What a pickle does when it is opened."""


class _Trap:
    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _spring, ()


def _spring() -> None:
    raise Opened("a pickle was opened")


@pytest.mark.parametrize("file", ["model.pkl", "python_model.pkl", "booster-9.txt", "sub"])
def test_a_file_that_the_manifest_does_not_name_is_refused_unopened(
    kept: tuple[Path, str], tmp_path: Path, file: str
) -> None:
    place = _copied(kept, tmp_path)
    (place / file).write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(SnapshotError, match="must hold"):
        read_model(tmp_path, kept[1])


def test_a_pickle_in_the_place_of_a_file_is_refused_unopened(kept: tuple[Path, str], tmp_path: Path) -> None:
    place = _copied(kept, tmp_path)
    (place / "model.json").write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(SnapshotError, match="the file is damaged"):
        read_model(tmp_path, kept[1])


def test_a_pickle_inside_an_array_file_with_a_right_hash_is_not_opened(past: MarketHistory) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a0=np.array([_Trap()], dtype=object))
    files = to_files(SpanLike().fit(past, COVERAGE))
    payloads = {"model.json": files["model.json"], "arrays.npz": buffer.getvalue()}
    told = {name: {"sha256": sha256_of(payload), "bytes": 0} for name, payload in payloads.items()}
    manifest = sealed({"format": 1, "class": "SpanLike", "files": told})
    with pytest.raises(SnapshotError, match="allow_pickle=False"):
        from_files({**payloads, "manifest.json": manifest})


def test_links_and_paths_lead_nowhere(kept: tuple[Path, str], tmp_path: Path) -> None:
    place = _copied(kept, tmp_path)
    content = (place / "model.json").read_bytes()
    (tmp_path / "outside.json").write_bytes(content)
    (place / "model.json").unlink()
    (place / "model.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(SnapshotError, match="plain files alone"):
        read_model(tmp_path, kept[1])
    for name in ("../../etc/passwd", "/etc", "", kept[1] + "\0", kept[1][:63]):
        with pytest.raises(SnapshotError):
            read_model(tmp_path, name)


def test_an_archive_that_would_unpack_to_more_than_is_allowed_is_not_unpacked(
    past: MarketHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = to_files(SpanLike().fit(past, COVERAGE))
    monkeypatch.setattr(model_files, "MOST_BYTES", 100)
    with pytest.raises(SnapshotError, match="at most 100 bytes"):
        from_files(files)


def test_what_was_cut_short_is_written_again(kept: tuple[Path, str], tmp_path: Path, past: MarketHistory) -> None:
    place = _copied(kept, tmp_path)
    (place / "manifest.json").unlink()
    assert write_model(FilteredHistoricalVaR(BoostedVolatility(trees=3)).fit(past, COVERAGE), tmp_path) == kept[1]
    verified(place, kept[1])


def _copied(kept: tuple[Path, str], target: Path) -> Path:
    place = target / kept[1]
    place.mkdir()
    for path in (kept[0] / kept[1]).iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place
