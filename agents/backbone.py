"""A stack of pre-norm blocks [memory, gated MLP]; itself a memory, whose state is that of its layers.

    x <- x + memory(norm(x))
    x <- x + W (SiLU(A norm(x)) * (B norm(x)))

The product lets any two features act on each other: an outcome means something only together with the action.
"""

from collections.abc import Sequence

from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.fused import gated_linear
from lifelong.memory import Memory
from lifelong.memory.layer import RMSNorm

__all__ = ["Backbone", "GatedMLP"]


class GatedMLP(nn.Module):
    """x plus a gated product of itself, so that any two features act on each other.

    Args:
        width: D, width of x.
        expansion: width of the product as a multiple of D.
    """

    def __init__(self, width: int, expansion: int = 1) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.factors = nn.Linear(width, 2 * expansion * width)
        self.product = nn.Linear(expansion * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., D] from [..., D]."""
        y: Tensor = x + self.product(gated_linear(self.factors(self.norm(x))))
        return y


class Backbone(Memory):
    """Blocks around memories of one width.

    Args:
        memories: one for each layer.
        expansion: hidden width of the MLPs as a multiple of the width.

    Raises:
        ValueError: if there is no memory, or their widths differ.
    """

    def __init__(self, memories: Sequence[Memory], expansion: int = 1) -> None:
        widths = {memory.width for memory in memories}
        if len(widths) != 1:
            raise ValueError(f"memories must have one width, got {sorted(widths)}")
        width = widths.pop()
        super().__init__(width)
        self.memories = nn.ModuleList(memories)
        self.norms = nn.ModuleList(RMSNorm(width) for _ in memories)
        self.mlps = nn.ModuleList(GatedMLP(width, expansion) for _ in memories)
        self.norm = RMSNorm(width)

    def initial_state(self, batch: int) -> TensorDict:
        """Return the initial state of every layer, under its number."""
        return TensorDict({str(i): memory.initial_state(batch) for i, memory in enumerate(self._layers())}, [batch])

    def _layers(self) -> list[Memory]:
        return [memory for memory in self.memories if isinstance(memory, Memory)]  # all; a ModuleList forgets the type

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Run every layer once; see `Memory.step`."""
        return self._run(x, state, start, one_step=True)

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Run every layer over T steps; see `Memory.forward`."""
        return self._run(x, state, start, one_step=False)

    def _run(self, x: Tensor, state: TensorDict, start: Tensor, *, one_step: bool) -> tuple[Tensor, TensorDict]:
        after, nothing = {}, TensorDict({}, [x.shape[0]])  # a state that was saved has no entry for a layer without one
        for i, (norm, memory, mlp) in enumerate(zip(self.norms, self._layers(), self.mlps, strict=True)):
            run = memory.step if one_step else memory
            y, after[str(i)] = run(norm(x), state.get(str(i), nothing), start)
            x = x + y
            x = mlp(x)
        return self.norm(x), TensorDict(after, [x.shape[0]])
