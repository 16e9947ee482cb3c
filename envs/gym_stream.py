"""GymStream: gymnasium environments as the tasks of a life.

Each life has a Python environment of its own for every task, made at the task's first episode. An episode is
`reset(seed=...)` with the stream's seed, then steps; so an unfinished episode is resumed exactly by resetting with the
same seed and replaying the actions, or those since the last state that it offered (see `env_state.py`). That holds for
environments whose random numbers all come from the seed and that keep nothing across resets; any other raises
`StreamError` when resumed, by its return or by the checksum of what it handed over last. With new episodes
(`resume(position, new_episodes=True)`) its lives go on all the same.

Observations are those of the environment:

| space | observation |
| --- | --- |
| Box, MultiBinary | itself |
| Discrete, MultiDiscrete | itself, counted from 0 |
| Dict, Tuple | a Dict of the same; the entries of a Tuple are named 0, 1, ... |
| Text | MultiDiscrete: its words hashed, see `lifelong/hashed_words.py` |
| MiniGrid's `image` | MultiDiscrete [7, 7, 3]: object type, colour, state of each cell in view, in its numbers; with MiniGrid's wrappers around it, see `minigrid/cells.py` |
| MiniGrid's `mission` | MultiDiscrete: the indices of its words, see `minigrid/mission.py`; a constant one is left out |

Actions are those of the environment: Discrete, MultiDiscrete, MultiBinary, Box, and Dict or Tuple of these; what is
chosen counts from 0, whatever the environment's `start`. An environment gets arrays of its own, so that it may change
them. `info["action_mask"]`, or an entry `action_mask` of the observation, says which choices are legal (see
`lifelong.action_spaces`); the stream's `info["action_mask"]` has the masks of all lives from the first one on. Where
actions are a Box there is nothing to mask, and it is ignored.

An episode that is terminated and truncated at once counts as terminated. An environment that raises, or hands over what
it must not (see `gate.py`), ends the stream: `StreamError`, whose `report` has the seed and the actions that reproduce
it. `success` of a row is `info["success"]` or `info["is_success"]` of the last step; of MiniGrid and BabyAI, whether
the episode terminated with a reward above 0; of a task with `success_return`, whether the return is at least that.
`answer` is `info["lifelong_answer"]`, or else the last discrete action.

With `env_workers` the environments live in processes of their own (`far_env.py`): one that exits, or is ended by a
signal, is then a `StreamError` like any other, and all processes step at once.

Tasks of one environment may differ by their drifts: see `drifts/base.py`. Tasks of several environments have the same
spaces, or common ones with `unify`: see `unify_spaces.py`.
"""  # noqa: E501  a table

import base64
import importlib
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lifelong.action_spaces import Masks, as_actions, from_zero, is_nested, row_like, validate_space
from lifelong.envs.action_log import ActionLog
from lifelong.envs.constructor import settings_fault
from lifelong.envs.drifts.base import Drifted
from lifelong.envs.drifts.effect import check_effect
from lifelong.envs.entries import ContractError, entry_name
from lifelong.envs.env_state import EVERY, offers_state, put_state, take_state
from lifelong.envs.extras import extra_hint
from lifelong.envs.far_env import FarEnv, FarEnvs
from lifelong.envs.gate import Gate, end_of_episode, gate_of, legal_choices
from lifelong.envs.gym_task import GymTask
from lifelong.envs.kept_states import STATE_ENTRIES, KeptState, KeptStates
from lifelong.envs.mask_info import MaskInfo
from lifelong.envs.parse import kinds_of
from lifelong.envs.readable_spaces import readable, with_cells
from lifelong.envs.schedules import Cyclic, Schedule
from lifelong.envs.stream import Boundary, StreamError, TaskStream
from lifelong.envs.suites import default_settings, make_registered
from lifelong.envs.text_words import TextWords, has_text
from lifelong.envs.unify_spaces import Adapted, common_actions, common_observations
from lifelong.envs.worker import ProcessEndedError
from lifelong.mask_entry import mask_path
from lifelong.readable import LARGEST

