"""CuedRecall: a hidden answer for each cue, constant over episodes and redrawn for each life.

Every life draws `cues` random vectors and an answer for each of them. An episode shows one cue, waits `blanks` steps,
and ends with one decision: reward 1 for the cue's answer, else 0. An episode gives no information about its own answer
before it ends, so a policy without memory across episodes stays at 1 / `answers`; one with memory is right from the
second meeting on (`feedback="reveal"`), or once trials have found the answer (`feedback="reward"`).

Episodes are sealed: the first observation of an episode does not show the previous action and reward, in which a policy
could leave itself notes. With `feedback="reward"` they are observed in an extra last step, as in `SealedStream`.

Observation of a task:

| entry | meaning |
| --- | --- |
| cue | [size] the cue's vector in the first step of the episode, entries of variance 1, then zeros |
| go | [1] 1 when the decision is due; only if `blanks` > 0 |
| revealed | the right answer of the last decision, `answers` before the first; only with `feedback="reveal"` |
| over | [1] 1 in the last step, whose action has no effect; only with `feedback="reward"` |

With `change_at` a random half of a life's cues has other answers from that episode of the life on: what a memory kept
is wrong then, and must be rewritten. Nothing tells of it but the answers, or rewards, themselves.

The tasks of this stream are its cues: visits and lags count cues. No cue comes twice in a row: the revealed answer
would be observed beside the same cue, and no memory would be needed.
"""

from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.jit import jit
from lifelong.envs.rng import Purpose, integers, normal, uniform
from lifelong.envs.schedules import Interleaved, Schedule
from lifelong.envs.stream import Boundary, References, Task, TaskStream
from lifelong.envs.task import Retention

__all__ = ["CuedRecall"]

Feedback = Literal["reveal", "reward"]


@jit
def _show(
    vectors: Any, right: Any, task: Any, episode: Any, length: Any, met: Any, cue: Any, revealed: Any, answers: int
) -> None:
    """Write the cue [B, size] in the first step of an episode, zeros later, and the right answer of the last decision.

    The last decision was about the cue met one episode ago, in this life.
    """
    for b in range(task.size):
        revealed[b] = answers
        if length[b] > 0:
            cue[b] = 0.0
            continue
        vector, last = vectors[b, task[b]], episode[b] - 1
        for i in range(vector.size):
            cue[b, i] = vector[i]
        for k in range(met.shape[1] if last >= 0 else 0):  # with drifts there are several tasks of each cue
            if met[b, k] == last:
                revealed[b] = right[b, k % right.shape[1]]


