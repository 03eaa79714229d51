"""Does a bundle hold wherever it is carried, and is every way of tampering with it found?"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bundles import forge, history, recomputed, request, seal_again
from data import ParameterError, SnapshotError
from data.sealed import sealed, unsealed
from data.snapshot import content_hash, freeze
from data.storage import sha256_of
from research.bundle import MANIFEST, write_bundle
from research.cli import app
from research.differences import differences
from research.proposal_pages import encoded_json
from research.verification import Verification, verify_bundle

Tamper = Callable[[Path], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "bundle"
    write_bundle(request(), history(), folder, progress=False)
    return folder


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy in another folder."""
    return Path(shutil.copytree(made, tmp_path / "elsewhere" / "copy"))


def checked(folder: Path, **options: Any) -> Verification:
    return verify_bundle(folder, recompute=recomputed, store=folder.parent / "no store", **options)


def test_a_bundle_that_was_moved_holds_and_every_number_is_recomputed(bundle: Path) -> None:
    found = checked(bundle)
    assert found.problems == ()
    assert found.notes == ()
    assert found.numbers > 1000
    assert checked(bundle, expect=found.identity[:12]).holds


def test_two_runs_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    write_bundle(request(), replace(history(), source="another remark"), again, progress=False)
    files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert [str(file) for file in files if (made / file).read_bytes() != (again / file).read_bytes()] == []


