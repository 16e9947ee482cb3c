r"""Base of additive memories whose queries, keys and values are projected from the input.

    q, k, v = SiLU(conv(W x))                       q and k of unit length with `unit`

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, R = V or V + 1 rows; state S [B, H, R, K], the
convolution's window, and whatever else a member keeps.
Cost per step: 5 H R K floating-point operations besides the projections; 4 H R K bytes of state.
Source: the layer around all matrix memories here, after arXiv:2312.06635.
"""

from torch import Tensor

from lifelong.memory.additive.base import Additive
from lifelong.memory.layer import Output, Projection, count_heads, linear_flops

__all__ = ["ProjectedAdditive"]


class ProjectedAdditive(Additive):
    """Base of additive memories with a projection; subclasses add gates and then `output`, and define `parts`.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for twice width / num_heads: wide keys interfere less.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        unit: whether queries and keys get L2 norm 1.
        normaliser: whether the sum of the gated keys is kept as one more row.

    Raises:
        ValueError: if `num_heads` does not divide `width`.
    """

    output: Output
    key_flops: int = 0
    """Floating-point operations of a step for each key channel, besides those of the recurrence."""

    def __init__(
        self,
        width: int,
        num_heads: int | None,
        key_dim: int | None,
        value_dim: int | None,
        conv_size: int,
        *,
        unit: bool = True,
        normaliser: bool = False,
    ) -> None:
        H = count_heads(width, num_heads)
        K, V = key_dim or 2 * width // H, value_dim or width // H
        super().__init__(width, H, K, V, normaliser=normaliser)
        self.project = Projection(width, H, K, V, conv_size, unit=unit)

    def initial_rest(self, batch: int) -> dict[str, Tensor]:
        """Return an empty window."""
        return {"window": self.zeros(batch, *self.project.window_shape)}

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        H, R, K = self.shape
        return linear_flops(self) + H * K * (5 * R + self.key_flops)
