"""Count the floating-point operations of one step of a memory in its reference form.

A product of matrices counts 2 m n k, an operation by element one for each number it returns, a sum one for each number
it reads; copies, comparisons and selections none. `Memory.step_flops` is compared with the count.
"""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from lifelong.kernels.backends import plain_loops
from lifelong.memory import Memory

__all__ = ["Count", "count_step"]

_MOVES = {"clone", "where", "copy_", "fill_", "masked_fill", "masked_fill_"}  # elementwise, but no arithmetic
_OTHERS = {"_softmax", "cumsum", "scatter_add", "native_layer_norm", "log_sigmoid_forward", "dot", "linalg_vector_norm"}
# arithmetic without an elementwise tag


class Count(NamedTuple):
    """Operations and bytes of one step of one life.

    Args:
        flops: floating-point operations.
        bytes: state and parameters read, and state written.
    """

    flops: int
    bytes: int


def count_step(memory: Memory, steps: int = 16) -> Count:
    """Return the mean cost of a step of one life, over several steps, as some memories work in mini-batches.

    Args:
        memory: on any device.
        steps: to take the mean over.
    """
    with warnings.catch_warnings(), torch.no_grad(), plain_loops():
        warnings.simplefilter("ignore")  # warnings of switching oneDNN off
        with torch.backends.mkldnn.flags(enabled=False):  # oneDNN's LSTM is one operation
            return _count(memory, steps)


def _count(memory: Memory, steps: int) -> Count:
    x, state = memory.zeros(1, memory.width) + 0.1, memory.initial_state(1)
    never = torch.zeros(1, dtype=torch.bool, device=x.device)
    flops = moved = 0
    for _ in range(steps):
        held = {
            leaf.untyped_storage().data_ptr(): leaf.numel() * leaf.element_size()
            for leaf in [*state.values(True, True), *memory.parameters()]
        }
        with _Counter(set(held)) as counter:
            _, state = memory.step(x, state, never)
        flops += counter.flops
        moved += sum(held[place] for place in counter.read)
        moved += sum(leaf.numel() * leaf.element_size() for leaf in state.values(True, True))
    return Count(flops // steps, moved // steps)


class _Counter(TorchDispatchMode):
    """Dispatch mode that counts operations and records which tensors they read."""

    def __init__(self, places: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops, self.places, self.read = 0, places, set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        taken = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.read |= self.places & {leaf.untyped_storage().data_ptr() for leaf in taken}
        given = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        if func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        elif torch.Tag.reduction in func.tags or func._overloadpacket.__name__ in _OTHERS:
            self.flops += max((leaf.numel() for leaf in taken if leaf.is_floating_point()), default=0)
        elif torch.Tag.pointwise in func.tags and func._overloadpacket.__name__ not in _MOVES:
            self.flops += sum(leaf.numel() for leaf in given)
        return out
