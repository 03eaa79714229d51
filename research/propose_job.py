"""What happens when somebody types `marginlab propose`, or `verify`?"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data import MarketHistory, ParameterError
from data.snapshot import content_hash
from research.bundle import MANIFEST, write_bundle
from research.main_job import Say, one_market
from research.own_books import read_positions
from research.proposal import evidence_of
from research.proposal_request import Kind, Request
from research.study import Market
from research.verification import Verification, verify_bundle

if TYPE_CHECKING:
    from research.user_data import Prices


def propose_job(
    name: str,
    prices: "Prices | None",
    current: str,
    candidate: str,
    out: Path,
    *,
    level: float,
    horizon: str | None,
    window: int | None,
    why: str,
    book: Path | None,
    jobs: int,
    say: Say,
) -> None:
    """Write a bundle, and print where it is and what identifies it; raises what `write_bundle` raises."""
    plan = one_market(name, prices, (), level=level, horizon=horizon, window=window).markets[0]
    history = plan.load()
    request = request_of(plan, history, current, candidate, brought=prices is not None, why=why)
    if book is not None:
        positions, remarks = read_positions(book, history)
        request = replace(request, book=positions)
        for remark in remarks:
            say(f"{book.name}: {remark}")
    say(f"marginlab: {candidate} in place of {current} on {request.title}, {jobs} process(es)")
    identity = write_bundle(request, history, out, jobs=jobs)
    print(f"{out / 'proposal.html'}\n{MANIFEST} sha256 {identity}", flush=True)
    say(f"check it, here or elsewhere, with: marginlab verify {out} --expect {identity[:12]}")


def request_of(
    plan: Market, history: MarketHistory, current: str, candidate: str, *, brought: bool, why: str = ""
) -> Request:
    """The request that a market of a study, or a history that somebody brought, comes to."""
    kind: Kind = "frozen" if brought else "study" if _is_of_study(plan) else "sample"
    return Request(
        current,
        candidate,
        kind,
        "" if brought else plan.name,
        history.titled(_what_was_brought(history) if brought else plan.title),
        content_hash(history),
        plan.coverage,
        plan.window,
        plan.refit_every,
        plan.every,
        dict(plan.crises),
        remarks=plan.remarks,
        why=why,
    )


def _what_was_brought(history: MarketHistory) -> str:
    """Underlyings and days: what a file was called is nobody's business."""
    names = history.underlyings
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    days = f"{str(history.time[0])[:10]} to {str(history.time[-1])[:10]}"
    return f"{', '.join(names[:4])}{more}, {days}, prices brought by the author"


def _is_of_study(plan: Market) -> bool:
    """Whether a market is one of the default study, as it is set up there."""
    from research.default_study import default_study

    known = {market.name: market for market in default_study().markets}
    if plan.name not in known:
        return False
    own = known[plan.name]
    settings = ("title", "coverage", "window", "refit_every", "every", "crises", "remarks")
    return all(getattr(plan, name) == getattr(own, name) for name in settings)


def verify_job(folder: Path, expect: str | None, *, jobs: int, as_json: bool, say: Say) -> bool:
    """Print what a verification found; whether the bundle holds. Raises what `verify_bundle` raises.

    What is wrong with the files is said before the numbers are recomputed: who waits for minutes knows it by then.
    """
    if not folder.is_dir():
        raise ParameterError(f"a bundle is a folder, got {folder}")

    def at_once(problems: Sequence[str]) -> None:
        for problem in problems:
            say(f"WRONG: {problem}")
        say(f"{folder} does not hold; its numbers are now recomputed, to tell which differ")

    found = verify_bundle(folder, expect=expect, recompute=partial(evidence_of, jobs=jobs), at_once=at_once)
    print(_json(found) if as_json else _text(found, folder), flush=True)
    return found.holds


def _json(found: Verification) -> str:
    told = {"holds": found.holds, "problems": found.problems, "notes": found.notes}
    return json.dumps({**told, "numbers": found.numbers, "manifest_sha256": found.identity}, indent=1)


def _text(found: Verification, folder: Path) -> str:
    lines = [f"other version: {note}" for note in found.notes]
    lines += [f"WRONG: {problem}" for problem in found.problems]
    verdict = "holds" if found.holds else f"does not hold: {len(found.problems)} problem(s)"
    lines.append(f"{folder} {verdict}; {found.numbers:,} numbers recomputed")
    return "\n".join([*lines, f"{MANIFEST} sha256 {found.identity}"])
