"""Are CryptoDataDownload's files read in both shapes, with their mixed stamps and newest rows first?"""

from pathlib import Path

import pytest

from data import SourceError
from data.records import BARS
from raw_text import layout, put, read, said

BANNER = "https://www.CryptoDataDownload.com"
NEW = "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount"
HOUR = 3600
S = 1704067200


@pytest.mark.parametrize("banner", [(BANNER,), ()])
def test_stamps_in_seconds_and_milliseconds_newest_first(tmp_path: Path, banner: tuple[str, ...]) -> None:
    stamps = [S + 2 * HOUR, (S + HOUR) * 1000, f"{S}.0"]
    rows = [f"{stamp},2024,BTC/USDT,10,12,9,{11 + at},5,55,7" for at, stamp in enumerate(stamps)]
    path = put(tmp_path, "Binance_BTCUSDT_1h.csv", *banner, NEW, *rows)
    records = read(path)
    assert (layout(path), records.kind) == ("cryptodatadownload bars", BARS)
    assert (records.venue, records.symbol) == ("binance", "BTCUSDT")
    assert said(records, "opened", "time", "close") == [
        ("2024-01-01T02:00:00.000000", "2024-01-01T03:00:00.000000", 11),
        ("2024-01-01T01:00:00.000000", "2024-01-01T02:00:00.000000", 12),
        ("2024-01-01T00:00:00.000000", "2024-01-01T01:00:00.000000", 13),
    ]
    assert said(records, "volume", "quote_volume", "count")[0] == (5, 55, 7)


def test_hours_on_a_twelve_hour_clock(tmp_path: Path) -> None:
    hours = ["12-AM", "01-AM", "11-AM", "12-PM", "01-PM"]
    rows = [f"2019-07-04 {hour},BTCUSD,10,12,9,11,5,55" for hour in hours]
    names = "Date,Symbol,Open,High,Low,Close,VolumeFrom,VolumeTo"
    records = read(put(tmp_path, "Coinbase_BTCUSD_1h.csv", BANNER, names, *rows))
    assert [time[0][11:13] for time in said(records, "opened")] == ["00", "01", "11", "12", "13"]
    assert said(records, "volume", "quote_volume")[0] == (5, 55)
    assert records.venue == "coinbase"


def test_volumes_are_told_apart_by_the_symbol(tmp_path: Path) -> None:
    names = "unix,date,symbol,open,high,low,close,Volume USD,Volume BTC"
    rows = [f"{S + at * HOUR},2024,BTC/USD,10,12,9,11,55,5" for at in range(2)]
    records = read(put(tmp_path, "Gemini_BTCUSD_1h.csv", BANNER, names, *rows))
    assert said(records, "volume", "quote_volume")[0] == (5, 55)


def test_a_single_bar_of_unknown_length_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "Binance_BTCUSDT_1h.csv", BANNER, NEW, f"{S},2024,BTC/USDT,10,12,9,11,5,55,7")
    with pytest.raises(SourceError, match="expected bars at two instants or more, which tell how long one is, got 1"):
        read(path)
