"""A stack of pre-norm blocks [memory, MLP]; itself a memory, whose state is that of its layers.

    x <- x + memory(norm(x))
    x <- x + mlp(norm(x))
"""

from collections.abc import Sequence

from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.memory import Memory

__all__ = ["Backbone"]


class Backbone(Memory):
    """Blocks around memories of one width.

    Args:
        memories: one for each layer.
        expansion: hidden width of the MLPs as a multiple of the width.

    Raises:
        ValueError: if there is no memory, or their widths differ.
    """

    def __init__(self, memories: Sequence[Memory], expansion: int = 2) -> None:
        widths = {memory.width for memory in memories}
        if len(widths) != 1:
            raise ValueError(f"memories must have one width, got {sorted(widths)}")
        width = widths.pop()
        super().__init__(width)
        self.memories = nn.ModuleList(memories)
        self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-5) for _ in memories)
        self.mlps = nn.ModuleList(
            nn.Sequential(
                nn.RMSNorm(width, eps=1e-5),
                nn.Linear(width, expansion * width),
                nn.SiLU(),
                nn.Linear(expansion * width, width),
            )
            for _ in memories
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def initial_state(self, batch: int) -> TensorDict:
        """Return the initial state of every layer, under its number."""
        return TensorDict({str(i): memory.initial_state(batch) for i, memory in enumerate(self.memories)}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Run every layer once; see `Memory.step`."""
        return self._run(x, state, start, one_step=True)

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Run every layer over T steps; see `Memory.forward`."""
        return self._run(x, state, start, one_step=False)

    def _run(self, x: Tensor, state: TensorDict, start: Tensor, *, one_step: bool) -> tuple[Tensor, TensorDict]:
        after = {}
        for i, (norm, memory, mlp) in enumerate(zip(self.norms, self.memories, self.mlps, strict=True)):
            run = memory.step if one_step else memory
            y, after[str(i)] = run(norm(x), state[str(i)], start)
            x = x + y
            x = x + mlp(x)
        return self.norm(x), TensorDict(after, [x.shape[0]])