def edited(name: str, before: str, after: str, *, again: bool) -> Tamper:
    """A text replaced in a file, whose hash a forger then mends."""

    def tamper(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert before in text, before
        (folder / name).write_text(text.replace(before, after, 1), encoding="utf-8")
        if again:
            seal_again(folder)

    return tamper


def removed(folder: Path) -> None:
    (folder / "model_card.md").unlink()


def added(folder: Path) -> None:
    (folder / "notes.txt").write_text("read me")


def hidden(folder: Path) -> None:
    (folder / "data" / ".hidden").write_bytes(b"")


def linked(folder: Path) -> None:
    shutil.copy(folder / "proposal.md", folder.parent / "outside.md")
    (folder / "proposal.md").unlink()
    (folder / "proposal.md").symlink_to(folder.parent / "outside.md")


def unlisted(folder: Path) -> None:
    seal_again(folder, lambda manifest: manifest["files"].pop("disclosure.csv"))


def outside(folder: Path) -> None:
    (folder.parent / "x").write_text("x")
    seal_again(folder, lambda manifest: manifest["files"].update({"../x": sha256_of(b"x")}))


def flipped_data(folder: Path) -> None:
    (path,) = (folder / "data").glob("*.parquet")
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    path.write_bytes(payload)
    seal_again(folder)


def other_data(folder: Path) -> None:
    """Another history, whole and frozen, under the name of the first."""
    shutil.rmtree(folder / "data")
    spot = history().spot.copy()
    spot[100, 0] *= 1.001
    name = freeze(replace(history(), spot=spot), folder / "data")
    (folder / "data" / ".lock").unlink(missing_ok=True)
    for end in (".json", ".parquet"):
        (folder / "data" / f"{name}{end}").rename(folder / "data" / f"{content_hash(history())}{end}")
    seal_again(folder)


def asked_otherwise(name: str, value: object) -> Tamper:
    def tamper(folder: Path) -> None:
        seal_again(folder, lambda manifest: manifest["request"].update({name: value}))

    return tamper


def set_at(path: str, value: object) -> Tamper:
    """A number of the evidence changed, and everything else made to agree with it."""

    def tamper(folder: Path) -> None:
        def change(evidence: dict[str, Any]) -> None:
            at: Any = evidence
            *way, last = path.split(".")
            for part in way:
                at = at[int(part)] if isinstance(at, list) else at[part]
            key = int(last) if isinstance(at, list) else last
            assert at[key] != value
            at[key] = value

        forge(folder, change)

    return tamper


def last_bit(folder: Path) -> None:
    def change(evidence: dict[str, Any]) -> None:
        evidence["effect"]["candidate"]["mean_margin"] *= 1.0 + 2.0**-52

    forge(folder, change)


def forged_figure(folder: Path) -> None:
    """The line of a figure bent in the page, and the hash of the page mended."""
    page = (folder / "proposal.html").read_text(encoding="utf-8")
    point = re.search(r'<polyline points="(\d+\.\d),', page)
    assert point
    (folder / "proposal.html").write_text(page.replace(point[1], "60.0", 1), encoding="utf-8")
    seal_again(folder)


def said_twice(folder: Path) -> None:
    path = folder / "evidence.json"
    path.write_bytes(path.read_bytes().replace(b'{\n "affected"', b'{\n "lead": "x",\n "affected"', 1))
    seal_again(folder)


def figure_hash(folder: Path) -> None:
    seal_again(folder, lambda manifest: manifest["figures"].update({"margin": "0" * 64}))


def wrong_number(folder: Path) -> None:
    """A number that the page shows, and the value a machine reads of it, changed together; the page hashed anew."""
    page = (folder / "proposal.html").read_text(encoding="utf-8")
    shown = re.search(r'<data value="([^"]+)" data-id="effect.candidate.coverage">([^<]+)</data>', page)
    assert shown
    better = shown[0].replace(shown[1], "0.9999").replace(shown[2], "99.99\u00a0%")
    (folder / "proposal.html").write_text(page.replace(shown[0], better), encoding="utf-8")
    seal_again(folder)


def wrong_card(folder: Path) -> None:
    """The coverage in the model card."""
    card = (folder / "model_card.md").read_text(encoding="utf-8")
    (folder / "model_card.md").write_text(re.sub(r"Covered \d+\.\d+ %", "Covered 99.99 %", card), encoding="utf-8")
    seal_again(folder)


def without_worst_row(folder: Path) -> None:
    """A book left off the supervisors' table, in the evidence too."""
    forge(folder, lambda evidence: evidence["disclosure"].pop())


def row_left_out(folder: Path) -> None:
    """The same in the table alone."""
    rows = (folder / "disclosure.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "disclosure.csv").write_text("".join(rows[:-1]), encoding="utf-8")
    seal_again(folder)


def figure_moved(folder: Path) -> None:
    """The series of one figure in the place of another's, everything hashed anew."""

    def change(evidence: dict[str, Any]) -> None:
        series = evidence["figures"]["margin"]
        series["current"], series["candidate"] = series["candidate"], series["current"]

    forge(folder, change)


def nothing_added(folder: Path) -> None:
    """An empty list where nothing is said."""
    forge(folder, lambda evidence: evidence["effect"].update(approved_by=[]))


def limits_hushed(folder: Path) -> None:
    forge(folder, lambda evidence: evidence.update(unsaid=["Nothing."]))


def own_books_added(folder: Path) -> None:
    """Positions that the author never had."""
    seal_again(folder, lambda manifest: manifest["request"].update({"book": [["fund", "SYN1", 1.0]]}))


def without_versions(folder: Path) -> None:
    """Versions left out, in the hope that any number will then do."""
    forge(folder, lambda evidence: evidence["effect"]["candidate"].update(coverage=0.9999))
    seal_again(folder, lambda manifest: manifest.update(code={"version": "0.1.0", "python": "3.11"}))


WAYS: dict[str, tuple[Tamper, str]] = {
    "a page edited": (edited("proposal.html", "Summary", "Summery", again=False), "proposal.html is not the file"),
    "a page edited and its hash mended": (
        edited("proposal.html", "Summary", "Summery", again=True),
        "proposal.html, line",
    ),
    "a sentence of the forum's text": (
        edited("proposal.md", "## Motivation", "## Reason", again=True),
        "proposal.md, line",
    ),
    "a sentence of the model card": (
        edited("model_card.md", "Not modelled", "Modelled", again=True),
        "model_card.md, line",
    ),
    "a cell of the disclosure": (edited("disclosure.csv", "green", "Green", again=True), "disclosure.csv, line"),
    "a figure's line bent": (forged_figure, "proposal.html, line"),
    "a figure's hash": (figure_hash, "figure margin"),
    "a number forged everywhere": (
        set_at("effect.candidate.coverage", 0.9999),
        "effect.candidate.coverage: the bundle says 0.9999, recomputed",
    ),
    "a number's last bit": (last_bit, "effect.candidate.mean_margin"),
    "a number of a figure forged everywhere": (set_at("figures.margin.current.3", 0.5), "figures.margin.current.3"),
    "a cell of the disclosure forged everywhere": (set_at("disclosure.0.breaches", 1), "disclosure.0.breaches"),
    "the verdict forged everywhere": (set_at("verdict.word", "adopt at once"), "verdict.word"),
    "the stress forged everywhere": (set_at("stress.multiple", 1.0), "stress.multiple"),
    "evidence that says a thing twice": (said_twice, "says something twice"),
    "a file missing": (removed, "model_card.md is missing"),
    "a file added": (added, "'notes.txt' is in the folder"),
    "a hidden file among the data": (hidden, "'data/.hidden' is in the folder"),
    "a link in place of a file": (linked, "proposal.md is missing, or no plain file"),
    "a file left off the manifest": (unlisted, "disclosure.csv is not named by the manifest"),
    "a file outside named": (outside, "../x is named by the manifest and is no file of a bundle"),
    "a bit of the data flipped": (flipped_data, "cannot be recomputed: SnapshotError"),
    "other data under its name": (other_data, "cannot be recomputed: SnapshotError"),
    "another level asked": (
        asked_otherwise("coverage", {"level": 0.94, "horizon": "1D", "path": "end", "numeraire": "USD"}),
        "the bundle says",
    ),
    "another model asked": (
        asked_otherwise("candidate", "static, isolated"),
        "affected.books.0.after: the bundle says",
    ),
    "a model from a file asked": (asked_otherwise("candidate", "mine.py:model"), "without foreign code"),
    "a number of the page": (wrong_number, "proposal.html, line"),
    "a number of the model card": (wrong_card, "model_card.md, line"),
    "a row of the disclosure left out": (row_left_out, "disclosure.csv"),
    "a row of the disclosure left out everywhere": (without_worst_row, "disclosure."),
    "the lines of a figure swapped everywhere": (figure_moved, "figures.margin.candidate"),
    "an empty list added": (nothing_added, "effect.approved_by: the bundle says []"),
    "what cannot be said hushed up": (limits_hushed, "unsaid"),
    "own books of nobody": (own_books_added, "own"),
    "versions left out and a number forged": (without_versions, "effect.candidate.coverage: the bundle says 0.9999"),
    "a reason put into the author's mouth": (asked_otherwise("why", "because I say so"), "proposal.html, line"),
}


@pytest.mark.parametrize("way", WAYS)
def test_tampering_is_found_and_named(bundle: Path, way: str) -> None:
    tamper, told = WAYS[way]
    tamper(bundle)
    found = checked(bundle)
    assert not found.holds
    assert any(told in problem for problem in found.problems), found.problems


def test_evidence_and_manifests_of_any_shape_are_refused_without_a_crash(bundle: Path) -> None:
    evidence, manifest = (json.loads((bundle / name).read_bytes()) for name in ("evidence.json", MANIFEST))
    odd: list[Any] = [None, [], {}, "x", 1e308, [[[]]], {"current": []}, True]
    for n, key in enumerate(evidence):
        other = odd[n % len(odd)] if odd[n % len(odd)] != evidence[key] else "x"
        (bundle / "evidence.json").write_bytes(encoded_json({**evidence, key: other}))
        seal_again(bundle)
        assert not checked(bundle).holds, key
    (bundle / "evidence.json").write_bytes(b"[" * 200_000)
    seal_again(bundle)
    assert any("cannot be read" in problem for problem in checked(bundle).problems)
    (bundle / "evidence.json").write_bytes(encoded_json(evidence))
    del manifest["manifest"]
    for key in ("request", "data", "code", "files", "figures"):
        for value in odd:
            (bundle / MANIFEST).write_bytes(sealed({**manifest, key: value}))
            with contextlib.suppress(SnapshotError, ParameterError):
                assert not checked(bundle).holds, (key, value)


def never(*_: object) -> Any:
    raise AssertionError("nothing is recomputed")


@pytest.mark.parametrize(
    "payload", [b"", b"[1, 2]", b'{"manifest": "' + b"0" * 64 + b'"}', b"[" * 100_000], ids=range(4)
)
def test_what_is_no_manifest_does_not_hold(bundle: Path, payload: bytes) -> None:
    (bundle / MANIFEST).write_bytes(payload)
    found = verify_bundle(bundle, recompute=never)
    assert not found.holds
    assert found.identity == sha256_of(payload)


def test_a_whole_manifest_of_another_format_is_no_bundle(bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes(sealed({"format": 1}))
    with pytest.raises(SnapshotError, match="of format"):
        checked(bundle)


def test_a_byte_more_in_a_manifest_ends_with_one_at_once(bundle: Path) -> None:
    """And not with 2, as where there is no bundle: somebody changed this one."""
    with (bundle / MANIFEST).open("ab") as manifest:
        manifest.write(b"x")
    assert verify_bundle(bundle, recompute=never).numbers == 0
    told = CliRunner().invoke(app, ["verify", str(bundle)])
    assert told.exit_code == 1, told.output
    assert "WRONG" in told.stdout
    assert "does not hold: 1 problem(s); 0 numbers recomputed" in told.stdout


def test_another_bundle_than_was_meant_is_told_without_recomputing(bundle: Path) -> None:
    (problem,) = verify_bundle(bundle, expect="0" * 12, recompute=never).problems
    assert "must have the sha256 000000000000" in problem
    told = CliRunner().invoke(app, ["verify", str(bundle), "--expect", "0" * 12, "--json"])
    assert told.exit_code == 1, told.output
    assert json.loads(told.stdout)["numbers"] == 0


@pytest.mark.parametrize("tamper", [added, removed, wrong_number])
def test_a_file_that_was_altered_is_told_before_anything_is_recomputed(bundle: Path, tamper: Tamper) -> None:
    tamper(bundle)
    heard: list[str] = []

    def listening(*request: Any) -> Any:
        assert heard
        return recomputed(*request)

    found = verify_bundle(bundle, recompute=listening, at_once=heard.extend)
    assert set(heard) <= set(found.problems)
    assert found.numbers > 1000


def test_a_cut_manifest_and_a_missing_one_are_told_apart(bundle: Path) -> None:
    manifest = bundle / MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:-10])
    assert any("no manifest" in problem for problem in checked(bundle).problems)
    manifest.unlink()
    with pytest.raises(ParameterError, match="a folder with a manifest"):
        checked(bundle)


def test_a_bundle_forged_as_a_whole_is_another_bundle(bundle: Path) -> None:
    """Words that no number follows from can be sealed anew; who knows the manifest's hash sees it."""
    identity = checked(bundle).identity
    seal_again(bundle, lambda manifest: manifest["request"].update({"why": "because"}))
    forge(bundle, lambda evidence: None)
    assert checked(bundle).holds
    found = checked(bundle, expect=identity)
    assert any("must have the sha256" in problem for problem in found.problems)
    with pytest.raises(ParameterError, match="12 digits"):
        checked(bundle, expect="nonsense")


def test_other_versions_are_said_and_numbers_may_then_be_off_by_a_rounding(bundle: Path) -> None:
    def older(manifest: dict[str, Any]) -> None:
        manifest["code"]["with.numpy"] = "2.3.0"

    def nearly(evidence: dict[str, Any]) -> None:
        evidence["effect"]["current"]["mean_margin"] *= 1.0 + 1e-13

    seal_again(bundle, older)
    forge(bundle, nearly)
    found = checked(bundle)
    assert found.problems == ()
    assert any("numpy: made with 2.3.0" in note for note in found.notes)
    forge(bundle, lambda evidence: evidence["effect"]["current"].update(mean_margin=0.03))
    assert any("effect.current.mean_margin" in problem for problem in checked(bundle).problems)


def test_data_that_is_not_carried_is_looked_for_in_the_store(bundle: Path, tmp_path: Path) -> None:
    shutil.rmtree(bundle / "data")

    def left_at_home(manifest: dict[str, Any]) -> None:
        manifest["data"]["carried"] = False
        manifest["files"] = {name: h for name, h in manifest["files"].items() if not name.startswith("data/")}

    manifest = unsealed(bundle / MANIFEST)
    left_at_home(manifest)
    (bundle / MANIFEST).write_bytes(sealed(manifest))
    assert any("cannot be recomputed" in problem for problem in checked(bundle).problems)
    freeze(history(), tmp_path / "store" / "snapshots")
    assert verify_bundle(bundle, recompute=recomputed, store=tmp_path / "store").problems == ()


def test_differences_name_the_number_and_both_values() -> None:
    told, fresh = {"a": [1.0, 2.0], "b": "x", "d": 1}, {"a": [1.0, 2.5], "c": None, "d": 1.0}
    assert list(differences(told, fresh, exact=True)) == [
        "a.1: the bundle says 2.0, recomputed 2.5",
        "b: the bundle says 'x', nothing of that is recomputed",
        "c: recomputed None, the bundle says nothing",
        "d: the bundle says 1, recomputed 1.0",
    ]
    assert list(differences({"a": 1.0}, {"a": 1.0 + 1e-12}, exact=False)) == []
    assert len(list(differences({"a": 1.0}, {"a": 1.0 + 1e-6}, exact=False))) == 1
    assert len(list(differences({"a": 1.0}, {"a": None}, exact=False))) == 1


def test_the_command_ends_with_one_and_says_what_is_wrong(bundle: Path) -> None:
    set_at("effect.candidate.coverage", 0.9999)(bundle)
    added(bundle)
    told = CliRunner().invoke(app, ["verify", str(bundle), "--jobs", "1"])
    assert told.exit_code == 1, told.output
    assert "WRONG: effect.candidate.coverage: the bundle says 0.9999, recomputed" in told.stdout
    assert "WRONG: 'notes.txt' is in the folder and no part of the bundle" in told.stderr
    nothing = CliRunner().invoke(app, ["verify", str(bundle / "nowhere")])
    assert nothing.exit_code == 2


def test_nothing_of_this_machine_is_in_a_bundle(made: Path) -> None:
    import getpass
    import socket

    home, here = str(Path.home()), str(Path(__file__).parents[1])
    secrets = {socket.gethostname(), home, here, str(made), str(made.parent), os.getcwd()} - {"/", ""}
    user = getpass.getuser()
    for path in made.rglob("*"):
        if path.is_file():
            payload = path.read_bytes()
            assert [word for word in secrets if word.encode() in payload] == []
            assert not re.search(rb"(?<![\w.])/(home|root|tmp|usr|work|var|Users)/", payload), path
            assert not re.search(rb"\b" + re.escape(user.encode()) + rb"\b", payload), path
            assert encoded_json({}) != payload
