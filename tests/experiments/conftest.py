"""A run so small that it takes no time; hangups are heard."""

import signal
from collections.abc import Callable, Iterator
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


@pytest.fixture(autouse=True, scope="session")
def heard_hangups() -> Iterator[None]:
    """Let SIGHUP be heard, which is ignored under nohup, and by trainings then."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
