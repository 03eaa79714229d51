"""Does a bundle hold for somebody else: another folder, another user, the package installed from a wheel?"""

import getpass
import json
import os
import platform
import re
import socket
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bundles import history, recomputed, request, seal_again
from research.bundle import write_bundle
from research.proposal_request import Request
from research.verification import verify_bundle

ROOT = Path(__file__).resolve().parents[1]
SECRET = "hunter2-of-a-host"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has this project from a wheel alone, and borrows every other package."""
    folder = tmp_path_factory.mktemp("elsewhere")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    packages = next((folder / "venv").glob("lib/python*/site-packages"))
    with zipfile.ZipFile(next((folder / "dist").glob("*.whl"))) as wheel:
        wheel.extractall(packages)
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    # A folder named in a .pth file is searched, but no .pth file in it is read: an editable install stays away.
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    return folder


def asked(elsewhere: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as somebody else types it: another home, user, zone, language and folder."""
    home = elsewhere / "home of nobody"
    home.mkdir(exist_ok=True)
    told = {"HOME": str(home), "USER": "nobody-in-particular", "LOGNAME": "nobody-in-particular", "TZ": "Asia/Tokyo"}
    told |= {"LANG": "C", "PATH": "/usr/bin:/bin", "MARGINLAB_STORE": str(home / "store"), "NUMBA_DISABLE_JIT": "1"}
    command = [str(elsewhere / "venv" / "bin" / "python"), "-m", "research.cli", *words]
    return subprocess.run(
        command, cwd=home, env=told | environment, capture_output=True, text=True, check=False, timeout=120
    )


def small(**changes: Any) -> Request:
    return request(current="static, cross:rate=0.05", candidate="static, cross:rate=0.06", every=9, **changes)


def test_a_bundle_holds_in_an_environment_of_its_own(elsewhere: Path, tmp_path: Path) -> None:
    """Another processor's linear algebra and a package without a commit are other versions, and no tampering.

    Nothing is compiled there: kernels run as plain Python, which takes less time than compiling them once more.
    """
    folder = tmp_path / "bundle"
    write_bundle(small(), history(), folder, progress=False)
    other = "Nehalem" if platform.machine() == "x86_64" else "ARMV8"
    done = asked(elsewhere, "verify", str(folder), "--jobs", "1", "--json", OPENBLAS_CORETYPE=other)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["holds"]
    assert told["numbers"] > 500
    assert {note.partition(":")[0] for note in told["notes"]} <= {"git_commit", "git_dirty", "algebra"}
    assert other == "ARMV8" or any(other in note for note in told["notes"])


def test_the_package_of_the_other_environment_is_its_own(elsewhere: Path) -> None:
    where = "import research.bundle, data; print(research.bundle.__file__, data.__file__)"
    done = subprocess.run(
        [elsewhere / "venv" / "bin" / "python", "-c", where], cwd=elsewhere, capture_output=True, text=True, check=True
    )
    assert all(str(elsewhere / "venv") in path for path in done.stdout.split())


def test_other_processors_and_systems_are_said_and_leave_room_for_a_rounding(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_bundle(request(), history(), folder, progress=False)
    for name in ("machine", "system", "algebra"):
        seal_again(folder, lambda manifest, name=name: manifest["code"].update({name: "another"}))  # type: ignore[misc]
        found = verify_bundle(folder, recompute=recomputed)
        assert found.problems == ()
        assert [note for note in found.notes if note.startswith(f"{name}: made with another")]


def test_nothing_of_a_talkative_environment_is_in_a_bundle(elsewhere: Path, tmp_path: Path) -> None:
    """Every variable that a shell, a scheduler or a notebook sets holds a secret; none is in any file."""
    place = tmp_path / f"{SECRET}-folder"
    place.mkdir()
    prices = place / f"{SECRET}-prices.csv"
    history().to_frame().iloc[:, :1].to_csv(prices, index_label="date", date_format="%Y-%m-%d")
    positions = place / f"{SECRET}-book.csv"
    positions.write_text("symbol,quantity\nSYN1-PERP,2\nSYN1,-1\n")
    names = ("HOSTNAME", "HOST", "PWD", "OLDPWD", "MAIL", "SSH_CLIENT", "SUDO_USER", "GIT_AUTHOR_NAME", "EMAIL")
    more = ("MLFLOW_TRACKING_URI", "AWS_SECRET_ACCESS_KEY", "JUPYTER_TOKEN", "PYTHONUSERBASE", "TMPDIR", "USER")
    talkative = {name: str(place) if name == "TMPDIR" else SECRET for name in (*names, *more, "LOGNAME", "USERNAME")}
    words = ["--current", "static, cross:rate=0.05", "--candidate", "static, cross:rate=0.06", "--out", "bundle"]
    files = ["--market", str(prices), "--book", str(positions), "--level", "0.9", "--window", "150", "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "research.cli", "propose", *words, *files],
        cwd=place,
        env={**os.environ, **talkative, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    written = [path for path in (place / "bundle").rglob("*") if path.is_file()]
    assert len(written) == 8
    told = {SECRET, socket.gethostname(), getpass.getuser(), str(Path.home()), str(ROOT), str(elsewhere)} - {"/"}
    for path in written:
        payload = path.read_bytes()
        found = [word for word in told if re.search(rb"(?<!\w)" + re.escape(word.encode()) + rb"(?!\w)", payload)]
        assert found == [], path.name
        assert not re.search(rb"(?<![\w.])/(home|root|tmp|usr|work|var|Users)/", payload), path.name
