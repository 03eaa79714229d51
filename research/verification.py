"""Is this the evidence that was given, and does it follow from the data?"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from data import MarginlabError, MarketHistory, ParameterError, SnapshotError
from data.sealed import read_whole, unsealed
from data.snapshot import content_hash, load
from data.storage import sha256_of, store_folder
from research.bundle import BROUGHT, DATA, FORMAT, MANIFEST, made_with
from research.differences import differences, is_number, leaves
from research.proposal import Evidence, evidence_of
from research.proposal_pages import PAGES, encoded_json, figure_numbers, pages_of
from research.proposal_request import Request, study_market

MOST_READ = 200_000_000  # bytes of any one file
MOST_TOLD, DEEPEST = 20_000_000, 40  # bytes of what is parsed as JSON, and lists or objects inside one another
MOST_UNPACKED = 1_000_000_000  # bytes that carried data may come to
Recompute = Callable[[Request, MarketHistory], Evidence]
AtOnce = Callable[[Sequence[str]], None]
_SHOWN = 20  # numbers that differ, named one by one


@dataclass(frozen=True)
class Verification:
    """What was found: `problems` (none where the bundle holds), `notes`, and how many numbers were recomputed.

    `identity` is the sha256 of the manifest: who has it from elsewhere knows that this is the bundle that was meant.
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    numbers: int
    identity: str

    @property
    def holds(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problems

    def summary(self) -> pd.DataFrame:
        """What a person reads first."""
        shown = {
            "the bundle": "holds" if self.holds else "does not hold",
            "numbers recomputed": f"{self.numbers:,}",
            "problems": f"{len(self.problems):,}",
            "notes": f"{len(self.notes):,}",
            "sha256 of its manifest": self.identity,
        }
        return pd.DataFrame({"": shown})

    def to_frame(self) -> pd.DataFrame:
        """One row a problem, then one row a note."""
        rows = [("problem", text) for text in self.problems] + [("note", text) for text in self.notes]
        return pd.DataFrame(rows, columns=["kind", "found"])

    def _repr_html_(self) -> str:
        found = "".join(f"<li>{kind}: {escape(text)}</li>" for kind, text in self.to_frame().to_numpy())
        return f"{self.summary().to_html(header=False)}<ul>{found}</ul>"


def verify_bundle(
    folder: Path,
    *,
    expect: str | None = None,
    store: Path | None = None,
    recompute: Recompute = evidence_of,
    at_once: AtOnce | None = None,
) -> Verification:
    """Check every file of a bundle, make every page again, and then recompute every number from the data.

    A manifest that does not match its own checksum, or is not the one expected, ends it: nothing is recomputed from
    what may be anything. Numbers must be the same to the last bit where the same versions made them, else within
    `differences.CLOSE`.

    Parameters
    ----------
    expect : sha256 that the manifest must have, where it is known from elsewhere; a beginning of 12 digits will do.
    store : where snapshots that a bundle does not carry are looked for; the store if None.
    recompute : what computes the evidence of a request on its data.
    at_once : told what is wrong with the files before anything is recomputed, which may take minutes; none if None.

    Raises
    ------
    ParameterError, SnapshotError
        If there is no bundle at all: no manifest, or a whole one that is not of this format.
    """
    identity = _identity(folder)
    problems = [] if expect is None else _other_bundle(identity, expect)
    try:
        manifest = unsealed(folder / MANIFEST)
    except SnapshotError as error:
        return Verification((*problems, str(error)), (), 0, identity)
    if problems:
        return Verification(tuple(problems), (), 0, identity)
    _refuse_other_format(folder / MANIFEST, manifest)
    problems += _wrong_files(folder, manifest)
    notes = _other_versions(manifest["code"])
    told = _read_evidence(folder / "evidence.json", problems)
    numbers = 0
    try:
        request = Request.from_json(manifest["request"])
        problems += _other_claims(request)
        problems += _wrong_pages(folder, manifest, request, told)
        if problems and at_once is not None:
            at_once(tuple(problems))
        fresh = recompute(request, _history(folder, manifest, request, store))
        numbers = sum(1 for _, value in leaves(fresh) if is_number(value))
        found = [] if told is None else list(differences(told, fresh, exact=not notes))
        problems += found[:_SHOWN] + ([f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])
    except (MarginlabError, ArithmeticError, MemoryError, ValueError) as error:  # a forger may ask for anything
        problems.append(f"it cannot be recomputed: {type(error).__name__}: {error!s:.400}")
    return Verification(tuple(dict.fromkeys(problems)), tuple(notes), numbers, identity)


def _identity(folder: Path) -> str:
    """The sha256 of the manifest; ParameterError where there is none, SnapshotError where it is too large."""
    path = folder / MANIFEST
    if folder.is_symlink() or path.is_symlink() or not path.is_file():
        raise ParameterError(f"a bundle is a folder with a {MANIFEST}, got {folder}")
    if path.stat().st_size > MOST_TOLD:
        raise SnapshotError(f"{path} must have at most {MOST_TOLD:,} bytes, got {path.stat().st_size:,}")
    return sha256_of(read_whole(path))


def _refuse_other_format(path: Path, manifest: Mapping[str, Any]) -> None:
    names = {"format", "request", "data", "code", "files", "figures"}
    if set(manifest) != names or manifest["format"] != FORMAT:
        raise SnapshotError(f"{path} must be a manifest of format {FORMAT} with {sorted(names)}")
    plain = ("code", "files", "figures")
    if any(not isinstance(manifest[name], dict) for name in plain):
        raise SnapshotError(f"{path} must name {', '.join(plain)} one by one")


def _other_bundle(identity: str, expect: str) -> list[str]:
    if not re.fullmatch(r"[0-9a-f]{12,64}", expect):
        raise ParameterError(f"--expect is a sha256, or 12 digits of it at least, got {expect!r}")
    return [] if identity.startswith(expect) else [f"{MANIFEST} must have the sha256 {expect}, got {identity}"]


def _wrong_files(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Files that are missing, too many, no plain files, or not what the manifest says."""
    listed, wanted = manifest["files"], _wanted(manifest)
    wrong = [f"{name} is named by the manifest and is no file of a bundle" for name in sorted(set(listed) - wanted)]
    wrong += [f"{name} is not named by the manifest" for name in sorted(wanted - set(listed))]
    there = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    }
    wrong += [f"{name!r} is in the folder and no part of the bundle" for name in sorted(there - wanted - {MANIFEST})]
    for name in sorted(wanted & set(listed)):
        path = folder / name
        if _leads_away(folder, path) or not path.is_file():
            wrong.append(f"{name} is missing, or no plain file")
        elif path.stat().st_size > MOST_READ or sha256_of(path.read_bytes()) != listed[name]:
            wrong.append(f"{name} is not the file that the manifest names by its sha256")
    return wrong


def _wanted(manifest: Mapping[str, Any]) -> set[str]:
    """The files a bundle has, whatever its manifest lists."""
    data = manifest["data"]
    told = isinstance(data, dict) and set(data) == {"hash", "carried"} and isinstance(data["hash"], str)
    if not told or not re.fullmatch(r"[0-9a-f]{64}", data["hash"]):
        raise SnapshotError(f"a manifest names its data by a hash of 64 digits, got {data!r:.120}")
    carried = {f"{DATA}/{data['hash']}{end}" for end in (".json", ".parquet")} if data["carried"] is True else set()
    return {*PAGES, *carried}


def _leads_away(folder: Path, path: Path) -> bool:
    return any(part.is_symlink() for part in (path, *path.parents) if part != folder and folder in part.parents)


def _other_versions(code: Mapping[str, Any]) -> list[str]:
    """What was made by other versions than those at hand."""
    here = made_with()
    names = sorted(set(code) | set(here))
    return [
        f"{name}: made with {code.get(name, 'none')}, checked with {here.get(name, 'none')}"
        for name in names
        if code.get(name) != here.get(name)
    ]


def _other_claims(request: Request) -> list[str]:
    """What a request says of a market that everybody knows otherwise."""
    if request.kind == "study":
        market = study_market(request.market)
        known = {"remarks": market.remarks, "title": market.title}
    elif request.kind == "sample":
        from data.sources.samples import SAMPLES

        known = {"title": SAMPLES[request.market].title} if request.market in SAMPLES else {}
    else:
        known = {}
    return [
        f"request.{name}: {request.market} is known as {text!r:.120}, got {getattr(request, name)!r:.120}"
        for name, text in known.items()
        if not getattr(request, name).startswith(text)  # where implied volatility is a proxy, a title says so
    ]


def _read_evidence(path: Path, problems: list[str]) -> Evidence | None:
    """Evidence as it was written; None, and a problem more, for JSON that is broken or says a thing twice."""
    if path.is_symlink() or not path.is_file():
        return None  # which is told with the other files
    if path.stat().st_size > MOST_TOLD:
        problems.append(f"{path.name} must have at most {MOST_TOLD:,} bytes, got {path.stat().st_size:,}: not read")
        return None
    try:
        told = json.loads(path.read_bytes(), object_pairs_hook=_once, parse_constant=_no_number)
        if not isinstance(told, dict):
            raise ParameterError(f"{path.name} must hold one object")
        if _deeper(told, DEEPEST):
            raise ParameterError(f"lists and objects lie more than {DEEPEST} deep in {path.name}")
    except (ValueError, RecursionError) as error:
        problems.append(f"{path.name} cannot be read: {error}")
        return None
    return told


def _deeper(told: Any, levels: int) -> bool:
    """Whether anything lies inside more than so many lists and objects; one level at a time, so that none is too deep.

    >>> _deeper([[1]], 2), _deeper([[1]], 1)
    (False, True)
    """
    layer = [told]
    for _ in range(levels + 1):
        layer = [one for one in layer if isinstance(one, (dict, list))]
        if not layer:
            return False
        layer = [inner for one in layer for inner in (one.values() if isinstance(one, dict) else one)]
    return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ParameterError("evidence.json says something twice")
    return dict(pairs)


def _no_number(text: str) -> Any:
    raise ParameterError(f"evidence.json holds {text}, which is no number of JSON")


def _wrong_pages(folder: Path, manifest: Mapping[str, Any], request: Request, told: Evidence | None) -> list[str]:
    """Pages that are not what the evidence gives, and figures whose numbers are not those that the manifest names."""
    if told is None:
        return []
    code = {str(name): str(value) for name, value in manifest["code"].items()}
    try:
        hashes = {name: sha256_of(encoded_json(numbers)) for name, numbers in figure_numbers(told).items()}
        pages = pages_of(request, told, code)
    except Exception as error:  # evidence that nobody computed may be wrong in any way
        return [f"evidence.json makes no pages: {type(error).__name__}: {error}"[:400]]
    wrong = [
        f"figure {name}: its numbers are not those that the manifest names by their sha256"
        for name in sorted(set(hashes) | set(manifest["figures"]))
        if hashes.get(name) != manifest["figures"].get(name)
    ]
    for name, payload in pages.items():
        path = folder / name
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= MOST_READ:
            wrong += _other_page(name, path.read_bytes(), payload)
    return wrong


def _other_page(name: str, found: bytes, made: bytes) -> list[str]:
    if found == made:
        return []
    lines, wanted = (payload.decode("utf-8", "replace").splitlines() for payload in (found, made))
    for n, line in enumerate(wanted, start=1):
        got = lines[n - 1] if n <= len(lines) else "nothing"
        if got != line:
            at = next((k for k, (a, b) in enumerate(zip(got, line, strict=False)) if a != b), min(len(got), len(line)))
            start = max(at - 40, 0)
            return [f"{name}, line {n}: evidence.json gives {line[start : at + 40]!r}, got {got[start : at + 40]!r}"]
    return [f"{name} has more in it than evidence.json gives"]


def _history(folder: Path, manifest: Mapping[str, Any], request: Request, store: Path | None) -> MarketHistory:
    """The data of a request: by its name, from the bundle, or from the store; refused where its hash is another."""
    if manifest["data"]["hash"] != request.data_hash:
        raise SnapshotError(f"the manifest names the data {manifest['data']['hash']}, its request {request.data_hash}")
    if request.kind == "study":
        history = study_market(request.market).load()
    elif request.kind == "sample":
        from data.sources.samples import load as load_sample

        history = load_sample(request.market)
    else:
        carried = folder / DATA
        place = (
            carried if (carried / f"{request.data_hash}.json").is_file() else (store or store_folder()) / "snapshots"
        )
        _refuse_bomb(place / f"{request.data_hash}.parquet")
        history = replace(load(request.data_hash, place), source=BROUGHT)
    if content_hash(history) != request.data_hash:
        raise SnapshotError(
            f"{request.market or 'the snapshot'} must hold {request.data_hash}, got {content_hash(history)}"
        )
    return history


def _refuse_bomb(path: Path) -> None:
    """SnapshotError where a small file says that it comes to too much; what is no Parquet file is told by `load`."""
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    try:
        told = read_metadata(path)
    except (ArrowException, OSError, ValueError):
        return
    size = max(sum(told.row_group(n).total_byte_size for n in range(told.num_row_groups)), 0)
    unpacked = max(size, 8 * told.num_rows * told.num_columns)
    if unpacked > MOST_UNPACKED:
        raise SnapshotError(f"{path.name} must come to at most {MOST_UNPACKED:,} bytes, says {unpacked:,}: not read")
