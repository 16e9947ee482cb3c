"""A run so small that it takes no time."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from lifelong.experiments.runs.config import PPOOverrides, TrainConfig

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
        settings = _TINY | {"runs": tmp_path / "runs"} | changes
        ppo = {field.name: settings.pop(field.name) for field in fields(PPOOverrides) if field.name in settings}
        return TrainConfig(**settings, ppo=PPOOverrides(**ppo))

    return make
