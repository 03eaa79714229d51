"""Which command tells what order flow adds to a margin?

Nothing of ours but the options is imported at the top, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from research.cli_options import LEVEL, AsJson, Level, Window, errors_as_sentences


def ablation(
    files: Annotated[list[Path], typer.Argument(help="Bars with taker-buy volume, Binance's klines say, or folders.")],
    level: Level = LEVEL,
    horizon: Annotated[str, typer.Option(help="Margin period of risk: '8h', '1D'.")] = "1D",
    window: Window = None,
    as_json: AsJson = False,
) -> None:
    """Replay one model without and with features of order flow: what did they add, or can nothing be told?"""
    with errors_as_sentences():
        from data import Coverage
        from research.ablation import ablation_job

        ablation_job(files, Coverage(level, horizon), window=window, as_json=as_json)
