"""What is handed to those who vote, and how is it written so that nothing in it can be changed unseen?

A bundle is a folder: the pages of a proposal, the evidence they are made of, a sealed manifest that names every file by
its sha256, and, where the data has no name that anybody can load it by, the frozen data. Nothing in it says when, where
or by whom it was made, so that the same request on the same data with the same code gives the same bytes.
"""

import platform
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from data import MarketHistory, ParameterError
from data.sealed import sealed
from data.snapshot import freeze
from data.storage import sha256_of, write_whole
from research.proposal import Evidence, evidence_of
from research.proposal_pages import encoded_json, figure_numbers, pages_of
from research.proposal_request import Request
from research.records import code_version

MANIFEST, DATA = "manifest.json", "data"
FORMAT = 2
MOST_CARRIED = 50_000_000  # bytes of frozen data that a bundle takes along
BROUGHT = "brought by the author"  # in place of what a file was called on somebody's machine


def write_bundle(
    request: Request, history: MarketHistory, folder: Path, *, jobs: int = 1, progress: bool = True
) -> str:
    """Compute a proposal and write its bundle into a new or empty folder; returns the sha256 of its manifest.

    Raises
    ------
    ParameterError
        If the folder holds anything, or cannot be written, or the history is not the request's.
    HistoryError, ModelError
        As `replay` does.
    """
    _refuse_used(folder)
    history = replace(history, source=BROUGHT) if request.kind == "frozen" else history
    evidence = evidence_of(request, history, jobs=jobs, progress=progress)
    code = made_with()
    files = pages_of(request, evidence, code)
    if request.kind == "frozen":
        files |= _frozen(history, request.data_hash)
    manifest = _manifest(request, evidence, code, files)
    try:
        for name, payload in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, payload)
        write_whole(folder / MANIFEST, manifest)  # last: without it there is no bundle
    except OSError as error:
        raise ParameterError(f"a bundle needs a folder that can be written, got {folder}: {error}") from error
    return sha256_of(manifest)


def made_with() -> dict[str, str]:
    """Versions of the code and of what it stands on, and what decides the last bit: processor and linear algebra."""
    import scipy.linalg  # noqa: F401  (which loads the library that is asked about)
    from threadpoolctl import ThreadpoolController

    used = ThreadpoolController().select(user_api="blas").info()
    algebra = {f"{one['internal_api']} {one['version']} {one.get('architecture', '')}".strip() for one in used}
    kind = {"machine": platform.machine(), "system": platform.system(), "algebra": ", ".join(sorted(algebra))}
    return {**code_version(), **kind}


def _refuse_used(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise ParameterError(f"a bundle is written into a new or empty folder, got {folder}")


def _frozen(history: MarketHistory, name: str) -> dict[str, bytes]:
    """The two files of a snapshot, where they are small enough to be carried; none otherwise."""
    with tempfile.TemporaryDirectory() as place:
        freeze(history, Path(place))
        files = {f"{DATA}/{name}{end}": (Path(place) / f"{name}{end}").read_bytes() for end in (".json", ".parquet")}
    return files if sum(map(len, files.values())) <= MOST_CARRIED else {}


def _manifest(request: Request, evidence: Evidence, code: Mapping[str, str], files: Mapping[str, bytes]) -> bytes:
    return sealed(
        {
            "format": FORMAT,
            "request": request.to_json(),
            "data": {"hash": request.data_hash, "carried": any(name.startswith(f"{DATA}/") for name in files)},
            "code": dict(code),
            "files": {name: sha256_of(payload) for name, payload in files.items()},
            "figures": {name: sha256_of(encoded_json(told)) for name, told in figure_numbers(evidence).items()},
        }
    )