class CuedRecall(TaskStream):
    """Task stream of cued recall, natively batched.

    Args:
        num_envs: B, lives side by side.
        cues: K, cues of a life.
        answers: A, answers to choose from.
        size: entries of a cue's vector.
        blanks: steps between cue and decision.
        feedback: `reveal`, the right answer is observed after each decision, or `reward`, reward-only feedback.
        schedule: order of the cues.
        life_episodes: decisions in a life; None for one endless life.
        boundary: what the observation tells of task changes.
        seed: of the lives.
        change_at: episode of a life from which half of the cues (rounded up) have other answers; None for never.
        sealed: False for agents of version 0.1: an episode ends with the decision, and the next first observation shows
            that action and its reward.

    Raises:
        ValueError: on numbers that make no stream.
    """

    rewritable = True

    def __init__(
        self,
        num_envs: int = 1,
        *,
        cues: int = 16,
        answers: int = 4,
        size: int = 16,
        blanks: int = 0,
        feedback: Feedback = "reveal",
        schedule: Schedule = Interleaved(gap=1),  # noqa: B008  frozen
        life_episodes: int | None = 128,
        boundary: Boundary = "none",
        seed: int = 0,
        change_at: int | None = None,
        sealed: bool = True,
    ) -> None:
        if feedback not in get_args(Feedback):
            raise ValueError(f"feedback must be one of {', '.join(get_args(Feedback))}, got {feedback!r}")
        for name, number, least in (
            ("cues", cues, 1),
            ("answers", answers, 2),
            ("size", size, 1),
            ("blanks", blanks, 0),
        ):
            if number < least:
                raise ValueError(f"{name} must be at least {least}: {name}={number}")
        if change_at is not None and not 1 <= change_at < (life_episodes or change_at + 1):
            most = "" if life_episodes is None else f" and below life_episodes={life_episodes}"
            raise ValueError(f"change_at must be at least 1{most}, or None: change_at={change_at}")
        self.cues, self.answers, self.size, self.blanks, self.feedback = cues, answers, size, blanks, feedback
        self.change_at = change_at
        self.sealed, self._shows_outcome = sealed, sealed and feedback == "reward"
        entries: dict[str, Any] = {"cue": spaces.Box(-np.inf, np.inf, (size,), np.float32)}
        if blanks:
            entries["go"] = spaces.Box(0.0, 1.0, (1,), np.float32)
        if feedback == "reveal":
            entries["revealed"] = spaces.Discrete(answers + 1)
        if self._shows_outcome:
            entries["over"] = spaces.Box(0.0, 1.0, (1,), np.float32)
        chance = References(random=1 / answers, within=1 / answers, oracle=1.0)
        super().__init__(
            num_envs,
            tasks=[Task(f"cue {k}", chance) for k in range(cues)],
            observation_space=spaces.Dict(entries),
            action_space=spaces.Discrete(answers),
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self._vectors = np.zeros((num_envs, cues, size), np.float32)
        self._right = np.zeros((num_envs, cues), np.int64)
        self._changed_right = self._right.copy()  # from `change_at` on
        self._nothing, self._decision = np.zeros(num_envs, np.bool_), np.zeros(num_envs, np.int64)

    @property
    def retention(self) -> Retention:
        """Recall where the answer is revealed, the memory index by lag where only the reward tells."""
        return "recall" if self.feedback == "reveal" else "index"

    def right_answers(self) -> NDArray[np.int64]:
        """Return [B] the answers to the cues of the present episodes."""
        return self._right_at(self.episode)[self._everyone, self.base_task]

    def contexts(self) -> NDArray[np.int64]:
        """Return [B] the present question: the number of the cue."""
        return self.base_task.copy()

    def toward(self, answers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the actions [B] that give these answers."""
        return answers

    def _begin_lives(self, slots: NDArray[np.int64]) -> None:
        life, cue = self.life[slots, None], np.arange(self.cues)
        self._right[slots] = integers(self.answers, self.seed, Purpose.RULE, life, cue)
        entries = life[..., None], cue[:, None], np.arange(self.size)
        self._vectors[slots] = normal(self.seed, Purpose.CUE, *entries)
        if self.change_at is not None:
            drawn = uniform(self.seed, Purpose.RULE, life, cue, 0)
            half = drawn.argsort(1).argsort(1) < (self.cues + 1) // 2
            by = 1 + integers(self.answers - 1, self.seed, Purpose.RULE, life, cue, 1)
            self._changed_right[slots] = np.where(half, (self._right[slots] + by) % self.answers, self._right[slots])

    def _right_at(self, episode: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [B, cues] the right answers in these episodes [B] of the lives."""
        if self.change_at is None:
            return self._right
        return np.where((episode >= self.change_at)[:, None], self._changed_right, self._right)

    def _begin_episodes(self, slots: NDArray[np.int64]) -> None:
        pass  # an episode's state is its cue and its steps so far

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        due = self.episode_length == self.blanks
        reward = (due & (actions == self.right_answers())).astype(np.float64)
        if not self._shows_outcome:
            return reward, due, self._nothing.copy()
        self._decision = self.previous_action.copy()  # of the episodes whose outcome is observed now
        return reward, self._over(), self._nothing.copy()

    def _over(self) -> NDArray[np.bool_]:
        return self.episode_length > self.blanks

    def _observe(self) -> dict[str, NDArray[Any]]:
        cue = np.empty((self.num_envs, self.size), np.float32)
        revealed = np.empty(self.num_envs, np.int64)
        _show(
            self._vectors, self._right_at(self.episode - 1), self.base_task, self.episode, self.episode_length,
            self.met, cue, revealed, self.answers,
        )  # fmt: skip
        obs: dict[str, NDArray[Any]] = {"cue": cue}
        if self.blanks:
            obs["go"] = (self.episode_length == self.blanks)[:, None].astype(np.float32)
        if self.feedback == "reveal":
            obs["revealed"] = revealed
        if self._shows_outcome:
            obs["over"] = self._over()[:, None].astype(np.float32)
        return obs

    def _episode_info(self, slots: NDArray[np.int64]) -> dict[str, Any]:
        tried = self.meetings_of(slots)  # meetings before this one
        known = tried > 0 if self.feedback == "reveal" else tried >= self.answers
        guess = 1 if self.feedback == "reveal" else tried + 1  # each answer has been tried once
        info: dict[str, Any] = {
            "success": self.base_return[slots],
            "answer": (self._decision if self._shows_outcome else self.previous_action)[slots],
            "cross": np.where(known, 1.0, guess / self.answers),
        }
        return info if self.change_at is None else info | self._change_info(slots, info["cross"], self.change_at)

    def _change_info(self, slots: NDArray[np.int64], cross: NDArray[Any], change_at: int) -> dict[str, Any]:
        """Return what rows tell of the change; `cross` is that of a policy that gives the last answer it knows of."""
        cue, changed = self.base_task[slots], self.episode[slots] >= change_at
        old = self._right[slots, cue]
        wrong = changed & (old != self._changed_right[slots, cue])
        last = self.met[slots].reshape(slots.size, -1, self.cues).max(1)[np.arange(slots.size), cue]
        misled = wrong & (last >= 0) & (last < change_at)
        return {
            "old_answer": np.where(wrong, old, -1),
            "since_change": np.where(changed, self.episode[slots] - change_at, -1),
            "cross": np.where(misled, 0.0, cross) if self.feedback == "reveal" else np.where(changed, np.nan, cross),
        }
