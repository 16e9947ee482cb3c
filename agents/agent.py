"""Agent: a policy, its spaces, and when its memory is reset.

    agent = Agent.for_spaces(env)
    state = agent.initial_state(1)
    action, state = agent.act(obs, state, reward=reward, episode_end=ended)

The state goes from call to call; an episode's end does not end it, unless `carry` says so.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.action_spaces import as_actions, is_nested, no_action, previous_entry, validate_space
from lifelong.agents.actor_critic import ActionStd, ActorCritic, Heads
from lifelong.agents.agent_state import AgentState
from lifelong.agents.backbone import Backbone
from lifelong.agents.carry import CARRY, Carry
from lifelong.agents.encoder import Encoder, as_tensors
from lifelong.agents.env_spaces import as_stream_shows
from lifelong.agents.history import HISTORY, has_history, space_with_history
from lifelong.agents.leaves import check_categories, leaves_of, where
from lifelong.agents.scaling import Normalize
from lifelong.hashed_words import hash_text, without_text
from lifelong.memory import make_memory
from lifelong.readable import LARGEST, brief, masked_fault

__all__ = ["Agent", "policy_of"]


class Agent(nn.Module):
    """A recurrent actor-critic for one pair of spaces, which carries its memory from step to step.

    Args:
        policy: encoder, backbone and heads.
        observation_space: what the policy reads, for one life: a Dict with the entries of `history.py`.
        action_space: for one life; see `action_heads.py`.
        carry: when the memory is reset: `lifetime`, only with a new life; `task`, also with a new task; `episode`, with
            every episode.
        env_spaces: of the environment itself where a stream stood between it and the policy: observations without
            history are read as of the first, and actions returned for them are of the second. None: as the policy's.

    Raises:
        ValueError: if `carry` is unknown, or the observation space has no history.
    """

    def __init__(
        self,
        policy: ActorCritic,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        carry: Carry = "lifetime",
        env_spaces: tuple[spaces.Space[Any], spaces.Space[Any]] | None = None,
    ) -> None:
        super().__init__()
        if carry not in CARRY:
            raise ValueError(f"carry must be one of {', '.join(CARRY)}, got {carry!r}")
        if not isinstance(observation_space, spaces.Dict) or not has_history(observation_space):
            raise ValueError(
                f"observation_space must be a Dict with observation, {', '.join(HISTORY)}, got {observation_space}"
            )
        self.policy = policy
        self.carry: Carry = carry
        self.observation_space, self.action_space = observation_space, action_space
        self.env_spaces = env_spaces
        self._spaces = {"observation": str(observation_space), "action": str(action_space)}
        self._layout = {name: x.shape[1:] for name, x in self.initial_state(1).tensors().items()}

    @classmethod
    def for_spaces(
        cls,
        env: Any,
        memory: str = "gated_delta",
        width: int = 64,
        layers: int = 1,
        residual: Literal["sum", "gated"] = "sum",
        carry: Carry = "lifetime",
        memory_options: Mapping[str, Any] | None = None,
        seed: int | None = None,
        working_memory: str | None = None,
        normalize_observation: Normalize = "auto",
        action_std: ActionStd = "state",
        initial_std: float = 1.0,
        heads: Heads = "one",
        *,
        packed: bool = False,
    ) -> Self:
        """Return a new agent for the spaces of an environment.

        Args:
            env: a gymnasium environment, vector environment or task stream; only its spaces are read.
            memory: name of a memory, or `package.module:Class`; see `make_memory`.
            width: D, width of the backbone.
            layers: blocks of the backbone.
            residual: residual connection: `sum`, or a GTrXL gate (`gated`).
            carry: when the memory is reset; see the class.
            memory_options: further settings of the memory.
            seed: of the weights; None uses torch's global random state.
            working_memory: name of a second memory in front of the first that starts anew with every episode; or None.
            normalize_observation: which numbers of observations are normalised by what was observed; see `Scaling`.
            action_std: what the standard deviation of continuous actions depends on; see `ActorCritic`.
            initial_std: what it is at first.
            heads: policy and value head: one of each for all tasks, or one of each per task; see `ActorCritic`.
            packed: whether all other weights are shared among tasks, for PackNet; see `ActorCritic`.

        Raises:
            KeyError: if no memory has that name.
            TypeError: if the memory does not take these options, or `env` has no spaces.
            ValueError: if a size is not positive, or a space is not supported.
        """
        if layers < 1:
            raise ValueError(f"layers must be positive: layers={layers}")
        observation_space, action_space = _spaces_of(env)
        with torch.random.fork_rng(enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            memories = [make_memory(memory, width, **(memory_options or {})) for _ in range(layers)]
            working = [make_memory(working_memory, width) for _ in memories] if working_memory else []
            encoder = Encoder(observation_space, width, normalize_observation)
            backbone = Backbone(memories, residual=residual, working=working)
            policy = ActorCritic(encoder, backbone, action_space, action_std, initial_std, heads, packed=packed)
        return cls(policy, observation_space, action_space, carry)

    def check_spaces(self, env: Any) -> None:
        """Validate that an environment has the agent's spaces.

        Args:
            env: a gymnasium environment, vector environment or task stream.

        Raises:
            ValueError: if it has others; names both.
        """
        observation_space, action_space = _spaces_of(env)
        for name, own, found in (
            ("observation", self.observation_space, observation_space),
            ("action", self.action_space, action_space),
        ):
            if own != found:
                raise ValueError(f"env must have the agent's {name} space {own}, got {found}")

    def initial_state(self, batch: int) -> AgentState:
        """Return the state of new lives.

        Args:
            batch: B, lives side by side; 1 for one environment.

        Raises:
            ValueError: if it is not positive.
        """
        if batch < 1:
            raise ValueError(f"batch must be positive: batch={batch}")
        device = self._device
        rows = np.repeat(no_action(self.action_space)[None], batch, 0)
        yes = torch.ones(batch, dtype=torch.bool, device=device)
        return AgentState(
            memory=self.policy.backbone.initial_state(batch),
            previous_action=self._row_tensor(rows),
            previous_reward=torch.zeros(batch, device=device),
            start=yes,
            episode_start=yes.clone(),
            spaces=self._spaces,
        )

    def act(
        self,
        obs: Any,
        state: AgentState | None = None,
        reward: Any = None,
        episode_end: Any = None,
        *,
        task_end: Any = None,
        life_end: Any = None,
        action_mask: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, AgentState]:
        """Choose actions.

        Args:
            obs: one observation of a gymnasium environment, or a batch of B; or the whole observation of a task
                stream, whose entries then take the place of `reward` and `episode_end`.
            state: of B lives, as the last call returned it; None begins new lives.
            reward: [B] for the last action; needed after the first step of a life.
            episode_end: [B] bool, the last action ended an episode: `obs` is the first of the next. None: it did not.
            task_end: [B] bool, the last action ended a task; matters with `carry="task"`. None: it did not.
            life_end: [B] bool, `obs` is the first of a new life. None: it is not.
            action_mask: [B, n] of 0 and 1, which choices are legal (see `lifelong.action_spaces`), such as
                `info["action_mask"]`; None: what an entry `action_mask` of `obs` says, or all.
            deterministic: take the most probable action instead of a random one.

        Returns:
            action: as the environment takes it, [B, ...], or one action if `obs` is one observation; of a Dict or
                Tuple nested so.
            state: for the next call.

        Raises:
            ValueError: if an argument does not fit the agent's spaces, the state or the batch; names it.
        """
        policy_out, after = self.step(
            obs,
            state,
            reward,
            episode_end,
            task_end=task_end,
            life_end=life_end,
            action_mask=action_mask,
            deterministic=deterministic,
        )
        rows = self.policy.head.executed(policy_out["action"])
        single = self._batch_size(self._without_text(obs)) is None
        space = self.action_space if self.env_spaces is None or _is_whole(obs) else self.env_spaces[1]
        return as_actions(space, rows[0] if single else rows), after

    @torch.no_grad()
    def step(
        self,
        obs: Any,
        state: AgentState | None = None,
        reward: Any = None,
        episode_end: Any = None,
        *,
        task_end: Any = None,
        life_end: Any = None,
        action_mask: Any = None,
        deterministic: bool = False,
    ) -> tuple[TensorDict, AgentState]:
        """Choose actions, and return their log-probabilities and values too; see `act` for the arguments.

        Returns:
            policy_out: [B] of `action` as it was drawn (`policy.head.taken` is what the environment gets),
                `action_log_prob` and `state_value` [B, 1].
            state: for the next call.
        """
        obs = self._without_text(obs)
        size = self._batch_size(obs)
        batch = 1 if size is None else size
        state = self.initial_state(batch) if state is None else state
        self.check_state(state)
        if state.batch != batch:
            raise ValueError(f"state must be of the {batch} lives of obs, got one of {state.batch}")
        state = self._updated(state, reward, episode_end, task_end, life_end)
        observation, state = self._observe(obs, state)
        parameters, value, memory_state = self.policy.outputs(observation, state.memory, state.start)
        mask = self._mask(action_mask, observation)
        policy_out = self.policy.draw(parameters, value, mask=mask, deterministic=deterministic)
        action, no = policy_out["action"], torch.zeros_like(state.start)
        if not self.policy.head.simple:
            action = self._row_tensor(self.policy.head.executed(action))
        after = AgentState(
            memory=memory_state,
            previous_action=action.reshape(state.previous_action.shape),
            previous_reward=torch.full_like(state.previous_reward, torch.nan),
            start=no,
            episode_start=no.clone(),
            spaces=self._spaces,
        )
        return policy_out, after

    def check_state(self, state: AgentState) -> None:
        """Validate that a state is one of this agent's: of the same spaces, with the same entries.

        Raises:
            TypeError: if it is no `AgentState`.
            ValueError: if it does not fit; names the space or the entry, both values and what is allowed.
        """
        if not isinstance(state, AgentState):
            raise TypeError(f"state must be an AgentState, as initial_state returns it, got {type(state).__name__}")
        self.check_state_spaces(state.spaces)
        tensors = state.tensors()
        if tensors.keys() != self._layout.keys():
            raise ValueError(f"state must have the entries {sorted(self._layout)}, got {sorted(tensors)}")
        for name, x in tensors.items():
            if tuple(x.shape) != (state.batch, *self._layout[name]):
                raise ValueError(
                    f"state must have {name} of shape {[state.batch, *self._layout[name]]}, got {list(x.shape)}"
                )

    def check_state_spaces(self, found: Mapping[str, str]) -> None:
        """Validate the spaces of a state, as text.

        Args:
            found: `AgentState.spaces`.

        Raises:
            ValueError: if they are not the agent's; names the space and both.
        """
        for name, own in self._spaces.items():
            if found.get(name) != own:
                raise ValueError(f"state must be of the {name} space {own}, got one of {found.get(name)}")

    @property
    def _device(self) -> torch.device:
        return next(self.policy.parameters()).device

    def _updated(self, state: AgentState, reward: Any, episode_end: Any, task_end: Any, life_end: Any) -> AgentState:
        """Return the state with the reward, the episode end and the start flag since the last step."""
        episode, task, life = (
            self._flag(name, flag, state.batch)
            for name, flag in (("episode_end", episode_end), ("task_end", task_end), ("life_end", life_end))
        )
        previous_reward = state.previous_reward
        if reward is not None:
            given = self._per_life("reward", reward, np.float32, state.batch)
            previous_reward = torch.where(previous_reward.isnan(), given, previous_reward)
        ends = {"lifetime": life, "task": life | task, "episode": life | task | episode}[self.carry]
        updated = replace(
            state,
            previous_reward=previous_reward,
            start=state.start | ends,
            episode_start=state.episode_start | episode | task | life,
        )
        if life_end is None or not life.any():
            return updated
        new = self.initial_state(state.batch)
        rows = life.reshape(-1, *(1 for _ in state.previous_action.shape[1:]))
        return replace(
            updated,
            previous_action=torch.where(rows, new.previous_action, updated.previous_action),
            previous_reward=torch.where(life, new.previous_reward, updated.previous_reward),
        )

    def _observe(self, obs: Any, state: AgentState) -> tuple[TensorDict, AgentState]:
        """Return the observation [B] with its history, and the state with `start` from the stream's own entries."""
        batch, device = state.batch, self._device
        if _is_whole(obs):
            observation = as_tensors(_with_batch_axis(obs, self.observation_space), (batch,), device)
            entry = {"task": "task_start", "episode": "episode_start"}.get(self.carry)
            if entry in self.observation_space.spaces:
                state = replace(state, start=state.start | (observation[entry][:, 0] > 0))
            return observation, state
        if not bool(torch.isfinite(state.previous_reward).all()):
            raise ValueError(
                "reward must be given, and finite, after the first step of a life: it is part of what the agent "
                f"observes; got {state.previous_reward.tolist()}"
            )
        space = self.observation_space["observation"]
        observation = as_tensors({"observation": _with_batch_axis(obs, space)}, (batch,), device)
        previous: Any = state.previous_action
        if is_nested(self.action_space):
            entries = previous_entry(self.action_space, previous.numpy(force=True))
            previous = as_tensors(entries, (batch,), device)
        observation["previous_action"] = previous
        observation["previous_reward"] = state.previous_reward[:, None]
        observation["episode_start"] = state.episode_start[:, None].float()
        return observation, state

    def _without_text(self, obs: Any) -> Any:
        obs = _off_torch(obs)
        if _is_whole(obs):
            return hash_text(self.observation_space, obs)
        shown = obs if self.env_spaces is None else as_stream_shows(self.env_spaces[0], obs)
        return hash_text(self.observation_space["observation"], shown)

    def _batch_size(self, obs: Any) -> int | None:
        """Return B, or None if `obs` is one observation; validate it against the space."""
        space: spaces.Space[Any] = self.observation_space
        if not _is_whole(obs):
            if other := sorted(self.observation_space.spaces.keys() - {"observation", *HISTORY}):
                raise ValueError(f"obs must be the whole observation of a stream, which tells {', '.join(other)} too")
            space = self.observation_space["observation"]
        sizes = set()
        for path, leaf in leaves_of(space):
            array = _numbers(f"obs{where(path)}", _entry(obs, path, space))
            shape, own = array.shape, tuple(leaf.shape or ())
            if shape != own and shape[1:] != own:
                raise ValueError(
                    f"obs{where(path)} must be {list(own)} or [B, ...] of {brief(leaf)}, got {list(shape)}"
                )
            if 0 in shape[:1]:
                raise ValueError(f"obs{where(path)} must be of one life or more, got {list(shape)}")
            if isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete):
                check_categories(array, leaf, path)
            elif array.dtype.kind == "f" and not (finite := np.abs(array) <= LARGEST).all():  # NaN too
                value = array[~finite].flat[0]
                raise ValueError(f"obs{where(path)} must be finite and at most {LARGEST:.4g}, got {value}")
            sizes.add(None if shape == own else shape[0])
        if len(sizes) > 1:
            raise ValueError(f"obs must have one batch size in all its entries, got {sorted(map(str, sizes))}")
        return sizes.pop()

    def _row_tensor(self, rows: NDArray[Any]) -> Tensor:
        """Return rows of actions [B, ...] as a tensor; floats are of single precision."""
        return torch.from_numpy(rows.astype(np.float32) if rows.dtype.kind == "f" else rows).to(self._device)

    def _mask(self, given: Any, observation: TensorDict) -> Tensor | None:
        """Return the action masks [B, n], from what was given or the observation; None where there are none."""
        head, batch = self.policy.head, observation.shape[0]
        if given is None and (path := self.policy.mask_path) is not None:
            given = _arrays(observation[tuple(map(str, path))])
        if given is None or not head.masks.size:
            return None
        masks = _off_torch(given)
        if batch == 1 and (isinstance(masks, Mapping | tuple) or np.ndim(masks) == 1):
            legal = head.masks.read(masks)[None]
        else:
            legal = head.masks.read_batch(masks, batch)
        return torch.from_numpy(legal).to(self._device)

    def _flag(self, name: str, flag: Any, batch: int) -> Tensor:
        given = _numbers(name, False if flag is None else _off_torch(flag))
        if not ((given == 0) | (given == 1)).all():
            raise ValueError(f"{name} must be true or false, or 0 and 1, got {given.tolist()}")
        return self._per_life(name, given, np.bool_, batch)

    def _per_life(self, name: str, value: Any, dtype: type[np.generic], batch: int) -> Tensor:
        array = _numbers(name, _off_torch(value))
        if array.shape not in ((), (batch,)):
            raise ValueError(f"{name} must be one number or [{batch}], one for each life, got {list(array.shape)}")
        return torch.from_numpy(np.broadcast_to(array, batch).astype(dtype)).to(self._device)


