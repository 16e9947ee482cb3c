"""Sizes of the models, sequences and trainings of a comparison, and those of the presets."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from lifelong.schema import read_fields
from lifelong.tables import parse_json

__all__ = ["PRESETS", "TUNING_SEED", "Equal", "Sizes", "Until"]

Equal = Literal["bytes", "shape"]
Until = Literal["steps", "converged"]


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
    equal: Equal = "bytes"
    num_heads: int | None = None
    key_dim: int | None = None
    value_dim: int | None = None
    conv_size: int | None = None
    horizons: tuple[float, float] | None = None
    shapes: int = 1
    until: Until = "steps"

    def options(self) -> dict[str, Any]:
        """Return the options that every memory gets which takes them; at equal bytes key dims are as they fit."""
        names = ("num_heads", "value_dim", "conv_size", "horizons", *(["key_dim"] if self.equal == "shape" else []))
        return {name: value for name in names if (value := getattr(self, name)) is not None}

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
        Sizes(length=512, pairs=(128,), keys=4095, values=4096, width=128, state_bytes=38_912, parameters=0,
              steps=46_900, batch=128, num_heads=8, key_dim=16, value_dim=32, conv_size=4, horizons=(1e3, 1e5),
              equal="shape"),
        (1e-3, 2.15e-3, 4.64e-3, 1e-2),
    ),
}  # fmt: skip

TUNING_SEED = 1000  # seeds from here on only choose learning rates
