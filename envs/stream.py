"""Task streams: lives of successive episodes of tasks, as `gymnasium.vector.VectorEnv`.

A *task* is a name and its reference scores, a *schedule* gives their order, a *stream* joins both with a seed.
`num_envs` lives run side by side. An episode is a pure function of (task, episode seed, actions); the tasks and seeds
of a life are a pure function of (stream seed, life), independent of the batch.

An episode that ends is followed in the same step by the first observation of the next (`AutoresetMode.SAME_STEP`), so
no life has a step without an action. A life ends after `life_episodes` episodes, or with probability `life_hazard` at
each episode's end; then its slot begins a new one.

The observation is a Dict:

| entry | meaning | at the start of a life |
| --- | --- | --- |
| observation | the task's observation | |
| previous_action | the agent's last action; the number of actions stands for "none yet" | none yet, or about 0 |
| previous_reward | [1] the reward for it | 0 |
| episode_start | [1] 1 in the first step of an episode | 1 |
| task_start | [1] 1 in the first step of a new task; only with `boundary="flag"` | 1 |
| task | number of the task; only with `boundary="task_id"` | |

`info` of `reset` and `step` has `episode_start`, `task_start`, `life_start` ([B] bool) and `task` ([B]) of that
observation; when episodes ended, `info["episodes"]` with a row for each, see `ROW`; and when some were truncated,
`info["final_obs"]`, the batch of observations before the reset.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lifelong.action_spaces import as_rows, previous_entry
from lifelong.envs.agent_spaces import observation_entries
from lifelong.envs.checksum import checksums, spelled
from lifelong.envs.composed_schedules import Order, Paired, bind_tasks
from lifelong.envs.counters import Bools, Counters, Floats, Ints
from lifelong.envs.drifts.base import Drift
from lifelong.envs.drifts.batched import DriftedLives, NoDrift
from lifelong.envs.drifts.effect import check_effect_on_lives, random_rollout
from lifelong.envs.lives import Lives
from lifelong.envs.positions import Bounds, check_entries
from lifelong.envs.schedules import Schedule
from lifelong.envs.task import ROW, Boundary, References, StreamError, Task

__all__ = ["ROW", "Boundary", "References", "StreamError", "Task", "TaskStream"]

_CHECKSUM = "observation_checksum"  # entry of a position
_OF_COUNTERS = {*Counters._fields, "seed", "vector_steps", "lives"}
_EFFECT_STEPS, _EFFECT_STEPS_OF_ALL = 64, 512  # minimal steps compared with and without drifts: of a life, of all lives


class TaskStream(Lives, VectorEnv[Any, Any, Any]):
    """Base of task streams; subclasses implement `_begin_lives`, `_begin_episodes`, `_step` and `_observe`.

    Args:
        num_envs: B, lives side by side.
        tasks: all tasks of the stream.
        observation_space: of a task, for one life.
        action_space: for one life.
        schedule: which task comes next.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the observation tells of task changes.
        seed: of the lives; `reset(seed=...)` overrides it.

    Raises:
        ValueError: on arguments out of range.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012  as gymnasium has it
    position_bounds: Bounds = MappingProxyType({})
    """Least and largest value of what `position` has besides counters, by name. A position from a file is held against
    them before it is restored, since loops trust what they index with."""

    def __init__(
        self,
        num_envs: int,
        *,
        tasks: Sequence[Task],
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        schedule: Schedule,
        life_episodes: int | None,
        boundary: Boundary = "none",
        seed: int = 0,
    ) -> None:
        super().__init__(num_envs, tasks, action_space, schedule, life_episodes, seed)
        self.base_tasks, self.base_task = len(tasks), self.task
        self.boundary: Boundary = boundary
        self._task_space, self._drift = observation_space, NoDrift()
        self.at_rest = self._everyone[:0]  # slots that do not take part in a step; see `advance_others`
        self._set_spaces()

    def _set_spaces(self) -> None:
        self.single_observation_space = observation_entries(
            self._task_space, self.single_action_space, self.boundary, len(self.tasks)
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def drift(self, kinds: Sequence[tuple[str, Sequence[Drift]]], schedule: Schedule | None = None) -> None:
        """Split each task into several kinds, each with drifts of its own; see `drifts/batched.py`.

        Args:
            kinds: their names and drifts, which may be none.
            schedule: of the kinds; None for the stream's own, if there is only one task.

        Raises:
            ValueError: if there are no kinds; if the stream has begun, or has drifts already, or several tasks and no
                schedule; or if a drift does not apply, or has no effect.
        """
        if not kinds:
            raise ValueError("a stream with drifts needs at least one kind of task")
        if self.vector_steps >= 0 or self._drift.drifting:
            raise ValueError("drifts are given to a stream once, before its first reset")
        if schedule is None and self.base_tasks > 1:
            raise ValueError(
                f"a stream of {self.base_tasks} tasks needs a drift_schedule, which says when drifts change, such as "
                f"cyclic:20; its own schedule is {self.schedule}"
            )
        of_kinds = bind_tasks(self.schedule if schedule is None else schedule, [name for name, _ in kinds])
        own = Order((0,)) if schedule is None else bind_tasks(self.schedule, [task.name for task in self.tasks])
        given, self.schedule = self.schedule, own  # while there are no kinds
        steps = max(_EFFECT_STEPS, -(-_EFFECT_STEPS_OF_ALL // self.num_envs))
        where = f"this stream: {steps} steps of {self.num_envs} lives"
        try:
            for drifts in (drifts for _, drifts in kinds if drifts):
                check_effect_on_lives(drifts, partial(self._play, steps), where)
        finally:
            self.schedule = given
        self._drift = self._drifted_lives([drifts for _, drifts in kinds])
        self.schedule = of_kinds if schedule is None else Paired(own, of_kinds, len(kinds))
        self._set_tasks(
            [task.drifted(name, bool(drifts), self.base_tasks) for name, drifts in kinds for task in self.tasks]
        )
        self._set_spaces()

    def _drifted_lives(self, kinds: Sequence[Sequence[Drift]]) -> DriftedLives:
        return DriftedLives(kinds, self._task_space, self.single_action_space, self.num_envs, self.base_tasks)

    def _play(self, steps: int, drifts: Sequence[Drift]) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Play new lives with these drifts, then undo it."""
        self._drift = self._drifted_lives([drifts]) if drifts else NoDrift()
        reset, step = partial(TaskStream.reset, self), partial(TaskStream.step, self)
        try:
            yield from random_rollout(reset, step, self.single_action_space, self.seed, self.num_envs, steps)
        finally:
            self._drift, self.vector_steps = NoDrift(), -1

    @property
    def drifting(self) -> bool:
        """True if the stream as a whole has drifts."""
        return self._drift.drifting

    # ---- methods of subclasses ------------------------------------------------------------------------------------

    def _begin_lives(self, slots: Ints) -> None:
        """Draw the hidden parameters of the lives that begin in these slots; `self.life[slots]` has their numbers."""

    def _begin_episodes(self, slots: Ints) -> None:
        """Begin an episode of `self.base_task[slots]`, the task's number regardless of drifts."""
        raise NotImplementedError

    def _step(self, actions: NDArray[Any]) -> tuple[Floats, Bools, Bools]:
        """Step all lives by the rows of their actions, [B, ...] (see `lifelong.action_spaces`).

        In the slots `self.at_rest` the episode is over, and the next begins right after: what is returned there is
        dropped.

        Returns:
            Reward, terminated, truncated, [B] each.
        """
        raise NotImplementedError

    def _observe(self) -> Any:
        """Return the batch of the tasks' observations."""
        raise NotImplementedError

    def _episode_info(self, slots: Ints) -> dict[str, Any]:
        """Return further columns of episodes that just ended, any of the last six of `ROW`.

        With `own_lags` lags, meetings and load too.
        """
        return {}

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        """Restore the unfinished episodes, just begun anew, to `position`."""

    def _restore_hidden(self, position: dict[str, NDArray[Any]]) -> None:
        """Restore what the next episodes need of `position`, where the unfinished ones are abandoned."""
        self._restore(position)

    def _checksums(self) -> NDArray[np.int64]:
        """Return [B] the checksums of the tasks' present observations."""
        return checksums(self._observe(), self.num_envs)

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the position of the stream; see `resume`.

        Raises:
            ResetNeeded: before the first reset.
        """
        if self.vector_steps < 0:
            raise gymnasium.error.ResetNeeded("position before the first reset")
        return self._counted() | self._drift.position() | {_CHECKSUM: self._checksums()}

    def snapshot(self) -> Callable[[], dict[str, NDArray[Any]]]:
        """Return a call that gives the position as it is now, however far the stream has gone on when it is called.

        What it costs to take one does not grow with the length of episodes.
        """
        position = self.position()
        return lambda: position

    def position_of(self, position: dict[str, NDArray[Any]], slots: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return the position of some lives alone, for a stream made with the same arguments but so many slots.

        Args:
            position: of any number of lives.
            slots: of these lives, each once: what a life meets follows from its number, and rows tell it by that.

        Raises:
            ValueError: if there is no such slot, one is named twice, or none is named.
        """
        lives = len(position["life"])
        if not slots:
            raise ValueError(f"slots must name at least one of the {lives} lives")
        for n, slot in enumerate(slots):
            if not 0 <= slot < lives:
                raise ValueError(f"slots must lie in 0 to {lives - 1}, got {slot}")
            if slot in slots[:n]:
                raise ValueError(f"slots must differ, since no life is in two slots, got {slot} twice")
        return self._of_slots(position, np.array(slots))

    def _of_slots(self, position: dict[str, NDArray[Any]], slots: Ints) -> dict[str, NDArray[Any]]:
        """Return the position of the lives in `slots`; here all that is in it but numbers is [B, ...]."""
        return {name: entry[slots] if entry.ndim else entry for name, entry in position.items()}

    def resume(self, position: dict[str, NDArray[Any]], *, new_episodes: bool = False) -> tuple[Any, dict[str, Any]]:
        """Restore a position and return the observation and info of that step.

        Args:
            position: of a stream made with the same arguments.
            new_episodes: whether unfinished episodes are abandoned, counted but without rows, and the next ones begin
                in their slots; those of which no step was taken are begun as they were.

        Raises:
            ValueError: if it is that of a stream with other numbers of lives or tasks, or one of them has drifts; if an
                entry is missing, has another dtype or shape, or is out of range.
            StreamError: if an environment does not reproduce its episode: another return, or another observation than
                that of which the position has the checksum. Positions of versions before it have none.
        """
        self.check_counters(position)
        self.bind_schedule()
        if ("drift kind" in position) != self.drifting:
            there, here = ("no ", "") if self.drifting else ("", "no ")
            raise ValueError(f"position is of a stream with {there}drifts, the stream has {here}drifts")
        self._recount(position)
        self.base_task = self._drift.base_task(self.task)
        self._begin_lives(self._everyone)
        self._begin_episodes(self._everyone)
        self._check_kept(position)
        for name, array in self._counters._asdict().items():  # overwritten by beginning anew
            array[...] = position[name]
        self._drift.resume(position)
        if new_episodes:
            self._restore_hidden(position)
            unfinished = np.flatnonzero(self.episode_length)
            self.give_up(unfinished)
            self.renew(unfinished)
        else:
            self._restore(position)
            if _CHECKSUM in position:
                self._refuse_other_env(position[_CHECKSUM])
        return self.observe()

    def _check_kept(self, position: dict[str, NDArray[Any]]) -> None:
        """Raise a ValueError if what a position has besides counters does not fit that of the episodes just begun."""
        known = {*_OF_COUNTERS, *(() if _CHECKSUM in position else (_CHECKSUM,))}
        own = {name: entry for name, entry in self.position().items() if name not in known}
        check_entries(position, own, self.position_bounds)

    def _refuse_other_env(self, wanted: NDArray[np.int64]) -> None:
        """Raise a `StreamError` for the first slot whose observation has another checksum than `wanted` [B]."""
        found = self._checksums()
        for slot in np.flatnonzero(found != wanted)[:1].tolist():
            shown, was = spelled(int(found[slot])), spelled(int(wanted[slot]))
            raise self._other_env(slot, f"shows another observation (checksum {shown}, was {was})")

    def _other_env(self, slot: int, difference: str) -> StreamError:
        """Return the error of a slot that was resumed into another world."""
        return StreamError(
            f"task {self.tasks[self.task[slot]].name!r}, slot {slot}, step {self.life_step[slot]} of life "
            f"{self.life[slot]}: the resumed stream {difference}: it is of another version, or made with other settings"
        )

    # ---- lives and episodes ---------------------------------------------------------------------------------------

    def reset(self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Begin new lives in all slots, from life 0.

        Args:
            seed: of the lives; None keeps the present one.
            options: not supported; must be None or empty.

        Returns:
            The observations and `info`.

        Raises:
            ValueError: if there are options, or the seed is out of range.
        """
        if options:
            raise ValueError(f"a stream has no options of reset, got {options}")
        if isinstance(seed, list):
            raise TypeError("a stream has one seed for all its lives, got a list")
        if seed is not None:
            self._set_seed(seed)
            super().reset(seed=self.seed)  # gymnasium's generator
        self.bind_schedule()
        self.vector_steps = 0
        self._reset_counters()
        self._new_lives(self._everyone)
        self._new_episodes(self._everyone)
        return self.observe()

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step all lives.

        Args:
            actions: [B, ...] one action for each, nested as the action space is.

        Returns:
            Observations, rewards [B], terminated [B], truncated [B] and `info`; where an episode ended the observation
            is the next one's first.
        """
        reward, terminated, truncated, slots = self.advance(actions)
        ends: dict[str, Any] = {}
        if slots.size:
            if np.count_nonzero(truncated):  # faster than any()
                ends["final_obs"] = self._observation()
            ends["episodes"] = self.end(slots)
            self.renew(slots)
        return self._observation(), reward, terminated, truncated, self._info() | ends

    def advance(self, actions: Any) -> tuple[Floats, Bools, Bools, Ints]:
        """Step all lives without beginning new episodes.

        Args:
            actions: [B, ...] one action for each, nested as the action space is.

        Returns:
            Rewards [B], terminated [B], truncated [B], and [n] the slots whose episodes ended: pass them to `end` and
            then to `renew` before the next step, as `step` does.

        Raises:
            ResetNeeded: before the first reset.
            ValueError: if the actions are not of the action space; the stream is then unchanged.
        """
        if self.vector_steps < 0:
            raise gymnasium.error.ResetNeeded("step before the first reset")
        actions = as_rows(self.single_action_space, actions, self.num_envs)
        reward, terminated, truncated = self._step(self._drift.action(actions))
        reward = self._drift.reward(reward, terminated, truncated)
        ended = self._count_step(reward, terminated, truncated)
        if ended is None:
            self._blame(~np.isfinite(reward), "reward", reward)
        self.previous_action[...] = actions
        return reward, terminated, truncated, ended

    def advance_others(self, actions: Any, over: Ints) -> tuple[Floats, Bools, Bools, Ints]:
        """Step all lives but those whose episodes ended in the step before: there the next episodes begin.

        Args:
            actions: [B, ...] one action for each; those of `over` are ignored.
            over: [n] slots whose episodes ended; `end` has counted them.

        Returns:
            As `advance`; in `over` the reward is 0, and nothing ends.

        Raises:
            ValueError: as `advance`.
        """
        if not over.size:
            return self.advance(actions)
        kept = [(array, array[over]) for array in (self.life_step, self.previous_action, self.previous_reward)]
        self.at_rest = over
        try:
            reward, terminated, truncated, ended = self.advance(actions)
        finally:
            self.at_rest = over[:0]
        for array, values in kept:
            array[over] = values
        reward[over], terminated[over], truncated[over] = 0.0, False, False
        self.renew(over)
        return reward, terminated, truncated, np.setdiff1d(ended, over)

    def end(self, slots: Ints) -> dict[str, NDArray[Any]]:
        """Count the episodes that ended in these slots, and return their rows."""
        more = {"success": np.nan, "answer": -1, "old_answer": -1, "since_change": -1} | self._episode_info(slots)
        columns = self._count_ends(slots)
        for name, value in more.items():
            columns[name][:] = value
        self._drift.blank_references(slots, columns)
        self.last_answer[slots] = columns["answer"]
        return columns

    def renew(self, slots: Ints) -> None:
        """Begin the next episodes in these slots, and new lives where lives are over."""
        self._new_lives(self._ended_lives(slots))
        self._new_episodes(slots)

    def _new_lives(self, slots: Ints) -> None:
        if slots.size:
            self._count_lives(slots)
            self._begin_lives(slots)

    def _new_episodes(self, slots: Ints) -> None:
        self._count_begins(slots)
        self.base_task = self._drift.base_task(self.task)
        self._begin_episodes(slots)
        self._drift.begin(slots, self.task, self.episode_seeds)

    # ---- observations ---------------------------------------------------------------------------------------------

    @property
    def base_return(self) -> Floats:
        """[B] Sum of rewards of the present episodes without drifts."""
        return self._drift.base_return(self.episode_return)

    def meetings_of(self, slots: Ints) -> Ints:
        """Return [n] the number of finished episodes of the present base task in these slots."""
        meetings = self.meetings.reshape(self.num_envs, -1, self.base_tasks)
        met: Ints = meetings[slots, :, self.base_task[slots]].sum(1)
        return met

    def observe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the present observations and `info`."""
        return self._observation(), self._info()

    def _observation(self) -> dict[str, Any]:
        obs: dict[str, Any] = {
            "observation": self._drift.observation(self._observe()),
            "previous_action": previous_entry(self.single_action_space, self.previous_action),
            "previous_reward": self.previous_reward[:, None].astype(np.float32),
            "episode_start": self.episode_start[:, None].astype(np.float32),
        }
        if self.boundary == "flag":
            obs["task_start"] = self.task_start[:, None].astype(np.float32)
        if self.boundary == "task_id":
            obs["task"] = self.task.copy()
        return obs

    def _info(self) -> dict[str, Any]:
        return {
            "episode_start": self.episode_start.copy(),
            "task_start": self.task_start.copy(),
            "life_start": self.life_start.copy(),
            "task": self.task.copy(),
        }

    def _blame(self, bad: Bools, what: str, value: NDArray[Any]) -> NoReturn:
        """Raise a `StreamError` for the first of the slots [B] where a value is not finite."""
        slot = int(np.flatnonzero(bad)[0])
        raise StreamError(
            f"{what} must be finite: {value[slot]} from task {self.tasks[self.task[slot]].name!r}, "
            f"life {self.life[slot]}, step {self.life_step[slot]} of the life"
        )
