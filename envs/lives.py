"""Counters, tasks and episode rows of a batch of lives."""

import numbers
from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lifelong.action_spaces import can_be_previous, no_action, row_like
from lifelong.envs.composed_schedules import bind_tasks
from lifelong.envs.counters import (
    Bools,
    Counters,
    Floats,
    Ints,
    begin_episodes,
    count_step,
    end_episodes,
    new_counters,
    reference_scores,
)
from lifelong.envs.positions import check_entries
from lifelong.envs.rng import Purpose, bits, uniform
from lifelong.envs.schedules import History, Schedule
from lifelong.envs.seeds import SEEDS, python_integer
from lifelong.envs.task import ROW, Retention, Task

__all__ = ["Lives"]

_SCALARS = ("seed", "vector_steps", "lives")
_COUNTED = 2**53  # the largest number of steps, episodes or lives: the last that float64 tells from the next
_RANGES = dict.fromkeys(("met", "met_step", "met_visit", "last_answer"), (-1, _COUNTED)) | dict.fromkeys(
    ("life", "episode", "life_step", "visits_lived", "visit_episode", "meetings", "visits", "episode_length"),
    (0, _COUNTED),
)
_DTYPES = [(name, np.dtype(kind)) for name, kind in ROW.items()]
_end_columns = itemgetter(
    *list(ROW)[list(ROW).index("life") : list(ROW).index("cross") + 1]
)  # the columns that `end_episodes` writes


