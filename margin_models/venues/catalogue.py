"""Which parameters and formulas of venues are there, and how sure is each?"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from types import ModuleType

import pandas as pd

from margin_models import venues
from margin_models.venues.provenance import Provenance

COLUMNS = ["venue", "module", "kind", "name", "label", "date", "source"]


def catalogue() -> pd.DataFrame:
    """One row a parameter set or formula: venue, module, kind, name, label, date and source, in order of venue.

    Labels are those of `Provenance`: "V" recomputed to published figures, "S" read in a primary source, "3P" code of
    third parties only, "M" from memory or a stand-in of ours. What is "3P" or "M" is not the venue's own.

    >>> table = catalogue().query("venue == 'dydx' and kind == 'parameters'")
    >>> table[["name", "label", "date"]].to_numpy().tolist()[0]
    ['large', 'V', 'genesis']
    """
    found = [importlib.import_module(f"{venues.__name__}.{one.name}") for one in pkgutil.iter_modules(venues.__path__)]
    told: set[int] = set()
    rows = [row for module in sorted(found, key=_models_last) for row in _rows(module, told)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["venue", "kind"], kind="stable", ignore_index=True)


def _models_last(module: ModuleType) -> bool:
    return module.__name__.endswith("_model")


def _rows(module: ModuleType, told: set[int]) -> Iterator[tuple[str, ...]]:
    """What the public constants of one module say; a set already `told` of, by identity, is not repeated."""
    place = module.__name__.rpartition(".")[2]
    for constant, value in vars(module).items():
        if not constant.isupper() or constant.startswith("_"):
            continue
        kind = "formula" if constant == "FORMULAS" else "parameters"
        several = isinstance(value, Mapping)
        for name, fact in value.items() if several else ((constant.lower().replace("_", " "), value),):
            source = fact if isinstance(fact, Provenance) else getattr(fact, "provenance", None)
            if isinstance(source, Provenance) and (kind == "formula" or id(fact) not in told):
                told.add(id(fact))
                shown = name if constant in ("PARAMETERS", "FORMULAS") or not several else f"{constant.lower()}: {name}"
                yield place.partition("_")[0], place, kind, shown, source.label, source.date, source.source
