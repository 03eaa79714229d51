"""Does what a stranger hands over stay data: does none of it run, lead away, take all memory or tell a secret?"""

import ast
import csv
import io
import json
import os
import pickle
import re
import shutil
import time
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles import history, recomputed, request, seal_again
from data import DataError, MarginlabError, ParameterError, SnapshotError
from data.sealed import sealed, unsealed
from data.storage import sha256_of
from margin_models import SpanLike
from research import verification
from research.bundle import MANIFEST, write_bundle
from research.csv_cells import FORMULA, csv_text, frame_csv
from research.model_files import read_model, write_model
from research.night_state import read_state, state_folder
from research.own_books import own_books
from research.proposal_pages import encoded_json, pages_of
from research.proposal_request import model_of, study_market
from research.records import inside, masked, public
from research.tracking import MlflowTracker
from research.user_data import Prices
from research.verification import DEEPEST, Verification, verify_bundle

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("data", "margin_models", "backtest", "research")
HOSTILE = "=<img src=x onerror=alert(1)>|[a](http://b) @all\" onload='x' </script><script>"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "bundle"
    write_bundle(request(book=(("desk", "SYN1", 1.0),)), history(), folder, progress=False)
    return folder


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def checked(folder: Path) -> Verification:
    return verify_bundle(folder, recompute=recomputed, store=folder.parent / "no store")


@cache
def modules() -> tuple[tuple[Path, ast.Module], ...]:
    """Every module that is installed, parsed."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return tuple(
        (path.relative_to(ROOT), ast.parse(path.read_text("utf-8"))) for path in paths if "store" not in path.parts
    )


@cache
def calls() -> tuple[tuple[Path, str, ast.Call], ...]:
    """Every call by its dotted name as it is written."""
    nodes = ((path, node) for path, tree in modules() for node in ast.walk(tree))
    return tuple((path, dotted(node.func), node) for path, node in nodes if isinstance(node, ast.Call))


def dotted(node: ast.expr) -> str:
    """A name, and attributes of what was called or indexed behind a leading dot."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


# ---- Pickles, and other files that are programs.


