"""What does a venue, or a risk oracle on a chain, need to know to charge a margin tonight?

`margin_parameters.json` holds for every market the model in force, how far each asset may move (scan range), how far
it is forecast to move (volatility), how pairs offset, and a multiplier, with a sha256 over all of it. There is one way
of writing it: other bytes, even of the same meaning, are refused.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data import DataError, Floats
from data.errors import SourceError
from data.sealed import encoded
from data.storage import sha256_of

FORMAT = "margin-parameters/1"
SCHEMA = Path(__file__).with_name("margin_parameters.schema.json")
MOST_MULTIPLIER = 3.0
MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class AssetParameters:
    """One underlying; ranges and volatilities are shares of its price over the horizon.

    Parameters
    ----------
    price : in USD, at the as-of.
    scan_range : what a position of one must post a unit of notional, the worse of long and short.
    scan_long, scan_short : the two sides.
    vol_forecast : standard deviation over the horizon, of the model's own forecaster where it has one, else the EWMA's.
    vol_ewma : the EWMA's, to compare with.
    multiplier : scan range over volatility.
    """

    price: float
    scan_range: float
    scan_long: float
    scan_short: float
    vol_forecast: float
    vol_ewma: float
    multiplier: float


@dataclass(frozen=True, eq=False)
class MarketParameters:
    """All that is published of one market.

    Parameters
    ----------
    model, model_hash, data_hash : what was fitted, the sha256 of its files, and the content hash of what it saw.
    time : instant of the newest row, UTC.
    level, horizon : what margin is to survive.
    assets : by underlying, in the order of their names.
    together, against : (A, A), in the order of the names: correlations that give the model's margin of a pair held on
        one side, or against each other, each leg at its scan range.
    multiplier : what the formula's margin is multiplied by, so that no linear test book posts less than the model asks.
    least_share : of the sum of scan risks that is charged whatever offsets.
    mean_margin : of the test books, per unit of gross notional, as the model asks.
    fidelity : median of the formula's margin over the model's, over linear test books; NaN where there is none.
    uncovered : share of linear test books of which the formula asks less than the model, because the multiplier ends at
        MOST_MULTIPLIER: models that charge positions one by one cannot be told by net exposures.
    """

    model: str
    model_hash: str
    data_hash: str
    time: str
    level: float
    horizon: str
    assets: Mapping[str, AssetParameters]
    together: Floats
    against: Floats
    multiplier: float
    least_share: float
    mean_margin: float
    fidelity: float
    uncovered: float

    def charge(self, exposure: Floats) -> Floats:
        """Margin of signed exposures (P, A) in USD, in the order of `assets`, (P,).

        multiplier * max(sqrt(x' R x), least_share * sum |x|), x being exposure times scan range and R the correlation
        `together` where two legs have one sign and `against` where they have not.
        """
        risk = np.asarray(exposure) * np.array([one.scan_range for one in self.assets.values()])
        same = np.sign(risk)[:, :, None] * np.sign(risk)[:, None, :] >= 0
        product = risk[:, :, None] * risk[:, None, :]
        square = (np.where(same, self.together, self.against) * product).sum(axis=(1, 2))
        least = self.least_share * np.abs(risk).sum(axis=1)
        return np.asarray(self.multiplier * np.maximum(np.sqrt(np.maximum(square, 0.0)), least))

    def told(self) -> dict[str, Any]:
        """As JSON knows it."""
        facts = {name: value for name, value in vars(self).items() if name not in ("assets", "together", "against")}
        return {
            **facts,
            "fidelity": self.fidelity if math.isfinite(self.fidelity) else None,
            "assets": {name: asdict(one) for name, one in self.assets.items()},
            "correlations": {"together": self.together.tolist(), "against": self.against.tolist()},
        }

    @classmethod
    def of(cls, told: Mapping[str, Any], where: str = "parameters") -> "MarketParameters":
        """What `told` told; DataError for a figure that is missing, not finite, or not positive where it must be."""
        try:
            assets = {str(name): AssetParameters(**one) for name, one in told["assets"].items()}
            pairs = told["correlations"]
            rest = {name: told[name] for name in cls.__dataclass_fields__ if name in told and name != "assets"}
            fidelity = math.nan if told["fidelity"] is None else float(told["fidelity"])
            matrices = {side: np.array(pairs[side], dtype=np.float64) for side in ("together", "against")}
            made = cls(**{**rest, "fidelity": fidelity, "assets": assets, **matrices})
            _refuse_wrong(made, where)
        except DataError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where}: expected the parameters of a market: {type(error).__name__} {error}") from error
        return made


@dataclass(frozen=True, eq=False)
class MarginParameters:
    """A published file: study, as-of, version (it counts publications), hash of the one before, and markets."""

    study: str
    as_of: str
    version: int
    previous: str
    code: str
    markets: Mapping[str, MarketParameters]

    def payload(self) -> bytes:
        """The bytes of the file."""
        facts = self._facts()
        return encoded({**facts, "hash": sha256_of(encoded(facts))})

    @property
    def hash(self) -> str:
        """The sha256 that the file ends with."""
        return sha256_of(encoded(self._facts()))

    def _facts(self) -> dict[str, Any]:
        head = {name: getattr(self, name) for name in ("study", "as_of", "version", "previous", "code")}
        return {"format": FORMAT, **head, "markets": {name: one.told() for name, one in self.markets.items()}}


def read_parameters(path: Path) -> MarginParameters:
    """A published file, its hash verified first.

    SourceError where it cannot be read, DataError for another hash, another way of writing, or a figure that is not
    finite, or not positive where it must be.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SourceError(f"{path}: parameters have at most {MOST_BYTES} bytes")
        payload = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: expected a file of margin parameters: {error.strerror}") from error
    return parse_parameters(payload, str(path))


def parse_parameters(payload: bytes, where: str = "parameters") -> MarginParameters:
    """The same of bytes."""
    try:
        facts = json.loads(payload)
        said = facts.pop("hash")
        whole = encoded(facts)
        unchanged = encoded({**facts, "hash": said}) == payload
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where}: expected margin parameters with their hash, got none: {error}") from error
    if said != sha256_of(whole) or not unchanged:
        raise DataError(
            f"{where}: the hash must be {sha256_of(whole)[:16]}..., got {str(said)[:16]}...: not as published"
        )
    if facts.get("format") != FORMAT:
        raise DataError(f"{where}: expected the format {FORMAT}, got {facts.get('format')!r}")
    try:
        markets = {name: MarketParameters.of(one, f"{where}: {name}") for name, one in facts["markets"].items()}
        head = {name: facts[name] for name in ("study", "as_of", "version", "previous", "code")}
    except (KeyError, AttributeError) as error:
        raise DataError(
            f"{where}: expected study, as_of, version, previous, code and markets, lacks {error}"
        ) from error
    return MarginParameters(markets=markets, **head)


def _refuse_wrong(made: MarketParameters, where: str) -> None:
    """DataError for a figure of another type, not finite, or outside what it can be."""
    size = len(made.assets)
    if not size or list(made.assets) != sorted(made.assets):
        raise DataError(f"{where}: expected one asset at least, in the order of their names, got {list(made.assets)}")
    for name, one in made.assets.items():
        for field, value in vars(one).items():
            least_is_zero = field in ("scan_long", "scan_short", "vol_ewma")
            if not _is_number(value) or value < 0 or (value == 0 and not least_is_zero):
                raise DataError(f"{where}: {field} of {name} must be finite and > 0, got {value!r}")
        if one.scan_range < max(one.scan_long, one.scan_short):
            raise DataError(f"{where}: scan_range of {name} must be the worse of its sides, got {one}")
    for side, matrix in (("together", made.together), ("against", made.against)):
        sound = matrix.shape == (size, size) and np.isfinite(matrix).all() and (np.abs(matrix) <= 1.0).all()
        if not sound or not np.array_equal(matrix, matrix.T) or not (np.diag(matrix) == 1.0).all():
            raise DataError(
                f"{where}: correlations {side} must be symmetric, {size} by {size}, of diagonal 1 in [-1, 1]"
            )
    bounds = {
        "multiplier": (1.0, MOST_MULTIPLIER),
        "least_share": (0.0, 1.0),
        "level": (0.5, 1.0),
        "uncovered": (0.0, 1.0),
    }
    for field, (low, high) in {**bounds, "mean_margin": (1e-300, math.inf)}.items():
        value = getattr(made, field)
        if not _is_number(value) or not low <= value <= high:
            raise DataError(f"{where}: {field} must lie in [{low:g}, {high:g}], got {value!r}")
    for field in ("model", "model_hash", "data_hash", "time", "horizon"):
        if not isinstance(getattr(made, field), str):
            raise DataError(f"{where}: {field} must be a text, got {getattr(made, field)!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
