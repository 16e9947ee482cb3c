"""Sizes of the models, sequences and trainings of a comparison, and those of the presets."""

import json
from dataclasses import asdict, dataclass
from typing import Self

from lifelong.schema import read_fields
from lifelong.tables import parse_json

__all__ = ["PRESETS", "TUNING_SEED", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """Shared settings of all runs of a comparison; see `RecallConfig`."""

    length: int
    pairs: tuple[int, ...]
    keys: int
    values: int
    width: int
    state_bytes: int
    parameters: int
    steps: int
    batch: int
    layers: int = 2
    times: tuple[int, ...] = (1, 4, 16, 64)

    def to_json(self) -> str:
        """Return the sizes as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError: if it is something else.
        """
        return cls(**read_fields(cls, parse_json(text)))


PRESETS: dict[str, tuple[Sizes, tuple[float, ...]]] = {  # and learning rates
    "small": (
        Sizes(length=128, pairs=(4, 8, 16, 32), keys=64, values=64, width=32, state_bytes=2048, parameters=20_000,
              steps=600, batch=32),
        (2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2),
    ),
    "published": (  # arXiv:2602.09075; its longer setting is --length 1024 --pairs 256 --batch 64
        Sizes(length=512, pairs=(128,), keys=4095, values=4096, width=128, state_bytes=32_768, parameters=400_000,
              steps=46_900, batch=128),
        (1e-3, 2.15e-3, 4.64e-3, 1e-2),
    ),
}  # fmt: skip

TUNING_SEED = 1000  # seeds from here on only choose learning rates
