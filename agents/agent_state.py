"""Agent state between two steps: memory, previous action and reward, start flag."""

from collections.abc import Mapping
from dataclasses import dataclass

from tensordict import TensorDict
from torch import Tensor

from lifelong.memory.state_paths import by_path

__all__ = ["AgentState"]


@dataclass(frozen=True, slots=True)
class AgentState:
    """The state of B lives between two calls of `Agent.act`; made by `Agent.initial_state` and `Agent.act`.

    Args:
        memory: [B] state of the memory, before the next step.
        previous_action: [B, ...] rows of the last actions (see `lifelong.action_spaces`), as the environment got them.
        previous_reward: [B] the reward for it; NaN until it is given to `Agent.act`, 0 in a new life.
        start: [B] bool, true where the memory is reset before the next step.
        episode_start: [B] bool, true where the next step is the first of an episode.
        spaces: the agent's `observation` and `action` spaces, as text: a state fits agents of these spaces only.
    """

    memory: TensorDict
    previous_action: Tensor
    previous_reward: Tensor
    start: Tensor
    episode_start: Tensor
    spaces: Mapping[str, str]

    @property
    def batch(self) -> int:
        """B, the number of lives."""
        return int(self.start.shape[0])

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, those of the memory as `memory/<layer>/<name>`."""
        return {f"memory/{name}": x for name, x in by_path(self.memory).items()} | {
            "previous_action": self.previous_action,
            "previous_reward": self.previous_reward,
            "start": self.start,
            "episode_start": self.episode_start,
        }