class Trap:
    """Leaves a mark where it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.mark,)


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[bytes]:
    """A pickle that must never be opened."""
    mark = tmp_path / "opened"
    payload = pickle.dumps(Trap(mark))
    yield payload
    assert not mark.exists()
    pickle.loads(payload)
    assert mark.exists()  # it would have told


@pytest.mark.parametrize("name", ["evidence.json", "proposal.html", "disclosure.csv", "python_model.pkl", MANIFEST])
def test_a_pickle_in_a_bundle_is_not_opened(bundle: Path, trap: bytes, name: str) -> None:
    (bundle / name).write_bytes(trap)
    if name != MANIFEST:
        seal_again(bundle)
    assert not checked(bundle).holds


def test_a_pickle_in_place_of_the_data_is_not_opened(bundle: Path, trap: bytes) -> None:
    (path,) = (bundle / "data").glob("*.parquet")
    path.write_bytes(trap)
    facts = unsealed(path.with_suffix(".json"))
    path.with_suffix(".json").write_bytes(sealed({**facts, "sha256": sha256_of(trap)}))
    seal_again(bundle)
    assert any("cannot be recomputed" in problem for problem in checked(bundle).problems)


@pytest.mark.parametrize("name", ["model.json", "model.pkl", MANIFEST])
def test_a_pickle_in_the_store_of_models_is_not_opened(tmp_path: Path, trap: bytes, name: str) -> None:
    model = write_model(SpanLike(), tmp_path)
    (tmp_path / model / name).write_bytes(trap)
    with pytest.raises(SnapshotError):
        read_model(tmp_path, model)


def test_a_pickle_in_the_state_of_the_nights_is_not_opened(tmp_path: Path, trap: bytes) -> None:
    (tmp_path / "state.json").write_bytes(trap)
    with pytest.raises(SnapshotError):
        read_state(tmp_path)


def test_nothing_that_is_installed_can_open_a_pickle_or_run_a_text() -> None:
    """Workers of one machine get theirs from joblib, over a pipe of their own; nothing reads one from a file."""
    openers = r"(c?loud)?pickle\.loads?|joblib\.load|marshal\.loads?|shelve\.open|.*read_pickle|.*Unpickler"
    runners = r"eval|exec|compile|os\.system|.*pyfunc\.(load_model|get_model_dependencies)|.*mlflow\..*\.load_model"
    found = [(str(path), name) for path, name, _ in calls() if re.fullmatch(f"{openers}|{runners}", name)]
    assert found == []
    loads = [(path, call) for path, name, call in calls() if name in ("np.load", "numpy.load")]
    for path, call in loads:
        told = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert told.get("allow_pickle") == "False", path
    assert len(loads) >= 1
    shells = [path for path, _, call in calls() for word in call.keywords if word.arg == "shell"]
    assert shells == []


# ---- YAML: there is none.


def test_nothing_that_is_installed_reads_yaml() -> None:
    """So that there is no bomb to bound; configuration is Python, facts are JSON."""
    imported = {
        name.partition(".")[0]
        for _, tree in modules()
        for node in ast.walk(tree)
        for name in (
            [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "json" in imported
    assert not imported & {"yaml", "ruamel", "oyaml", "strictyaml"}


# ---- Paths.


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "data/../../x", "..\\x", "data/./x", "~/x"])
def test_a_manifest_cannot_name_a_file_elsewhere(bundle: Path, name: str) -> None:
    seal_again(bundle, lambda manifest: manifest["files"].update({name: sha256_of(b"x")}))
    assert any("is no file of a bundle" in problem for problem in checked(bundle).problems)


@pytest.mark.parametrize("name", ["../" * 8 + "etc/passwd", "/etc/passwd", "0" * 63, "0" * 64 + "/../x"])
def test_a_manifest_cannot_name_data_elsewhere(bundle: Path, name: str) -> None:
    def elsewhere(manifest: dict[str, Any]) -> None:
        manifest["data"]["hash"] = manifest["request"]["data_hash"] = name

    seal_again(bundle, elsewhere)
    with pytest.raises(SnapshotError, match="hash of 64 digits"):
        checked(bundle)


@pytest.mark.parametrize("name", ["evidence.json", "data", MANIFEST])
def test_a_link_in_a_bundle_is_not_followed(bundle: Path, name: str) -> None:
    (bundle / name).rename(bundle.parent / "outside")
    (bundle / name).symlink_to(bundle.parent / "outside")
    try:
        found = checked(bundle)
    except ParameterError:
        assert name == MANIFEST
        return
    assert not found.holds


def test_a_linked_bundle_is_refused_and_none_is_written_through_a_link(bundle: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(bundle)
    with pytest.raises(ParameterError):
        checked(link)
    (tmp_path / "empty").mkdir()
    other = tmp_path / "other"
    other.symlink_to(tmp_path / "empty")
    with pytest.raises(ParameterError, match="new or empty folder"):
        write_bundle(request(), history(), other)
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "a/b", ".hidden", "x" * 65, "a\0b", ""])
def test_names_of_studies_markets_and_books_are_no_paths(name: str) -> None:
    with pytest.raises(ParameterError):
        state_folder(None, name)
    with pytest.raises(ParameterError):
        study_market(name)
    with pytest.raises(ParameterError):
        model_of(name)
    with pytest.raises(MarginlabError):
        Prices((Path(f"snapshot:{name}"),)).read()
    with pytest.raises((DataError, ParameterError)):
        own_books((("a", name, 1.0),), history())


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "", "a/../../x"])
def test_artifacts_stay_inside_their_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError):
        inside(tmp_path, name)


# ---- Names in pages.


class _Tags(HTMLParser):
    """Elements and attributes as a browser would take them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.attributes: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src")}


