"""GymStream: gymnasium environments as the tasks of a life.

Each life has a Python environment of its own for every task, made at the task's first episode. An episode is
`reset(seed=...)` with the stream's seed, then steps; so an unfinished episode is resumed exactly by resetting with the
same seed and replaying the actions. That holds for environments whose random numbers all come from the seed and that
keep nothing across resets; any other raises `StreamError` when resumed.

Observations are those of the environment:

| space | observation |
| --- | --- |
| Box, MultiBinary | itself |
| Discrete, MultiDiscrete | itself, counted from 0 |
| Dict, Tuple | a Dict of the same; the entries of a Tuple are named 0, 1, ... |
| MiniGrid's `image` | MultiDiscrete [7, 7, 3]: object type, colour, state of each cell in view, in its numbers |
| MiniGrid's `mission` | MultiDiscrete: the indices of its words, see `mission.py`; a constant one is left out |

Actions are Discrete, counted from 0 whatever the environment's `start`, or Box. An episode that is terminated and
truncated at once counts as terminated. An environment that raises ends the stream: `StreamError`, whose `report` has
the seed and the actions that reproduce it. `success` of a row is `info["success"]` or `info["is_success"]` of the last
step; of MiniGrid and BabyAI, whether the episode terminated with a reward above 0; of a task with `success_return`,
whether the return is at least that. `answer` is `info["answer"]` or the last discrete action.

Tasks of one environment may differ by their drifts: see `drifts/base.py`. Tasks of several environments have the same
spaces, or common ones with `unify`: see `unify_spaces.py`.
"""

import importlib
import math
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.drifts.base import Drift, Drifted
from lifelong.envs.drifts.effect import check_effect
from lifelong.envs.extras import EXTRAS, install_line, is_installed
from lifelong.envs.parse import kinds_of
from lifelong.envs.schedules import Cyclic, Schedule
from lifelong.envs.stream import Boundary, StreamError, Task, TaskStream
from lifelong.envs.unify_spaces import Adapted, common_actions, common_observations

__all__ = ["GymStream", "GymTask", "drifting", "is_minigrid", "make_task"]

_SUPPORTED = "Box, Discrete, MultiBinary, MultiDiscrete, and Dict or Tuple of these"


@dataclass(frozen=True, slots=True)
class GymTask(Task):
    """Task of a `GymStream`: a gymnasium environment with drifts.

    Args:
        name: shown in tables.
        references: what its returns are compared with.
        env_id: as `gymnasium.make` takes it, `module:id` included; empty if it is the name.
        kwargs: passed to `gymnasium.make`.
        drifts: changes of the environment, the innermost first; see `drifts/base.py`.
        success_return: return from which on an episode is a success; None: what the environment says.

    Raises:
        ValueError: if `success_return` is not finite.
    """

    env_id: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    drifts: Sequence[Drift] = ()
    success_return: float | None = None

    def __post_init__(self) -> None:
        """Fill in the id, make the task hashable, and validate the threshold."""
        if self.success_return is not None and not math.isfinite(self.success_return):
            raise ValueError(f"success_return must be finite: success_return={self.success_return}")
        object.__setattr__(self, "env_id", self.env_id or self.name)
        object.__setattr__(self, "drifts", tuple(self.drifts))


