"""Are Kaiko's trade files read, with the taker's side the right way round?"""

from pathlib import Path

import numpy as np

from data.sources.csv_batches import STRANGE
from data.sources.recognise import read_records
from raw_text import layout, put, said


def test_trades(tmp_path: Path) -> None:
    rows = [
        *("1,cbse,btcusd,1704067200001,42000.5,0.25,true", "2,cbse,btcusd,1704067200002,42000,1,false"),
        *("x,krkn,btcusd,1704067200003,42000,1,maybe", "4,krkn,btcusd,,42000,1,1"),
    ]
    path = put(tmp_path, "cbse_btcusd_trades_2024.csv.gz", "id,exchange,symbol,date,price,amount,sell", *rows)
    coinbase, kraken = read_records(path)
    assert (layout(path), coinbase.venue, kraken.venue, coinbase.symbol) == ("kaiko trades", "cbse", "krkn", "btcusd")
    assert said(coinbase, "time", "price", "size", "side", "id") == [
        ("2024-01-01T00:00:00.001000", 42000.5, 0.25, -1, 1),
        ("2024-01-01T00:00:00.002000", 42000, 1, 1, 2),
    ]
    assert kraken["side"].tolist() == [STRANGE, -1]
    assert np.isnat(kraken["time"]).tolist() == [False, True]
