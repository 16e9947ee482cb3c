"""Environments of a stream in other processes: an environment that ends its process does not end this one.

The whole of what a stream makes of a task, from the constructor to the drifts, lives in the other process, behind its
gate; here is only what the stream reads: the readable entries of an observation, the reward, the flags and, of `info`,
the mask and what an episode's last step says. No foreign object comes here: arrays, numbers, dicts and tuples do.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from lifelong.action_spaces import Masks
from lifelong.envs.drifts.base import Drifted
from lifelong.envs.drifts.effect import check_effect
from lifelong.envs.entries import ContractError
from lifelong.envs.env_state import Elsewhere, offers_state, put_state, take_state
from lifelong.envs.gate import end_of_episode, gate_of, legal_choices
from lifelong.envs.worker import ProcessEndedError, Worker

__all__ = ["FarEnv", "FarEnvs"]

Made = Callable[[int, bool], tuple[gymnasium.Env[Any, Any], spaces.Space[Any], spaces.Space[Any], bool]]
"""From the number of a task, and whether the environment is its first: the environment, the spaces of its observations
as far as they are read and of its actions, and whether it judges its episodes itself."""

_PLAIN = (bool, int, float)


class FarEnvs:
    """Processes of a stream's environments; the lives are dealt out to them in turn.

    Args:
        processes: N.
        make: what makes an environment there.
    """

    def __init__(self, processes: int, make: Made) -> None:
        self._workers = [Worker(partial(_NearEnvs, make)) for _ in range(processes)]

    @property
    def pids(self) -> list[int]:
        """Numbers of the processes that there are now."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def make(self, slot: int, number: int, env_id: str, *, first: bool, beside: bool = False) -> "FarEnv":
        """Return an environment of a life and task, see `make_task`; `beside` the one there is: as slot -1 - slot."""
        worker = self._workers[slot % len(self._workers)]
        return FarEnv(worker, -1 - slot if beside else slot, number, env_id, first=first)

    def ahead(self, method: str, asked: Sequence[tuple["FarEnv", tuple[Any, ...]]]) -> None:
        """Let all processes work at once: the environments' methods then return what has come.

        Nothing is done where an environment must be made anew first.

        Args:
            method: that is called next of these environments, in this order, with nothing else between.
            asked: environments, and arguments of the method.

        Raises:
            ProcessEndedError: if a process has ended.
        """
        messages: dict[Worker, list[Any]] = {}
        for env, given in asked:
            if not env.is_there:
                return
            messages.setdefault(env.worker, []).append((env.slot, env.number, method, given))
        for worker, message in messages.items():
            worker.ahead(message)

    def close(self) -> None:
        """Close the environments, and end the processes."""
        for worker in self._workers:
            worker.close()


class FarEnv(Elsewhere):
    """An environment in another process, closed with that at the latest; made by `FarEnvs.make`.

    Args:
        worker: process of it and others.
        slot: of its life.
        number: of its task.
        env_id: for messages.
        first: whether its first reset and step are those of the task; see `gate.py`.

    Raises:
        ValueError: as `make_task`, or if that ended the process.
    """

    def __init__(self, worker: Worker, slot: int, number: int, env_id: str, *, first: bool) -> None:
        self.worker, self.slot, self.number, self._env_id = worker, slot, number, env_id
        self._make(first)

    @property
    def is_there(self) -> bool:
        """Whether the process that it was made in still is."""
        return self.worker.pid is not None and self.worker.processes == self._process

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; in a new process, if the last has ended."""
        if not self.is_there:
            self._make(first=False)
        found: tuple[Any, dict[str, Any]] = self._ask("reset", seed)
        return found

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment."""
        found: tuple[Any, float, bool, bool, dict[str, Any]] = self._ask("step", action)
        return found

    def render(self) -> Any:
        """Return what the environment draws."""
        return self._ask("render")

    def check_drifts(self) -> None:
        """Validate that the drifts of its task, if there are any, have an effect; see `check_effect`."""
        try:
            self._ask("check_drifts")
        except ProcessEndedError as error:
            raise ValueError(
                f"environment {self._env_id!r}: trying its drifts ended its process: {error.how}"
            ) from error

    def trust(self) -> None:
        """Take the first reset and step as seen; see `Gate.trust`."""
        if self.is_there:
            self._ask("trust")

    def checksum(self) -> int:
        """Return the checksum of what the environment handed over last."""
        return int(self._ask("checksum"))

    def offers_state(self) -> bool:
        """Return whether its state can be taken; see `env_state.py`."""
        return bool(self._offers)

    def take_state(self) -> bytes:
        """Return its state."""
        return bytes(self._ask("take_state"))

    def put_state(self, state: bytes, steps: int) -> None:
        """Set its state."""
        self._ask("put_state", state, steps)

    def close(self) -> None:
        """Close the environment."""
        if self.is_there:
            self._ask("close")

    def _make(self, first: bool) -> None:
        self.worker.start()
        try:
            obs_space, act_space, fps, mode, self._offers = self._ask("make", first)
        except ProcessEndedError as error:
            raise ValueError(f"cannot make environment {self._env_id!r}: it ended its process: {error.how}") from error
        self.observation_space, self.action_space = obs_space, act_space
        self.metadata, self.render_mode = {"render_fps": fps}, mode
        self._process = self.worker.processes

    def _ask(self, method: str, *given: Any) -> Any:
        return self.worker.answer((self.slot, self.number, method, given))


