"""What changed between two publications of margin parameters, for a person to read?"""

import numpy as np

from research.parameters import AssetParameters, MarginParameters, MarketParameters

_SHOWN = {"scan_range": "scan range", "vol_forecast": "volatility", "multiplier": "multiplier", "price": "price"}


def diff(before: MarginParameters | None, after: MarginParameters) -> str:
    """Text: a heading, and for every market its model, its assets and its largest change of a correlation."""
    if before is None:
        lines = [f"version {after.version} as of {after.as_of}: the first publication"]
        lines += [line for name, one in after.markets.items() for line in _market(name, None, one)]
        return "\n".join(lines) + "\n"
    lines = [f"version {before.version} as of {before.as_of} -> version {after.version} as of {after.as_of}"]
    for name in dict.fromkeys([*before.markets, *after.markets]):
        old, new = before.markets.get(name), after.markets.get(name)
        lines += [f"{name}: no longer published"] if new is None else _market(name, old, new)
    return "\n".join(lines) + "\n"


def _market(name: str, old: MarketParameters | None, new: MarketParameters) -> list[str]:
    if old is not None and old.told() == new.told():
        return [f"{name}: unchanged, of {new.time}"]
    lines = [f"{name}: {new.model}, prices of {new.time}"]
    if old is not None and old.model != new.model:
        lines.append(f"  model was {old.model}")
    for asset in dict.fromkeys([*(old.assets if old else ()), *new.assets]):
        was = old.assets.get(asset) if old else None
        lines.append(
            f"  {asset}: " + ("no longer published" if asset not in new.assets else _row(was, new.assets[asset]))
        )
    if old is not None:
        lines.append(f"  book multiplier {_change(old.multiplier, new.multiplier)}")
        lines.append(f"  mean margin of the test books {_change(old.mean_margin, new.mean_margin)}")
        lines += _correlations(old, new)
    return lines


def _row(was: AssetParameters | None, now: AssetParameters) -> str:
    told = (
        f"{label} {_change(None if was is None else getattr(was, field), getattr(now, field))}"
        for field, label in _SHOWN.items()
    )
    return ", ".join(told)


def _change(was: float | None, now: float) -> str:
    """A figure before and now, and by how much it moved.

    >>> _change(0.1, 0.11), _change(None, 0.11)
    ('0.1 -> 0.11 (+10.0 %)', '0.11')
    """
    if was is None:
        return f"{now:.4g}"
    moved = f" ({100.0 * (now / was - 1.0):+.1f} %)" if was > 0 and now != was else ""
    return f"{was:.4g} -> {now:.4g}{moved}" if now != was else f"{now:.4g} (unchanged)"


def _correlations(old: MarketParameters, new: MarketParameters) -> list[str]:
    names = list(new.assets)
    if list(old.assets) != names or len(names) < 2:
        return []
    lines = []
    for side in ("together", "against"):
        was, now = getattr(old, side), getattr(new, side)
        at = np.unravel_index(int(np.abs(now - was).argmax()), now.shape)
        first, second = names[int(at[0])], names[int(at[1])]
        lines.append(f"  offset {side}, largest change: {first}/{second} {was[at]:+.3f} -> {now[at]:+.3f}")
    return lines
