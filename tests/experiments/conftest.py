"""A run so small that it takes no time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifelong.experiments.runs.config import TrainConfig

_TINY: dict[str, Any] = {
    "stream_options": ("cues=3", "size=4"),
    "name": "tiny",
    "steps": 160,
    "num_envs": 4,
    "life_episodes": 8,
    "segment": 8,
    "width": 16,
    "epochs": 1,
    "minibatches": 2,
    "evaluation_lives": 0,
}


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., TrainConfig]:
    def make(**changes: Any) -> TrainConfig:
        return TrainConfig(**(_TINY | {"runs": tmp_path / "runs"} | changes))

    return make
