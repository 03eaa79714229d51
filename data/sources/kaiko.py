"""What do Kaiko's trade files, as it sold them for years, say?

`sell` is whether the taker sold; stamps count milliseconds.
"""

from collections.abc import Iterator

from data.records import TRADES, Records
from data.sources.csv_batches import batches
from data.sources.epochs import instants
from data.sources.layout import Head, Layout, RawFile
from data.sources.owners import Owners, symbol_in, venue_in

_COLUMNS = ("id", "exchange", "symbol", "date", "price", "amount", "sell")
_SIDES = {"true": -1, "false": 1, "1": -1, "0": 1, "t": -1, "f": 1}


def _is_trades(head: Head) -> bool:
    return head.form == "csv" and set(_COLUMNS) == set(head.columns)


def _trades(raw: RawFile) -> Iterator[Records]:
    owners = Owners(venue_in(raw.head), symbol_in(raw.head))
    for batch in batches(
        raw, text=("exchange", "symbol"), whole=("id", "date"), words={"sell": _SIDES}, only=("price", "amount")
    ):
        made = {"time": instants(batch["date"]), "price": batch["price"], "size": batch["amount"]}
        made = {**made, "side": batch["sell"], "id": batch["id"]}
        yield from owners.records(TRADES, made, batch.row, batch["symbol"], batch["exchange"])


LAYOUTS = (
    Layout(
        *("kaiko trades", TRADES, _is_trades, _trades),
        verified=False,
        documented="https://docs.kaiko.com",
    ),
)
