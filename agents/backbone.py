"""A stack of pre-norm blocks [memory, gated MLP]; itself a memory, whose state is that of its layers.

    x <- x + working(norm(x))                              if there is a working memory: anew with every episode
    x <- x + memory(norm(x))
    x <- x + W (SiLU(A norm(x)) * (B norm(x)))

The product lets any two features interact: a reward is informative only together with the action.
With `residual="gated"` both sums become GRU-type gates that begin nearly closed:

    r = sigmoid(W_r y + U_r x),  z = sigmoid(W_z y + U_z x - b)        y: ReLU of the block's output, b = 2
    x <- (1 - z) x + z tanh(W_h y + U_h (r x))

so that a new agent acts on its observation before its memory is trained, and the memory's output is bounded. Source of
the gates: GTrXL, arXiv:1910.06764.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.fused import bind_linear, gated_linear
from lifelong.memory import Memory
from lifelong.memory.layer import ResidualGate, RMSNorm
from lifelong.memory.memory import inner_bounds

__all__ = ["Backbone", "GatedMLP", "ResidualGate", "bound_linear", "run_all"]


class GatedMLP(nn.Module):
    """Gated MLP with a residual connection: a product in which any two features interact.

    Args:
        width: D, width of x.
        expansion: width of the product as a multiple of D, rounded.
        residual: `sum`, the product is added to x, or `gated`, it goes through a gate.
    """

    def __init__(self, width: int, expansion: float = 1, residual: Literal["sum", "gated"] = "sum") -> None:
        super().__init__()
        hidden = round(expansion * width)
        if hidden < 1:
            raise ValueError(f"expansion must leave 1 channel of {width} or more: expansion={expansion}")
        self.norm = RMSNorm(width)
        self.factors = nn.Linear(width, 2 * hidden)
        self.product = nn.Linear(hidden, width)
        self.gate = ResidualGate(width) if residual == "gated" else None

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., D] to [..., D]."""
        y: Tensor = self.product(gated_linear(self.factors(self.norm(x))))
        joined: Tensor = x + y if self.gate is None else self.gate(x, y)
        return joined

    def bind(self, x: Tensor) -> list[Callable[[], Any]]:
        """Bind the map to x [B, D], float32 on the CPU: the calls write over it; no gradients."""
        normed, y, hidden = torch.empty_like(x), torch.empty_like(x), self.product.in_features
        z, inside = x.new_empty(len(x), 2 * hidden), x.new_empty(len(x), hidden)
        return [
            self.norm.bind(x, normed),
            bound_linear(self.factors, normed, z),
            bind_linear(z, inside),
            bound_linear(self.product, inside, y),
            bound_sum(x, y, self.gate),
        ]


def bound_linear(linear: nn.Linear, x: Tensor, y: Tensor) -> Callable[[], Any]:
    """Return a call that writes a linear map of x [B, N], as it then is, into y."""
    return partial(torch.addmm, linear.bias.detach(), x, linear.weight.detach().T, out=y)


def bound_sum(x: Tensor, y: Tensor, gate: ResidualGate | None) -> Callable[[], Any]:
    """Return a call that adds y to x in place, or through a gate."""
    return partial(x.add_, y) if gate is None else lambda: x.copy_(gate(x, y))


def run_all(calls: Sequence[Callable[[], Any]]) -> None:
    """Run bound calls, one after the other."""
    for call in calls:
        call()


