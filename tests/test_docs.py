"""Does what the pages say run, and lead somewhere?"""

import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]

from backtest import Comparison
from markets import two_coins

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "notebooks" / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
STARTS = ("marginlab ", ".venv/bin/marginlab ")


@pytest.fixture(autouse=True)
def off_screen() -> Iterator[None]:
    from matplotlib import pyplot

    matplotlib.use("Agg")
    yield
    pyplot.close("all")


def snippet(page: str, what: str) -> str:
    """The code below a mark `<!-- runs: ... -->`."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.search(rf"<!-- runs: {what} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found is not None, f"no {what} in {page}"
    return found[1]


def lines_of_code(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def test_an_own_data_frame_takes_three_lines_and_an_own_model_ten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, model = snippet("quant.md", "an own data frame"), snippet("quant.md", "an own model")
    assert lines_of_code(frame) <= 3
    assert lines_of_code(model) <= 10
    two_coins(500).to_frame().tz_localize(None).dropna().to_csv(tmp_path / "prices.csv")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(snippet("quant.md", "the imports") + frame + model, names)
    exec(snippet("quant.md", "a comparison").replace("history)", "history, progress=False)"), names)
    told = names["comparison"]
    assert isinstance(told, Comparison)
    assert set(told.replays) == {"HistoricalVaR()", "Mine()"}
    assert told.scores["Mine()"].coverage > 0.95


@pytest.mark.filterwarnings("default")
def test_the_readme_runs_as_it_stands_in_a_fresh_kernel(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    two_coins(500).to_frame().tz_localize(None).dropna().to_csv(tmp_path / "prices.csv")
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    book: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])  # type: ignore[no-untyped-call]
    NotebookClient(book, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = book.cells[0].outputs
    assert not [one for one in outputs if one.get("name") == "stderr"]
    shown = [one.data["text/html"] for one in outputs if one.output_type == "execute_result"]
    assert len(shown) == 1
    assert "Mine()" in shown[0]
    assert "HistoricalVaR()" in shown[0]


def test_the_gate_of_the_page_passes_and_refuses() -> None:
    from types import SimpleNamespace

    from research.gates import Case, GateResult, Limits

    names: dict[str, Any] = {"np": np, "Case": Case, "Limits": Limits, "GateResult": GateResult}
    exec(snippet("extend.md", "a gate"), names)

    def answer(*margins: float) -> str:
        case = SimpleNamespace(judged=SimpleNamespace(replay=SimpleNamespace(initial=np.array([margins]))))
        return str(names["peak_of_margin"](case, Limits()).verdict)

    assert (answer(0.2, 0.9), answer(0.2, 1.1)) == ("passed", "refused")


def commands() -> list[tuple[str, str]]:
    """Every command line of marginlab in a shell block of a page."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = [re.sub(r"^(\w+=\S+ )*", "", line.strip()) for line in block.splitlines()]
            found += [(page.name, line) for line in lines if line.startswith(STARTS)]
    return found


def test_every_command_of_the_pages_exists_with_its_options() -> None:
    import typer

    from research.cli import app

    root: Any = typer.main.get_command(app)
    seen = commands()
    assert len(seen) > 30
    for page, line in seen:
        words = shlex.split(line, comments=True)[1:]
        command = root
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert not hasattr(command, "commands"), f"{page}: {line}"
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
        unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - known
        assert not unknown, f"{page}: {line}: {unknown}"


def test_every_link_of_the_pages_leads_to_a_file() -> None:
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_in_the_navigation_and_none_asks_a_network() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    flat = re.findall(r"[\w/-]+\.md", str(settings["nav"]))
    assert sorted(flat) == sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
    assert settings["theme"]["font"] is False
    assert not settings.get("extra_javascript")
    assert not settings.get("extra_css")


def test_the_runbook_has_every_exit_code_and_no_other() -> None:
    from research import night_report as codes

    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    ours = {codes.DONE, codes.BUG, codes.USAGE, codes.NO_DATA, codes.REFUSED, codes.HELD, codes.AGAIN}
    assert told == ours | {128 + 15}


def test_the_runbook_watches_metrics_that_are_written() -> None:
    from research.night_report import metrics
    from research.night_state import MarketState, NightState

    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    written = metrics(NightState(markets={"one": MarketState()}))
    watched = re.findall(r"^\| `(marginlab_\w+)`", text, re.MULTILINE)
    assert watched
    assert all(f"\n{name}" in written for name in watched)


def test_every_notebook_is_in_the_index_has_parameters_and_no_outputs() -> None:
    import nbformat

    index = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    files = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert re.findall(r"\]\((\w+\.ipynb)\)", index) == [path.name for path in files]
    for path in files:
        book: Any = nbformat.read(io.StringIO(path.read_text(encoding="utf-8")), as_version=4)  # type: ignore[no-untyped-call]
        tagged = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", ())]
        assert len(tagged) == 1, path.name
        assert not any(cell.get("outputs") for cell in book.cells), path.name
        assert book.cells[0].source.startswith("# "), path.name
