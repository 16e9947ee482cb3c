"""EndlessCues: every episode teaches a new cue and asks for one of long ago; novelty without end.

An episode has two steps. The first shows a new cue, a random vector, with its answer. The second shows the cue that was
taught `lag` episodes ago, and the action is its answer: reward 1 if it is right, else 0. Nothing tells what came of it,
so to be asked teaches nothing: every cue is seen once with its answer. A policy whose memory is wiped between episodes
gets 1/A, one that keeps everything gets 1, and what a memory of some size keeps shows by the lag: unlike `CuedRecall`,
whose cues are drawn once for a life and come again and again, this never repeats itself, and load grows with the lag.

Cues and answers are drawn as they are shown, from the life and the cue's number, and nothing is kept of them: a life of
10^6 cues takes no more space than one of ten.

The tasks of this stream are its lags, 1, 2, 4, ... `longest`. Where the life is younger than the lag, the first cue is
asked for; in the first episode of a life that is the new cue itself. Lags of rows are those of the cue, not of the
task; `load` counts the cues taught since, the new one included.

| entry | meaning |
| --- | --- |
| cue | [size] a cue's vector, entries of variance 1: the new one in the first step, then the one that is asked for |
| taught | the answer to the new cue; A in the second step |
| go | [1] 1 when the decision is due |

Hidden: nothing but what was shown before.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, integers, normal
from lifelong.envs.schedules import Interleaved, Schedule
from lifelong.envs.stream import Boundary, References, Task, TaskStream
from lifelong.envs.task import Retention

__all__ = ["EndlessCues"]

Ints = NDArray[np.int64]


class EndlessCues(TaskStream):
    """Lives of ever new cues, natively batched.

    Args:
        num_envs: B, lives side by side.
        longest: the longest lag, in episodes; a power of two.
        answers: A, answers to choose from.
        size: entries of a cue's vector.
        schedule: which lag comes next.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the observation tells of changes of lag.
        seed: of the lives.

    Raises:
        ValueError: on numbers that make no stream.
    """

    sealed = True
    own_lags = True

    def __init__(
        self,
        num_envs: int = 1,
        *,
        longest: int = 64,
        answers: int = 4,
        size: int = 16,
        schedule: Schedule = Interleaved(),  # noqa: B008  frozen
        life_episodes: int | None = 256,
        boundary: Boundary = "none",
        seed: int = 0,
    ) -> None:
        for name, number, least in (("longest", longest, 1), ("answers", answers, 2), ("size", size, 1)):
            if number < least:
                raise ValueError(f"{name} must be at least {least}: {name}={number}")
        if longest & (longest - 1):
            raise ValueError(f"longest must be a power of two: longest={longest}")
        self.answers, self.size = answers, size
        self.lags = 2 ** np.arange(longest.bit_length())
        references = References(random=1 / answers, within=1 / answers, cross=1.0, oracle=1.0)
        super().__init__(
            num_envs,
            tasks=[Task(f"lag {lag}", references) for lag in self.lags],
            observation_space=spaces.Dict(
                {
                    "cue": spaces.Box(-np.inf, np.inf, (size,), np.float32),
                    "taught": spaces.Discrete(answers + 1),
                    "go": spaces.Box(0.0, 1.0, (1,), np.float32),
                }
            ),
            action_space=spaces.Discrete(answers),
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self.shown = np.zeros(num_envs, np.int64)  # numbers of the cues that the episodes teach and ask for
        self.asked = np.zeros(num_envs, np.int64)

    @property
    def retention(self) -> Retention:
        """Recall: the answer was shown with the cue."""
        return "recall"

    @property
    def unforkable(self) -> str:
        """Which cue is asked for follows from the number of the episode, which copies do not keep."""
        return "the cue that an episode asks for is known by the episode's number"

    def right_answers(self) -> Ints:
        """Return [B] the answers to the cues that the present episodes ask for."""
        return self._answer_to(self.asked)

    def _lag(self, slots: Ints) -> Ints:
        """Return [n] how many episodes ago the cues were taught that the present episodes ask for."""
        lag: Ints = np.minimum(self.lags[self.base_task[slots]], self.episode[slots])
        return lag

    def _answer_to(self, cue: Ints) -> Ints:
        """Return the answers to cues [B] of the lives."""
        return integers(self.answers, self.seed, Purpose.RULE, self.life, cue)

    def _begin_episodes(self, slots: Ints) -> None:
        self.shown[slots] = self.episode[slots]
        self.asked[slots] = self.episode[slots] - self._lag(slots)

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        self._begin_episodes(self._everyone)  # both follow from the counters

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        due = self.episode_length == 1
        reward = (due & (actions == self.right_answers())).astype(np.float64)
        return reward, due, np.zeros(self.num_envs, np.bool_)

    def _observe(self) -> dict[str, NDArray[Any]]:
        due = self.episode_length == 1
        cue = np.where(due, self.asked, self.shown)
        vector = normal(self.seed, Purpose.CUE, self.life[:, None], cue[:, None], np.arange(self.size))
        return {
            "cue": vector.astype(np.float32),
            "taught": np.where(due, self.answers, self._answer_to(cue)),
            "go": due[:, None].astype(np.float32),
        }

    def _episode_info(self, slots: Ints) -> dict[str, Any]:
        lag = self._lag(slots)
        before = lag > 0
        return {
            "success": self.base_return[slots],
            "answer": self.previous_action[slots],
            "lag_steps": np.where(before, 2 * (lag - 1), -1),
            "lag_episodes": np.where(before, lag, -1),
            "lag_tasks": lag - 1,
            "meetings": before,
            "load": np.where(before, lag, -1),
            "within": np.where(before, 1 / self.answers, 1.0),
        }