__all__ = ["GymStream", "drifting", "is_minigrid", "make_task"]

_AHEAD = 64  # steps of an episode that a process of environments takes again at once


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
        env_workers: processes in which the environments live, up to one for each life; one that ends its process is
            then an error like any other. 0: they live in this process. Results are the same.

    Raises:
        ValueError: if an environment cannot be made, has a space that is not supported, or spaces other than the first
            one's without `unify`; if a drift has no effect; or on more workers than lives.
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
        env_workers: int = 0,
        render_mode: str | None = None,
    ) -> None:
        _check_workers(env_workers, num_envs)
        self.env_workers = env_workers
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode must be rgb_array or None, got {render_mode!r}")
        self.render_mode = render_mode
        listed: list[Any] = [tasks] if isinstance(tasks, str | GymTask) else list(tasks)
        if other := [task for task in listed if not isinstance(task, str | GymTask)]:
            raise TypeError(f"tasks must be ids of gymnasium or GymTasks: got {other[0]!r}")
        self._recipes = [GymTask(task) if isinstance(task, str) else task for task in listed]
        if not self._recipes:
            raise ValueError("a stream needs at least one task")
        self._envs: dict[tuple[int, int], gymnasium.Env[Any, Any]] = {}
        self._far = self._processes()
        self._resumed = self._offering = False  # whether an environment offers its state
        self._obs_spaces: tuple[spaces.Space[Any], ...] = ()
        self._common: tuple[spaces.Space[Any], spaces.Space[Any]] | None = None
        for number in range(len(self._recipes)):
            env = self.environment(0, number)
            try:
                if isinstance(env, Drifted):
                    check_effect(env.env, env.drifts)
                elif isinstance(env, FarEnv):
                    env.check_drifts()
            except ContractError as error:
                raise ValueError(f"environment {self._recipes[number].env_id!r}: {error}") from error
        shown: Any = self.environment(0, 0).metadata
        self.metadata = self.metadata | {"render_fps": (isinstance(shown, dict) and shown.get("render_fps")) or 30}
        obs_space, act_space = self._share(unify)
        super().__init__(
            num_envs,
            tasks=self._recipes,
            observation_space=_from_zero(obs_space),
            action_space=from_zero(act_space),
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self._moves, self._start = act_space, getattr(act_space, "start", None)
        self._discrete = isinstance(act_space, spaces.Discrete)
        self._read_mask = Masks(act_space)
        self._masks: NDArray[np.bool_] | None = None  # [B, choices] of the present step, from the first one seen on
        if any(mask_path(*pair) for pair in self._own_spaces):
            self._masks = np.ones((num_envs, self._read_mask.size), np.bool_)  # the other tasks observe none that fits
        self._obs = {path: np.zeros((num_envs, *leaf.shape), leaf.dtype) for path, leaf in _leaves(obs_space)}
        self._first = {path: leaf.start for path, leaf in _leaves(obs_space) if hasattr(leaf, "start")}
        self._floats = {path: kept for path, kept in self._obs.items() if np.issubdtype(kept.dtype, np.inexact)}
        self._steps: list[Callable[[Any], tuple[Any, Any, bool, bool, dict[str, Any]]]] = [_not_started] * num_envs
        row = row_like(act_space)
        self._taken = ActionLog(num_envs, row if is_nested(act_space) else as_actions(act_space, row))
        self._states = KeptStates([KeptState()] * num_envs)  # from which episodes are replayed
        self._tried: dict[int, KeptState] = {}  # by slot, of tasks of which nobody knows yet whether a state is enough
        self._enough: dict[int, bool] = {}  # by task, whether it is
        self._seeds, self._over = [0] * num_envs, np.zeros(num_envs, np.bool_)  # their seeds, whether they ended
        self._ends: list[tuple[float, int | None]] = [(np.nan, None)] * num_envs  # success and answer, as info has them

    def _share(self, unify: bool) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
        """Return the spaces of all tasks, unified if `unify`."""
        self._own_spaces = [self._spaces(number) for number in range(len(self._recipes))]
        obs_spaces, act_spaces = zip(*self._own_spaces, strict=True)
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

    @property
    def env_spaces(self) -> tuple[spaces.Space[Any], spaces.Space[Any]] | None:
        """Observation and action space of the environments themselves; None where `unify` made common ones."""
        return None if self._common is not None else self._own_spaces[0]

    def _spaces(self, number: int) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
        """Return the observation and action space of a task; validate that an agent can read them."""
        return _spaces_of(self.environment(0, number), self._recipes[number].env_id)

    def _processes(self) -> FarEnvs | None:
        """Return the processes of the environments; None if they live in this one."""
        return FarEnvs(self.env_workers, partial(_made, self._recipes, self.render_mode)) if self.env_workers else None

    def environment(self, slot: int, number: int) -> gymnasium.Env[Any, Any]:
        """Return the environment of one life and task, made at first use.

        Args:
            slot: of the life.
            number: of the task, without drifts of the whole stream.
        """
        if (slot, number) not in self._envs:
            env = self._new(slot, number, first=slot == 0 and not self._resumed)
            if slot:
                self._refuse_other_spaces(env, number)
            self._envs[slot, number] = self._adapted(env, number)
            self._offering = self._offering or offers_state(env)
        return self._envs[slot, number]

    def _new(self, slot: int, number: int, *, first: bool, beside: bool = False) -> gymnasium.Env[Any, Any]:
        """Return a new environment of a task, `beside` the one that the slot has."""
        recipe = self._recipes[number]
        if self._far is not None:
            return self._far.make(slot, number, recipe.env_id, first=first, beside=beside)
        return make_task(recipe, self.render_mode, first=first)

    def _refuse_other_spaces(self, env: gymnasium.Env[Any, Any], number: int) -> None:
        """Refuse an environment whose spaces are not those of the task's first one."""
        env_id = self._recipes[number].env_id
        first = self._own_spaces[number]
        for what, has, had in zip(("observations", "actions"), _spaces_of(env, env_id), first, strict=True):
            if has != had:
                raise ValueError(f"{env_id}: every environment must have the same {what}, got {has} after {had}")

    def _adapted(self, env: gymnasium.Env[Any, Any], number: int) -> gymnasium.Env[Any, Any]:
        if self._common is None:
            return env
        obs_space, act_space = self._common
        return Adapted(env, self._obs_spaces[number], obs_space, act_space)

    def render(self) -> tuple[Any, ...] | None:
        """Return what each life's environment draws, [height, width, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        pictures, slot = [], 0
        try:
            for slot in range(self.num_envs):
                pictures.append(self.environment(slot, int(self.base_task[slot])).render())
        except BaseException as error:
            raise self._crash(slot, error) from error
        return tuple(pictures)

    def base_observation(self) -> Any:
        """Return the batch of observations without drifts of the whole stream."""
        return self._observe()

    def close_extras(self) -> None:
        """Close all environments."""
        if (far := getattr(self, "_far", None)) is not None:
            far.close()
            return
        for env in getattr(self, "_envs", {}).values():
            env.close()

    def _begin_episodes(self, slots: NDArray[np.int64]) -> None:
        for slot, seed in zip(slots.tolist(), self.episode_seeds(slots).tolist(), strict=True):
            self._seeds[slot], self._over[slot] = seed, False
            self._forget(slot)
        if self._far is not None and slots.size:
            try:
                self._ahead("reset", [(slot, (self._seeds[slot],)) for slot in slots.tolist()])
            except BaseException as error:
                raise self._crash(int(slots[0]), error) from error
        for slot in slots.tolist():
            self._begin_episode(slot)
        self._check()

    def _forget(self, slot: int) -> None:
        """Forget the actions and states of a slot's episode: the next begins."""
        self._taken.begin(slot)
        self._states.of[slot] = KeptState()
        self._tried.pop(slot, None)

    def _ahead(self, method: str, asked: list[tuple[int, tuple[Any, ...]]]) -> None:
        """Let the processes of these slots work at once, before they are asked one by one for what has come of it.

        Args:
            method: of the environments; nothing, where one of them is not made yet.
            asked: slots, and arguments.
        """
        assert self._far is not None  # noqa: S101  the caller's business
        requests: list[tuple[FarEnv, tuple[Any, ...]]] = []
        for slot, given in asked:
            env: Any = self._envs.get((slot, int(self.base_task[slot])))
            if env is None:
                return
            own = (env.own(*given),) if isinstance(env, Adapted) and method == "step" else given
            far: Any = _gate(env)
            requests.append((far, own))
        self._far.ahead(method, requests)

    def _begin_episode(self, slot: int) -> None:
        try:
            env = self.environment(slot, int(self.base_task[slot]))
            obs, info = env.reset(seed=self._seeds[slot])
            self._keep(slot, obs)
            self._keep_mask(slot, info)
            self._steps[slot] = env.step
        except BaseException as error:
            raise self._crash(slot, error) from error

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        taken, moves = self._own(actions)
        rewards, ends, cuts = [], [], []
        whole, steps, slot = self._obs.get(()), self._steps, 0  # whole: observations without entries
        at_rest = self.at_rest.tolist()
        if self._offering:
            self._take_states(at_rest)
        self._taken.append(taken)  # where at rest, before the episode that begins
        try:
            if self._far is not None:
                self._ahead("step", [(slot, (move,)) for slot, move in enumerate(moves) if slot not in at_rest])
            for slot, move in enumerate(moves):
                if slot in at_rest:
                    rewards.append(0.0)
                    ends.append(False)
                    cuts.append(False)
                    continue
                obs, reward, terminated, truncated, info = steps[slot](move)
                if whole is None:
                    self._keep(slot, obs)
                else:
                    whole[slot] = obs
                if self._masks is not None or "action_mask" in info:
                    self._keep_mask(slot, info)
                if terminated or truncated:
                    self._end(slot, info)
                rewards.append(reward)
                ends.append(terminated)
                cuts.append(truncated)
        except BaseException as error:
            raise self._crash(slot, error) from error
        self._check()
        over, cut = np.array(ends), np.array(cuts)
        self._over = over | cut
        return np.array(rewards), over, cut & ~over

    def _take_states(self, at_rest: list[int]) -> None:
        """Take the states of episodes that have become long, where their environments offer it."""
        for slot in np.flatnonzero((self.episode_length % EVERY == 0) & (self.episode_length > 0)).tolist():
            number = int(self.base_task[slot])
            env = self.environment(slot, number)
            if slot in at_rest or not self._enough.get(number, True) or not offers_state(env):
                continue
            try:
                if number not in self._enough and slot in self._tried:
                    self._enough[number] = self._brings_back(slot, number, self._tried.pop(slot))
                    if not self._enough[number]:
                        self._not_enough(number, "it does not bring the episode back")
                        continue
                kept = KeptState(int(self.episode_length[slot]), float(self.base_return[slot]), take_state(env))
            except ProcessEndedError as error:
                raise self._crash(slot, error) from error
            except Exception as error:  # noqa: BLE001  of foreign code, without which the stream goes on
                self._enough[number] = False
                self._not_enough(number, f"{type(error).__name__}: {error}")
                continue
            if self._enough.get(number):
                self._states.of[slot] = kept
                self._taken.begin(slot)
            else:
                self._tried[slot] = kept

    def _brings_back(self, slot: int, number: int, kept: KeptState) -> bool:
        """Return whether a new environment comes from a state to where a life's is now."""
        env = self._adapted(self._new(slot, number, first=False, beside=True), number)
        env.reset(seed=self._seeds[slot])
        put_state(env, kept.state, kept.step)
        gained = kept.gained
        for move in self._taken.of(slot)[kept.step :]:
            gained += float(env.step(self._given(move))[1])
        same = _gate(env).checksum() == _gate(self.environment(slot, number)).checksum()
        env.close()
        return same and gained == self.base_return[slot]

    def _not_enough(self, number: int, why: str) -> None:
        name = self._recipes[number].env_id
        warnings.warn(f"environment {name!r}: its get_state is not used, {why}", RuntimeWarning, stacklevel=4)

    def _own(self, rows: NDArray[Any]) -> tuple[NDArray[Any], list[Any]]:
        """Return what is kept of each life's action, [B, ...], and the action as the environment takes it.

        What is kept counts as the environment does; of a Dict or Tuple it is the row. Nothing is shared: environments
        may keep their actions, or write to them.
        """
        if self._discrete:
            own = rows + self._start
            return own, own.tolist()
        if is_nested(self._moves):
            return rows, [as_actions(self._moves, row) for row in rows]
        own = as_actions(self._moves, rows)
        return own, [np.array(action) for action in own]

    def _given(self, kept: Any) -> Any:
        """Return the action as the environment takes it, from what is kept of it."""
        if self._discrete:
            return int(kept)
        return as_actions(self._moves, kept) if is_nested(self._moves) else np.array(kept)

    def _keep_mask(self, slot: int, info: dict[str, Any]) -> None:
        mask = info.get("action_mask")
        if mask is None and self._masks is None:
            return
        if self._masks is None:
            self._masks = np.ones((self.num_envs, self._read_mask.size), np.bool_)
        if self._read_mask.size:
            self._masks[slot] = True if mask is None else legal_choices(self._read_mask, mask)

    def _info(self) -> dict[str, Any]:
        if self._masks is None or not self._read_mask.size:
            return super()._info()
        return super()._info() | {"action_mask": self._drift.mask(self._masks.copy())}

    def _end(self, slot: int, info: dict[str, Any]) -> None:
        """Keep what the last step of an episode says of it."""
        judged = self._recipes[self.base_task[slot]].success_return is None
        self._ends[slot] = end_of_episode(info, success=judged)

    def _crash(self, slot: int, error: BaseException, steps: int | None = None) -> StreamError:
        """Return the seed and actions that reproduce the error of an environment: of so many steps; None: of all.

        Raises:
            KeyboardInterrupt: if that is the error, which is nobody's fault.
        """
        if isinstance(error, KeyboardInterrupt):
            raise error
        if isinstance(error, ProcessEndedError):
            slot, steps = max(error.slot, -1 - error.slot), None if steps is None else steps + error.place
        recipe, seed = self._recipes[self.base_task[slot]], self._seeds[slot]
        task = f" in task {recipe.name!r}" if recipe.name != recipe.env_id else ""
        where = f"life {self.life[slot]}, step {self.life_step[slot]} of the life, episode seed {seed}"
        fault = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
        entry = error.entry if isinstance(error, ContractError) else ""
        return StreamError(
            f"environment {recipe.env_id!r} broke{task}, {where}: {fault}",
            self._report(slot, steps) | {"entry": entry, "traceback": traceback.format_exception(error)},
        )

    def _report(self, slot: int, steps: int | None = None) -> dict[str, Any]:
        """Return what reproduces the present episode of a slot: its environment, seed and actions."""
        recipe = self._recipes[self.base_task[slot]]
        kept = self._states.of[slot]
        since = {"state_step": kept.step, "state": base64.b64encode(kept.state).decode()} if kept.step else {}
        return since | {
            "env_id": recipe.env_id,
            "kwargs": {name: repr(value) for name, value in recipe.kwargs.items()},
            "drifts": [repr(drift) for drift in recipe.drifts],
            "seed": self._seeds[slot],
            "actions": [_plain(self._given(move)) for move in self._taken.of(slot)[:steps]],
        }

    def _keep(self, slot: int, obs: Any) -> None:
        for path, kept in self._obs.items():
            part = obs
            for key in path:
                part = part[key]
            kept[slot] = part

    def _check(self) -> None:
        """Check that all numbers are finite, and that float32 holds them."""
        for path, kept in self._floats.items():
            finite = np.isfinite(kept) if kept.dtype != np.float64 else np.abs(kept) <= LARGEST
            if np.count_nonzero(finite) < finite.size:  # faster than all()
                slot = int((~finite).reshape(self.num_envs, -1).any(1).argmax())
                value = kept[slot][~finite[slot]].flat[0]
                fault = (
                    f"must be at most {LARGEST:.4g}, which float32 holds" if np.isfinite(value) else "must be finite"
                )
                error = ContractError(entry_name(path), f"{fault}: {value}")
                raise self._crash(slot, error) from error

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
        success = np.array([self._ends[slot][0] for slot in slots])
        for n, slot in enumerate(slots.tolist()):
            least = self._recipes[self.base_task[slot]].success_return
            if least is not None:
                success[n] = self.base_return[slot] >= least
        last = self.previous_action[slots].tolist() if self._discrete else [-1] * len(slots)
        answers = [self._ends[slot][1] for slot in slots]
        answer = [move if said is None else said for said, move in zip(answers, last, strict=True)]
        return {"success": success, "answer": np.array(answer)}

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the position of the stream, with the actions of the unfinished episodes."""
        return self.snapshot()()

    def snapshot(self) -> Callable[[], dict[str, NDArray[Any]]]:
        """Return a call that gives the position as it is now; see `TaskStream.snapshot`."""
        rest, actions, states = super().position(), self._actions(), KeptStates(self._states.of)
        return lambda: rest | states.entries() | {"actions": np.concatenate(actions)}

    def _of_slots(self, position: dict[str, NDArray[Any]], slots: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        states = KeptStates.read(position, position["episode_length"])
        taken = _split(position["actions"], position["episode_length"] - states.steps())
        rest = {name: entry for name, entry in position.items() if name not in ("actions", *STATE_ENTRIES)}
        chosen = KeptStates([states.of[slot] for slot in slots]).entries()
        return super()._of_slots(rest, slots) | chosen | {"actions": np.concatenate([taken[slot] for slot in slots])}

    def _actions(self) -> list[NDArray[Any]]:
        """Return the actions of all lives' unfinished episodes."""
        return [self._taken.of(slot) for slot in range(self.num_envs)]

    def _checksums(self) -> NDArray[np.int64]:
        """Return [B] the checksums of what the environments handed over last."""
        envs = [self.environment(slot, int(self.base_task[slot])) for slot in range(self.num_envs)]
        try:
            if self._far is not None:
                self._ahead("checksum", [(slot, ()) for slot in range(self.num_envs)])
            return np.array([_gate(env).checksum() for env in envs], np.int64)
        except BaseException as error:
            raise self._crash(0, error) from error

    def resume(self, position: dict[str, NDArray[Any]], *, new_episodes: bool = False) -> tuple[Any, dict[str, Any]]:
        """Restore a position and return the observation and info of that step; see `TaskStream.resume`."""
        self._resumed = True  # its first resets and steps were seen by the run that is resumed
        for env in self._envs.values():
            _gate(env).trust()
        return super().resume(position, new_episodes=new_episodes)

    def _check_kept(self, position: dict[str, NDArray[Any]]) -> None:
        super()._check_kept(position)
        kept = KeptStates.read(position, position["episode_length"])
        actions, steps = position["actions"], int((position["episode_length"] - kept.steps()).sum())
        if len(actions) != steps:
            since = " since their states" if kept.entries() else ""
            raise ValueError(
                f"position has {len(actions)} actions of unfinished episodes, which took {steps} steps{since}"
            )
        free = is_nested(self._moves) or (isinstance(self._moves, spaces.Box) and self._moves.dtype.kind == "f")
        if steps and not free and not batch_space(self._moves, steps).contains(actions):
            raise ValueError(f"position has actions that are not of {self._moves}")

    def _restore_hidden(self, position: dict[str, NDArray[Any]]) -> None:
        """Restore nothing: tasks have nothing hidden that lasts longer than an episode."""

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        self._states = KeptStates.read(position, self.episode_length)
        self._taken.restore(_split(position["actions"], self.episode_length - self._states.steps()))
        for slot in range(self.num_envs):
            self._replay(slot)
        self._check()

    def _replay(self, slot: int) -> None:
        """Take the actions of an episode that has just begun anew, or those since its state.

        Raises:
            ValueError: if that state cannot be read.
            StreamError: if it comes out otherwise, or the environment breaks.
        """
        kept, over, step = self._states.of[slot], False, 0
        gained, number = kept.gained, int(self.base_task[slot])
        try:
            if kept.step:
                put_state(self.environment(slot, number), kept.state, kept.step)
                self._enough[number] = True  # else it would not be there
        except ValueError:
            raise
        except BaseException as error:
            raise self._crash(slot, error, 0) from error
        try:
            for move in self._given_again(slot):
                step += 1
                obs, reward, terminated, truncated, info = self._steps[slot](move)
                gained, over = gained + reward, over or terminated or truncated
                self._keep(slot, obs)
                self._keep_mask(slot, info)
        except BaseException as error:
            raise self._crash(slot, error, step) from error
        if over != self._over[slot] or gained != self.base_return[slot]:
            ended = ", and its episode is over" if over and not self._over[slot] else ""
            raise self._other_env(slot, f"has the return {gained}, was {self.base_return[slot]}{ended}")

    def _given_again(self, slot: int) -> Iterator[Any]:
        """Yield the actions of a slot's episode, as the environment takes them."""
        taken = self._taken.of(slot)
        for first in range(0, len(taken), _AHEAD):
            moves = [self._given(kept) for kept in taken[first : first + _AHEAD]]
            if self._far is not None:
                self._ahead("step", [(slot, (move,)) for move in moves])
            yield from moves

    def _other_env(self, slot: int, difference: str) -> StreamError:
        recipe, taken = self._recipes[self.base_task[slot]], self._taken.of(slot)
        state = f", its state after {step:,} steps" if (step := self._states.of[slot].step) else ""
        task = f" of task {recipe.name!r}" if recipe.name != recipe.env_id else ""
        return StreamError(
            f"environment {recipe.env_id!r}{task}, slot {slot}, step {self.life_step[slot]} of life {self.life[slot]}: "
            f"resumed by its seed{state} and {len(taken)} actions it {difference}: it ignores its seed, keeps "
            "state over episodes, or is of another version",
            self._report(slot) | {"difference": difference},
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: no environments, which cannot all be copied, but their seeds and actions."""
        begun = self.vector_steps >= 0
        seen = self._resumed or begun  # the first resets and steps of its tasks
        shown = self._checksums() if begun else None
        return vars(self) | {
            "_envs": {},
            "_far": None,
            "_steps": [_not_started] * self.num_envs,
            "_resumed": seen,
            "_shown": shown,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the environments anew, and replay the present episodes.

        Raises:
            StreamError: if one comes out otherwise.
        """
        vars(self).update(state)
        self._far = self._processes()
        if (shown := state["_shown"]) is None:  # before the first reset
            return
        taken, states = self._actions(), self._states
        self._states = KeptStates(states.of)
        for slot in range(self.num_envs):
            self._forget(slot)
            self._begin_episode(slot)
        self._taken.restore(taken)
        self._states = states
        for slot in range(self.num_envs):
            self._replay(slot)
        self._refuse_other_env(shown)


def drifting(
    env_id: str, texts: str | Sequence[str], kwargs: Mapping[str, Any] = MappingProxyType({})
) -> list[GymTask]:
    """Return one task for each text, named like it.

    Args:
        env_id: as `gymnasium.make` takes it.
        texts: as `parse_drifts` takes them, or all in one with strokes between.
        kwargs: of all, passed to `gymnasium.make`.

    Raises:
        ValueError: as `parse_drifts`.
    """
    return [GymTask(name, env_id=env_id, kwargs=kwargs, drifts=drifts) for name, drifts in kinds_of(texts)]


def make_task(task: GymTask, render_mode: str | None = None, *, first: bool = True) -> gymnasium.Env[Any, Any]:
    """Return a new environment of a task, behind a gate that checks what it hands over, and wrapped in its drifts.

    Args:
        task: data.
        render_mode: as `gymnasium.make` takes it.
        first: whether its first reset and step are those of the task; see `gate.py`.

    Raises:
        ValueError: if gymnasium cannot make it, or it is no environment that a stream takes; see `gate.py`.
    """
    kwargs = dict(task.kwargs) if render_mode is None else {**task.kwargs, "render_mode": render_mode}
    try:
        env = make_registered(task.env_id, kwargs)
        minigrid = is_minigrid(env)
        if minigrid:
            importlib.import_module("lifelong.envs.minigrid.fast_view").quicken(env.unwrapped)
        env = Gate(env, with_cells(env) if minigrid else None, first=first)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        unmade = isinstance(error, TypeError | gymnasium.error.Error)
        reason = settings_fault(task.env_id, {**default_settings(task.env_id), **task.kwargs}) if unmade else ""
        if not reason:
            plain = isinstance(error, gymnasium.error.Error | ValueError)
            reason = " ".join((str(error) if plain else f"{type(error).__name__}: {error}").split())
        raise ValueError(f"cannot make environment {task.env_id!r}: {reason}{extra_hint(error)}") from error
    if minigrid:
        env = importlib.import_module("lifelong.envs.minigrid.success").SuccessInfo(env)
        mission = importlib.import_module("lifelong.envs.minigrid.mission")
        entries = env.observation_space.spaces if isinstance(env.observation_space, spaces.Dict) else {}
        if "mission" in entries and mission.varies(entries["mission"]):
            env = mission.MissionWords(env)
    if has_text(env.observation_space, besides="mission" if minigrid else None):
        env = TextWords(env)
    try:
        path = mask_path(env.observation_space, env.action_space)
    except ValueError as error:
        raise ValueError(f"{task.env_id}: {error}") from error
    env = env if path is None else MaskInfo(env, path)
    return Drifted(env, task.drifts) if task.drifts else env


def _split(actions: NDArray[Any], lengths: NDArray[np.int64]) -> list[NDArray[Any]]:
    """Return the actions of each slot, of those of all one after another."""
    return np.split(actions, np.cumsum(lengths)[:-1])


def _made(
    recipes: Sequence[GymTask], render_mode: str | None, number: int, first: bool
) -> tuple[gymnasium.Env[Any, Any], spaces.Space[Any], spaces.Space[Any], bool]:
    """Return a new environment of a task, its spaces, and whether it says what a success is; see `FarEnvs`."""
    env = make_task(recipes[number], render_mode, first=first)
    return env, *_spaces_of(env, recipes[number].env_id), recipes[number].success_return is None


def _spaces_of(env: gymnasium.Env[Any, Any], env_id: str) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    """Return the observed part of an environment's observations, and its actions."""
    obs_space = readable(env, env_id, minigrid=is_minigrid(env))
    validate_space(env.action_space, env_id)
    return obs_space, env.action_space


def _check_workers(env_workers: Any, num_envs: Any) -> None:
    if type(env_workers) is not int or env_workers < 0 or (type(num_envs) is int and env_workers > num_envs):
        raise ValueError(
            "env_workers must be 0, for environments in this process, up to num_envs, a process for each life: "
            f"env_workers={env_workers}, num_envs={num_envs}"
        )


def _gate(env: Any) -> Gate | FarEnv:
    """Return the gate in an environment of a task, or what stands for it where it is in another process."""
    while isinstance(env, Adapted):
        env = env.env
    return env if isinstance(env, FarEnv) else gate_of(env)


def _plain(action: Any) -> Any:
    """Return an action as numbers, lists and dicts."""
    if isinstance(action, dict):
        return {key: _plain(part) for key, part in action.items()}
    return [_plain(part) for part in action] if isinstance(action, tuple) else np.asarray(action).tolist()


def is_minigrid(env: gymnasium.Env[Any, Any]) -> bool:
    """Return whether an environment is one of MiniGrid's or BabyAI's."""
    minigrid = sys.modules.get("minigrid.minigrid_env")  # making one imports minigrid
    return minigrid is not None and isinstance(env.unwrapped, minigrid.MiniGridEnv)


def _not_started(action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
    raise gymnasium.error.ResetNeeded("step before the first reset")


def _from_zero(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return the space of the agent's observations."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({str(key): _from_zero(inner) for key, inner in space.spaces.items()})
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
