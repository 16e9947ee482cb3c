"""Reinforcement-learning agents whose memory outlives the episode.

Public names are imported at first access: `import lifelong` imports no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lifelong.agents.agent import Agent
    from lifelong.agents.ppo import PPO
    from lifelong.agents.ppo_config import PPOConfig
    from lifelong.agents.rollout import Rollout
    from lifelong.agents.state_file import load_state, save_state
    from lifelong.envs.check import check_stream
    from lifelong.envs.registry import make_stream
    from lifelong.envs.stream import Task, TaskStream
    from lifelong.experiments.runs.api import evaluate, load_agent, load_life, train
    from lifelong.experiments.runs.config import TrainConfig
    from lifelong.experiments.studies.study import Study
    from lifelong.memory.carry_memory import CarryMemory
    from lifelong.memory.check import check_memory
    from lifelong.memory.memory import Memory
    from lifelong.memory.metaplasticity import metaplastic
    from lifelong.memory.registry import make_memory
    from lifelong.memory.torchrl_module import MemoryModule

__all__ = [
    "PPO",
    "Agent",
    "CarryMemory",
    "Memory",
    "MemoryModule",
    "PPOConfig",
    "Rollout",
    "Study",
    "Task",
    "TaskStream",
    "TrainConfig",
    "check_memory",
    "check_stream",
    "evaluate",
    "load_agent",
    "load_life",
    "load_state",
    "make_memory",
    "make_stream",
    "metaplastic",
    "save_state",
    "train",
]

_EXPORTS = {
    "Agent": "agents.agent",
    "CarryMemory": "memory.carry_memory",
    "Memory": "memory.memory",
    "MemoryModule": "memory.torchrl_module",
    "PPO": "agents.ppo",
    "PPOConfig": "agents.ppo_config",
    "Rollout": "agents.rollout",
    "Study": "experiments.studies.study",
    "Task": "envs.stream",
    "TaskStream": "envs.stream",
    "TrainConfig": "experiments.runs.config",
    "check_memory": "memory.check",
    "check_stream": "envs.check",
    "evaluate": "experiments.runs.api",
    "load_agent": "experiments.runs.api",
    "load_life": "experiments.runs.api",
    "load_state": "agents.state_file",
    "make_memory": "memory.registry",
    "make_stream": "envs.registry",
    "metaplastic": "memory.metaplasticity",
    "save_state": "agents.state_file",
    "train": "experiments.runs.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first access."""
    from lifelong.registry import lazy_attribute  # it needs `importlib.metadata`, which takes longer than all the rest

    return lazy_attribute(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted({*globals(), *__all__})
