"""PPO whose gradients are computed by several processes of one machine, each for a part of every minibatch's lives.

    rank 0        collects, holds everything that a checkpoint holds, adds up gradients in the order of ranks, steps
    other ranks   replay their lives with the same weights, which lie in shared memory, and write gradients there

There is one set of weights, so all ranks have the same bits. Results are those of one process up to the order in which
numbers are added, and the same bits again with as many processes. A helper that ends is an error of rank 0, after which
a run goes on from the state before the segment.
"""

import math
import mmap
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.agent import Agent, policy_of
from lifelong.agents.ppo import PPO, Given, Minibatch
from lifelong.agents.ppo_config import PPOConfig
from lifelong.agents.rollout import Segment

__all__ = ["ParallelPPO"]

_LOOK = 5.0  # seconds between two looks at whether rank 0 still lives
_LINE = 64  # bytes that the place of a tensor is a multiple of


class ParallelPPO(PPO):
    """PPO learner of one policy, with helpers that compute gradients.

    The helpers are forks of this process, made here, and ended by `close` or with this process. The policy's parameters
    move to shared memory; their values may be changed in place, they themselves not any more.

    Args:
        policy: agent or actor-critic whose slow weights are trained, on the CPU.
        config: hyperparameters; None for the defaults.
        generator: shuffles the lives; None for torch's own.
        processes: N, this one among them.

    Raises:
        ValueError: if `processes` is below 2, the policy is not on the CPU, or this system has no `fork`.
    """

    def __init__(
        self,
        policy: ActorCritic | Agent,
        config: PPOConfig | None = None,
        generator: torch.Generator | None = None,
        *,
        processes: int,
    ) -> None:
        super().__init__(policy, config, generator)
        if processes < 2:
            raise ValueError(f"processes must be 2 or more here, got {processes}; with one it is PPO")
        if not hasattr(os, "fork"):
            raise ValueError(f"processes must be 1 on {sys.platform}, which cannot fork, got {processes}")
        if any(parameter.device.type != "cpu" for parameter in self.parameters):
            raise ValueError(f"processes must be 1 where the policy is not on the CPU, got {processes}")
        for parameter in self.parameters:
            parameter.data.share_memory_()
        self.processes = processes
        self._segment = _SharedTensors()
        self._given: Given | None = None
        self._helpers: list[_Helper] = []
        for _ in range(processes - 1):
            self._helpers.append(_Helper(self, self._segment, self._helpers))

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
            places = self._segment.write(_tensors(given, policy_of(self.policy)))
            for helper in self._helpers:
                helper.send(_Segment(places, given.lr_fraction))
            self._given = given
        mine, *others = some.tensor_split(self.processes)
        asked = [(helper, part) for helper, part in zip(self._helpers, others, strict=True) if len(part)]
        for helper, part in asked:
            helper.send(_Part(part.tolist(), weight * len(part) / len(some)))
        try:
            own = super().gradients(given, mine, weight * len(mine) / len(some))
        except BaseException:
            for helper, _ in asked:  # what they answer is not of the next question
                with suppress(RuntimeError):
                    helper.result()
            raise
        parts = [(len(mine), own.total.item(), own.means.tolist(), own.kl, own.ratio_error)]
        for helper, part in asked:
            parts.append((len(part), *helper.result()))
            helper.add_gradients(self.parameters)
        lives, totals, means, kls, errors = zip(*parts, strict=True)
        return Minibatch(
            total=torch.tensor(np.average(totals, weights=lives)),
            means=torch.tensor(np.average(means, axis=0, weights=lives)),
            kl=float(np.average(kls, weights=lives)),
            ratio_error=max(errors),
            distribution=own.distribution,
        )


class _Place(NamedTuple):
    """Where a tensor lies in shared memory."""

    key: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    offset: int


class _Segment(NamedTuple):
    """Message: a new segment."""

    places: list[_Place]
    lr_fraction: float


class _Part(NamedTuple):
    """Message: the gradients of some lives, please."""

    lives: list[int]
    weight: float


