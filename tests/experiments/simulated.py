"""Policies that live CuedRecall's rule in numpy, with no environment: their retention is known beforehand."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

ANSWERS = 4


def live(
    policy: str, feedback: str, *, lives: int = 256, episodes: int = 512, cues: int = 64, cache: int = 15, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Return the rows of lives whose cues are drawn with weights 1 / rank, so that lags from 1 to hundreds occur.

    Policies: `constant`; `random`; `habit`, one fixed answer per cue in all lives; `perfect`, forgets nothing;
    `cache`, knows what happened in the last `cache` episodes and guesses otherwise.
    """
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, cues + 1)
    task = random.choice(cues, p=weights / weights.sum(), size=(episodes, lives))
    right = random.integers(ANSWERS, size=(lives, cues))
    everyone = np.arange(lives)
    met, answered, rewarded = (np.full((lives, cues), fill) for fill in (-1, 0, 0))
    tried = np.zeros((lives, cues, ANSWERS))
    rows = []
    for episode, cue in enumerate(task):
        here = (everyone, cue)
        lag = np.where(met[here] < 0, -1, episode - met[here])
        guess = random.integers(ANSWERS, size=lives)
        known = (lag > 0) & ((policy == "perfect") | (lag <= cache))
        untried = (tried[here] + random.random((lives, ANSWERS)) / 2).argmin(1)  # any of those least tried
        other = (answered[here] + random.integers(1, ANSWERS, lives)) % ANSWERS  # a cache knows the last try only
        learned = {
            "reveal": right[here],
            "reward": np.where(rewarded[here] == 1, answered[here], untried if policy == "perfect" else other),
        }
        first = untried if policy == "perfect" else guess
        answer = {"constant": np.full(lives, 2), "random": guess, "habit": (cue * 7) % ANSWERS}.get(
            policy, np.where(known, learned[feedback], first)
        )
        success = (answer == right[here]).astype(np.float32)
        meetings = tried[here].sum(1)
        sure = meetings >= (1 if feedback == "reveal" else ANSWERS)
        trying = 1 / ANSWERS if feedback == "reveal" else (meetings + 1) / ANSWERS
        rows.append(
            {
                "life": everyone,
                "episode": np.full(lives, episode),
                "task": cue,
                "lag_episodes": lag,
                "return": success,
                "success": success,
                "answer": answer,
                "within": np.full(lives, 1 / ANSWERS),
                "cross": np.where(sure, 1.0, trying),
            }
        )
        met[here], answered[here], rewarded[here] = episode, answer, success
        tried[(*here, answer)] += 1
    return {name: np.concatenate([part[name] for part in rows]) for name in rows[0]}
