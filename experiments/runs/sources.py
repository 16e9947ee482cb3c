"""Sources of an answer: the earlier steps of a life that wrote what the memory reads now."""

from collections import deque
from typing import Any, NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents.actor_critic import ActorCritic
from lifelong.memory import Memory

__all__ = ["REACH", "Source", "Sources"]

REACH = 256
"""Steps back to which a step is told from others."""
_SHOWN = 3


class Source(NamedTuple):
    """An earlier step."""

    step: int
    """Of the life, from 0."""
    episode: int
    share: float
    """Of the step's write in the reading: see `Attribution.shares`."""


class Sources:
    """Find the earlier steps that contribute most to what is read, in the last layer where that is a sum of writes.

    Args:
        policy: to evaluate; not changed.
    """

    def __init__(self, policy: ActorCritic) -> None:
        memories = [memory for memory in policy.backbone.memories if isinstance(memory, Memory) and memory.sums_writes]
        self._policy, self._memory = policy, memories[-1] if memories else None
        self._past: deque[tuple[TensorDict, TensorDict, Tensor, int]] = deque(maxlen=REACH)
        self._step = -1

    def now(self, observation: TensorDict, state: TensorDict, start: Tensor, episode: int) -> tuple[Source, ...]:
        """Return the sources of what is read at the next step of the life, the largest share first.

        Args:
            observation: [1] of the step.
            state: [1] before it.
            start: [1] bool, whether it is the first after a reset of the memory.
            episode: its number in the life.
        """
        self._step += 1
        if self._memory is None:
            return ()
        if start.any():
            self._past.clear()
        self._past.append((observation, state, start, episode))
        observations, states, starts, episodes = zip(*self._past, strict=True)
        given: list[Any] = []
        hook = self._memory.register_forward_pre_hook(lambda _, inputs: given.extend(inputs))
        try:
            self._policy.trunk(torch.stack(observations, 1), states[0], torch.stack(starts, 1))
        finally:
            hook.remove()
        shares = self._memory.attribution(*given).shares[0, 1:-1]  # neither the state before all, nor the present
        first = self._step - len(shares)
        largest = shares.sort(descending=True, stable=True).indices[:_SHOWN].tolist()
        return tuple(Source(first + t, episodes[t], shares[t].item()) for t in largest if shares[t] > 0)
