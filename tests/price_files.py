"""What do the files of a user look like?"""

from pathlib import Path

from data import MarketHistory

WIDE = "date,BTC,ETH\n2024-01-01,1.5,10\n2024-01-02,2.5,20\n2024-01-03,3.5,30\n"
BARS = """time,open,high,low,close,volume
2024-01-01T00:00:00Z,1,3,0.5,2,7
2024-01-01T01:00:00Z,2,4,1.5,3,8
2024-01-01T02:00:00Z,3,5,2.5,4,9
"""
JANUARY = 1_704_067_200_000  # 2024-01-01 in milliseconds


def put(folder: Path, text: str, name: str = "BTC.csv") -> Path:
    """A file of exactly this text."""
    path = folder / name
    path.write_text(text, newline="")
    return path


def kline(start: int, close: float, step: int = 3_600_000) -> str:
    return f"{start},{close},{close + 1},{close - 0.5},{close},9.5,{start + step - 1},1,2,3,4,0\n"


def klines(count: int = 3, step: int = 3_600_000, start: int = JANUARY) -> str:
    return "".join(kline(start + row * step, row + 1.0, step) for row in range(count))


def stamps(history: MarketHistory) -> list[str]:
    return [str(instant)[:16] for instant in history.time]


def spot(history: MarketHistory) -> list[list[float]]:
    rows: list[list[float]] = history.spot.tolist()
    return rows