def test_names_are_text_in_html_and_in_markdown() -> None:
    asked = request(book=(("desk", "SYN1", 1.0),))
    evidence = recomputed(asked, history())
    calm = _Tags()
    calm.feed(pages_of(asked, evidence, {"version": "1", "python": "3"})["proposal.html"].decode())

    def poisoned(told: Any, key: str = "") -> Any:
        if isinstance(told, dict):
            return {name: poisoned(one, name) for name, one in told.items()}
        if isinstance(told, list):
            return [poisoned(one, key) for one in told]
        free = ("name", "book", "portfolio", "symbol", "crisis", "choice", "refused", "says", "underlying", "lead")
        return HOSTILE if isinstance(told, str) and key in (*free, "parameters", "unsaid", "flags", "implied") else told

    evil = request(title=HOSTILE, why=HOSTILE, remarks=HOSTILE, book=(("desk", "SYN1", 1.0),))
    pages = pages_of(evil, poisoned(evidence), {"version": HOSTILE, "python": HOSTILE})
    wild = _Tags()
    wild.feed(pages["proposal.html"].decode())
    assert wild.tags.keys() <= calm.tags.keys() | {"details", "summary"}
    assert wild.tags["script"] == calm.tags["script"] == 1
    assert wild.attributes <= calm.attributes
    assert all(link.startswith("#") or link == "data:," for link in wild.links)
    for name in ("proposal.md", "model_card.md"):
        text = pages[name].decode()
        assert not re.search(r"<(img|script)", text)
        assert not re.search(r"(?<!\\)\]\(", text)
        assert "@all" not in text


# ---- Tables.


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@given(st.lists(st.one_of(st.text(max_size=30), st.floats(), st.integers(-(10**9), 10**9), st.none()), min_size=1))
def test_no_cell_is_a_formula_and_numbers_are_numeric(row: list[Any]) -> None:
    (read,) = list(csv.reader(io.StringIO(csv_text([row])))) or [[""]]
    for given_value, found in zip(row, read, strict=False):
        if isinstance(given_value, (int, float)) and np.isfinite(given_value):
            assert float(found) == given_value
        if isinstance(given_value, str):
            assert not found.startswith(FORMULA)


def test_every_table_that_is_written_goes_through_the_one_that_is_safe(bundle: Path) -> None:
    writers = {str(path) for path, name, _ in calls() if name.endswith((".to_csv", "csv.writer", "csv.DictWriter"))}
    assert writers == {"research/csv_cells.py"}
    frame = pd.DataFrame({"=cmd|' /C calc'!A0": [1.5, -2.0]}, index=pd.Index(["+a", "@b"], name="-x"))
    assert frame_csv(frame) == "'-x,'=cmd|' /C calc'!A0\n'+a,1.5\n'@b,-2\n"
    for row in csv.reader(io.StringIO((bundle / "disclosure.csv").read_text("utf-8"))):
        assert all(is_number(cell) or not cell.startswith(FORMULA) for cell in row)


# ---- Secrets.


SECRET = "hunter2"


@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql://me:{SECRET}@127.0.0.1:9/runs",
        f"http://me:{SECRET}@127.0.0.1:9",
        f"postgresql://127.0.0.1:9/runs?password={SECRET}",
    ],
)
def test_a_secret_in_a_uri_is_in_no_log(uri: str) -> None:
    assert SECRET not in public(uri)
    assert SECRET not in masked(f"cannot log in at {uri} with {SECRET}", uri)


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_store_that_cannot_be_reached_keeps_the_password(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        pytest.raises(MarginlabError) as caught,
        MlflowTracker(f"{scheme}://me:{SECRET}@127.0.0.1:9").comparison("e", "n", {}, {}),
    ):
        pass
    assert SECRET not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)