class _SharedTensors:
    """Tensors in memory that forks of this process see; the memory grows with them."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._file = os.memfd_create("lifelong")
        else:
            with tempfile.TemporaryFile() as file:
                self._file = os.dup(file.fileno())
        self._memory: mmap.mmap | None = None
        self._size = 0

    def write(self, tensors: Iterable[tuple[tuple[str, ...], Tensor]]) -> list[_Place]:
        """Copy tensors into the memory and return their places."""
        places, end, given = [], 0, list(tensors)
        for key, x in given:
            places.append(_Place(key, tuple(x.shape), x.dtype, end))
            end += -(-x.numel() * x.element_size() // _LINE) * _LINE
        if end > os.fstat(self._file).st_size:
            os.ftruncate(self._file, end)
        for (_, x), (_, found) in zip(given, self.read(places), strict=True):
            found.copy_(x)
        return places

    def read(self, places: list[_Place]) -> list[tuple[tuple[str, ...], Tensor]]:
        """Return the tensors at these places, which are no copies."""
        size = os.fstat(self._file).st_size
        if size > self._size:
            self._memory, self._size = mmap.mmap(self._file, size), size
        found = []
        for key, shape, dtype, offset in places:
            count = math.prod(shape)
            empty = not count or self._memory is None
            x = torch.empty(shape, dtype=dtype) if empty else _view(self._memory, shape, dtype, offset, count)
            found.append((key, x))
        return found


def _view(memory: Any, shape: tuple[int, ...], dtype: torch.dtype, offset: int, count: int) -> Tensor:
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=offset).view(shape)


def _tensors(given: Given, policy: ActorCritic) -> Iterable[tuple[tuple[str, ...], Tensor]]:
    """Yield what a helper needs of a segment: batch, observations, state, and what observations are scaled by."""
    yield from ((("batch", name), x) for name, x in given.batch.items())
    yield from ((("observation", *path), x) for path, x in given.observation.items())
    for path, x in given.state.items(True, True):
        yield ("state", *(path if isinstance(path, tuple) else (path,))), x
    yield from ((("buffer", name), x) for name, x in policy.named_buffers())


class _Helper:
    """A fork of this process that computes gradients, as rank 0 sees it.

    Args:
        learner: with the policy, whose parameters are shared.
        segment: shared memory that segments are written to.
        others: helpers that were forked before, whose connections the fork must close.
    """

    def __init__(self, learner: ParallelPPO, segment: _SharedTensors, others: list["_Helper"]) -> None:
        self._gradients = [torch.zeros_like(parameter).share_memory_() for parameter in learner.parameters]
        self._connection, theirs = Pipe()
        rank_0 = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            try:
                for helper in (self, *others):  # else none of them would see the end of rank 0
                    helper._connection.close()
                _serve(learner, segment, self._gradients, theirs, rank_0)
            finally:
                os._exit(0)
        theirs.close()

    def send(self, message: _Segment | _Part | None) -> None:
        """Send a message.

        Raises:
            RuntimeError: if the helper has ended.
        """
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._ended() from error

    def result(self) -> tuple[float, list[float], float, float]:
        """Wait for the helper and return loss, means, divergence and error of the ratio of its lives.

        Raises:
            RuntimeError: if it failed, or has ended.
        """
        try:
            failure, numbers = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if failure:
            raise RuntimeError(f"a process that computes gradients failed: {failure}")
        found: tuple[float, list[float], float, float] = numbers
        return found

    def add_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Add the helper's gradients to those of this process."""
        for parameter, gradient in zip(parameters, self._gradients, strict=True):
            if parameter.grad is not None:
                parameter.grad += gradient

    def close(self) -> None:
        """Let the helper end."""
        with suppress(RuntimeError):  # forks that others have made since have the connection open too
            self.send(None)
        self._connection.close()
        os.waitpid(self.pid, 0)

    def _ended(self) -> RuntimeError:
        return RuntimeError(f"process {self.pid}, which computes gradients, has ended; was there no memory left?")


def _serve(
    learner: ParallelPPO, segment: _SharedTensors, gradients: list[Tensor], connection: Connection, rank_0: int
) -> None:
    """Compute gradients for rank 0 until it ends or closes the connection."""
    torch.set_num_threads(1)  # threads of OpenMP do not survive a fork
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU"):  # they are answered by rank 0
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.stdout = sys.stderr = os.fdopen(quiet, "w")
    given: Given | None = None
    while True:
        try:
            while not connection.poll(_LOOK):
                if os.getppid() != rank_0:
                    return
            message: _Segment | _Part | None = connection.recv()
        except (EOFError, OSError):
            return
        if message is None:
            return
        try:
            if isinstance(message, _Segment):
                given = _given(segment.read(message.places), message.lr_fraction, policy_of(learner.policy))
                continue
            assert given is not None  # noqa: S101  segments come first
            found = PPO.gradients(learner, given, torch.tensor(message.lives), message.weight)
            for parameter, gradient in zip(learner.parameters, gradients, strict=True):
                if parameter.grad is not None:
                    gradient.copy_(parameter.grad)
            connection.send(("", (found.total.item(), found.means.tolist(), found.kl, found.ratio_error)))
        except Exception as error:  # noqa: BLE001  rank 0 says it
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{last.filename}:{last.lineno}"
            connection.send((f"{type(error).__name__}: {error} ({where})", None))


def _given(found: list[tuple[tuple[str, ...], Tensor]], lr_fraction: float, policy: ActorCritic) -> Given:
    """Return a segment from its tensors; buffers of the policy are overwritten."""
    parts: dict[str, dict[tuple[str, ...], Tensor]] = {"batch": {}, "observation": {}, "state": {}, "buffer": {}}
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
