"""Does the page of formats and checks say what the code does?"""

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from data.sources.recognise import layouts
from research.cli_formats import checks_table, data_formats, formats_table, kinds_table, page

ROOT = Path(__file__).parents[1]
APP = typer.Typer()
APP.command()(data_formats)


def test_every_layout_and_every_check_is_on_the_page() -> None:
    assert formats_table()["format"].tolist() == [layout.name for layout in layouts()]
    checks = checks_table().set_index("check")
    assert checks.index.is_unique
    assert checks.loc["splice", "outcome"] == "quarantine"
    assert checks.loc["out of order", "outcome"] == "repair"
    assert checks.loc["wick", "outcome"] == "accept"
    assert checks.loc["wick", "asked of"] == "bars"
    assert checks.loc["future", "asked of"] == "all"
    assert {"duplicate", "numbers skipped", "short bar", "shifted zone", "lone price"} <= set(checks.index)


def test_the_page_in_docs_is_what_the_command_makes() -> None:
    assert (ROOT / "docs" / "data.md").read_text() == page(formats_table(), kinds_table(), checks_table())


def test_the_command_prints_writes_and_speaks_json(tmp_path: Path) -> None:
    plain, markdown, told = (CliRunner().invoke(APP, words) for words in ([], ["--markdown"], ["--json"]))
    assert "tardis incremental_book_L2" in plain.stdout
    assert markdown.stdout.startswith("# Files that can be read")
    assert {*json.loads(told.stdout)} == {"formats", "kinds", "checks"}
    assert CliRunner().invoke(APP, ["--out", str(tmp_path / "page.md")]).exit_code == 0
    assert (tmp_path / "page.md").read_text() == markdown.stdout