def test_a_secret_of_the_environment_is_in_no_bundle(bundle: Path) -> None:
    names = ("PASSWORD", "TOKEN", "SECRET", "KEY", "CREDENTIALS", "HOME", "USER", "PWD", "HOSTNAME")
    words = {one for name, one in os.environ.items() if any(word in name.upper() for word in names) and len(one) > 4}
    payloads = [path.read_bytes() for path in bundle.rglob("*") if path.is_file()]
    assert [word for word in words if any(word.encode() in payload for payload in payloads)] == []


# ---- Sizes and depths.


def test_evidence_that_is_too_large_is_not_read(bundle: Path) -> None:
    for name in ("evidence.json", MANIFEST):
        with (bundle / name).open("wb") as file:
            file.truncate(verification.MOST_TOLD + 1)  # which takes no room on the disk
        started = time.perf_counter()
        if name == MANIFEST:
            with pytest.raises(SnapshotError, match="at most"):
                checked(bundle)
        else:
            seal_again(bundle)
            assert any("not read" in problem for problem in checked(bundle).problems)
        assert time.perf_counter() - started < 15


@pytest.mark.parametrize("depth", [DEEPEST + 2, 900, 5_000, 200_000])
@pytest.mark.parametrize("shape", ["list", "object"])
def test_evidence_that_is_too_deep_is_refused(bundle: Path, depth: int, shape: str) -> None:
    opened, shut = ("[", "]") if shape == "list" else ('{"a":', "}")
    inner = opened * depth + "1" + shut * depth
    (bundle / "evidence.json").write_text(f'{{"effect": {inner}}}')
    seal_again(bundle)
    assert any("cannot be read" in problem for problem in checked(bundle).problems)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000, "NaN", "Infinity"])
def test_numbers_that_are_none_are_refused(bundle: Path, number: str) -> None:
    text = (bundle / "evidence.json").read_text()
    (bundle / "evidence.json").write_text(text.replace('"window": 120', f'"window": {number}', 1))
    assert number in (bundle / "evidence.json").read_text()
    seal_again(bundle)
    assert not checked(bundle).holds


def test_data_that_unpacks_to_too_much_is_not_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a million equal numbers take a few hundred bytes."""
    monkeypatch.setattr(verification, "MOST_UNPACKED", 2_000_000)
    (path,) = (bundle / "data").glob("*.parquet")
    assert checked(bundle).holds
    pq.write_table(pa.table({"a": np.zeros(500_000)}), path)
    assert path.stat().st_size < 50_000
    seal_again(bundle)
    assert any("must come to at most" in problem for problem in checked(bundle).problems)


@pytest.mark.parametrize(
    "model", ["Monte-Carlo ES:scenarios=1000000000000000", "FHS, EWMA:volatility__half_life=1e308"]
)
def test_a_request_for_too_much_ends_in_a_sentence(bundle: Path, model: str) -> None:
    seal_again(bundle, lambda manifest: manifest["request"].update({"candidate": model}))
    found = checked(bundle)
    assert not found.holds
    assert found.problems


def test_crises_and_positions_are_bounded(bundle: Path) -> None:
    many = [["desk", f"S{n}", 1.0] for n in range(2_000)]
    seal_again(bundle, lambda manifest: manifest["request"].update({"book": many}))
    assert any("at most" in problem for problem in checked(bundle).problems)
    crises = {f"c{n}": ["2015-01-01", "2015-01-02"] for n in range(500)}
    seal_again(bundle, lambda manifest: manifest["request"].update({"book": [], "crises": crises}))
    assert any("crises" in problem for problem in checked(bundle).problems)


def test_json_says_a_thing_once(bundle: Path) -> None:
    evidence = json.loads((bundle / "evidence.json").read_bytes())
    text = encoded_json(evidence).decode().replace("{", '{"lead": "x", ', 1)
    (bundle / "evidence.json").write_text(text)
    seal_again(bundle)
    assert any("says something twice" in problem for problem in checked(bundle).problems)
