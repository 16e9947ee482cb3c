"""Reversal: a two-armed bandit with one pull per episode, whose better arm switches without notice.

The good arm is rewarded with probability p, the other with 1 - p. After every episode of a context the arms swap with
probability h. An episode is one pull and one more step in which its outcome is observed (`SealedStream`), so any policy
without memory across episodes gets 1/2.

The best policy is Bayes' filter. With b the probability that an arm is the good one, it pulls the arm with the larger
b, and then, with l = p if it paid and 1 - p if not,

    b <- b l / (b l + (1 - b) (1 - l)),     b <- b (1 - h) + (1 - b) h.

Both arms are equally informative, so there is no exploration and pulling the better one is optimal. `cross` of a row is
that policy's expected reward at its point of life (`best_rewards`). With several contexts the episode shows the number
of one; each has arms of its own, which swap only after episodes of their own context.

| entry | meaning |
| --- | --- |
| context | its number; there is but one by default |

Hidden: the good arm of each context, drawn for every life. The tasks of this stream are its contexts; rows have the
pulled arm as `answer`.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, integers, uniform
from lifelong.envs.schedules import RandomHazard, Schedule
from lifelong.envs.stream import Boundary, References, Task
from lifelong.envs.streams.sealed import SealedStream

__all__ = ["Reversal", "best_rewards"]

Ints = NDArray[np.int64]
_LONGEST = 4096  # pulls of a context after which the best policy's expected reward is taken as constant


class Reversal(SealedStream):
    """Task stream of bandits with reversals, natively batched.

    Args:
        num_envs: B, lives side by side.
        hazard: h, probability that the arms of a context swap after one of its episodes.
        reward_probability: p, of the good arm; the other has 1 - p.
        contexts: K, pairs of arms.
        schedule: order of the contexts.
        life_episodes: pulls in a life; None for one endless life.
        boundary: what the observation tells of changes of context; it never tells of the arms.
        seed: of the lives.

    Raises:
        ValueError: on numbers that make no stream.
    """

    kept = ("good",)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        hazard: float = 0.05,
        reward_probability: float = 0.9,
        contexts: int = 1,
        schedule: Schedule = RandomHazard(0.1),  # noqa: B008  frozen
        life_episodes: int | None = 200,
        boundary: Boundary = "none",
        seed: int = 0,
    ) -> None:
        if not 0.0 <= hazard <= 0.5:
            raise ValueError(f"hazard must lie in [0, 0.5]: hazard={hazard}")
        if not 0.5 < reward_probability <= 1.0:
            raise ValueError(f"reward_probability must lie in (0.5, 1]: reward_probability={reward_probability}")
        if contexts < 1:
            raise ValueError(f"contexts must be positive: contexts={contexts}")
        self.hazard, self.reward_probability, self.contexts = hazard, reward_probability, contexts
        self._chances = best_rewards(hazard, reward_probability, min(life_episodes or _LONGEST, _LONGEST))
        references = References(random=0.5, within=0.5, cross=float(self._chances[-1]), oracle=reward_probability)
        super().__init__(
            num_envs,
            entries={"context": spaces.Discrete(contexts)},
            actions=2,
            tasks=[Task(f"context {k}", references) for k in range(contexts)],
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self.good = np.zeros((num_envs, contexts), np.int64)
        self.position_bounds = {"good": (0, 1)}

    def good_arms(self) -> Ints:
        """Return [B] the good arms of the present contexts."""
        return self.good[self._everyone, self.base_task]

    def _begin_lives(self, slots: Ints) -> None:
        self.good[slots] = integers(2, self.seed, Purpose.RULE, self.life[slots, None], np.arange(self.contexts), 0)

    def _begin_episodes(self, slots: Ints) -> None:
        super()._begin_episodes(slots)
        self.good[slots, self.base_task[slots]] ^= self._swapped(slots)

    def _swapped(self, slots: Ints) -> NDArray[np.bool_]:
        """Return [n] whether the arms of the present contexts swapped just before the present episodes."""
        met = self.meetings_of(slots)
        drawn = uniform(self.seed, Purpose.RULE, self.life[slots], self.base_task[slots], met)
        return (met > 0) & (drawn < self.hazard)

    def _restore_lives(self, position: dict[str, NDArray[Any]], slots: Ints) -> None:
        self.good[...] = position["good"][slots]
        self.good[self._everyone, self.base_task] ^= self._swapped(self._everyone)  # begins again

    def _try(self, slots: Ints, actions: Ints) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        self.answer[slots] = actions
        right = actions == self.good_arms()[slots]
        chance = np.where(right, self.reward_probability, 1 - self.reward_probability)
        drawn = uniform(self.seed, Purpose.EPISODE, self.life[slots], self.episode[slots], 0)
        return (drawn < chance).astype(np.float64), np.ones(slots.size, np.bool_)

    def _show(self) -> dict[str, NDArray[Any]]:
        return {"context": self.base_task.copy()}

    def _episode_info(self, slots: Ints) -> dict[str, Any]:
        met = self.meetings_of(slots)
        return super()._episode_info(slots) | {"cross": self._chances[np.minimum(met, self._chances.size - 1)]}


@lru_cache
def best_rewards(hazard: float, reward_probability: float, pulls: int) -> NDArray[np.float64]:
    """Return the expected reward of Bayes' filter at its first pulls of a context, to about 1e-5, [pulls].

    The distribution of the larger belief, always in [1/2, 1], is carried from pull to pull on a grid; mass that falls
    between two points is shared among them so that its mean stays.

    Args:
        hazard: h.
        reward_probability: p.
        pulls: number of pulls.
    """
    p, cells = reward_probability, 4000
    belief = np.linspace(0.5, 1.0, cells + 1)
    wins = belief * p + (1 - belief) * (1 - p)
    mass = np.zeros(cells + 1)
    mass[0] = 1.0
    rewards = np.empty(pulls)
    moves = []
    for likelihood, chance in ((p, wins), (1 - p, 1 - wins)):
        after = np.divide(belief * likelihood, chance, out=np.zeros_like(belief), where=chance > 0)
        after = after * (1 - hazard) + (1 - after) * hazard
        place = np.clip((np.maximum(after, 1 - after) - 0.5) * 2 * cells, 0, cells)
        below = np.minimum(place.astype(np.int64), cells - 1)
        moves.append((chance, below, place - below))
    for pull in range(pulls):
        rewards[pull] = mass @ wins
        going_on = np.zeros(cells + 1)
        for chance, below, share in moves:
            going_on += np.bincount(below, mass * chance * (1 - share), cells + 1)
            going_on += np.bincount(below + 1, mass * chance * share, cells + 1)
        mass = going_on
    rewards.flags.writeable = False
    return rewards