def policy_of(policy: ActorCritic | Agent) -> ActorCritic:
    """Return the actor-critic of an agent, or the actor-critic itself.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(policy, Agent):
        return policy.policy
    if not isinstance(policy, ActorCritic):
        raise TypeError(f"policy must be an Agent or an ActorCritic, got {type(policy).__name__}")
    return policy


def _spaces_of(env: Any) -> tuple[spaces.Dict, spaces.Space[Any]]:
    """Return the spaces of one environment, that of observations with history."""
    kind = "single_" if hasattr(env, "single_observation_space") else ""
    try:
        space, action = getattr(env, f"{kind}observation_space"), getattr(env, f"{kind}action_space")
    except AttributeError:
        raise TypeError(f"env must be a gymnasium environment, got {type(env).__name__}") from None
    observation: Any = without_text(space)
    if has_history(observation):
        return observation, action
    validate_space(action, "env")
    return space_with_history(observation, action), action


def _is_whole(obs: Any) -> bool:
    """Return whether an observation already has its history, as a task stream's does."""
    return isinstance(obs, Mapping) and {"observation", *HISTORY} <= obs.keys()


def _entry(obs: Any, path: tuple[str, ...], space: spaces.Space[Any]) -> Any:
    """Return the part of an observation at the path of one of its space's leaves."""
    part, inner = obs, space
    for key in path if isinstance(space, spaces.Dict | spaces.Tuple) else ():
        expected = sorted(inner.spaces) if isinstance(inner, spaces.Dict) else [str(i) for i in range(len(inner))]  # type: ignore[arg-type]
        found = sorted(part) if isinstance(part, Mapping) else [str(i) for i in range(len(part))]
        if not isinstance(part, Mapping | tuple) or found != expected:
            raise ValueError(f"obs must be of {brief(space)}, with the entries {expected}; got {_described(obs)}")
        part = part[key] if isinstance(part, Mapping) else part[int(key)]
        inner = inner[key] if isinstance(inner, spaces.Dict) else inner[int(key)]  # type: ignore[index]
    if isinstance(part, Mapping | tuple | str):
        raise ValueError(f"obs must be of {brief(space)}, got {_described(obs)}")
    return part


