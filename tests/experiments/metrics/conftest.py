"""Policies whose memory is known, answering cues in simulated lives and in the real stream."""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.envs.schedules import Interleaved
from lifelong.envs.streams.cued_recall import CuedRecall

Rows = dict[str, NDArray[Any]]
Feedback = Literal["reveal", "reward"]
ANSWERS = 4
CACHE = 15  # episodes


class Policy:
    """Answers cues; `learn` tells it what came of it.

    Kinds: `constant`; `random`; `habit`, one fixed answer to each cue in all lives; `perfect`, forgets nothing;
    `cache`, knows what happened in the last `CACHE` episodes of its life and guesses otherwise; `lottery`, stores an
    answer that it is shown with probability 1/2 and then never forgets it.
    """

    def __init__(self, kind: str, feedback: Feedback, lives: int, cues: int, seed: int) -> None:
        self.kind, self.feedback, self.random = kind, feedback, np.random.default_rng(seed)
        self.everyone = np.arange(lives)
        self.met, self.answered, self.known = (np.full((lives, cues), fill) for fill in (-1, 0, -1))
        self.tried = np.zeros((lives, cues, ANSWERS))

    def forget(self, lives: NDArray[np.bool_]) -> None:
        self.met[lives] = self.known[lives] = -1
        self.tried[lives] = 0

    def answer(self, cue: NDArray[Any], episode: NDArray[Any]) -> NDArray[Any]:
        lives = cue.size
        guess = self.random.integers(ANSWERS, size=lives)
        if self.kind in ("constant", "random", "habit"):
            return {"constant": np.full(lives, 2), "random": guess, "habit": (cue * 7) % ANSWERS}[self.kind]
        here = (self.everyone, cue)
        if self.kind == "lottery":
            return np.where(self.known[here] >= 0, self.known[here], guess)
        met = self.met[here] >= 0
        if self.kind == "cache":
            met &= episode - self.met[here] <= CACHE
            other = (self.answered[here] + self.random.integers(1, ANSWERS, lives)) % ANSWERS  # all but the last try
        else:
            other = (self.tried[here] + self.random.random((lives, ANSWERS)) / 2).argmin(1)  # one not yet tried
            guess = other
        return np.where(met, np.where(self.known[here] >= 0, self.known[here], other), guess)

    def learn(self, cue: NDArray[Any], episode: NDArray[Any], answer: NDArray[Any], right: NDArray[Any]) -> None:
        here = (self.everyone, cue)
        told = right if self.feedback == "reveal" else np.where(answer == right, right, -1)
        if self.kind == "lottery":
            told = np.where(self.random.random(cue.size) < 0.5, told, self.known[here])
        self.met[here], self.answered[here], self.known[here] = episode, answer, told
        self.tried[(*here, answer)] += 1


@cache
def _simulated(kind: str, feedback: Feedback, seed: int, lives: int, episodes: int, cues: int) -> Rows:
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, cues + 1)
    right = random.integers(ANSWERS, size=(lives, cues))
    policy = Policy(kind, feedback, lives, cues, seed + 1)
    met, meetings = np.full((lives, cues), -1), np.zeros((lives, cues), np.int64)
    everyone, rows = np.arange(lives), []
    for episode in range(episodes):
        cue = random.choice(cues, p=weights / weights.sum(), size=lives)
        here = (everyone, cue)
        answer = policy.answer(cue, np.full(lives, episode))
        success = (answer == right[here]).astype(np.float32)
        known = meetings[here] >= (1 if feedback == "reveal" else ANSWERS)
        trying = 1 / ANSWERS if feedback == "reveal" else (meetings[here] + 1) / ANSWERS
        row = {"life": everyone, "episode": np.full(lives, episode), "task": cue, "return": success, "success": success}
        row |= {"lag_episodes": np.where(met[here] < 0, -1, episode - met[here]), "answer": answer}
        row |= {"load": np.where(met[here] < 0, -1, (met > met[here][:, None]).sum(1)), "meetings": meetings[here]}
        row |= {"within": np.full(lives, 1 / ANSWERS), "cross": np.where(known, 1.0, trying)}
        rows.append(row)
        policy.learn(cue, np.full(lives, episode), answer, right[here])
        met[here] = episode
        meetings[here] += 1
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


@cache
def _lived(kind: str, feedback: Feedback, seed: int, slots: int, episodes: int, cues: int) -> Rows:
    schedule = Interleaved(zipf=1.0)
    world = CuedRecall(
        slots, cues=cues, answers=ANSWERS, feedback=feedback, schedule=schedule, life_episodes=episodes, seed=seed
    )
    policy = Policy(kind, feedback, slots, cues, seed + 1)
    seen, info = world.reset()
    episode, rows = np.zeros(slots, np.int64), []
    for _ in range(2 * episodes):
        cue = info["task"]
        answer = policy.answer(cue, episode)
        seen, reward, _, _, info = world.step(answer)
        right = np.where(reward > 0, answer, -1)
        if feedback == "reward":  # the outcome is observed in a step of its own
            info = world.step(answer)[-1]
        rows.append(info["episodes"])
        if feedback == "reveal":  # nothing is revealed once a life has ended, and nothing is left to use it
            right = np.where(info["life_start"], -1, seen["observation"]["revealed"])
        policy.learn(cue, episode, answer, right)
        policy.forget(info["life_start"])
        episode = np.where(info["life_start"], 0, episode + 1)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


Simulate = Callable[..., Rows]


@pytest.fixture
def simulate() -> Simulate:
    """Return the rows of lives in numpy; cues have weights 1 / rank, so lags from 1 to hundreds occur."""

    def simulated(
        kind: str,
        feedback: Feedback = "reveal",
        *,
        seed: int = 1,
        lives: int = 192,
        episodes: int = 384,
        cues: int = 48,
    ) -> Rows:
        return dict(_simulated(kind, feedback, seed, lives, episodes, cues))

    return simulated


@pytest.fixture
def live() -> Simulate:
    """Return the rows of two lives in each slot of the real stream; the policy sees cues, what is revealed, rewards."""

    def lived(
        kind: str, feedback: Feedback = "reveal", *, seed: int = 1, slots: int = 96, episodes: int = 192, cues: int = 32
    ) -> Rows:
        return dict(_lived(kind, feedback, seed, slots, episodes, cues))

    return lived


@pytest.fixture(params=["simulated", "stream"])
def rows_of(request: pytest.FixtureRequest, simulate: Simulate, live: Simulate) -> Simulate:
    """Return the rows of a policy, in simulated lives and in those of the real stream."""
    return simulate if request.param == "simulated" else live
