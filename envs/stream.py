"""Task streams: lives made of episodes, episodes made of tasks, behind `gymnasium.vector.VectorEnv`.

A *task* is a name and its reference scores, a *schedule* says who comes next, a *stream* joins them with a seed.
`num_envs` lives run side by side. An episode is a pure function of (task, episode seed, actions); which tasks and
seeds a life gets is a pure function of (stream seed, life), whatever runs beside it.

An episode that ends is followed in the same step by the first observation of the next (`AutoresetMode.SAME_STEP`), so
no step of a life is made up. A life ends after `life_episodes` episodes; then its slot goes on with a new life.

What the agent sees, a Dict:

| entry | meaning | at the start of a life |
| --- | --- | --- |
| observation | what the task shows | |
| previous_action | what the agent did; the number of actions stands for "nothing yet" | nothing yet, or about 0 |
| previous_reward | [1] what it got for it | 0 |
| episode_start | [1] 1 in the first step of an episode | 1 |
| task_start | [1] 1 in the first step of a new task; only with `boundary="flag"` | 1 |
| task | number of the task; only with `boundary="task_id"` | |

`info` of `reset` and `step` says of the observation that came with it: `episode_start`, `task_start`, `life_start`
([B] bool) and `task` ([B]). `info["episodes"]`, when episodes ended, has one row for each: see `ROW`.
`info["final_obs"]`, when episodes were truncated, is the batch of observations before the reset.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lifelong.envs import counters
from lifelong.envs.drifts.base import Drift, by_themselves_and_together, refuse_without_effect, same, some_action
from lifelong.envs.drifts.batched import DriftedLives
from lifelong.envs.rng import Purpose, bits, uniform
from lifelong.envs.schedules import History, Paired, Schedule

__all__ = ["ROW", "Boundary", "References", "StreamError", "Task", "TaskStream"]

Boundary = Literal["none", "flag", "task_id"]

ROW: dict[str, type[np.generic]] = {
    "step": np.int64,  # environment steps of all lives when the episode ended
    "life": np.int64,  # number of the life
    "episode": np.int64,  # index of the episode in its life
    "task": np.int32,  # number of the task
    "visit": np.int32,  # how many times the task was visited before; a visit is a run of episodes of one task
    "index_in_visit": np.int32,  # episodes since the visit began
    "lag_steps": np.int64,  # steps of this life since the task was last met, -1 if never
    "lag_episodes": np.int64,  # episodes since then: 1 is the one before, -1 is never
    "lag_tasks": np.int32,  # visits to other tasks since then, -1 is never
    "length": np.int32,  # steps of the episode
    "return": np.float32,  # sum of rewards
    "normalised": np.float32,  # (return - random) / (oracle - random), NaN without references
    "within": np.float32,  # expected return here of the best policy that forgets at every episode's end, or NaN
    "cross": np.float32,  # expected return here of the best policy that remembers its life, or NaN
    "success": np.float32,  # 1, 0, or NaN if the task does not say
    "answer": np.int32,  # what the last step chose, if the task says so, or its discrete action; -1 if there is none
}

_TRIED_STEPS, _TRIED = 64, 512  # an effect is looked for in that many steps, and in that many steps of all lives

_COUNTED = tuple(ROW)[tuple(ROW).index("life") : tuple(ROW).index("cross") + 1]  # the stream itself knows these


class StreamError(RuntimeError):
    """An environment did what no environment may do; names it, the task and the step.

    Args:
        message: what happened.
        report: how to make it happen again, as JSON can hold it; empty if nothing is known.
    """

    def __init__(self, message: str, report: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.report = report or {}


@dataclass(frozen=True, slots=True)
class References:
    """Scores that give a return a meaning; NaN where unknown.

    Args:
        random: mean return of the random policy.
        within: best mean return of a policy whose memory is wiped at every episode's end.
        cross: best mean return of a policy that remembers its life.
        oracle: best mean return of a policy that knows what is hidden.
    """

    random: float = float("nan")
    within: float = float("nan")
    cross: float = float("nan")
    oracle: float = float("nan")


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do.

    Args:
        name: shown in tables.
        references: what its returns are compared with.
    """

    name: str
    references: References = References()


