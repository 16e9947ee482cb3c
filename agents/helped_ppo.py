"""PPO whose gradients are computed by several processes, each for a part of every minibatch's lives.

    rank 0        collects, holds everything that a checkpoint holds, adds up gradients in the order of ranks, steps
    other ranks   replay their lives with the same weights, and hand the gradients over

There is one set of weights, that of rank 0, so all ranks have the same bits. Results are those of one process up to the
order in which numbers are added, and the same bits again with as many processes. How weights, segments and gradients
get from one to the other is the business of the helpers: `parallel_ppo.py` on one machine, `distributed_ppo.py` on
several. A helper that ends is an error of rank 0, after which a run goes on from the state before the segment.
"""

import math
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.ppo import PPO, Given, Minibatch
from lifelong.agents.rollout import Segment

__all__ = ["Answer", "HelpedPPO", "Helper", "Part", "answer", "given_of", "tensors_of"]

Key = tuple[str, ...]


class Part(NamedTuple):
    """Request: the gradients of some lives, and the seed of what is drawn for their entropy; -1 where nothing is."""

    lives: list[int]
    weight: float
    seed: int = -1


class Answer(NamedTuple):
    """What a helper found: what failed, or loss, means, divergence and error of the ratio of its lives."""

    failure: str
    numbers: tuple[float, list[float], float, float]


class Helper(ABC):
    """A process that computes gradients, as rank 0 sees it."""

    @abstractmethod
    def ask(self, part: Part) -> None:
        """Ask for the gradients of some lives of the present segment, with the weights of now.

        Raises:
            RuntimeError: if the helper has ended.
        """

    @abstractmethod
    def receive(self) -> Answer:
        """Wait for the answer to what was asked.

        Raises:
            RuntimeError: if the helper has ended.
        """

    @abstractmethod
    def gradients(self) -> Sequence[Tensor]:
        """Return the gradients that came with the answer, one for each parameter."""

    @abstractmethod
    def close(self) -> None:
        """Let the helper end."""

    def result(self) -> tuple[float, list[float], float, float]:
        """Wait for the helper and return loss, means, divergence and error of the ratio of its lives.

        Raises:
            RuntimeError: if it failed, or has ended.
        """
        found = self.receive()
        if found.failure:
            raise RuntimeError(f"a process that computes gradients failed: {found.failure}")
        return found.numbers


class HelpedPPO(PPO):
    """PPO learner of one policy, with helpers that compute gradients."""

    _helpers: list[Helper]
    _given: Given | None = None

    @property
    def _draws(self) -> bool:
        """Whether entropies are those of a draw: of numbers, where there is an entropy bonus."""
        numbers = self.policy.head.numbers
        return self.config.entropy_coef > 0 and bool(numbers.squashed.size + numbers.free.size)

    def _check_vtrace(self) -> None:
        """Refuse V-trace, whose advantages are normalised over a minibatch, which no process sees whole.

        Raises:
            ValueError: if it is asked for.
        """
        if self.config.vtrace == "on":
            raise ValueError("processes must be 1 with vtrace=on, whose advantages are normalised over all lives")

    def share(self, given: Given) -> None:
        """Hand a new segment to the helpers."""
        raise NotImplementedError

    def close(self) -> None:
        """End the helpers."""
        while self._helpers:
            self._helpers.pop().close()

    def learn(self, segment: Segment, lr_fraction: float = 1.0) -> dict[str, float]:
        """Update the policy on a segment; see `PPO.learn`."""
        try:
            return super().learn(segment, lr_fraction)
        finally:
            self._given = None  # of images it may be hundreds of megabytes

    def gradients(self, given: Given, some: Tensor, weight: float = 1.0, bound: float = math.inf) -> Minibatch:
        """Replay a minibatch in all processes and leave the gradients of its loss in the parameters' `grad`.

        Args:
            given: of the segment.
            some: numbers of the minibatch's lives.
            weight: factor of the loss.
            bound: of `kl`; here there are gradients in any case.

        Raises:
            RuntimeError: if a helper failed, or has ended.
        """
        if given is not self._given:  # a new segment
            self.share(given)
            self._given = given
        mine, *others = some.tensor_split(1 + len(self._helpers))
        asked = [(helper, part) for helper, part in zip(self._helpers, others, strict=True) if len(part)]
        # of rank 0's random numbers, which a checkpoint holds: a run that is resumed draws the same
        seeds = [int(torch.randint(2**31, ())) if self._draws else -1 for _ in asked]
        for (helper, part), seed in zip(asked, seeds, strict=True):
            helper.ask(Part(part.tolist(), weight * len(part) / len(some), seed))
        try:
            own = super().gradients(given, mine, weight * len(mine) / len(some))
        except BaseException:
            for helper, _ in asked:  # what they answer is not of the next question
                _caught(helper)
            raise
        parts = [(len(mine), own.total.item(), own.means.tolist(), own.kl, own.ratio_error)]
        answers = [_caught(helper) for helper, _ in asked]  # all of them: none is left for the next question
        for found in answers:
            if isinstance(found, RuntimeError):
                raise found
        for (helper, part), found in zip(asked, answers, strict=True):
            assert not isinstance(found, RuntimeError)  # noqa: S101  raised above
            parts.append((len(part), *found))
            for parameter, gradient in zip(self.parameters, helper.gradients(), strict=True):
                if parameter.grad is not None:
                    parameter.grad += gradient
        lives, totals, means, kls, errors = zip(*parts, strict=True)
        return Minibatch(
            total=torch.tensor(np.average(totals, weights=lives)),
            means=torch.tensor(np.average(means, axis=0, weights=lives)),
            kl=float(np.average(kls, weights=lives)),
            ratio_error=max(errors),
            distribution=own.distribution,
        )


