"""Reference policies of Reversal, from uniform actions to the oracle; all but the oracle see observations only.

| policy | knows |
| --- | --- |
| random | nothing |
| within | nothing of earlier episodes; it pulls the first arm |
| win-stay-lose-shift | of each context, the last pull and whether it paid |
| cross | the probability that each arm is the good one, given its life: optimal |
| oracle | the good arm |
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.policies import FixedPolicy, OraclePolicy, Policy, UniformPolicy
from lifelong.envs.streams.reversal import Reversal

__all__ = ["BayesFilter", "WinStayLoseShift", "reversal_policies", "win_stay_lose_shift_reward"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def reversal_policies(stream: Reversal) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""
    B, K, h, p = stream.num_envs, stream.contexts, stream.hazard, stream.reward_probability
    return {
        "random": lambda: UniformPolicy(2, stream.seed),
        "within": FixedPolicy,
        "win-stay-lose-shift": lambda: WinStayLoseShift(B, K),
        "cross": lambda: BayesFilter(B, K, h, p),
        "oracle": lambda: OraclePolicy(stream.good_arms),
    }


class WinStayLoseShift:
    """Win-stay-lose-shift policy: repeat a rewarded pull, else switch.

    Args:
        num_envs: B, lives side by side.
        contexts: K.
    """

    def __init__(self, num_envs: int, contexts: int) -> None:
        self.arm = np.zeros((num_envs, contexts), np.int64)

    def act(self, obs: dict[str, Any], life_start: Bools) -> Ints:
        """Return the next pulls."""
        self.arm[life_start] = 0
        everyone, context, over, rewarded = np.arange(life_start.size), *_outcome(obs)
        self.arm[everyone, context] ^= over & ~rewarded
        return self.arm[everyone, context]


class BayesFilter:
    """Bayes-optimal policy: pull the arm that is more probably the good one.

    Args:
        num_envs: B, lives side by side.
        contexts: K.
        hazard: h.
        reward_probability: p.
    """

    def __init__(self, num_envs: int, contexts: int, hazard: float, reward_probability: float) -> None:
        self.hazard, self.reward_probability = hazard, reward_probability
        self.belief = np.full((num_envs, contexts), 0.5)  # probability that the second arm is the good one

    def act(self, obs: dict[str, Any], life_start: Bools) -> Ints:
        """Return the next pulls."""
        self.belief[life_start] = 0.5
        everyone, context, over, rewarded = np.arange(life_start.size), *_outcome(obs)
        here = everyone[over], context[over]
        b, p, h = self.belief[here], self.reward_probability, self.hazard
        second = (obs["previous_action"] == 1) == rewarded  # a rewarded pull of it, or an unrewarded one of the other
        likelihood = np.where(second[over], p, 1 - p)
        b = b * likelihood / (b * likelihood + (1 - b) * (1 - likelihood))
        self.belief[here] = b * (1 - h) + (1 - b) * h
        return (self.belief[everyone, context] > 0.5).astype(np.int64)


def win_stay_lose_shift_reward(hazard: float, reward_probability: float) -> float:
    """Return the expected reward of win-stay-lose-shift at every pull of a context but the first.

    After any outcome it holds the arm that was good with probability p.
    """
    h, p = hazard, reward_probability
    right = p * (1 - h) + (1 - p) * h
    return right * p + (1 - right) * (1 - p)


def _outcome(obs: dict[str, Any]) -> tuple[Ints, Bools, Bools]:
    """Return the context, whether an outcome is observed, and whether the pull was rewarded, [B] each."""
    observation = obs["observation"]
    return observation["context"], observation["over"][:, 0] > 0, obs["previous_reward"][:, 0] > 0
