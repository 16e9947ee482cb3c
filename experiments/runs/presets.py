"""What to train with when nothing is said: settings per stream, as data, measured unless they say otherwise.

A preset names fields of `TrainConfig`; what the user sets wins.
"""

from typing import Any

__all__ = ["PRESETS", "preset"]

_ANY: dict[str, Any] = {
    "steps": 500_000,
    "num_envs": 16,
    "segment": 128,
    "life_episodes": 0,
    "lr": 1e-3,
    "epochs": 4,
    "minibatches": 4,
    "entropy_coef": 0.01,
    "gamma": 0.99,
    "life_gamma": 0.0,
    "advantage_floor": 1e-6,
    "evaluation_lives": 16,
}

_RECALL: dict[str, Any] = {
    "steps": 4_000_000,
    "num_envs": 128,
    "segment": 128,
    "life_episodes": 128,
    "lr": 2e-3,
    "epochs": 2,
    "minibatches": 8,
    "entropy_coef": 0.03,
    "evaluation_lives": 512,
}

_RULE: dict[str, Any] = {
    "steps": 2_000_000,
    "num_envs": 64,
    "segment": 128,
    "life_episodes": 80,
    "lr": 1e-3,
    "epochs": 3,
    "minibatches": 8,
    "entropy_coef": 0.05,
    "gamma": 0.95,
    "evaluation_lives": 256,
}

_GRID: dict[str, Any] = {
    "steps": 2_000_000,
    "num_envs": 64,
    "segment": 128,
    "lr": 5e-4,
    "epochs": 4,
    "minibatches": 8,
    "entropy_coef": 0.01,
    "advantage_floor": 0.05,  # a random walk finds DoorKey's goal once in a hundred episodes
    "evaluation_lives": 64,
}

PRESETS: dict[str, dict[str, Any]] = {
    "cued-recall": _RECALL,
    "cued-recall/reward": _RECALL
    | {"entropy_coef": 0.1, "steps": 12_000_000, "life_gamma": 0.5, "schedule": "interleaved:gap=1,grow=8"},
    "colour-rule": _RULE,
    "rooms": _GRID,
    # colour-rule's, untuned, with lives of their own length where rules are redrawn with the life.
    "reversal": _RULE | {"life_episodes": 200},
    "dark-room": _RULE,
    "map-change": _RULE,
    "doors": _RULE | {"life_episodes": 96},
}


def preset(stream: str, feedback: str | None) -> dict[str, Any]:
    """Return the settings for a stream and its kind of feedback."""
    name = stream.replace("_", "-")
    return _ANY | PRESETS.get(f"{name}/{feedback}", PRESETS.get(name, {}))
