"""Does a notebook take its parameters from outside, and do its results follow?"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MODELS = {"right": 1, "twice": 2}  # and how many times the breaches it has that were asked for


def cell_of_parameters(path: Path) -> str:
    import nbformat

    book: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    (cell,) = (cell for cell in book.cells if "parameters" in cell.metadata.get("tags", ()))
    return str(cell.source)


def executed(path: Path, folder: Path, until: str, **parameters: Any) -> Any:
    """A notebook run by papermill up to the cell that holds some text; `make check` runs the whole of it."""
    import nbformat
    from papermill import execute_notebook

    book: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    last = next(n for n, cell in enumerate(book.cells) if until in cell.source)
    book.cells = book.cells[: last + 1]
    nbformat.write(book, folder / "first.ipynb")  # type: ignore[no-untyped-call]
    return execute_notebook(folder / "first.ipynb", folder / path.name, parameters, progress_bar=False, cwd=folder)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_knows_every_parameter_of_a_notebook_and_its_default(path: Path) -> None:
    from papermill import inspect_notebook

    names: dict[str, Any] = {}
    exec(cell_of_parameters(path), {}, names)
    told = inspect_notebook(path)
    assert set(told) == set(names)
    assert {name: eval(one["default"]) for name, one in told.items()} == names
    assert names


def shares(book: Any) -> dict[tuple[str, str], float]:
    """The table of Basel's zones in notebook 03, in percent, by zone and model."""
    texts = [
        str(output.get("data", {}).get("text/plain", "")) for cell in book.cells for output in cell.get("outputs", ())
    ]
    (table,) = (text for text in texts if "twice the breaches" in text)
    rows = re.findall(r"^(green|yellow|red) +([\d.]+)% +([\d.]+)%", table, re.MULTILINE)
    return {(zone, model): float(one) for zone, *told in rows for model, one in zip(MODELS, told, strict=True)}


def expected(days: int, rate: float) -> dict[tuple[str, str], float]:
    """The same from the binomial law: yellow from 95 % of its mass on, red from 99.99 % on (Basel 1996)."""
    count = np.arange(days + 1)
    below = binom.cdf(count, days, rate)
    zones = {"green": below < 0.95, "yellow": (below >= 0.95) & (below < 0.9999), "red": below >= 0.9999}
    laws = {model: binom.pmf(count, days, times * rate) for model, times in MODELS.items()}
    return {(zone, model): 100 * law[here].sum() for zone, here in zones.items() for model, law in laws.items()}


def test_parameters_given_through_papermill_change_what_the_notebook_finds(tmp_path: Path) -> None:
    path = ROOT / "notebooks" / "03_what_a_backtest_can_tell.ipynb"
    book = executed(path, tmp_path, "twice the breaches", n=500, level=0.98)
    (injected,) = (cell for cell in book.cells if "injected-parameters" in cell.metadata.get("tags", ()))
    assert "n = 500" in injected.source
    assert shares(book) == pytest.approx(expected(500, 0.02), abs=0.006)
    assert shares(book) != pytest.approx(expected(250, 0.01), abs=0.1)


def test_every_bar_is_one_that_a_notebook_draws_as_a_widget() -> None:
    files = [path for name in ("data", "margin_models", "backtest", "research") for path in (ROOT / name).rglob("*.py")]
    told = [line for path in files for line in re.findall(r".*import tqdm\b.*", path.read_text(encoding="utf-8"))]
    assert len(told) > 5
    assert {line.strip() for line in told} == {"from tqdm.auto import tqdm"}
