"""Capture a policy's step, without sampling, as a CUDA graph and replay it.

With few lives a step is a hundred small launches, and the GPU waits for the host. A graph is one launch, but always
reads and writes the same buffers: observation and start are copied in, and the memory's state is updated in place.
Actions are drawn outside of it, from torch's own random source: the same seed draws the same, with a graph or without.
"""

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents.actor_critic import ActorCritic
from lifelong.kernels.cuda_graph import CaptureError, captured
from lifelong.kernels.in_place import in_place

__all__ = ["Capture", "CudaGraphPolicy"]

_Outputs = tuple[dict[str, Tensor], Tensor]
Capture = Callable[[Callable[[], _Outputs]], Callable[[], _Outputs]]


class CudaGraphPolicy:
    """The `act` of a policy, captured again whenever shapes or dtypes change, or its weights lie elsewhere.

    Args:
        policy: the policy that acts; weights updated in place take effect at once.
        capture: captures a function and returns its replay.
    """

    def __init__(self, policy: ActorCritic, capture: Capture = captured) -> None:
        self.policy, self.capture = policy, capture
        self._weights = [*policy.parameters(), *policy.buffers()]
        self._fits: tuple[Any, ...] | None = None  # what is captured

    @torch.no_grad()
    def act(
        self,
        observation: TensorDict,
        state: TensorDict,
        start: Tensor,
        *,
        mask: Tensor | None = None,
        deterministic: bool = False,
    ) -> tuple[TensorDict, TensorDict]:
        """Sample one action per life by replaying the graph.

        Args:
            observation: [B].
            state: [B] before the step. The one that the last call returned is written over, any other left as it is.
            start: [B] bool, true where the step is the first of a life.
            mask: [B, n] bool, which choices are legal; None: all.
            deterministic: take the mode of the distribution instead of a sample.

        Returns:
            A TensorDict [B] as of `ActorCritic.act`, and the state after the step, which is the graph's own: the next
            call overwrites it.

        Raises:
            CaptureError: if the policy's step cannot be captured, or changes the entries of the state.
        """
        fits = (_shapes(observation), _shapes(state), start.shape, *(x.data_ptr() for x in self._weights))
        if fits != self._fits:
            self._prepare(observation, state, start)
            self._fits = fits
        _copy(observation, self._observation)
        self._start.copy_(start)
        if state is not self._state:
            _copy(state, self._state)
        parameters, value = self._replay()
        return self.policy.draw(parameters, value.clone(), mask=mask, deterministic=deterministic), self._state

    def _prepare(self, observation: TensorDict, state: TensorDict, start: Tensor) -> None:
        """Capture a step on static tensors; their contents are set afterwards, as capturing writes to them."""
        own_observation, own_state, own_start = observation.clone(), state.clone(), start.clone()

        def step() -> _Outputs:
            with torch.no_grad(), in_place():
                parameters, value, after = self.policy.outputs(own_observation, own_state, own_start)
                _write_over(own_state, after)
            return parameters, value

        self._replay = self.capture(step)
        self._observation, self._state, self._start = own_observation, own_state, own_start


def _shapes(tree: TensorDict) -> frozenset[Any]:
    return frozenset((path, x.shape, x.dtype, x.device) for path, x in tree.items(True, True))


def _copy(source: TensorDict, to: TensorDict) -> None:
    for path, x in source.items(True, True):
        to[path].copy_(x)


def _write_over(state: TensorDict, after: TensorDict) -> None:
    """Copy the tensors of `after` into `state`; they may be the same tensors, or views of them."""
    own, new = dict(state.items(True, True)), dict(after.items(True, True))
    if own.keys() != new.keys():
        raise CaptureError(f"a step must keep the entries of the state, {sorted(own)}, got {sorted(new)}")
    places = {x.untyped_storage().data_ptr() for x in own.values()}
    moved = {
        path: x.clone() if x.untyped_storage().data_ptr() in places else x
        for path, x in new.items()
        if x.data_ptr() != own[path].data_ptr() or x.stride() != own[path].stride()
    }
    for path, x in moved.items():
        own[path].copy_(x)
