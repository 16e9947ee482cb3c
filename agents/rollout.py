"""Rollouts that carry the memory across segments and episodes.

Each slot of the vector environment lives one life at a time; its memory state is a row of a table that only the rollout
writes: the policy's functions are pure. On a GPU a step may be the replay of a CUDA graph (`cuda_graph`). An episode's
end does not reset the memory unless `carry` says so.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.agent import Agent, policy_of
from lifelong.agents.bound_policy import BoundPolicy, fits, record_masks
from lifelong.agents.carry import CARRY, Carry
from lifelong.agents.cuda_graph import CudaGraphPolicy
from lifelong.agents.encoder import as_tensors
from lifelong.agents.episode_ends import episode_rows, final_observation
from lifelong.agents.history import has_history
from lifelong.agents.history_wrapper import HistoryWrapper
from lifelong.agents.vector_gate import check_pair
from lifelong.kernels.cuda_graph import CaptureError
from lifelong.kernels.in_place import in_place

__all__ = ["CARRY", "GRAPH", "BatchedEnv", "Carry", "Graph", "Rollout", "Segment", "join_rows"]

Graph = Literal["auto", "on", "off"]
GRAPH: tuple[Graph, ...] = get_args(Graph)
_START: dict[Carry, str] = {"lifetime": "life_start", "task": "task_start", "episode": "episode_start"}


class BatchedEnv(Protocol):
    """The part of gymnasium's `VectorEnv` that a rollout uses; task streams report life and task starts in `info`."""

    @property
    def num_envs(self) -> int: ...  # noqa: D102
    @property
    def action_space(self) -> Any: ...  # noqa: D102

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]: ...  # noqa: D102
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Segment:
    """Segment: T steps of B lives, with the memory state before the first.

    Args:
        steps: [B, T] `observation`, `start`, `action` as it was drawn, `action_log_prob`, `state_value`, where actions
            were masked `action_mask` (bool, which choices were legal), and under `next`: `reward`,
            `end` (the memory ends after this step), `episode_end` (the episode ends, the memory goes on), `truncated`
            (the episode was truncated: its value is bootstrapped), `state_value` of what follows, [B, T, 1] each; where
            observations tell of task changes (a stream's `boundary`) also `task_change` (the next step is of another
            task).
        state: [B] of the memory, before the first step.
        episodes: rows of the episodes that ended, one array for each column.
    """

    steps: TensorDict
    state: TensorDict
    episodes: dict[str, NDArray[Any]]