class Lives:
    """Counters of a batch of lives, and the random numbers that depend only on them.

    Args:
        num_envs: B, lives side by side.
        tasks: all tasks of the stream.
        action_space: for one life.
        schedule: which task comes next.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        seed: of the lives, below 2^64; from 2^63 on they are evaluation lives, see `rng.evaluation_seed`.

    Raises:
        ValueError: on numbers out of range.
    """

    sealed = False
    """Whether an episode's first observation hides the previous action and reward; see `streams/sealed.py`."""
    rewritable = False
    """Whether the stream has a setting `change_at`, the episode of a life from which some hidden answers are others;
    rows then have `success`, `answer`, `old_answer` and `since_change`."""
    own_lags = False
    """Whether lags, meetings and load of rows are those of what an episode asks for, and not those of its task."""

    # The arrays of `Counters`, under the same names; write to them in place only.
    life: Ints
    episode: Ints
    life_step: Ints
    task: Ints
    visits_lived: Ints
    visit_episode: Ints
    met: Ints
    met_step: Ints
    met_visit: Ints
    meetings: Ints
    visits: Ints
    episode_return: Floats
    episode_length: Ints
    episode_start: Bools
    task_start: Bools
    life_start: Bools
    previous_action: NDArray[Any]
    previous_reward: Floats
    last_answer: Ints

    def __init__(
        self,
        num_envs: int,
        tasks: Sequence[Task],
        action_space: gymnasium.Space[Any],
        schedule: Schedule,
        life_episodes: int | None,
        seed: int,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be positive: num_envs={num_envs}")
        if life_episodes is not None and life_episodes < 1:
            raise ValueError(f"life_episodes must be positive or None: life_episodes={life_episodes}")
        self.num_envs, self.schedule, self.life_episodes = num_envs, schedule, life_episodes
        self._life_hazard: float | None = None
        self._set_seed(seed)
        self.single_action_space = action_space
        self.vector_steps = -1  # steps of each slot since the reset; -1 before it
        self._everyone, self._ended = np.arange(num_envs), np.empty(num_envs, np.int64)
        self._set_tasks(tasks)
        if len(tasks) > 1:  # with one, the schedule may be that of drifts to come
            self.bind_schedule()

    @property
    def life_hazard(self) -> float | None:
        """Probability that a life ends at an episode's end; None: only `life_episodes` ends it.

        It is drawn from the seed, the life's number and the episode's index, so the lengths of lives are geometric with
        mean 1 / life_hazard and do not depend on the batch. Set it before the first reset.

        Raises:
            TypeError: if it is set to anything but a number or None.
            ValueError: if it is set to a number outside (0, 1], or the stream has `life_episodes`.
        """
        return self._life_hazard

    @life_hazard.setter
    def life_hazard(self, hazard: float | None) -> None:
        if hazard is not None and (isinstance(hazard, bool) or not isinstance(hazard, numbers.Real)):
            raise TypeError(f"life_hazard must be a number or None: life_hazard={hazard!r}")
        if hazard is not None and not 0 < hazard <= 1:
            raise ValueError(f"life_hazard must lie above 0 and be at most 1: life_hazard={hazard}")
        if hazard is not None and self.life_episodes is not None:
            raise ValueError(
                "life_hazard and life_episodes exclude each other, both end lives: "
                f"life_hazard={hazard}, life_episodes={self.life_episodes}"
            )
        self._life_hazard = hazard

    def _ended_lives(self, slots: Ints) -> Ints:
        """Return those of the slots, whose episodes have ended, in which the life ends too."""
        if self.life_episodes is not None:
            return slots[self.episode[slots] >= self.life_episodes]
        if self._life_hazard is None:
            return slots[:0]
        return slots[uniform(self.seed, Purpose.LIFE_END, self.life[slots], self.episode[slots]) < self._life_hazard]

    @property
    def retention(self) -> Retention | None:
        """Measure of retention that the stream declares; None: with a single task there is nothing to come back to."""
        return "gain" if len(self.tasks) > 1 else None

    def _set_seed(self, seed: int) -> None:
        seed = python_integer(seed)
        if not 0 <= seed < 2 * SEEDS:
            raise ValueError(f"seed must be 0 to {2 * SEEDS - 1}: seed={seed}")
        self.seed = seed

    def bind_schedule(self) -> None:
        """Replace names of tasks in the schedule by their numbers.

        Raises:
            ValueError: if it names an unknown task.
        """
        self.schedule = bind_tasks(self.schedule, [task.name for task in self.tasks])

    def episode_seeds(self, slots: Ints) -> Ints:
        """Return the seeds of the present episodes in these slots, below 2^31."""
        drawn = bits(self.seed, Purpose.EPISODE, self.life[slots], self.episode[slots])
        return (drawn >> np.uint64(33)).astype(np.int64)

    def _set_tasks(self, tasks: Sequence[Task]) -> None:
        self.tasks, self._scores = tuple(tasks), reference_scores(tasks)
        self._reset_counters()

    def _reset_counters(self) -> None:
        self.lives = 0  # how many lives have begun
        actions = row_like(self.single_action_space, self.num_envs)
        self._set_counters(new_counters(self.num_envs, len(self.tasks), actions))

    def _set_counters(self, counters: Counters) -> None:
        self._counters, self._arrays = counters, tuple(counters)
        for name, array in counters._asdict().items():
            setattr(self, name, array)

    def _count_lives(self, slots: Ints) -> None:
        """Count the lives that begin in these slots."""
        self.life[slots] = self.lives + np.arange(slots.size)
        self.lives += slots.size
        for counter in (self.episode, self.life_step, self.visits_lived, self.visit_episode, self.previous_reward):
            counter[slots] = 0
        self.previous_action[slots] = no_action(self.single_action_space)
        self.task[slots] = self.last_answer[slots] = -1
        self.met[slots] = self.met_step[slots] = self.met_visit[slots] = -1
        self.meetings[slots] = self.visits[slots] = 0
        self.life_start[slots] = True

    def _count_begins(self, slots: Ints) -> None:
        """Draw the tasks of the episodes that begin in these slots, and count these."""
        if self.sealed:
            self.previous_action[slots], self.previous_reward[slots] = no_action(self.single_action_space), 0.0
        every = self.life, self.episode, self.task, self.met, self.meetings
        chosen = every if slots.size == self.num_envs else tuple(array[slots] for array in every)
        life, episode, task, met, meetings = chosen
        draw = partial(uniform, self.seed, Purpose.SCHEDULE, life, episode)
        history = History(episode, task, met, meetings, self.vector_steps * self.num_envs)
        begin_episodes(slots, self.schedule.next(history, draw), self._arrays)

    def _count_step(self, reward: Floats, terminated: Bools, truncated: Bools) -> Ints | None:
        """Count one step and return the slots whose episodes ended; None if a reward is not finite."""
        ended = count_step(self._arrays, reward, terminated, truncated, self._ended)
        if ended < 0:
            return None
        self.vector_steps += 1
        return self._ended[:ended].copy()

    def _count_ends(self, slots: Ints) -> dict[str, NDArray[Any]]:
        """Count the episodes that end in these slots and return their rows, without `success` and `answer`."""
        n = slots.size
        columns: dict[str, NDArray[Any]] = {name: np.empty(n, dtype) for name, dtype in _DTYPES}
        end_episodes(slots, self._arrays, self._scores, _end_columns(columns))
        columns["step"].fill(self.vector_steps * self.num_envs)
        return columns

    def give_up(self, slots: Ints) -> None:
        """Count the unfinished episodes in these slots, without rows."""
        self.last_answer[slots] = -1
        self._count_ends(slots)

    def _restore_lives(self, position: dict[str, NDArray[Any]], slots: Ints) -> None:
        """Restore what is hidden in the lives in `slots` of a position, just drawn anew by `_begin_lives`.

        Only where it changes from episode to episode, and as it was before the unfinished episodes; see `fork`.
        """

    @property
    def unforkable(self) -> str:
        """Reason why lives cannot be copied by `lifelong.envs.fork`, as a sentence; empty if they can."""
        return ""

    def _counted(self) -> dict[str, NDArray[Any]]:
        """Return a copy of all counters."""
        scalars = {name: np.array(getattr(self, name)) for name in _SCALARS}
        return scalars | {name: array.copy() for name, array in self._counters._asdict().items()}

    def check_counters(self, position: dict[str, NDArray[Any]]) -> None:
        """Validate the counters of a position, which may come from a file.

        Raises:
            ValueError: if one is missing, has another dtype or shape, is out of range, or is of other numbers of lives
                or tasks.
        """
        lives, tasks = position["met"].shape if "met" in position and position["met"].ndim == 2 else (-1, -1)
        if lives not in (-1, self.num_envs):
            raise ValueError(f"position has {lives} lives, the stream has num_envs={self.num_envs}")
        if tasks not in (-1, len(self.tasks)):
            raise ValueError(f"position has {tasks} tasks, the stream has {len(self.tasks)}")
        check_entries(position, self._counters._asdict(), _RANGES | {"task": (0, len(self.tasks) - 1)})
        for name in _SCALARS:
            if name not in position or position[name].size != 1 or position[name].dtype not in (np.int64, np.uint64):
                raise ValueError(f"position must have one integer {name}, got {position.get(name)}")
            most, value = 2 * SEEDS - 1 if name == "seed" else _COUNTED, position[name].item()
            if not 0 <= value <= most:
                raise ValueError(f"position has {name} of {value}, it must lie in 0 to {most}")
        if not can_be_previous(self.single_action_space, position["previous_action"]):
            raise ValueError("position has a previous_action that is not of the action space")

    def _recount(self, position: dict[str, NDArray[Any]]) -> None:
        """Set all counters to those of a position."""
        for name in _SCALARS:
            setattr(self, name, position[name].item())
        self._set_counters(Counters(**{name: position[name].copy() for name in Counters._fields}))
