"""PPO with helpers that are other ranks of a `torch.distributed` group, on this machine or on others (`torchrun`).

    rank 0 -> r    the segment, once; before every minibatch the weights, and the numbers of r's lives
    r -> rank 0    gradients, loss and diagnostics

Weights go to every rank with every question, so that there is one set of them, that of rank 0, and whatever changes
them is its business alone. A float32 is the same bits there. Messages between ranks are pickled: ranks of one group
trust each other, and so must whoever can reach its port.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.agent import Agent, policy_of
from lifelong.agents.helped_ppo import Answer, HelpedPPO, Helper, Key, Part, answer, given_of, tensors_of
from lifelong.agents.ppo import PPO, Given
from lifelong.agents.ppo_config import PPOConfig

__all__ = ["DistributedPPO", "receive", "send", "serve", "tell_all"]


class DistributedPPO(HelpedPPO):
    """PPO learner of rank 0, whose helpers are the other ranks of the default group; they must run `serve`.

    Args:
        policy: agent or actor-critic whose slow weights are trained, on the CPU.
        config: hyperparameters; None for the defaults.
        generator: shuffles the lives; None for torch's own.

    Raises:
        ValueError: if this is not rank 0 of a group of two or more, or the policy is not on the CPU.
    """

    def __init__(
        self, policy: ActorCritic | Agent, config: PPOConfig | None = None, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(policy, config, generator)
        rank, ranks = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
        self._check_vtrace()
        if rank or ranks < 2:
            raise ValueError(f"this must be rank 0 of a group of two or more, got rank {rank} of {ranks}")
        if other := [parameter.device for parameter in self.parameters if parameter.device.type != "cpu"]:
            raise ValueError(f"the policy must be on the CPU where other ranks learn with it, got {other[0]}")
        self._ranks = [_Rank(rank, self) for rank in range(1, ranks)]
        self._helpers = list(self._ranks)

    def share(self, given: Given) -> None:
        """Send a new segment to all ranks."""
        segment = _Segment(list(tensors_of(given, policy_of(self.policy))), given.lr_fraction)
        for helper in self._ranks:
            helper.send(segment)


class _Segment(NamedTuple):
    """Message: a new segment."""

    tensors: list[tuple[Key, Tensor]]
    lr_fraction: float


class _Question(NamedTuple):
    """Request: the gradients of some lives with these weights."""

    part: Part
    weights: Tensor


def send(message: Any, rank: int) -> None:
    """Send an object to a rank.

    Args:
        message: that can be pickled.
        rank: of the default group.

    Raises:
        RuntimeError: if it has ended.
    """
    distributed.send_object_list([message], dst=rank)


def tell_all(message: Any) -> None:
    """Send an object from rank 0 to all others; one that has ended gets none, which is said when it is asked something.

    Args:
        message: that can be pickled.
    """
    for rank in range(1, distributed.get_world_size()):
        with suppress(RuntimeError):
            send(message, rank)


def receive(rank: int) -> Any:
    """Wait for an object from a rank and return it.

    Args:
        rank: of the default group.

    Raises:
        RuntimeError: if it has ended.
    """
    box: list[Any] = [None]
    distributed.recv_object_list(box, src=rank)
    return box[0]


class _Rank(Helper):
    """Another rank, as rank 0 sees it.

    Args:
        rank: its number.
        learner: of rank 0.
    """

    def __init__(self, rank: int, learner: PPO) -> None:
        self.rank, self._learner = rank, learner
        self._gradients: Sequence[Tensor] = ()

    def send(self, message: _Segment | _Question) -> None:
        """Send a message.

        Raises:
            RuntimeError: if the rank has ended.
        """
        try:
            send(message, self.rank)
        except RuntimeError as error:
            raise self._ended() from error

    def ask(self, part: Part) -> None:
        """Send weights and lives; see `Helper.ask`."""
        weights = parameters_to_vector(self._learner.parameters).detach()
        self.send(_Question(part, weights))

    def receive(self) -> Answer:
        """Wait for answer and gradients; see `Helper.receive`."""
        try:
            found, gradients = receive(self.rank)
        except RuntimeError as error:
            raise self._ended() from error
        sizes = [parameter.numel() for parameter in self._learner.parameters]
        parts = zip(gradients.split(sizes), self._learner.parameters, strict=True)
        self._gradients = [part.view_as(parameter) for part, parameter in parts]
        answered: Answer = found
        return answered

    def gradients(self) -> Sequence[Tensor]:
        """Return the gradients that came with the answer."""
        return self._gradients

    def close(self) -> None:
        """Let the rank's `serve` return."""
        with suppress(RuntimeError):  # it has ended
            send(None, self.rank)

    def _ended(self) -> RuntimeError:
        return RuntimeError(f"rank {self.rank}, which computes gradients, has ended; its own output says why")


def serve(learner: PPO) -> None:
    """Compute gradients for rank 0 until it says that there is nothing more to learn.

    Args:
        learner: of this rank: a policy of the same sizes, and the same hyperparameters.

    Raises:
        RuntimeError: if rank 0 has ended.
    """
    given: Given | None = None
    while (message := receive(0)) is not None:
        if isinstance(message, _Segment):
            given = given_of(message.tensors, message.lr_fraction, policy_of(learner.policy))
            continue
        assert given is not None  # noqa: S101  segments come first
        with torch.no_grad():
            vector_to_parameters(message.weights, learner.parameters)
        found = answer(learner, given, message.part)
        gradients = [torch.zeros_like(x) if x.grad is None else x.grad for x in learner.parameters]
        send((found, parameters_to_vector(gradients)), 0)
