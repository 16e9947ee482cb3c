"""What is said of the lives of a run: how they end, and for how long training has known no empty memory."""

from collections.abc import Mapping
from typing import Any

from lifelong.envs import TaskStream
from lifelong.experiments.runs.config import TrainConfig

__all__ = ["MOST_UPDATES", "how_lives_end", "last_empty_memory", "length_of_lives"]

MOST_UPDATES = 50
"""Updates of the slow weights without an empty memory, beyond which `load_agent` warns."""


def length_of_lives(env: TaskStream) -> str:
    """Return the length of a stream's lives in words."""
    if env.life_hazard is not None:
        return f"{1 / env.life_hazard:.4g} episodes on average, each the last with probability {env.life_hazard:g}"
    return "endless" if env.life_episodes is None else f"{env.life_episodes} episodes"


def how_lives_end(env: TaskStream) -> str:
    """Return how a stream's lives end, and the settings that say so, as a sentence."""
    if env.life_hazard is None and env.life_episodes is None:
        return "lives: endless, with an empty memory at their beginning only (--life-episodes, --life-hazard)"
    setting = "--life-episodes" if env.life_hazard is None else "--life-hazard"
    return f"lives: {length_of_lives(env)}; then the slot begins a new one with an empty memory ({setting})"


def last_empty_memory(config: TrainConfig, facts: Mapping[str, Any]) -> int:
    """Return the environment steps of training after which a memory was last empty.

    Args:
        config: of the run, resolved.
        facts: of its checkpoint. Those of older runs do not tell: endless lives then began at 0, and other lives are
            taken to have begun just now.
    """
    never_again = config.endless and config.carry == "lifetime"
    return int(facts.get("last_empty_memory", 0 if never_again else facts["steps"]))
