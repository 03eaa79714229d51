"""Does a mistake in a notebook show the mistake, and not sixty lines of ours?"""

import re
from typing import Any

import pytest

MISTAKES = {
    "DataError": (
        'closes = pd.DataFrame({"X": [1.0, 2.0]}, index=pd.to_datetime(["2024-01-02", "2024-01-01"]))\n'
        "history = MarketHistory.from_frame(closes)",
        "line 2 in <module>: history = MarketHistory.from_frame(closes)",
    ),
    "ParameterError": (
        'days = pd.date_range("2024-01-01", periods=400)\n'
        'closes = pd.DataFrame({"X": 100.0 + np.arange(400) % 7}, index=days)\n'
        "compare([HistoricalVaR(), HistoricalVaR()], MarketHistory.from_frame(closes), progress=False)",
        "line 3 in <module>: compare(",
    ),
    "ModelError": (
        'days = pd.date_range("2024-01-01", periods=400)\n'
        'closes = pd.DataFrame({"X": 100.0 + np.arange(400) % 7}, index=days)\n'
        "class Mine(MarginModel):\n"
        "    def margin(self, past, book):\n"
        "        return -np.ones(len(book.portfolios))\n"
        "compare([Mine()], MarketHistory.from_frame(closes), progress=False)",
        "line 6 in <module>: compare(",
    ),
}
CLOSES = 'closes = pd.DataFrame({"X": 100.0 + np.arange(400) % 7}, index=pd.date_range("2024-01-01", periods=400))\n'
OWN = (
    CLOSES
    + """history = MarketHistory.from_frame(closes)
class Mine(MarginModel):
    def fit(self, past, coverage):
        self.k_ = 1.0
    def margin(self, past, book):
        return np.ones(len(book.portfolios))
class Bare:
    def margin(self, past, book):
        return np.ones(len(book.portfolios))
"""
)
SENTENCES = {
    "compare([Mine()], history, progress=False)": r"ModelError: Mine\(\): fit must return self, got None",
    "compare([Mine], history)": r"ParameterError: a model must be an instance, got the class itself: Mine\(\)",
    "compare([Bare()], history)": r"ParameterError: a model must be a MarginModel \(class Bare\(MarginModel\)",
    "compare(HistoricalVaR(), history)": r"ParameterError: models must be a list.*\[HistoricalVaR\(\)\]",
    "compare([HistoricalVaR()], closes)": r"ParameterError: history must be a MarketHistory .* got DataFrame",
    'MarketHistory.from_frame("prices.csv")': r"DataError: closes must be a frame .* got 'prices.csv'",
    "MarketHistory.from_frame(closes.reset_index(drop=True))": r"DataError: frame: rows must be labelled by instants",
    "MarketHistory.from_frame(closes.astype(str))": r"DataError: frame: column 'X' must be numbers, got str",
}
IMPORTS = "import numpy as np, pandas as pd\nfrom backtest import compare\nfrom data import MarketHistory\n"
IMPORTS += "from margin_models import HistoricalVaR, MarginModel"


@pytest.mark.parametrize("line", SENTENCES)
@pytest.mark.filterwarnings("default")
def test_what_people_get_wrong_first_is_told_in_a_sentence(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    shell: Any = InteractiveShell()  # type: ignore[no-untyped-call]
    assert shell.run_cell(f"{IMPORTS}\n{OWN}").success
    capsys.readouterr()
    assert not shell.run_cell(line).success
    shown = re.sub(r"\x1b\[[0-9;]*m", "", "".join(capsys.readouterr()))
    assert re.search(SENTENCES[line], shown), shown
    assert len(shown.strip().splitlines()) <= 4, shown


@pytest.mark.parametrize("kind", MISTAKES)
@pytest.mark.filterwarnings("default")
def test_a_mistake_shows_the_line_of_the_cell_and_one_sentence(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    shell: Any = InteractiveShell()  # type: ignore[no-untyped-call]
    shell.run_cell(IMPORTS)
    cell, line = MISTAKES[kind]
    result = shell.run_cell(cell)
    assert type(result.error_in_exec).__name__ == kind
    shown = re.sub(r"\x1b\[[0-9;]*m", "", "".join(capsys.readouterr()))
    assert line in shown
    assert f"{kind}: {result.error_in_exec}" in shown
    assert len(shown.strip().splitlines()) <= 6, shown