class _NearEnvs:
    """The environments in their own process, and answers from them."""

    def __init__(self, make: Made) -> None:
        self._make = make
        self._envs: dict[tuple[int, int], _NearEnv] = {}

    def __call__(self, slot: int, number: int, method: str, *given: Any) -> Any:
        if method == "make":
            if (before := self._envs.pop((slot, number), None)) is not None:
                before.env.close()
            env = self._envs[slot, number] = _NearEnv(*self._make(number, *given))
            return env.described
        if method == "close":
            self._envs.pop((slot, number)).env.close()
            return None
        if (slot, number) not in self._envs:
            raise ContractError(f"{method}()", "is of an environment whose process has ended; reset makes another")
        return getattr(self._envs[slot, number], method)(*given)

    def close(self) -> None:
        """Close all environments."""
        while self._envs:
            self._envs.popitem()[1].env.close()


class _NearEnv:
    """An environment in its own process: what it hands over becomes plain, and is copied before another overwrites it.

    Args:
        env: of a task.
        observed: its observations, as far as they are read.
        actions: its actions.
        judged: whether its `success` is read.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], observed: spaces.Space[Any], actions: spaces.Space[Any], judged: bool
    ) -> None:
        self.env, self._judged = env, judged
        self._gate, self._masks, self._copy = gate_of(env), Masks(actions), _copier(observed)
        shown: Any = env.metadata
        fps = shown.get("render_fps") if isinstance(shown, dict) else None
        fps = fps if type(fps) in _PLAIN else None
        self.described = _own(observed), _own(actions), fps, env.render_mode, offers_state(env)
        """Spaces, pictures a second, how it draws and whether it offers its state."""

    def reset(self, seed: int) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed)
        return self._copy(obs), self._read(info, over=False)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self._copy(obs), reward, terminated, truncated, self._read(info, over=terminated or truncated)

    def render(self) -> Any:
        picture: Any = self.env.render()
        return np.array(picture) if isinstance(picture, np.ndarray) else None

    def take_state(self) -> bytes:
        return take_state(self.env)

    def put_state(self, state: bytes, steps: int) -> None:
        put_state(self.env, state, steps)

    def check_drifts(self) -> None:
        if isinstance(self.env, Drifted):
            check_effect(self.env.env, self.env.drifts)

    def trust(self) -> None:
        self._gate.trust()

    def checksum(self) -> int:
        return self._gate.checksum()

    def _read(self, info: dict[str, Any], *, over: bool) -> dict[str, Any]:
        """Return what the stream reads of an `info`, checked here, since there may be anything in it."""
        read: dict[str, Any] = {}
        if info.get("action_mask") is not None and self._masks.size:
            read["action_mask"] = legal_choices(self._masks, info["action_mask"])
        if over:
            read["success"], answer = end_of_episode(info, success=self._judged)
            if answer is not None:
                read["lifelong_answer"] = answer
        return read


def _copier(space: spaces.Space[Any]) -> Callable[[Any], Any]:
    """Return a function that copies what is read of an observation."""
    if isinstance(space, spaces.Dict):
        entries = [(key, _copier(inner)) for key, inner in space.spaces.items()]
        return lambda obs: {key: copy(obs[key]) for key, copy in entries}
    if isinstance(space, spaces.Tuple):
        parts = [_copier(inner) for inner in space.spaces]
        return lambda obs: tuple(copy(part) for copy, part in zip(parts, obs, strict=True))
    return _plain


def _plain(value: Any) -> Any:
    return value if type(value) in _PLAIN else np.array(value)


def _own(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return a space of gymnasium's own classes, whatever class it is of."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _own(inner) for key, inner in space.spaces.items()})
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([_own(inner) for inner in space.spaces])
    if isinstance(space, spaces.Box):
        return spaces.Box(space.low, space.high, dtype=space.dtype.type)
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n), start=int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec, space.dtype.type, start=space.start)
    return spaces.MultiBinary(space.shape or ())