def _caught(helper: Helper) -> tuple[float, list[float], float, float] | RuntimeError:
    """Return what a helper found, or the error that it ended in."""
    try:
        return helper.result()
    except RuntimeError as error:
        return error


def answer(learner: PPO, given: Given, part: Part) -> Answer:
    """Compute the gradients of some lives, in a helper, and leave them in the parameters' `grad`.

    Args:
        learner: of this process.
        given: the segment.
        part: that was asked for.
    """
    try:
        if part.seed >= 0:
            torch.manual_seed(part.seed)
        found = PPO.gradients(learner, given, torch.tensor(part.lives), part.weight)
    except Exception as error:  # noqa: BLE001  rank 0 says it
        last = traceback.extract_tb(error.__traceback__)[-1]
        return Answer(f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})", (0.0, [], 0.0, 0.0))
    return Answer("", (found.total.item(), found.means.tolist(), found.kl, found.ratio_error))


def tensors_of(given: Given, policy: ActorCritic) -> Iterable[tuple[Key, Tensor]]:
    """Yield what a helper needs of a segment: batch, observations, state, and what observations are scaled by.

    Args:
        given: the segment.
        policy: that learns from it.
    """
    yield from ((("batch", name), x) for name, x in given.batch.items())
    yield from ((("observation", *path), x) for path, x in given.observation.items())
    for path, x in given.state.items(True, True):
        yield ("state", *(path if isinstance(path, tuple) else (path,))), x
    yield from ((("buffer", name), x) for name, x in policy.named_buffers())


def given_of(found: Iterable[tuple[Key, Tensor]], lr_fraction: float, policy: ActorCritic) -> Given:
    """Return a segment from the tensors of `tensors_of`; buffers of the policy are overwritten.

    Args:
        found: tensors with their keys.
        lr_fraction: factor of the entropy bonus.
        policy: of this process.
    """
    parts: dict[str, dict[Key, Tensor]] = {"batch": {}, "observation": {}, "state": {}, "buffer": {}}
    for key, x in found:
        parts[key[0]][key[1:]] = x
    buffers = dict(policy.named_buffers())
    for (name,), x in parts["buffer"].items():
        buffers[name].copy_(x)
    batch = {name: x for (name,), x in parts["batch"].items()}
    state: TensorDict = policy.backbone.initial_state(next(iter(batch.values())).shape[0])
    for path, x in parts["state"].items():
        state.set(path, x)
    return Given(batch, parts["observation"], state, lr_fraction)
