"""Reference policies of EarlyChoice, from uniform actions to the oracle; all but the oracle see observations only.

| policy | knows |
| --- | --- |
| random | nothing |
| memoryless | the rule, if it is shown; else it makes the first choice |
| within | the same: there is nothing to remember within an episode |
| cross | of each context, which choices were wrong, and the one that was right |
| oracle | the right choice |
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.certificate import MEMORYLESS
from lifelong.envs.references.policies import LearningPolicy, Policy, learner_policies
from lifelong.envs.streams.early_choice import EarlyChoice

__all__ = ["Striking", "early_choice_policies"]

Ints = NDArray[np.int64]


def early_choice_policies(stream: EarlyChoice) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""
    policies = learner_policies(stream, Striking, stream.right_choices)
    return policies | {MEMORYLESS: policies["within"]}


class Striking(LearningPolicy):
    """Make the first choice that is not struck out; where the rule is shown, the one that it names.

    Args:
        stream: whose numbers are looked at, and nothing else.
        wiped: whether all is forgotten at every episode's end.
    """

    def __init__(self, stream: EarlyChoice, *, wiped: bool = False) -> None:
        super().__init__(wiped=wiped)
        self.shown, self.choices = stream.rule == "shown", stream.actions
        self.wrong = np.zeros((stream.num_envs, stream.contexts, stream.actions), np.bool_)
        self.context, self.choice = (np.zeros(stream.num_envs, np.int64) for _ in range(2))  # of this episode

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return the next choices; after the first step of an episode they have no effect."""
        observation, everyone = obs["observation"], np.arange(life_start.size)
        if self.shown:
            named: Ints = observation["context"] % self.choices
            return named
        self.wrong[self.resets(obs, life_start)] = False
        first, over = obs["episode_start"][:, 0] > 0, observation["over"][:, 0] > 0
        self.context = np.where(first, observation["context"], self.context)
        wrong = self.wrong[everyone, self.context]
        self.choice = np.where(first, wrong.argmin(1), self.choice)
        this = np.arange(self.choices) == self.choice[:, None]
        struck = np.where(obs["previous_reward"] > 0, ~this, wrong | this)
        self.wrong[everyone, self.context] = np.where(over[:, None], struck, wrong)
        return self.choice
