"""PPO with helpers on this machine: forks of this process, with weights, segments and gradients in shared memory."""

import math
import mmap
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.agent import Agent, policy_of
from lifelong.agents.helped_ppo import Answer, HelpedPPO, Helper, Part, answer, given_of, tensors_of
from lifelong.agents.ppo import Given
from lifelong.agents.ppo_config import PPOConfig

__all__ = ["ParallelPPO"]

_LOOK = 5.0  # seconds between two looks at whether rank 0 still lives
_LINE = 64  # bytes that the place of a tensor is a multiple of


class ParallelPPO(HelpedPPO):
    """PPO learner of one policy, with helpers that compute gradients.

    The helpers are forks of this process, made here, and ended by `close` or with this process. The policy's parameters
    move to shared memory; their values may be changed in place, they themselves not any more.

    Args:
        policy: agent or actor-critic whose slow weights are trained, on the CPU.
        config: hyperparameters; None for the defaults.
        generator: shuffles the lives; None for torch's own.
        processes: N, this one among them.

    Raises:
        ValueError: if `processes` is below 2, the policy is not on the CPU, this system has no `fork`, or V-trace is
            asked for.
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
        self._check_vtrace()
        if any(parameter.device.type != "cpu" for parameter in self.parameters):
            raise ValueError(f"processes must be 1 where the policy is not on the CPU, got {processes}")
        for parameter in self.parameters:
            parameter.data.share_memory_()
        self.processes = processes
        self._segment = _SharedTensors()
        self._forks: list[_Fork] = []
        for _ in range(processes - 1):
            self._forks.append(_Fork(self, self._segment, self._forks))
        self._helpers = list(self._forks)

    def share(self, given: Given) -> None:
        """Copy a new segment to shared memory, and tell the helpers where it is."""
        message = _Segment(self._segment.write(tensors_of(given, policy_of(self.policy))), given.lr_fraction)
        for helper in self._forks:
            helper.send(message)


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


class _Fork(Helper):
    """A fork of this process that computes gradients, as rank 0 sees it.

    Args:
        learner: with the policy, whose parameters are shared.
        segment: shared memory that segments are written to.
        others: helpers that were forked before, whose connections the fork must close.
    """

    def __init__(self, learner: ParallelPPO, segment: _SharedTensors, others: list["_Fork"]) -> None:
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

    def send(self, message: _Segment | Part | None) -> None:
        """Send a message.

        Raises:
            RuntimeError: if the helper has ended.
        """
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._ended() from error

    def ask(self, part: Part) -> None:
        """Ask for the gradients of some lives; see `Helper.ask`."""
        self.send(part)

    def receive(self) -> Answer:
        """Wait for the answer; see `Helper.receive`."""
        try:
            found: Answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        return found

    def gradients(self) -> Sequence[Tensor]:
        """Return the gradients that came with the answer: they lie in shared memory."""
        return self._gradients

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
            message: _Segment | Part | None = connection.recv()
        except (EOFError, OSError):
            return
        if message is None:
            return
        if isinstance(message, _Segment):
            given = given_of(segment.read(message.places), message.lr_fraction, policy_of(learner.policy))
            continue
        assert given is not None  # noqa: S101  segments come first
        found = answer(learner, given, message)
        for parameter, gradient in zip(learner.parameters, gradients, strict=True):
            if parameter.grad is not None:
                gradient.copy_(parameter.grad)
        connection.send(found)
