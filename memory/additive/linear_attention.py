r"""Linear attention: a sum of outer products without decay, read as a weighted mean.

    S <- S + v_t phi(k_t)^T        z <- z + phi(k_t)         S_0 = 0, z_0 = 0
    y_t = S phi(q_t) / (z^T phi(q_t) + eps)

q, k, v = SiLU(conv(W x)); `feature_map` chooses phi, elu(x) + 1 unless told: see `feature_map.py` and
`learned_feature_map.py`. The normaliser z is one more row of S, its value always 1, so that y is a weighted mean of the
values seen. The mean of a long life moves little: after n steps a write weighs 1 / n, and float32 stops counting near
10^7 of them.

Shapes: B lives, T steps, D width, H heads, K key dim, F features (K for elu), V value dim; state S
[B, H, V + 1, F] and the convolution's window.
Cost per step: 4 H (V + 1) F floating-point operations besides the projections and phi; 4 H (V + 1) F bytes of state.
Source: arXiv:2006.16236; the convolution, norm and gate around it are ours, the same for all matrix memories. Taylor
features are Based's, arXiv:2402.18668, without the window of attention beside them.
"""

from collections.abc import Callable
from typing import Literal, get_args

from tensordict import TensorDict
from torch import Tensor

from lifelong.memory.additive.base import Additive, Parts
from lifelong.memory.additive.feature_map import DPFP, ELU, FeatureMap, ReLU, Taylor
from lifelong.memory.additive.learned_feature_map import Hedgehog, Rebased
from lifelong.memory.layer import Output, Projection, count_heads, linear_flops

__all__ = ["FeatureMapName", "LinearAttention", "make_feature_map"]

FeatureMapName = Literal["elu", "relu", "taylor", "dpfp", "rebased", "hedgehog"]

EPS = 1e-6
QUADRATIC = ("taylor", "rebased")


class LinearAttention(Additive):
    """Linear attention: a sum of outer products per head, read as a weighted mean.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for width / num_heads, at most 16 for `taylor` and `rebased`, with K^2 / 2 features.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        feature_map: phi: `elu`, `relu`, `taylor`, `dpfp`, `rebased` or `hedgehog`.
        nu: of `dpfp`, distances between the channels that are multiplied.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or there is no such feature map.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        feature_map: FeatureMapName = "elu",
        nu: int = 1,
    ) -> None:
        num_heads = count_heads(width, num_heads)
        usual = min(width // num_heads, 16) if feature_map in QUADRATIC else width // num_heads
        K, V = key_dim or usual, value_dim or width // num_heads
        of_queries, of_keys = (make_feature_map(feature_map, num_heads, K, nu) for _ in range(2))
        super().__init__(width, num_heads, of_keys.features, V, normaliser=True)
        self.of_queries, self.of_keys = of_queries, of_keys
        self.project = Projection(width, num_heads, K, V, conv_size, unit=False)
        self.output = Output(width, num_heads, V)

    def initial_rest(self, batch: int) -> dict[str, Tensor]:
        """Return an empty window."""
        return {"window": self.zeros(batch, *self.project.window_shape)}

    def parts(self, x: Tensor, state: TensorDict, start: Tensor) -> Parts:
        """Return the inputs of the recurrence; see `Additive.parts`."""
        q, k, v, window = self.project(x, state["window"], start)

        def read(sums: Tensor) -> Tensor:
            y, weight = sums.split([sums.shape[-1] - 1, 1], -1)
            out: Tensor = self.output(y / (weight + EPS), x)
            return out

        return Parts(self.of_queries(q), self.of_keys(k), v, read, rest={"window": window})

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, rows, features = self.shape
        learned = sum(p.numel() for p in [*self.of_queries.parameters(), *self.of_keys.parameters()])
        return linear_flops(self) + 2 * learned + 4 * num_heads * rows * features


def make_feature_map(name: FeatureMapName, num_heads: int, key_dim: int, nu: int = 1) -> FeatureMap:
    """Return a new feature map.

    Args:
        name: one of `FeatureMapName`.
        num_heads: H.
        key_dim: K.
        nu: of DPFP.

    Raises:
        ValueError: if there is no feature map of that name.
    """
    makers: dict[str, Callable[[], FeatureMap]] = {
        "elu": lambda: ELU(key_dim),
        "relu": lambda: ReLU(key_dim),
        "taylor": lambda: Taylor(key_dim),
        "dpfp": lambda: DPFP(key_dim, nu),
        "rebased": lambda: Rebased(num_heads, key_dim),
        "hedgehog": lambda: Hedgehog(num_heads, key_dim),
    }
    if name not in makers:
        raise ValueError(f"feature_map must be one of {', '.join(get_args(FeatureMapName))}, got {name!r}")
    return makers[name]()