class GymStream(TaskStream):
    """Task stream over gymnasium environments.

    Args:
        tasks: one id or task, or several.
        num_envs: B, lives side by side.
        schedule: which task comes next.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the agent is told of task changes.
        seed: of the lives; `reset(seed=...)` overrides it.
        unify: whether tasks with different spaces get common ones; otherwise they are an error.

    Raises:
        ValueError: if an environment cannot be made, has a space that is not supported, or spaces other than the first
            one's without `unify`; or if a drift has no effect.
    """

    metadata = TaskStream.metadata | {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        tasks: str | GymTask | Sequence[str | GymTask],
        num_envs: int = 1,
        *,
        schedule: Schedule = Cyclic(1),  # noqa: B008  frozen
        life_episodes: int | None = None,
        boundary: Boundary = "none",
        seed: int = 0,
        unify: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode must be rgb_array or None, got {render_mode!r}")
        self.render_mode = render_mode
        listed = [tasks] if isinstance(tasks, str | GymTask) else list(tasks)
        self._recipes = [GymTask(task) if isinstance(task, str) else task for task in listed]
        if not self._recipes:
            raise ValueError("a stream needs at least one task")
        self._envs: dict[tuple[int, int], gymnasium.Env[Any, Any]] = {}
        self._obs_spaces: tuple[spaces.Space[Any], ...] = ()
        self._common: tuple[spaces.Space[Any], spaces.Space[Any]] | None = None
        for number in range(len(self._recipes)):
            env = self.environment(0, number)
            if isinstance(env, Drifted):
                check_effect(env.env, env.drifts)
        self.metadata = self.metadata | {"render_fps": self.environment(0, 0).metadata.get("render_fps") or 30}
        obs_space, act_space = self._share(unify)
        super().__init__(
            num_envs,
            tasks=self._recipes,
            observation_space=_from_zero(obs_space),
            action_space=_from_zero(act_space),
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self._moves = act_space
        self._obs = {path: np.zeros((num_envs, *leaf.shape), leaf.dtype) for path, leaf in _leaves(obs_space)}
        self._first = {path: leaf.start for path, leaf in _leaves(obs_space) if hasattr(leaf, "start")}
        self._floats = [kept for kept in self._obs.values() if np.issubdtype(kept.dtype, np.inexact)]
        self._steps: list[Callable[[Any], tuple[Any, Any, bool, bool, dict[str, Any]]]] = [_unborn] * num_envs
        self._taken: list[list[Any]] = [[] for _ in range(num_envs)]  # actions of the present episodes
        self._seeds, self._over = [0] * num_envs, np.zeros(num_envs, np.bool_)  # their seeds, whether they ended
        self._last_info: list[dict[str, Any]] = [{} for _ in range(num_envs)]

    def _share(self, unify: bool) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
        """Return the spaces of all tasks, unified if `unify`."""
        obs_spaces, act_spaces = zip(*(self._spaces(number) for number in range(len(self._recipes))), strict=True)
        ids = [recipe.env_id for recipe in self._recipes]
        for what, found in (("observations", obs_spaces), ("actions", act_spaces)):
            other = next((number for number, space in enumerate(found) if space != found[0]), None)
            if other is not None and not unify:
                raise ValueError(
                    f"the tasks of a stream share their spaces, but {ids[0]} has {what} {found[0]} and {ids[other]} "
                    f"has {what} {found[other]}; unify=True brings them into common ones"
                )
        if all(pair == (obs_spaces[0], act_spaces[0]) for pair in zip(obs_spaces, act_spaces, strict=True)):
            return obs_spaces[0], act_spaces[0]
        self._obs_spaces, self._common = obs_spaces, (common_observations(obs_spaces), common_actions(act_spaces))
        self._envs = {(slot, number): self._adapted(env, number) for (slot, number), env in self._envs.items()}
        return self._common

    def _spaces(self, number: int) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
        """Return the observation and action space of a task; validate that an agent can read them."""
        env_id, env = self._recipes[number].env_id, self.environment(0, number)
        grid = env.unwrapped if is_minigrid(env) else None
        obs_space, act_space = _readable(env.observation_space, env_id, grid), env.action_space
        if not isinstance(act_space, spaces.Discrete | spaces.Box):
            raise ValueError(f"{env_id}: actions {act_space} are not supported; supported are Discrete and Box")
        return obs_space, act_space

    def environment(self, slot: int, number: int) -> gymnasium.Env[Any, Any]:
        """Return the environment of one life and task, made at first use.

        Args:
            slot: of the life.
            number: of the task, without drifts of the whole stream.
        """
        if (slot, number) not in self._envs:
            env = make_task(self._recipes[number], self.render_mode)
            self._envs[slot, number] = self._adapted(env, number)
        return self._envs[slot, number]

    def _adapted(self, env: gymnasium.Env[Any, Any], number: int) -> gymnasium.Env[Any, Any]:
        if self._common is None:
            return env
        obs_space, act_space = self._common
        return Adapted(env, self._obs_spaces[number], obs_space, act_space)

    def render(self) -> tuple[Any, ...] | None:
        """Return what each life's environment draws, [height, width, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(self.environment(slot, int(self.base_task[slot])).render() for slot in range(self.num_envs))

    def base_observation(self) -> Any:
        """Return the batch of observations without drifts of the whole stream."""
        return self._observe()

    def close_extras(self) -> None:
        """Close all environments."""
        for env in getattr(self, "_envs", {}).values():
            env.close()

    def _begin_episodes(self, slots: NDArray[np.int64]) -> None:
        for slot, seed in zip(slots.tolist(), self.episode_seeds(slots).tolist(), strict=True):
            self._seeds[slot], self._over[slot] = seed, False
            self._begin_episode(slot)
        self._check()

    def _begin_episode(self, slot: int) -> None:
        self._taken[slot], self._last_info[slot] = [], {}
        try:
            env = self.environment(slot, int(self.base_task[slot]))
            obs, _ = env.reset(seed=self._seeds[slot])
        except Exception as error:
            raise self._crash(slot, [], error) from error
        self._steps[slot] = env.step
        self._keep(slot, obs)

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        if isinstance(self._moves, spaces.Discrete):
            moves = (actions + self._moves.start).tolist()
        else:
            moves = list(actions.astype(self._moves.dtype))  # a copy: environments may keep their actions
        reward = np.zeros(self.num_envs)
        terminated, truncated = np.zeros(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)
        infos, slot, at_rest = self._last_info, 0, self.at_rest.tolist()
        try:
            for slot, move in enumerate(moves):
                if slot in at_rest:
                    continue
                obs, reward[slot], terminated[slot], truncated[slot], infos[slot] = self._steps[slot](move)
                self._taken[slot].append(move)
                self._keep(slot, obs)
        except Exception as error:
            raise self._crash(slot, [moves[slot]], error) from error
        self._check()
        self._over = terminated | truncated
        return reward, terminated, truncated & ~terminated

    def _crash(self, slot: int, last: list[Any], error: Exception) -> StreamError:
        """Return the seed and actions that reproduce the error of an environment."""
        recipe, seed = self._recipes[self.base_task[slot]], int(self.episode_seeds(np.array([slot]))[0])
        actions = [np.asarray(move).tolist() for move in self._taken[slot] + last]
        where = f"life {self.life[slot]}, step {self.life_step[slot]} of the life, episode seed {seed}"
        return StreamError(
            f"environment {recipe.env_id!r} broke in task {recipe.name!r}, {where}: {type(error).__name__}: {error}",
            {
                "env_id": recipe.env_id,
                "kwargs": {name: repr(value) for name, value in recipe.kwargs.items()},
                "drifts": [repr(drift) for drift in recipe.drifts],
                "seed": seed,
                "actions": actions,
                "traceback": traceback.format_exception(error),
            },
        )

    def _keep(self, slot: int, obs: Any) -> None:
        for path, kept in self._obs.items():
            part = obs
            for key in path:
                part = part[key]
            kept[slot] = part

    def _check(self) -> None:
        for kept in self._floats:
            finite = np.isfinite(kept)
            if not finite.all():
                bad = ~finite.reshape(self.num_envs, -1)
                value = kept.reshape(self.num_envs, -1)[self._everyone, bad.argmax(1)]
                self._blame(np.asarray(bad.any(1)), "observation", value)

    def _observe(self) -> Any:
        obs: dict[Any, Any] = {}
        for path, kept in self._obs.items():
            value = kept - self._first[path] if path in self._first else kept.copy()
            if not path:
                return value
            inner = obs
            for key in path[:-1]:
                inner = inner.setdefault(str(key), {})
            inner[str(path[-1])] = value
        return obs

    def _episode_info(self, slots: NDArray[np.int64]) -> dict[str, Any]:
        ends = [self._last_info[slot] for slot in slots]
        success = [end.get("success", end.get("is_success", np.nan)) for end in ends]
        for n, slot in enumerate(slots.tolist()):
            least = self._recipes[self.base_task[slot]].success_return
            if least is not None:
                success[n] = self.base_return[slot] >= least
        if isinstance(self._moves, spaces.Discrete):
            last = self.previous_action[slots].tolist()
        else:
            last = [-1] * len(ends)
        answer = [end.get("answer", move) for end, move in zip(ends, last, strict=True)]
        return {"success": np.array(success, np.float64), "answer": np.array(answer)}

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the position of the stream, with the actions of the unfinished episodes."""
        actions = [move for taken in self._taken for move in taken]
        return super().position() | {
            "actions": np.array(actions, self._moves.dtype).reshape(-1, *(self._moves.shape or ()))
        }

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        ends = np.cumsum(self.episode_length)
        for slot, taken in enumerate(np.split(position["actions"], ends[:-1])):
            self._replay(slot, taken.tolist() if isinstance(self._moves, spaces.Discrete) else list(taken))

    def _replay(self, slot: int, taken: list[Any]) -> None:
        """Take the actions of an episode that has just begun anew.

        Raises:
            StreamError: if it comes out otherwise.
        """
        gained, over = 0.0, False
        for move in taken:
            obs, reward, terminated, truncated, self._last_info[slot] = self._steps[slot](move)
            gained, over = gained + float(reward), over or terminated or truncated
            self._taken[slot].append(move)
            self._keep(slot, obs)
        if over != self._over[slot] or gained != self.base_return[slot]:
            raise StreamError(
                f"task {self.tasks[self.task[slot]].name!r} cannot be resumed: after the same seed and the same "
                f"{len(taken)} actions life {self.life[slot]} has the return {gained}, not "
                f"{self.base_return[slot]}{', and its episode is over' if over else ''}"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: no environments, which cannot all be copied, but their seeds and actions."""
        return vars(self) | {"_envs": {}, "_steps": [_unborn] * self.num_envs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the environments anew, and replay the present episodes.

        Raises:
            StreamError: if one comes out otherwise.
        """
        vars(self).update(state)
        for slot in range(self.num_envs if self.vector_steps >= 0 else 0):
            taken = self._taken[slot]
            self._begin_episode(slot)
            self._replay(slot, taken)


def drifting(env_id: str, texts: str | Sequence[str]) -> list[GymTask]:
    """Return one task for each text, named like it.

    Args:
        env_id: as `gymnasium.make` takes it.
        texts: as `parse_drifts` takes them, or all in one with strokes between.

    Raises:
        ValueError: as `parse_drifts`.
    """
    return [GymTask(name, env_id=env_id, drifts=drifts) for name, drifts in kinds_of(texts)]


def make_task(task: GymTask, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
    """Return a new environment of a task, wrapped in its drifts.

    Args:
        task: data.
        render_mode: as `gymnasium.make` takes it.

    Raises:
        ValueError: if gymnasium cannot make it.
    """
    if task.env_id.startswith(("MiniGrid-", "BabyAI-")) and task.env_id not in gymnasium.registry:
        importlib.import_module("minigrid")  # registers its environments
    kwargs = dict(task.kwargs) if render_mode is None else {**task.kwargs, "render_mode": render_mode}
    try:
        env: gymnasium.Env[Any, Any] = gymnasium.make(task.env_id, disable_env_checker=True, **kwargs)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        wanted = [extra for extra in EXTRAS if extra in str(error).lower() and not is_installed(extra)]
        hint = f"; {install_line(wanted[0])} installs what it needs" if wanted else ""
        raise ValueError(f"cannot make environment {task.env_id!r}: {error}{hint}") from error
    if is_minigrid(env):
        importlib.import_module("lifelong.envs.minigrid.fast_view").quicken(env.unwrapped)
        env = importlib.import_module("lifelong.envs.minigrid.success").SuccessInfo(env)
        mission = importlib.import_module("lifelong.envs.minigrid.mission")
        if mission.varies(env.observation_space["mission"]):  # type: ignore[index]
            env = mission.MissionWords(env)
    return Drifted(env, task.drifts) if task.drifts else env


def is_minigrid(env: gymnasium.Env[Any, Any]) -> bool:
    """Return whether an environment is one of MiniGrid's or BabyAI's."""
    minigrid = sys.modules.get("minigrid.minigrid_env")  # making one imports minigrid
    return minigrid is not None and isinstance(env.unwrapped, minigrid.MiniGridEnv)


def _unborn(action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
    raise gymnasium.error.ResetNeeded("step before the first reset")


def _readable(space: spaces.Space[Any], env_id: str, grid: Any, entry: str = "") -> spaces.Space[Any]:
    """Return the observed part of a space; `grid` is the MiniGrid environment, if it is one."""
    if isinstance(space, spaces.Dict):
        words = isinstance(space.spaces.get("mission"), spaces.MultiDiscrete)  # otherwise it is constant
        inner = {k: v for k, v in space.spaces.items() if grid is None or k != "mission" or words}
        return spaces.Dict({k: _readable(v, env_id, grid, f"{entry}/{k}" if entry else k) for k, v in inner.items()})
    if isinstance(space, spaces.Tuple):
        parts = [_readable(v, env_id, grid, f"{entry}/{i}" if entry else str(i)) for i, v in enumerate(space.spaces)]
        return spaces.Tuple(parts)
    if (
        grid is not None
        and entry == "image"
        and isinstance(space, spaces.Box)
        and space.shape == (grid.agent_view_size, grid.agent_view_size, 3)
    ):
        known = importlib.import_module("minigrid.core.constants")
        sizes = [len(table) for table in (known.OBJECT_TO_IDX, known.COLOR_TO_IDX, known.STATE_TO_IDX)]
        return spaces.MultiDiscrete(np.tile(sizes, (*space.shape[:2], 1)), np.uint8)
    if isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete):
        return space
    where = f" of {entry!r}" if entry else ""
    raise ValueError(f"{env_id}: observations {space}{where} are not supported; supported are {_SUPPORTED}")


def _from_zero(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return the space of the agent's observations."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _from_zero(inner) for key, inner in space.spaces.items()})
    if isinstance(space, spaces.Tuple):
        return spaces.Dict({str(i): _from_zero(inner) for i, inner in enumerate(space.spaces)})
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec, space.dtype)
    return space


def _leaves(space: spaces.Space[Any], path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    """Return where each part of an observation is found in it, and its space."""
    if isinstance(space, spaces.Dict):
        return [leaf for key, inner in space.spaces.items() for leaf in _leaves(inner, (*path, key))]
    if isinstance(space, spaces.Tuple):
        return [leaf for i, inner in enumerate(space.spaces) for leaf in _leaves(inner, (*path, i))]
    return [(path, space)]
