"""Does a real browser show a proposal without asking anybody for anything, sort it, print it, and fit it on a phone?"""

import json
import os
import re
import shutil
import subprocess
from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from bundles import history, recomputed, request
from research.proposal_pages import pages_of

pytestmark = pytest.mark.system

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = """--headless --no-first-run --disable-gpu --disable-quic --disable-background-networking --no-sandbox
 --disable-component-update --disable-sync --disable-extensions --disable-default-apps --hide-scrollbars
 --disable-features=OptimizationHints,MediaRouter,Translate --no-pings
 --proxy-server=127.0.0.1:9 --proxy-bypass-list=<-loopback>"""
PHONE, DESK = 390, 1200
LONG = "a very long name of a book <b>that</b> has_no_end_" + "x" * 90


@cache
def page() -> str:
    own = (("desk <b>A</b>", "SYN1-PERP", 2.0), ("desk <b>A</b>", "SYN2", -1.0), ("=hedge", "SYN1-INV", 50.0))
    evidence = json.loads(json.dumps(recomputed(request(book=own), history())))
    evidence["affected"]["books"][0]["name"] = LONG
    evidence["models"]["candidate"]["parameters"] *= 4  # so many that they are folded away
    evidence["unsaid"] = ["What nobody knows."]
    asked = request(title="Synthetic <script>alert(1)</script>", why="Because of " + "y" * 300, book=own)
    return pages_of(asked, evidence, {"version": "1", "python": "3"})["proposal.html"].decode()


def browser() -> str:
    """A headless browser; the test skips, or fails where the system's components are required, without one."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        why = f"none of {', '.join(BROWSERS)} is installed"
        if os.environ.get("MARGINLAB_REQUIRE_SYSTEM") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return found


def driven(folder: Path, *options: str, script: str = "") -> subprocess.CompletedProcess[str]:
    """Open the page, with one more script that its security policy is told of, in a browser without a network."""
    text = page()
    if script:
        digest = b64encode(sha256(script.encode()).digest()).decode()
        text = text.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
        text = text.replace("</body>", f"<script>{script}</script></body>")
    path = folder / "proposal.html"
    path.write_text(text, encoding="utf-8")
    return opened(folder, path, *options)


def opened(folder: Path, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    apart = ["--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", f"--window-size={DESK},1000"]
    command = [browser(), *QUIET.split(), *apart, *options, path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def measured(folder: Path, script: str) -> Any:
    """What a script that runs in the page answers."""
    whole = f"document.documentElement.dataset.answer = JSON.stringify((() => {{{script}}})());"
    return answer_in(driven(folder, "--dump-dom", script=whole).stdout)


def answer_in(shown: str) -> Any:
    answer = re.search(r'data-answer="([^"]*)"', shown)
    assert answer, shown[:400]
    return json.loads(unescape(answer[1]))


def measured_in_frame(folder: Path, script: str, width: int) -> Any:
    """The same in a frame of that width: no window of a desktop's browser is as narrow as a phone."""
    whole = f"addEventListener('load', () => parent.postMessage(JSON.stringify((() => {{{script}}})()), '*'));"
    driven(folder, "--dump-dom", script=whole)  # which writes the page
    hears = "addEventListener('message', told => { document.documentElement.dataset.answer = told.data; });"
    frame = f'<iframe src="proposal.html" style="border:0;width:{width}px;height:2000px"></iframe>'
    path = folder / "frame.html"
    path.write_text(f"<!DOCTYPE html><script>{hears}</script>{frame}", encoding="utf-8")
    return answer_in(opened(folder, path, "--dump-dom", "--virtual-time-budget=5000").stdout)


def asked_of_the_network(log: Path) -> set[str]:
    """What was asked on behalf of a page: what a browser asks for itself, updates of its own say, has no origin."""
    events = json.loads(log.read_text("utf-8"))["events"]
    asked = [event["params"] for event in events if "initiator" in event.get("params", {})]
    return {one["url"] for one in asked if one["initiator"] != "not an origin"}


def test_nothing_is_asked_of_anybody_and_the_console_stays_empty(tmp_path: Path) -> None:
    log = tmp_path / "net.json"
    done = driven(tmp_path, f"--log-net-log={log}", "--dump-dom")
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert asked_of_the_network(log) == set()
    assert "<script>alert" not in done.stdout


def test_a_page_that_asks_somebody_would_be_found_out(tmp_path: Path) -> None:
    log, path = tmp_path / "net.json", tmp_path / "asks.html"
    path.write_text("<!DOCTYPE html><title>x</title><img src='http://127.0.0.1:9/seen.png'>", encoding="utf-8")
    opened(tmp_path, path, f"--log-net-log={log}", "--dump-dom")
    assert any("127.0.0.1:9/seen.png" in url for url in asked_of_the_network(log))