def _described(obs: Any) -> str:
    """Return a space that an observation fits, for error messages."""
    if isinstance(obs, Mapping):
        return f"Dict({', '.join(f'{key!r}: {_described(part)}' for key, part in obs.items())})"
    if isinstance(obs, tuple):
        return f"Tuple({', '.join(map(_described, obs))})"
    if isinstance(obs, str):
        return "Text"
    array = np.asarray(obs)
    return f"Box({array.shape}, {array.dtype})"


def _off_torch(tree: Any) -> Any:
    """Return tensors as arrays, in dicts and tuples too; bfloat16, which numpy has not, as float32."""
    if isinstance(tree, Tensor):
        return (tree.float() if tree.dtype is torch.bfloat16 else tree).numpy(force=True)
    if isinstance(tree, Mapping):
        return {key: _off_torch(part) for key, part in tree.items()}
    return tuple(map(_off_torch, tree)) if isinstance(tree, tuple) else tree


def _numbers(name: str, value: Any) -> NDArray[Any]:
    """Return numbers as an array, or refuse what is none."""
    if fault := masked_fault(value):
        raise ValueError(f"{name} {fault}")
    try:
        array = np.asarray(value)
    except Exception as error:  # lists of several lengths, and whatever foreign objects raise
        raise ValueError(f"{name} must be numbers that numpy reads: {error}") from error
    if array.dtype.kind not in "biuf" or array.dtype == np.longdouble:
        raise ValueError(f"{name} must be numbers, got {array.dtype}")
    return array


def _with_batch_axis(obs: Any, space: spaces.Space[Any]) -> Any:
    """Return an observation with a batch axis and tuples as dicts; an array where the space is no Dict or Tuple."""
    if isinstance(space, spaces.Dict):
        named = obs if isinstance(obs, Mapping) else {str(i): part for i, part in enumerate(obs)}
        return {key: _with_batch_axis(named[key], inner) for key, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        parts = [obs[str(i)] if isinstance(obs, Mapping) else obs[i] for i in range(len(space.spaces))]
        return {str(i): _with_batch_axis(part, inner) for i, (part, inner) in enumerate(zip(parts, space, strict=True))}
    array = np.asarray(obs)
    return array[None] if array.ndim == len(space.shape or ()) else array


def _arrays(tree: Tensor | TensorDict) -> Any:
    """Return a tensor as an array, and a TensorDict as a dict of arrays."""
    return tree.cpu().numpy() if isinstance(tree, Tensor) else {key: _arrays(inner) for key, inner in tree.items()}
