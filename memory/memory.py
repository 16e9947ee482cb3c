"""Interface of all memories: x, state, start -> y, state.

Shapes: B lives, T steps, D width in and out.
A state is a TensorDict of batch size [B] that holds everything time-like: matrices, normalisers, windows, counters.
It never grows, it is float32 (float64 in a float64 module), and gradients flow through it.

What every memory takes, whoever wrote it (`__init_subclass__` wraps `step` and `forward` of all subclasses):
    x in half precision, and autocast    computed in float32 outside autocast; y has the dtype of x
    start of any dtype                   nonzero = start
    no lives (B = 0), no steps (T = 0)   an empty y, and the state as it was given
Parameters in half precision are refused.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lifelong.kernels.in_place import in_place
from lifelong.kernels.segments import nowhere
from lifelong.kernels.writes import recorded
from lifelong.memory.attribution import Attribution, attribute

__all__ = ["COUNTED", "Memory", "constants_device", "inner_bounds", "nothing_allocated"]

FULL: Final = (torch.float32, torch.float64)
"""Dtypes in which memories compute."""
ARGUMENTS: Final = ("state", "start")
"""Of `step` and `forward`, after x."""
COUNTED: Final = 2**53
"""Largest value of counters of steps: the last that float64 tells from the next."""

_constants_on_meta = False  # see `nothing_allocated`


class Memory(nn.Module):
    """Base of memories, recurrences with a constant-size state.

    Subclasses define `initial_state`, and `step` or `forward` or both.

    Args:
        width: D, width of inputs and outputs.
    """

    sums_writes: ClassVar[bool] = False
    """Whether a matrix is read to which steps add and later ones apply linear maps: what `attribution` needs."""

    state_bounds: Mapping[str, tuple[int, int]] = MappingProxyType({})
    """Least and largest value of integer entries of a state, by their paths, such as `a/count`. A state from a file is
    held against them before it is used, since compiled loops trust what they index with; others may hold any number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be positive: width={width}")
        self.width = width

    def __init_subclass__(cls, **options: Any) -> None:
        """Wrap `step` and `forward` of a subclass, so that they take what every memory takes."""
        super().__init_subclass__(**options)
        for name in ("step", "forward"):
            if name in cls.__dict__:
                setattr(cls, name, _takes_any_dtype(cls.__dict__[name]))

    def initial_state(self, batch: int) -> TensorDict:
        """Return the state at the start of a life.

        Args:
            batch: B, number of lives.

        Returns:
            A TensorDict of batch size [B].
        """
        raise NotImplementedError(f"{type(self).__name__} must define initial_state(batch)")

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Compute one step: write and read; by default a `forward` of one step.

        Args:
            x: [B, D] input of this step.
            state: [B] memory after the previous step; left as it is.
            start: [B] bool, true where this step is the first of a life: the state counts as initial there. Numbers
                count as true where they are not zero.

        Returns:
            y: [B, D] output.
            state: [B] memory after this step.
        """
        if type(self).forward is Memory.forward:
            raise NotImplementedError(f"{type(self).__name__} must define step(x, state, start)")
        y, state = self.forward(x[:, None], state, start[:, None])
        return y[:, 0], state

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Compute T steps; by default T calls of `step`.

        Args:
            x: [B, T, D] inputs.
            state: [B] memory before the first of them.
            start: [B, T] bool, or numbers: nonzero = start. True where a step is the first of a life.

        Returns:
            y: [B, T, D] outputs.
            state: [B] memory after the last step.
        """
        if not x.shape[1]:
            return x.clone(), state
        ys = []
        for t in range(x.shape[1]):
            y, state = self.step(x[:, t], state, start[:, t])
            ys.append(y)
        return torch.stack(ys, 1), state

    def bind(self, x: Tensor, y: Tensor, state: TensorDict, start: Tensor) -> Callable[[], TensorDict]:
        """Bind a step to fixed tensors, for acting: each call computes one from x and `start` as they then are.

        Without gradients. Weights count as they are now: bind again after they changed. By default a call is a `step`;
        a memory that has a shorter way for float32 on the CPU defines its own, with the same results.

        Args:
            x: [B, D] input, written by the caller before each call.
            y: [B, D] output, written over by each call.
            state: [B] memory before the first step; it may be written over.
            start: [B] bool, written by the caller before each call.

        Returns:
            The call, which returns the state [B] after its step; the next call may write over it.
        """
        now = state

        def run() -> TensorDict:
            nonlocal now
            with torch.no_grad(), in_place():
                out, now = self.step(x.clone(), now, start.clone())  # a memory may keep what it was given
                y.copy_(out)
            return now

        return run

    def restart(self, state: TensorDict, start: Tensor) -> TensorDict:
        """Return `state` with the lives where `start` is true reset to the initial state; `state` itself if none is.

        Args:
            state: [B] any state.
            start: [B] bool, or numbers: nonzero = start.
        """
        if start.dtype is not torch.bool:
            start = start != 0
        if nowhere(start):
            return state
        return self.initial_state(start.shape[0]).where(start, state)

    @torch.no_grad()
    def attribution(self, x: Tensor, state: TensorDict, start: Tensor) -> Attribution:
        """Attribute what is read at the last of T steps to each step's write and to the state before: who wrote it.

        Args:
            x: [B, T, D] inputs, T at least 1.
            state: [B] memory before the first of them; left as it is.
            start: [B, T] bool, or numbers: nonzero = start. True where a step is the first of a life.

        Raises:
            TypeError: if the memory is none of those that `sums_writes`; names the memories inside it, if any.
            ValueError: if there is no step.
        """
        if not self.sums_writes:
            inner = [type(module).__name__ for module in self.modules() if isinstance(module, Memory)][1:]
            remedy = f"; ask a memory inside it: {', '.join(inner)}" if inner else ""
            raise TypeError(f"{type(self).__name__} does not read a matrix that is a sum of steps' writes{remedy}")
        if not x.numel():
            raise ValueError(f"x must hold at least one step of one life, got {list(x.shape)}")
        with recorded() as calls:
            self(x, state, start)
        return attribute(calls, x.shape[1])

    def zeros(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Return zeros on the parameters' device: float32, or float64 in a float64 module, unless `dtype` is given.

        Raises:
            TypeError: if the parameters are in half precision.
        """
        anchor = next((p for p in self.parameters()), torch.empty(0))
        self._refuse_half(anchor.dtype)
        if dtype is None:
            dtype = torch.float64 if anchor.dtype == torch.float64 else torch.float32
        return torch.zeros(shape, dtype=dtype, device=anchor.device)

    @property
    def state_bytes(self) -> int:
        """Bytes of state per life."""
        return sum(leaf.numel() * leaf.element_size() for leaf in self.initial_state(1).values(True, True))

    @property
    def step_flops(self) -> int:
        """Floating-point operations of one step of one life, as torch counts them (matrix products).

        Memories whose step is mostly elementwise override this with the number from their docstring.
        """
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            x = self.zeros(1, self.width)
            self.step(x, self.initial_state(1), torch.zeros(1, dtype=torch.bool, device=x.device))
        return int(counter.get_total_flops())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Convert parameters and buffers, as `to` and `cuda` do; refuse half precision before any is changed.

        Buffers that no state dict holds keep their values, also on the meta device and through `to_empty`.
        """
        self._refuse_half(fn(torch.zeros(1, dtype=torch.float32)).dtype)
        before = self._constants()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for key, value in self._constants().items():
            if value.is_meta:  # no state dict could bring them back
                key[0]._buffers[key[1]] = before[key]
            else:
                value.copy_(before[key])  # `to_empty` leaves no values
        return self

    def _constants(self) -> dict[tuple[nn.Module, str], Tensor]:
        """Return the buffers that no state dict holds, by module and name."""
        return {
            (module, name): buffer
            for module in self.modules()
            for name, buffer in module.named_buffers(recurse=False)
            if name in module._non_persistent_buffers_set
        }

    def _refuse_half(self, dtype: torch.dtype) -> None:
        if dtype.is_floating_point and dtype not in FULL:
            raise TypeError(
                f"the parameters of {type(self).__name__} must be torch.float32 or torch.float64, got {dtype}: leave "
                f"the memory in torch.float32; it takes x in {dtype} and runs under torch.autocast as it is"
            )


def inner_bounds(**memories: Memory) -> dict[str, tuple[int, int]]:
    """Return `state_bounds` of a state that holds those of other memories, by their names in it."""
    return {f"{name}/{path}": both for name, memory in memories.items() for path, both in memory.state_bounds.items()}


def constants_device() -> torch.device:
    """Return the device for values that no state dict holds: the default device, or the CPU where that is meta."""
    device = torch.get_default_device()
    return torch.device("cpu") if device.type == "meta" and not _constants_on_meta else device


@contextmanager
def nothing_allocated() -> Iterator[None]:
    """Make the meta device the default inside the block, for constants too; not thread-safe.

    What is made there has sizes and no values, not even those that no state dict could bring back.
    """
    global _constants_on_meta
    before, _constants_on_meta = _constants_on_meta, True
    try:
        with torch.device("meta"):
            yield
    finally:
        _constants_on_meta = before


def _takes_any_dtype(call: Callable[..., tuple[Tensor, TensorDict]]) -> Callable[..., tuple[Tensor, TensorDict]]:
    """Return a memory's `step` or `forward` that takes x and `start` of any dtype, empty x, and autocast."""

    @functools.wraps(call)
    def taking(self: Memory, x: Tensor, *given: Any, **named: Any) -> tuple[Tensor, TensorDict]:
        start = given[1] if len(given) > 1 else named.get("start")
        autocast = x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)
        if x.dtype in FULL and (start is None or start.dtype is torch.bool) and x.numel() and not autocast:
            return call(self, x, *given, **named)
        state = given[0] if given else named.get("state")
        if not x.numel() and state is not None:
            return x.clone(), state
        if start is not None and start.dtype is not torch.bool:
            given, named = (state, start != 0, *given[2:]), {k: v for k, v in named.items() if k not in ARGUMENTS}
        narrow = x.is_floating_point() and x.dtype not in FULL
        with torch.autocast(x.device.type, enabled=False):
            y, state = call(self, x.to(self.zeros(0).dtype) if narrow else x, *given, **named)
        return y.to(x.dtype) if narrow else y, state

    return taking