def test_a_forbidden_script_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "proposal.html"
    owned = "document.documentElement.dataset.owned = 1"
    path.write_text(page().replace("</body>", f"<script>{owned}</script></body>"), encoding="utf-8")
    done = opened(tmp_path, path, "--dump-dom")
    assert "data-owned" not in done.stdout
    assert any("Content Security Policy" in line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_every_sortable_table_sorts_up_and_down_by_number(tmp_path: Path) -> None:
    script = """
      return [...document.querySelectorAll("table.sortable")].map(table => {
        const heads = [...table.tHead.rows[0].cells];
        const column = heads.findIndex((head, n) => n && [...table.tBodies[0].rows].some(row =>
          row.cells[n].querySelector("data")));
        const told = () => [...table.tBodies[0].rows].map(row => row.cells[column].querySelector("data").value);
        const seen = [];
        for (let n = 0; n < 2; n++) { heads[column].querySelector("button").click(); seen.push(told()); }
        return [seen[0], seen[1], heads[column].getAttribute("aria-sort")];
      });"""
    tables = measured(tmp_path, script)
    assert len(tables) >= 5
    for rising, falling, said in tables:
        numbers = [float(value) for value in rising if value]
        assert numbers == sorted(numbers)
        assert [float(value) for value in falling if value] == numbers[::-1]
        assert sorted(rising) == sorted(falling)
        assert said == "descending"


def test_names_sort_too(tmp_path: Path) -> None:
    script = """
      const table = document.querySelector("#affected").parentElement.querySelector("table.sortable");
      table.tHead.querySelector("button").click();
      return [...table.tBodies[0].rows].map(row => row.cells[0].textContent);"""
    names = measured(tmp_path, script)
    assert names == sorted(names, key=str.casefold)
    assert LONG in names


def test_figures_and_tables_can_be_read_without_eyes(tmp_path: Path) -> None:
    script = """
      const heads = [...document.querySelectorAll("th")];
      return {
        figures: [...document.querySelectorAll("svg")].map(one =>
          [one.getAttribute("role"), one.getAttribute("aria-label"),
           one.closest("figure").querySelector("figcaption").textContent.trim()]),
        captions: [...document.querySelectorAll("table")].map(one => one.caption?.textContent.trim() ?? ""),
        unscoped: heads.filter(one => !one.scope).length,
        language: document.documentElement.lang,
        levels: [...document.querySelectorAll("h1,h2,h3")].map(one => Number(one.tagName[1])),
      };"""
    told = measured(tmp_path, script)
    assert len(told["figures"]) >= 6
    assert all(role == "img" and len(name) > 25 and len(text) > 25 for role, name, text in told["figures"])
    assert len(told["captions"]) >= 6
    assert all(told["captions"])
    assert told["unscoped"] == 0
    assert told["language"] == "en"
    assert told["levels"][0] == 1
    assert told["levels"].count(1) == 1
    assert all(after - before <= 1 for before, after in zip(told["levels"], told["levels"][1:], strict=False))


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_fits_and_letters_can_be_read(tmp_path: Path, width: int) -> None:
    script = """
      const wide = [...document.querySelectorAll("body *")].filter(one => !one.closest(".scroll") &&
        !one.closest("svg") && one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5);
      const boxes = [...document.querySelectorAll("svg")].flatMap(one => {
        const edge = one.getBoundingClientRect();
        return [...one.querySelectorAll("text")].filter(text => {
          const box = text.getBoundingClientRect();
          return box.left < edge.left - 1 || box.right > edge.right + 1;
        }).map(text => text.textContent);
      });
      const letters = [...document.querySelectorAll("p, li, td, th, figcaption, caption")].map(one =>
        parseFloat(getComputedStyle(one).fontSize));
      const drawn = [...document.querySelectorAll("svg text")].map(one => one.getBoundingClientRect().height);
      return { inner: window.innerWidth, scrolls: document.documentElement.scrollWidth,
        wide: wide.slice(0, 5).map(one => one.outerHTML.slice(0, 120)), cut: boxes, letters: Math.min(...letters),
        drawn: Math.min(...drawn) };"""
    told = measured_in_frame(tmp_path, script, width)
    assert told["inner"] == width
    assert told["scrolls"] <= width
    assert told["wide"] == []
    assert told["cut"] == []
    assert told["letters"] >= 12
    assert told["drawn"] >= 9


def test_it_prints_to_a_few_pages_of_paper(tmp_path: Path) -> None:
    path = tmp_path / "proposal.pdf"
    driven(tmp_path, f"--print-to-pdf={path}", "--no-pdf-header-footer")
    payload = path.read_bytes()
    assert payload.startswith(b"%PDF-")
    assert payload.rstrip().endswith(b"%%EOF")
    pages = re.findall(rb"/Type\s*/Page\b(?!s)", payload)
    assert 5 <= len(pages) <= 16
    boxes = {
        tuple(round(float(edge)) for edge in box.split()) for box in re.findall(rb"/MediaBox\s*\[([^\]]*)\]", payload)
    }
    assert all(abs(box[2] - 595) <= 2 and abs(box[3] - 842) <= 2 for box in boxes)
    assert boxes