def join_rows(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Concatenate tables of rows column by column; an empty table without parts."""
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}


class Rollout:
    """Collect segments of B lives of a policy in a vector environment.

    Args:
        policy: agent or actor-critic that acts.
        env: a task stream, or any gymnasium `VectorEnv` that resets in the step in which an episode ends, or not by
            itself; without the flags of a task stream in `info`, every slot is one long life, see `HistoryWrapper`.
        carry: when the memory is reset: `lifetime`, only with a new life; `task`, when the task changes;
            `episode`, at every episode's end (the classical recurrent agent). None: the agent's own, or `lifetime`.
        seed: of the environment; None keeps its own.
        cuda_graph: whether to act by a CUDA graph: `on`; `off`; `auto`, on a GPU if the step can be captured.
        deterministic: act greedily, by the mode of the policy's distribution instead of a sample; draws no random
            numbers. Segments of such a rollout are for evaluation, not for PPO.

    Raises:
        TypeError: if `policy` is no agent or actor-critic, or `env` no vector environment.
        ValueError: if `carry` or `cuda_graph` is unknown, `cuda_graph` is `on` where the policy is not on a GPU, or
            `env` has other spaces than the agent, or resets in the step after an episode's end.
        CaptureError: from `collect`, if `cuda_graph` is `on` and the policy's step cannot be captured.
    """

    def __init__(
        self,
        policy: ActorCritic | Agent,
        env: BatchedEnv,
        carry: Carry | None = None,
        seed: int | None = None,
        cuda_graph: Graph = "auto",
        *,
        deterministic: bool = False,
    ) -> None:
        self.policy = policy_of(policy)
        if not hasattr(env, "num_envs"):
            raise TypeError(f"env must be a gymnasium VectorEnv, as make_vec returns it, got {type(env).__name__}")
        if carry is None:
            carry = policy.carry if isinstance(policy, Agent) else "lifetime"
        if carry not in CARRY:
            raise ValueError(f"carry must be one of {', '.join(CARRY)}, got {carry!r}")
        if cuda_graph not in GRAPH:
            raise ValueError(f"cuda_graph must be one of {', '.join(GRAPH)}, got {cuda_graph!r}")
        self._device = next(self.policy.parameters()).device
        place = self._device.type
        if cuda_graph == "on" and place != "cuda":
            raise ValueError(f"cuda_graph must be auto or off where the policy is not on a GPU, got 'on' on {place}")
        if isinstance(policy, Agent):
            policy.check_spaces(env)
        self.env: BatchedEnv = env
        self.seed, self.cuda_graph, self.deterministic = seed, cuda_graph, deterministic
        self.carry: Carry = carry
        self.bound = True
        """Whether steps are bound to fixed tensors where the policy allows it; see `BoundPolicy`."""
        self.steps = 0
        """Environment steps so far, of all lives together."""
        self.graph_policy = CudaGraphPolicy(self.policy) if cuda_graph != "off" and place == "cuda" else None
        self.state = self.policy.backbone.initial_state(env.num_envs)
        observation, info = check_pair(env, env.reset(seed=seed))
        if "life_start" not in info and _START[carry] not in info:
            history = has_history(self.policy.encoder.space)
            wrapper = HistoryWrapper(env, history=history)  # type: ignore[arg-type]
            self.env = wrapper
            observation, info = wrapper.begin(observation, info)
        elif (
            mode := getattr(env, "metadata", {}).get("autoreset_mode", AutoresetMode.SAME_STEP)
        ) is not AutoresetMode.SAME_STEP:
            raise ValueError(f"a stream must have the autoreset mode SAME_STEP here, got {mode.name}")
        self.observe(observation, info)

    def observe(self, observation: Any, info: dict[str, Any]) -> None:
        """Set the present observation, as `reset` or `step` returned it.

        Args:
            observation: [B].
            info: with the start flag that `carry` names; its `action_mask`, or that of the observation, is applied.

        Raises:
            ValueError: if an action mask does not fit the action space, or leaves nothing to choose.
        """
        self._observation, self._tensor_observation = observation, None
        self._task = np.array(info["task"]) if "task" in info and _tells_changes(observation) else None
        self.start = self._flag(info[_START[self.carry]])
        self.mask = self.policy.mask_of(observation, info, self.env.num_envs)

    @property
    def observation(self) -> TensorDict:
        """The present observation [B]."""
        if self._tensor_observation is None:
            self._tensor_observation = self._tensors(self._observation)
        return self._tensor_observation

    def segments(self, length: int) -> Iterator[Segment]:
        """Yield segments of `length` steps for ever; the policy may change between them.

        Args:
            length: T, environment steps of every life.

        Raises:
            ValueError: if it is not positive.
        """
        while True:
            yield self.collect(length)

    @torch.no_grad()
    def collect(self, length: int) -> Segment:
        """Collect one segment.

        Args:
            length: T, environment steps of every life.

        Raises:
            ValueError: if it is not positive.
        """
        if length < 1:
            raise ValueError(f"length must be positive: length={length}")
        num_envs, device = self.env.num_envs, self.start.device
        reward = np.empty((length, num_envs), np.float32)
        terminated, truncated, memory_ends = (np.empty((length, num_envs), np.bool_) for _ in range(3))
        task_change = np.empty((length, num_envs), np.bool_)
        before, rows = self.state, []
        self.state = before.clone()  # the copy that is updated in place
        acting: BoundPolicy | _Acting = _Acting(self)
        if self.bound and self.graph_policy is None and fits(self.policy):
            acting = BoundPolicy(self.policy, self.state, length, deterministic=self.deterministic)
        final_values: dict[int, Tensor] = {}  # after steps that were truncated
        for t in range(length):
            action = acting.act(self._observation, self.start, self.mask)
            actions = self.policy.head.taken(action)
            observation, reward[t], terminated[t], truncated[t], info = self.env.step(actions)
            memory_ends[t] = info[_START[self.carry]]
            if (truncated[t] & ~terminated[t]).any():
                final = self._tensors(final_observation(self.env, observation, info))
                final_values[t] = self._value(final, acting.state, torch.zeros_like(self.start))
            if ended := episode_rows(info):
                rows.append(ended)
            task = self._task
            self.observe(observation, info)
            task_change[t] = self._task != task
        self.state = acting.state
        if self.graph_policy is not None:
            self.state = self.state.clone()  # the graph's own is overwritten by the next call
        steps = acting.steps()
        over, truncated = terminated | truncated, truncated & ~terminated
        flags = {
            "reward": reward,
            "end": over & memory_ends,
            "episode_end": over & ~memory_ends,
            "truncated": truncated,
        }
        if self._task is not None:
            flags["task_change"] = task_change
        after_step = {name: torch.from_numpy(flag.T[..., None]).to(device) for name, flag in flags.items()}
        values = steps["state_value"]
        last = self._value(self.observation, self.state, self.start)
        value = torch.cat([values[:, 1:], last[:, None, None]], 1)
        for t, final in final_values.items():
            value[:, t, 0] = torch.where(after_step["truncated"][:, t, 0], final, value[:, t, 0])
        steps["next"] = TensorDict({**after_step, "state_value": value}, steps.batch_size)
        self.steps += length * num_envs
        return Segment(steps, before, join_rows(rows))

    def _act(self) -> tuple[TensorDict, TensorDict]:
        """Run the policy's step in place: the next state overwrites the previous one."""
        if self.graph_policy is not None:
            try:
                return self.graph_policy.act(
                    self.observation, self.state, self.start, mask=self.mask, deterministic=self.deterministic
                )
            except CaptureError as error:
                if self.cuda_graph == "on":
                    raise CaptureError(f"cuda_graph must be auto or off with this policy: {error}") from error
                warnings.warn(f"acting goes on without a CUDA graph, slower: {error}", RuntimeWarning, stacklevel=3)
                self.graph_policy = None
        with in_place():
            return self.policy.act(
                self.observation, self.state, self.start, mask=self.mask, deterministic=self.deterministic
            )

    def _value(self, observation: TensorDict, state: TensorDict, start: Tensor) -> Tensor:
        """Return the value [B] of an observation; the next state is dropped."""
        return self.policy.value(self.policy.trunk(observation, state, start)[0])

    def _tensors(self, observation: Any) -> TensorDict:
        return as_tensors(observation, (self.env.num_envs,), self._device)

    def _flag(self, flag: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(flag).to(self._device)


def _tells_changes(observation: Any) -> bool:
    """Return whether a stream's observations tell when the task changes; see `TaskStream`."""
    return isinstance(observation, dict) and not observation.keys().isdisjoint(("task_start", "task"))


class _Acting:
    """One segment of a rollout's steps by `ActorCritic.act`, or by the CUDA graph, as `BoundPolicy` takes them."""

    def __init__(self, rollout: Rollout) -> None:
        self.rollout = rollout
        self._steps: list[TensorDict] = []
        self._masks: list[Tensor | None] = []

    @property
    def state(self) -> TensorDict:
        """Memory [B] after the last step; the next one may write over it."""
        return self.rollout.state

    def act(self, observation: Any, start: Tensor, mask: Tensor | None = None) -> Tensor:
        """Take one step and return the actions as they are drawn, [B] or [B, A]."""
        rollout = self.rollout
        step, rollout.state = rollout._act()
        action: Tensor = step["action"]
        step["observation"], step["start"] = rollout.observation, rollout.start
        self._steps.append(step)
        self._masks.append(mask)
        return action

    def steps(self) -> TensorDict:
        """Return the record of all steps, [B, T]."""
        steps: TensorDict = TensorDict.stack(self._steps, 1)
        record_masks(steps, self._masks)
        return steps