class Backbone(Memory):
    """Blocks around memories of one width.

    Args:
        memories: one for each layer.
        working: a second one for each layer, in front of the first, that starts anew where an episode starts; or none.
        expansion: hidden width of the MLPs as a multiple of the width; 0 leaves them out.
        residual: `sum`, or `gated`: the outputs of memories and MLPs go through a GTrXL gate.

    Raises:
        ValueError: if there is no memory, their widths differ, some layers only have a working memory, the MLPs have no
            channel, or `residual` is neither word.
    """

    def __init__(
        self,
        memories: Sequence[Memory],
        expansion: float = 1,
        residual: Literal["sum", "gated"] = "sum",
        working: Sequence[Memory] = (),
    ) -> None:
        widths = {memory.width for memory in (*memories, *working)}
        if len(widths) != 1:
            raise ValueError(f"memories must have one width, got {sorted(widths)}")
        if len(working) not in (0, len(memories)):
            raise ValueError(f"working must be one for each of the {len(memories)} layers, or none; got {len(working)}")
        if residual not in ("sum", "gated"):
            raise ValueError(f"residual must be 'sum' or 'gated', got {residual!r}")
        width = widths.pop()
        super().__init__(width)
        self.memories = nn.ModuleList(memories)
        self.norms = nn.ModuleList(RMSNorm(width) for _ in memories)
        self.mlps = nn.ModuleList(
            GatedMLP(width, expansion, residual) if expansion else nn.Identity() for _ in memories
        )
        self.norm = RMSNorm(width)
        self.gates = nn.ModuleList(ResidualGate(width) for _ in memories if residual == "gated")
        self.working = nn.ModuleList(working)
        self.working_norms = nn.ModuleList(RMSNorm(width) for _ in working)
        self.state_bounds = inner_bounds(**self._named())

    def initial_state(self, batch: int) -> TensorDict:
        """Return the initial state of every layer, under its number."""
        return TensorDict({name: memory.initial_state(batch) for name, memory in self._named().items()}, [batch])

    def step(
        self,
        x: Tensor,
        state: TensorDict | None = None,
        start: Tensor | None = None,
        episode_start: Tensor | None = None,
    ) -> tuple[Tensor, TensorDict]:
        """Run every layer once; see `Memory.step`.

        Args:
            x: [B, D] input.
            state: [B] before the step; without it a new life begins.
            start: [B] bool, true where this step is the first of a life; None: nowhere.
            episode_start: [B] bool, true where it is the first of an episode: working memories start anew; None:
                nowhere but where `start` says.
        """
        state, start = self._defaults(x, state, start, one_step=True)
        return self._run(x, state, start, episode_start, one_step=True)

    def forward(
        self,
        x: Tensor,
        state: TensorDict | None = None,
        start: Tensor | None = None,
        episode_start: Tensor | None = None,
    ) -> tuple[Tensor, TensorDict]:
        """Run every layer over T steps; see `Memory.forward`. Arguments are those of `step`, with an axis T."""
        state, start = self._defaults(x, state, start, one_step=False)
        return self._run(x, state, start, episode_start, one_step=False)

    def bind_layers(
        self, x: Tensor, y: Tensor, state: TensorDict, start: Tensor, anew: Tensor
    ) -> tuple[dict[str, TensorDict], Callable[[], None]]:
        """Bind a step of every layer to fixed tensors, float32 on the CPU; see `Memory.bind`.

        Args:
            x: [B, D] input; calls write over it.
            y: [B, D] output.
            state: [B] before the first step; it may be written over.
            start: [B] bool, true where a step is the first of a life.
            anew: [B] bool, true where it is the first of a life or an episode: working memories start anew.

        Returns:
            The states of the layers by name, [B] each, and the call that computes a step and changes them.
        """
        normed, out, nothing = torch.empty_like(x), torch.empty_like(x), TensorDict({}, [len(x)])
        calls: list[Callable[[], Any]] = []
        states = {name: state.get(name, nothing) for name in self._named()}

        def layer(name: str, norm: Any, memory: Memory, begins: Tensor, gate: Any) -> None:
            run = memory.bind(normed, out, states[name], begins)

            def step() -> None:
                states[name] = run()

            calls.extend([norm.bind(x, normed), step, bound_sum(x, out, gate)])

        for i, (memory, mlp) in enumerate(zip(_memories(self.memories), self.mlps, strict=True)):
            if self.working:
                layer(f"working_{i}", self.working_norms[i], _memories(self.working)[i], anew, None)
            layer(str(i), self.norms[i], memory, start, self.gates[i] if self.gates else None)
            calls += mlp.bind(x) if isinstance(mlp, GatedMLP) else []
        calls.append(self.norm.bind(x, y))
        return states, partial(run_all, calls)

    def _named(self) -> dict[str, Memory]:
        """Return all memories by the names of their states."""
        named = {str(i): memory for i, memory in enumerate(_memories(self.memories))}
        return named | {f"working_{i}": memory for i, memory in enumerate(_memories(self.working))}

    def _defaults(
        self, x: Tensor, state: TensorDict | None, start: Tensor | None, *, one_step: bool
    ) -> tuple[TensorDict, Tensor]:
        """Return `state` and `start`, replacing None by their defaults; validate the shape of `x`."""
        if x.ndim != (2 if one_step else 3) or x.shape[-1] != self.width:
            sizes = "[B, D]" if one_step else "[B, T, D]"
            raise ValueError(f"x must be {sizes} with D = width = {self.width}, got {list(x.shape)}")
        if start is None:
            start = torch.zeros(x.shape[:-1], dtype=torch.bool, device=x.device)
        return self.initial_state(x.shape[0]) if state is None else state, start

    def _run(
        self, x: Tensor, state: TensorDict, start: Tensor, episode_start: Tensor | None, *, one_step: bool
    ) -> tuple[Tensor, TensorDict]:
        after, nothing = {}, TensorDict({}, [x.shape[0]])  # a state that was saved has no entry for a layer without one
        anew, in_front = start if episode_start is None else start | episode_start, _memories(self.working)
        for i, (norm, memory, mlp) in enumerate(zip(self.norms, _memories(self.memories), self.mlps, strict=True)):
            if in_front:
                name = f"working_{i}"
                run = in_front[i].step if one_step else in_front[i]
                y, after[name] = run(self.working_norms[i](x), state.get(name, nothing), anew)
                x = x + y
            run = memory.step if one_step else memory
            y, after[str(i)] = run(norm(x), state.get(str(i), nothing), start)
            x = self.gates[i](x, y) if self.gates else x + y
            x = mlp(x)
        return self.norm(x), TensorDict(after, [x.shape[0]])


def _memories(modules: nn.ModuleList) -> list[Memory]:
    return [module for module in modules if isinstance(module, Memory)]  # all; a ModuleList forgets the type
