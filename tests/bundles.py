"""The proposals that tests share: a small market, a bundle, and ways to seal a bundle again after tampering."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from data import Coverage, MarketHistory
from data.sealed import sealed, unsealed
from data.snapshot import content_hash
from data.sources.synthetic import garch_t
from data.storage import sha256_of
from research.bundle import MANIFEST
from research.proposal import Evidence, evidence_of
from research.proposal_pages import encoded_json, figure_numbers, pages_of
from research.proposal_request import Request

CURRENT, CANDIDATE = "static, cross", "FHS, EWMA"


@cache
def history() -> MarketHistory:
    return garch_t(330, (0.02, 0.03), seed=4).history


def request(**changes: Any) -> Request:
    facts: dict[str, Any] = {
        "current": CURRENT,
        "candidate": CANDIDATE,
        "kind": "frozen",
        "market": "",
        "title": "Synthetic",
        "data_hash": content_hash(history()),
        "coverage": Coverage(0.95),
        "window": 120,
        "refit_every": 30,
        "every": 6,
    }
    return Request(**{**facts, **changes})


_told: dict[str, bytes] = {}


def recomputed(asked: Request, market: MarketHistory) -> Evidence:
    """`evidence_of`, remembered: the same request on the same data is computed once a session."""
    key = json.dumps(asked.to_json()) + content_hash(market)
    if key not in _told:
        _told[key] = encoded_json(evidence_of(asked, market, progress=False))
    told: Evidence = json.loads(_told[key])
    return told


def seal_again(folder: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> None:
    """Name every file by what it is now, as a forger would."""
    manifest = unsealed(folder / MANIFEST)
    manifest["files"] = {name: sha256_of((folder / name).read_bytes()) for name in manifest["files"]}
    change(manifest)
    (folder / MANIFEST).write_bytes(sealed(manifest))


def forge(folder: Path, change: Callable[[Evidence], None]) -> None:
    """Change the evidence, and make every page, figure and hash agree with it."""
    manifest = unsealed(folder / MANIFEST)
    evidence = json.loads((folder / "evidence.json").read_bytes())
    change(evidence)
    for name, payload in pages_of(Request.from_json(manifest["request"]), evidence, manifest["code"]).items():
        (folder / name).write_bytes(payload)

    def figures(told: dict[str, Any]) -> None:
        told["figures"] = {k: sha256_of(encoded_json(v)) for k, v in figure_numbers(evidence).items()}

    seal_again(folder, figures)
