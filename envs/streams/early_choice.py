"""EarlyChoice: an action in the first step of an episode is paid in the last; a test of credit assignment.

The first observation shows one of K contexts, and the action of that step is the choice. What follows has no effect: it
is in the `delay`-th step of the episode that the choice pays 1 if it was right for its context, else 0. So learning has
to find, among `delay` actions, the one that mattered. With `noise` each step before pays that much or costs it, by the
toss of a coin: nothing on average, but it hides what the choice was worth.

`rule="shown"`: the right choice of context k is k mod A, in all lives. Who knows the rule needs no memory at all, so
what is missing to 1 is credit not assigned. With `life` the right choices are drawn for every life: then the choice and
its context must be held in memory until it is paid, and what came of it for the life. A policy whose memory is wiped
between episodes gets 1/A; one that remembers its life strikes out a choice with each failure, and is right with
probability (m + 1) / A, at most 1, where it has met the context m times before (`cross` of a row).

| entry | meaning |
| --- | --- |
| context | its number in the first step, K in all others |

The tasks of this stream are its contexts; rows have the choice as `answer`, and whether it was right as `success`.

Source: the umbrella problem of Osband et al. 2020 (bsuite, arXiv:1908.03568), which has such a forecast, choice, wait
and noise; the rule of a life is not in it.
"""

from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, integers, uniform
from lifelong.envs.schedules import Interleaved, Schedule
from lifelong.envs.stream import Boundary, References, Task
from lifelong.envs.streams.sealed import SealedStream
from lifelong.envs.task import Retention

__all__ = ["EarlyChoice", "Rule"]

Ints = NDArray[np.int64]
Rule = Literal["shown", "life"]


class EarlyChoice(SealedStream):
    """Lives of early choices, natively batched.

    Args:
        num_envs: B, lives side by side.
        delay: steps from the beginning of an episode to the reward; 1 pays the choice at once.
        contexts: K, contexts of a life.
        choices: A, choices there are.
        rule: which choice is right: `shown`, the context's number modulo A; `life`, drawn for each life and context.
        noise: what each step before the last pays or costs.
        schedule: which context comes next.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the agent is told of changes of context, besides the context.
        seed: of the lives.

    Raises:
        ValueError: on numbers that make no stream.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        delay: int = 128,
        contexts: int = 2,
        choices: int = 2,
        rule: Rule = "shown",
        noise: float = 0.0,
        schedule: Schedule = Interleaved(),  # noqa: B008  frozen
        life_episodes: int | None = 32,
        boundary: Boundary = "none",
        seed: int = 0,
    ) -> None:
        if rule not in get_args(Rule):
            raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}, got {rule!r}")
        for name, number, least in (("delay", delay, 1), ("contexts", contexts, 1), ("choices", choices, 2)):
            if number < least:
                raise ValueError(f"{name} must be at least {least}: {name}={number}")
        if not 0 <= noise < np.inf:
            raise ValueError(f"noise must be finite and not negative: noise={noise}")
        self.delay, self.contexts, self.rule, self.noise = delay, contexts, rule, noise
        known = 1.0 if rule == "shown" else 1 / choices
        references = References(
            random=1 / choices, within=known, cross=1.0 if rule == "shown" else float("nan"), oracle=1.0
        )
        super().__init__(
            num_envs,
            entries={"context": spaces.Discrete(contexts + 1)},
            actions=choices,
            tasks=[Task(f"context {k}", references) for k in range(contexts)],
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self._right = np.tile(np.arange(contexts) % choices, (num_envs, 1))

    @property
    def retention(self) -> Retention | None:
        """The memory index by lag where choices are those of a life; else the gain of visits."""
        if self.rule == "life":
            return "index"
        return "gain" if len(self.tasks) > 1 else None

    def right_choices(self) -> Ints:
        """Return [B] the right choices in the present contexts."""
        return self._right[self._everyone, self.base_task]

    def _begin_lives(self, slots: Ints) -> None:
        if self.rule == "life":
            life, context = self.life[slots, None], np.arange(self.contexts)
            self._right[slots] = integers(self.actions, self.seed, Purpose.RULE, life, context)

    def _try(self, slots: Ints, actions: Ints) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        step = self.episode_length[slots]
        self.answer[slots] = np.where(step == 0, actions, self.answer[slots])
        paid = step + 1 >= self.delay
        right = self.answer[slots] == self.right_choices()[slots]
        return np.where(paid, right, self._coins(slots, step) if self.noise else 0.0), paid

    def _coins(self, slots: Ints, step: Ints) -> NDArray[np.float64]:
        """Return [n] the rewards that mean nothing."""
        drawn = uniform(self.seed, Purpose.EPISODE, self.life[slots], self.episode[slots], step)
        return np.where(drawn < 0.5, self.noise, -self.noise)

    def _show(self) -> dict[str, NDArray[Any]]:
        return {"context": np.where(self.episode_length == 0, self.base_task, self.contexts)}

    def _episode_info(self, slots: Ints) -> dict[str, Any]:
        info = {"success": self.answer[slots] == self.right_choices()[slots], "answer": self.answer[slots]}
        if self.rule == "shown":
            return info
        return info | {"cross": np.minimum((self.meetings_of(slots) + 1) / self.actions, 1.0)}
