"""Settings of `lifelong capacity`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_fields, check_output
from lifelong.experiments.runs.sizes import Repeats, Seed, Width
from lifelong.registry import nearest

__all__ = ["CapacityConfig", "read"]

Keys = Literal["dense", "relu", "sparse", "offset", "correlated"]
CODES = 1024
LOAD = 4  # non-zero entries of a sparse key
RULES = (
    "hebbian",
    "palimpsa, Ip = 1",
    "palimpsa, Ip = 0.01",
    "delta, beta = 1",
    "delta, beta = 0.5",
    "longhorn",
    "preconditioned delta",
    "kalman delta, beta / Ip = 10",
    "mesa",
    "hebbian, degree 2 (state x 32)",
    "softmax (keeps all pairs)",
)
"""Update rules by name, as in the table."""


@dataclass(frozen=True)
class CapacityConfig:
    """Measure how many key-value pairs each update rule recalls without training.

    Args:
        keys: kinds of keys.
        pairs: numbers of pairs that are stored.
        rules: names of update rules, as in the table; none is all.
        width: width of keys and values.
        repeats: draws of keys and codes that are averaged over.
        seed: random seed of the draws.
        output: file to write the table to as well.
    """

    keys: tuple[Keys, ...] = get_args(Keys)
    pairs: tuple[int, ...] = (64, 128, 256)
    rules: tuple[str, ...] = ()
    width: Width = 64
    repeats: Repeats = 48
    seed: Seed = 0
    output: Path | None = None

    def __post_init__(self) -> None:
        """Validate numbers and names."""
        check_fields(self)
        check_output(self.output)
        for name in ("keys", "pairs"):
            if not getattr(self, name):
                raise UserError(f"{name} must not be empty")
        if min(self.pairs) < 1:
            raise UserError(f"pairs must be positive: pairs={min(self.pairs)}")
        if self.repeats < 2:
            raise UserError(f"repeats must be 2 or more: repeats={self.repeats}")
        if self.width < LOAD:
            raise UserError(f"width must be at least {LOAD}: width={self.width}")
        if max(self.pairs) > CODES:
            raise UserError(f"pairs must be at most {CODES}, one for each code vector: pairs={max(self.pairs)}")
        if unknown := sorted(set(self.rules) - set(RULES)):
            raise UserError(f"no rule {unknown[0]!r}{nearest(unknown[0], RULES)} known: {', '.join(RULES)}")


def read(words: list[str]) -> CapacityConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    return parse(CapacityConfig, words, "capacity")