class TaskStream(VectorEnv[Any, Any, Any]):
    """Lives side by side; subclasses say what an episode is by `_live`, `_begin`, `_act` and `_observe`.

    Args:
        num_envs: B, lives side by side.
        tasks: what can be met.
        observation_space: what a task shows, for one life.
        action_space: for one life.
        schedule: which task comes next.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the agent is told of task changes.
        seed: of the lives; `reset(seed=...)` overrides it.

    Raises:
        ValueError: on numbers that make no stream.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012  as gymnasium has it

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
        if num_envs < 1:
            raise ValueError(f"num_envs must be positive: num_envs={num_envs}")
        if life_episodes is not None and life_episodes < 1:
            raise ValueError(f"life_episodes must be positive or None: life_episodes={life_episodes}")
        if boundary not in get_args(Boundary):
            raise ValueError(f"boundary must be one of {', '.join(get_args(Boundary))}, got {boundary!r}")
        if not isinstance(action_space, spaces.Discrete | spaces.Box):
            raise ValueError(f"action space must be Discrete or Box, got {action_space}")
        self.num_envs, self.schedule, self.plain_tasks = num_envs, schedule, len(tasks)
        self._take(tasks)
        self._drifted: DriftedLives | None = None
        self.life_episodes, self.boundary, self.seed = life_episodes, boundary, seed
        self.single_action_space = self._actions = action_space
        self.single_observation_space = spaces.Dict(self._entries(observation_space, action_space))
        self.action_space = batch_space(action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._everyone, self._ended = np.arange(num_envs), np.empty(num_envs, np.int64)
        self.vector_steps = -1  # no life yet
        self.task, self.plain_task = np.full(num_envs, -1, np.int64), np.full(num_envs, -1, np.int64)

    def _take(self, tasks: Sequence[Task]) -> None:
        self.tasks = tuple(tasks)
        self._random, self._within, self._cross, oracle = (
            np.array([getattr(task.references, name) for task in self.tasks])
            for name in ("random", "within", "cross", "oracle")
        )
        self._gain = oracle - self._random

    def drift(self, kinds: Sequence[tuple[str, Sequence[Drift]]], schedule: Schedule | None = None) -> None:
        """Let the tasks be met in several kinds, each with drifts of its own; see `drifted_lives.py`.

        Args:
            kinds: their names and drifts; no drifts at all are a kind too.
            schedule: which kind comes next; None if there is but one task, and the stream's schedule says it.

        Raises:
            ValueError: if there is nothing to do; if the stream has begun, or drifts already, or several tasks and
                no schedule; or if a drift does not fit, or changes nothing here.
        """
        if not kinds:
            raise ValueError("a stream with drifts needs at least one kind of task")
        if self.vector_steps >= 0 or self._drifted is not None:
            raise ValueError("drifts are given to a stream once, before its first reset")
        if schedule is None and self.plain_tasks > 1:
            raise ValueError(
                f"a stream of {self.plain_tasks} tasks needs a drift_schedule, which says when drifts change, such as "
                f"cyclic:20; its own schedule is {self.schedule}"
            )
        shown, taken = self.single_observation_space["observation"], self._actions  # type: ignore[index]
        for _, drifts in kinds:
            if drifts:
                self._check_effect(drifts)
        self._drifted = DriftedLives([drifts for _, drifts in kinds], shown, taken, self.num_envs)
        if schedule is not None:
            self.schedule = Paired(self.schedule, schedule, len(kinds))
        self._take(
            [
                replace(task, name=name if self.plain_tasks == 1 else f"{task.name}, {name}",
                        references=References() if drifts else task.references)
                for name, drifts in kinds
                for task in self.tasks
            ]
        )  # fmt: skip
        self.single_observation_space = spaces.Dict(self._entries(shown, taken))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def _check_effect(self, drifts: Sequence[Drift]) -> None:
        """Refuse drifts that change nothing in the first steps of lives; leaves the stream as if it had not begun."""
        shown, taken = self.single_observation_space["observation"], self._actions  # type: ignore[index]
        steps = max(_TRIED_STEPS, -(-_TRIED // self.num_envs))
        plain = list(self._tried(steps))
        paid = any(bool(rewards.any()) for _, rewards, _, _ in plain[1:])
        for some in by_themselves_and_together(drifts):
            self._drifted = DriftedLives([some], shown, taken, self.num_envs)
            try:
                differs = any(not same(*pair) for pair in zip(plain, self._tried(steps), strict=True))
            finally:
                self._drifted, self.vector_steps = None, -1
            refuse_without_effect(some, differs, paid, f"this stream: {steps} steps of {self.num_envs} lives")

    def _tried(self, steps: int) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Yield what new lives show and pay at random actions, the same in all of them."""
        yield TaskStream.reset(self)[0]["observation"], 0.0, False, False
        for step in range(steps):
            action = np.asarray(some_action(self._actions, self.seed, step))
            seen, *said, _ = TaskStream.step(self, np.repeat(action[None], self.num_envs, 0))
            yield seen["observation"], said[0], said[1], said[2]
        self.vector_steps = -1

    def _entries(
        self, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]
    ) -> dict[str, gymnasium.Space[Any]]:
        flag = spaces.Box(0.0, 1.0, (1,), np.float32)
        previous = (
            spaces.Discrete(int(action_space.n) + 1) if isinstance(action_space, spaces.Discrete) else action_space
        )
        entries: dict[str, gymnasium.Space[Any]] = {
            "observation": observation_space,
            "previous_action": previous,
            "previous_reward": spaces.Box(-np.inf, np.inf, (1,), np.float32),
            "episode_start": flag,
        }
        if self.boundary == "flag":
            entries["task_start"] = flag
        if self.boundary == "task_id":
            entries["task"] = spaces.Discrete(len(self.tasks))
        return entries

    # ---- what a subclass says -------------------------------------------------------------------------------------

    def _live(self, slots: NDArray[np.int64]) -> None:
        """Draw what is hidden in the lives that begin in these slots; `self.life[slots]` has their numbers."""

    def _begin(self, slots: NDArray[np.int64]) -> None:
        """Begin an episode of `self.plain_task[slots]`: the number of the task, whatever its drifts."""
        raise NotImplementedError

    def _act(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Do one step of every life and return reward, terminated, truncated, [B] each."""
        raise NotImplementedError

    def _observe(self) -> Any:
        """Return the batch of what the tasks show now."""
        raise NotImplementedError

    def _outcome(self, slots: NDArray[np.int64]) -> dict[str, Any]:
        """Return what else is known of episodes that just ended: `success`, `answer`, `within`, `cross`, or part."""
        return {}

    def _replay(self, position: dict[str, NDArray[Any]]) -> None:
        """Go through the unfinished episodes, just begun anew, up to where `position` was taken."""

    def position(self) -> dict[str, NDArray[Any]]:
        """Return all that tells where the stream is; see `resume`."""
        if self.vector_steps < 0:
            raise gymnasium.error.ResetNeeded("position before the first reset")
        there = {name: np.array(value) for name, value in vars(self).items() if name in _POSITION}
        if self._drifted is not None:
            there |= self._drifted.position() | {"plain_return": self._plain_return.copy()}
        return there

    def resume(self, position: dict[str, NDArray[Any]]) -> tuple[Any, dict[str, Any]]:
        """Go on from a position, as if never interrupted, and return what `reset` or `step` returned there.

        Args:
            position: of a stream made with the same arguments.

        Raises:
            ValueError: if it is that of a stream with other numbers of lives or tasks, or one of them has drifts.
            StreamError: if an environment does not do again what it did.
        """
        lives, tasks = position["met"].shape
        if lives != self.num_envs:
            raise ValueError(f"position has {lives} lives, the stream has num_envs={self.num_envs}")
        if tasks != len(self.tasks):
            raise ValueError(f"position has {tasks} tasks, the stream has {len(self.tasks)}")
        if ("drift kind" in position) != (self._drifted is not None):
            there, here = ("no ", "") if self._drifted is not None else ("", "no ")
            raise ValueError(f"position is of a stream with {there}drifts, the stream has {here}drifts")
        for name in _POSITION:
            value = position[name].copy()
            setattr(self, name, value if value.ndim else value.item())
        self.plain_task = self.task if self._drifted is None else self.task % self.plain_tasks
        self._live(self._everyone)
        self._begin(self._everyone)
        if self._drifted is not None:
            self._plain_return = position["plain_return"].copy()
            self._drifted.resume(position)
        self._replay(position)
        return self.shown()

    # ---- the clock of the lives -----------------------------------------------------------------------------------

    def reset(self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Begin new lives in all slots, from life 0.

        Args:
            seed: of the lives; None keeps the present one.
            options: none; there are no options.

        Returns:
            The observations and `info`.

        Raises:
            ValueError: if there are options.
        """
        if options:
            raise ValueError(f"a stream has no options of reset, got {options}")
        if isinstance(seed, list):
            raise TypeError("a stream has one seed for all its lives, got a list")
        if seed is not None:
            self.seed = seed
        B, N = self.num_envs, len(self.tasks)
        self.vector_steps, self.lives, self._plain_return = 0, 0, np.zeros(B)
        self.life, self.episode, self.life_step = (np.zeros(B, np.int64) for _ in range(3))
        self.task, self.visits_lived, self.visit_episode = (np.zeros(B, np.int64) for _ in range(3))
        self.met, self.met_step, self.met_visit = (np.full((B, N), -1, np.int64) for _ in range(3))
        self.meetings, self.visits = (np.zeros((B, N), np.int64) for _ in range(2))
        self.episode_return, self.episode_length = np.zeros(B), np.zeros(B, np.int64)
        self.episode_start, self.task_start, self.life_start = (np.ones(B, np.bool_) for _ in range(3))
        dtype = np.dtype(np.int64) if isinstance(self._actions, spaces.Discrete) else self._actions.dtype
        self.previous_action, self.previous_reward = np.zeros((B, *(self._actions.shape or ())), dtype), np.zeros(B)
        self.last_answer = np.full(B, -1, np.int64)  # of each life's last episode
        self._new_lives(self._everyone)
        self._new_episodes(self._everyone)
        return self.shown()

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Do one step of every life.

        Args:
            actions: [B, ...] one action for each.

        Returns:
            Observations, rewards [B], terminated [B], truncated [B] and `info`; where an episode ended the observation
            is the next one's first.
        """
        reward, terminated, truncated, slots = self.advance(actions)
        said: dict[str, Any] = {}
        if slots.size:
            if truncated.any():
                said["final_obs"] = self._look()
            said["episodes"] = self.end(slots)
            self.renew(slots)
        return self._look(), reward, terminated, truncated, self._said() | said

    def advance(
        self, actions: Any
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
        """Do one step of every life, and leave the episodes that are over as they are.

        Args:
            actions: [B, ...] one action for each.

        Returns:
            Rewards [B], terminated [B], truncated [B], and [n] the slots whose episodes are over: to be given to `end`
            and then to `renew` before the next step. `step` does all of it.

        Raises:
            ValueError: if the actions are not of the action space; nothing has happened then.
        """
        if self.vector_steps < 0:
            raise gymnasium.error.ResetNeeded("step before the first reset")
        actions = self._checked(np.asarray(actions))
        if self._drifted is None:
            reward, terminated, truncated = self._act(actions)
        else:
            reward, terminated, truncated = self._act(self._drifted.done(actions))
            self._plain_return += reward
            reward = self._drifted.paid(reward, terminated | truncated)
        ended = counters.tick(
            reward, terminated, truncated, self.life_step, self.episode_return, self.episode_length,
            self.episode_start, self.task_start, self.life_start, self._ended,
        )  # fmt: skip
        if ended < 0:
            self._blame(~np.isfinite(reward), "reward", reward)
        self.vector_steps += 1
        self.previous_action, self.previous_reward = actions.astype(self.previous_action.dtype), reward.copy()
        return reward, terminated, truncated, self._ended[:ended].copy()

    def _checked(self, actions: NDArray[Any]) -> NDArray[Any]:
        if actions.shape != self.previous_action.shape:
            raise ValueError(f"actions must be {list(self.previous_action.shape)}, got {list(actions.shape)}")
        space = self._actions
        if isinstance(space, spaces.Discrete):
            if actions.dtype.kind not in "iu":
                raise ValueError(f"actions must be integers, got {actions.dtype}")
            if (actions.astype(np.uint64) >= np.uint64(space.n)).any():  # what is negative is large there
                raise ValueError(f"actions must be 0 to {space.n - 1}, got {actions.min()} to {actions.max()}")
        elif not np.isfinite(actions).all():
            raise ValueError(f"actions must be finite, got {actions[~np.isfinite(actions)][0]}")
        return actions

    def end(self, slots: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Count the episodes in these slots, which are over, and return their rows."""
        columns: dict[str, NDArray[Any]] = {name: np.empty(slots.size, dtype) for name, dtype in ROW.items()}
        counters.describe(
            slots, self.life, self.episode, self.life_step, self.task, self.visits_lived, self.visit_episode,
            self.met, self.met_step, self.met_visit, self.visits, self.episode_return, self.episode_length,
            self._random, self._gain, self._within, self._cross, tuple(columns[name] for name in _COUNTED),
        )  # fmt: skip
        columns["step"][:] = self.vector_steps * self.num_envs
        for name, value in ({"success": np.nan, "answer": -1} | self._outcome(slots)).items():
            columns[name][:] = value
        if self._drifted is not None:
            drifting = self._drifted.drifting[self._drifted.kind[slots]]
            columns["within"][drifting] = columns["cross"][drifting] = np.nan
        self.last_answer[slots] = columns["answer"]
        self._close(slots)
        return columns

    def give_up(self, slots: NDArray[np.int64]) -> None:
        """Count the unfinished episodes in these slots, of which no row tells."""
        self.last_answer[slots] = -1
        self._close(slots)

    def renew(self, slots: NDArray[np.int64]) -> None:
        """Begin the next episodes in these slots, and the next lives where all episodes of one were lived."""
        if self.life_episodes is not None:
            self._new_lives(slots[self.episode[slots] >= self.life_episodes])
        self._new_episodes(slots)

    def _close(self, slots: NDArray[np.int64]) -> None:
        counters.close(
            slots, self.episode, self.life_step, self.task, self.visits_lived, self.visit_episode,
            self.met, self.met_step, self.met_visit, self.meetings,
        )  # fmt: skip

    def _new_lives(self, slots: NDArray[np.int64]) -> None:
        if not slots.size:
            return
        self.life[slots] = self.lives + np.arange(slots.size)
        self.lives += slots.size
        for counter in (self.episode, self.life_step, self.visits_lived, self.visit_episode, self.previous_reward):
            counter[slots] = 0
        space = self._actions
        if isinstance(space, spaces.Discrete):
            self.previous_action[slots] = space.n
        else:
            self.previous_action[slots] = np.clip(0, space.low, space.high)
        self.task[slots] = self.last_answer[slots] = -1
        self.met[slots] = self.met_step[slots] = self.met_visit[slots] = -1
        self.meetings[slots] = self.visits[slots] = 0
        self.life_start[slots] = True
        self._live(slots)

    def _new_episodes(self, slots: NDArray[np.int64]) -> None:
        here: Any = slice(None) if slots.size == self.num_envs else slots  # all of them need not be copied
        life, episode = self.life[here], self.episode[here]
        history = History(episode, self.task[here], self.met[here], self.meetings[here])
        task = self.schedule.next(history, lambda i: uniform(self.seed, Purpose.SCHEDULE, life, episode, i))
        counters.begin(
            slots, task, self.task, self.visits, self.visits_lived, self.visit_episode,
            self.episode_start, self.task_start, self.episode_return, self.episode_length,
        )  # fmt: skip
        self.plain_task = self.task if self._drifted is None else self.task % self.plain_tasks
        self._begin(slots)
        if self._drifted is not None:
            self._plain_return[slots] = 0.0
            self._drifted.begin(slots, self.task[slots] // self.plain_tasks, self.episode_seeds(slots))

    # ---- what the agent gets --------------------------------------------------------------------------------------

    def episode_seeds(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the seeds of the present episodes in these slots, below 2^31."""
        drawn = bits(self.seed, Purpose.EPISODE, self.life[slots], self.episode[slots])
        return (drawn >> np.uint64(33)).astype(np.int64)

    @property
    def plain_return(self) -> NDArray[np.float64]:
        """[B] The sum of rewards of the present episodes, as if there were no drifts."""
        return self.episode_return if self._drifted is None else self._plain_return

    def meetings_of(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [n] how many episodes of their present tasks the lives in these slots have lived, drifts or none."""
        meetings = self.meetings.reshape(self.num_envs, -1, self.plain_tasks)
        met: NDArray[np.int64] = meetings[slots, :, self.plain_task[slots]].sum(1)
        return met

    def shown(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what is shown now, and what `info` says of it."""
        return self._look(), self._said()

    def _look(self) -> dict[str, Any]:
        seen: dict[str, Any] = {
            "observation": self._observe() if self._drifted is None else self._drifted.shown(self._observe()),
            "previous_action": self.previous_action.copy(),
            "previous_reward": self.previous_reward[:, None].astype(np.float32),
            "episode_start": self.episode_start[:, None].astype(np.float32),
        }
        if self.boundary == "flag":
            seen["task_start"] = self.task_start[:, None].astype(np.float32)
        if self.boundary == "task_id":
            seen["task"] = self.task.copy()
        return seen

    def _said(self) -> dict[str, Any]:
        return {
            "episode_start": self.episode_start.copy(),
            "task_start": self.task_start.copy(),
            "life_start": self.life_start.copy(),
            "task": self.task.copy(),
        }

    def _blame(self, bad: NDArray[np.bool_], what: str, value: NDArray[Any]) -> None:
        slot = int(np.flatnonzero(bad)[0])
        raise StreamError(
            f"{what} must be finite: {value[slot]} from task {self.tasks[self.task[slot]].name!r}, "
            f"life {self.life[slot]}, step {self.life_step[slot]} of the life"
        )


_POSITION = (
    "seed",
    "vector_steps",
    "lives",
    "life",
    "episode",
    "life_step",
    "task",
    "visits_lived",
    "visit_episode",
    "met",
    "met_step",
    "met_visit",
    "meetings",
    "visits",
    "episode_return",
    "episode_length",
    "episode_start",
    "task_start",
    "life_start",
    "previous_action",
    "previous_reward",
    "last_answer",
)
