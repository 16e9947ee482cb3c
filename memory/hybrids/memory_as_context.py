r"""Memory as context: attention over a window, a long memory's output, and learned tokens.

    r_t = inner(x)_t                                         the long memory writes x_t and is read
    p_t = softmax over {window_t, r_t, P tokens} of  g q_t^T k_s + b_s
    y_t = sum_s p_ts v_s

q, k, v = SiLU(conv(W x)) in the window, k = W_k r_t, v = W_v r_t of the reading, free parameters of the tokens; all
queries and keys of unit length. The sharpness g and the biases b (one per age, for the reading, and for each token) are
learned per head. The result leaves through the same norm and gate as in the matrix memories.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, W cache, P tokens; the state holds the window's
under `attention` (see `window`) and the inner memory's under `inner`.
Cost per step: that of the inner memory, 2 (W + 1 + P) H (K + V) floating-point operations and 2 D H (K + V) for the
reading, besides the projections; bytes of state: those of the window and of the inner memory.
Source: Titans, arXiv:2501.00663. There the attention works on whole segments and its result is what the memory stores
and is multiplied with; here the memory stores x, so that the attention is still one banded softmax, and its reading
acts through the attention only.
"""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.unit_length import unit_length
from lifelong.memory.attention.window import Window
from lifelong.memory.hybrids.pair import inner_memory, run
from lifelong.memory.memory import Memory, inner_bounds

__all__ = ["MemoryAsContext"]


class MemoryAsContext(Memory):
    """Attention over a window, an inner memory's reading and learned tokens.

    Args:
        width: D, width of inputs and outputs.
        inner: name of the long memory, or a memory.
        tokens: P, learned keys and values, always visible.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        cache: W, steps of the window, the present among them.
        inner_options: settings of the long memory, if it is named.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `cache` < 2, `tokens` < 1, or the inner memory has
            another width.
    """

    def __init__(
        self,
        width: int,
        inner: str | Memory = "gated_delta",
        tokens: int = 4,
        num_heads: int | None = None,
        cache: int = 32,
        inner_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(width)
        if tokens < 1:
            raise ValueError(f"tokens must be positive: tokens={tokens}")
        self.inner = inner_memory(width, inner, inner_options)
        self.attention = Window(width, num_heads, cache)
        self.state_bounds = inner_bounds(attention=self.attention, inner=self.inner)
        num_heads, V, K = self.attention.shape
        self.recall = nn.Linear(width, num_heads * (K + V), bias=False)
        self.token_keys = nn.Parameter(torch.randn(tokens, num_heads, K))
        self.token_values = nn.Parameter(torch.randn(tokens, num_heads, V) / V**0.5)
        self.bias = nn.Parameter(torch.zeros(num_heads, 1 + tokens))  # of the reading and the tokens

    def initial_state(self, batch: int) -> TensorDict:
        """Return the initial states of the window and of the inner memory."""
        states = {"attention": self.attention.initial_state(batch), "inner": self.inner.initial_state(batch)}
        return TensorDict(states, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Compute one step; see `Memory.step`."""
        read, inner = run(self.inner, x, state, "inner", start, one_step=True)
        y, attention = self._attend(x[:, None], read[:, None], state["attention"], start[:, None])
        return y[:, 0], TensorDict({"attention": attention, "inner": inner}, [x.shape[0]])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        read, inner = run(self.inner, x, state, "inner", start, one_step=False)
        y, attention = self._attend(x, read, state["attention"], start)
        return y, TensorDict({"attention": attention, "inner": inner}, [x.shape[0]])

    def _attend(self, x: Tensor, read: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Attend to the window, the inner memory's output and the tokens."""
        num_heads, V, K = self.attention.shape
        k, v = self.recall(read).unflatten(-1, (num_heads, K + V)).split([K, V], -1)
        shape = (*x.shape[:2], -1, -1, -1)
        keys = torch.cat([k[:, :, None], self.token_keys.expand(shape)], 2)  # [B, T, 1 + P, H, K]
        keys = unit_length(keys)
        values = torch.cat([v[:, :, None], self.token_values.expand(shape)], 2)
        return self.attention.attend(x, state, start, (keys, values, self.bias))

    @property
    def step_flops(self) -> int:
        """Operations of the inner memory, the window and the further entries."""
        num_heads, V, K = self.attention.shape
        besides = 2 * num_heads * (K + V) * (self.width + self.bias.shape[1])
        return self.inner.step_flops + self.attention.step_flops + besides
