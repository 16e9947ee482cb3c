"""From what a space contains to vectors of one width.

| space | how it is read |
| --- | --- |
| Box of floats | flattened; bounded entries scaled to [-1, 1], others sign(x) log(1 + |x|); a linear map |
| Box of uint8 [H, W, C], sides of 16 or more | three strided convolutions, ReLU, a linear map |
| Box of integers | as floats |
| Discrete, MultiDiscrete | an embedding of every value, summed |
| MultiBinary | a linear map |
| Dict, Tuple | each entry by the above, summed |

The sum goes through a gated MLP, so that entries act on each other from the first step: an action counts only with its
reward.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.agents.backbone import GatedMLP

__all__ = ["Encoder", "as_tensors"]

_MANY = 4096  # rows of a table from which it is looked up instead of multiplied with


class Encoder(nn.Module):
    """A vector for every observation of a space.

    Args:
        space: of one life's observation.
        width: D, width of the result.

    Raises:
        ValueError: if some part of the space cannot be read; names it.
    """

    def __init__(self, space: spaces.Space[Any], width: int) -> None:
        super().__init__()
        self.leaves = nn.ModuleDict({_label(key): _reader(leaf, width, key) for key, leaf in _leaves(space)})
        self.keys = [key for key, _ in _leaves(space)]
        self.mlp = GatedMLP(width)

    def forward(self, observation: TensorDict) -> Tensor:
        """Return [..., D] from a batch [...] of observations."""
        read = [self.leaves[_label(key)](observation[key]) for key in self.keys]
        y: Tensor = self.mlp(torch.stack(read).sum(0))
        return y


def as_tensors(observation: Any, batch_size: tuple[int, ...], device: torch.device | None = None) -> TensorDict:
    """Return a batch of observations as a TensorDict; what is no dict or tuple stands under `observation`.

    Args:
        observation: arrays, nested as the space is.
        batch_size: leading sizes of all of them.
        device: where to put them.
    """
    tree = observation if isinstance(observation, dict | tuple) else {"observation": observation}

    def convert(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: convert(value) for key, value in node.items()}
        if isinstance(node, tuple):
            return {str(i): convert(value) for i, value in enumerate(node)}
        array = np.asarray(node)
        return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float64 else array)

    return TensorDict(convert(tree), batch_size, device=device)


class _Numbers(nn.Module):
    """Floats, scaled where they are bounded and squashed where they are not."""

    def __init__(self, space: spaces.Box, width: int) -> None:
        super().__init__()
        low, high = (torch.as_tensor(edge.reshape(-1), dtype=torch.float32) for edge in (space.low, space.high))
        bounded = torch.isfinite(low) & torch.isfinite(high) & (high - low < 1e4)
        self.center: Tensor
        self.reach: Tensor
        self.bounded: Tensor
        self.register_buffer("bounded", bounded, persistent=False)
        self.register_buffer("center", torch.where(bounded, (low + high) / 2, 0.0), persistent=False)
        self.register_buffer("reach", torch.where(bounded, ((high - low) / 2).clamp_min(1e-6), 1.0), persistent=False)
        self.dims, self.linear = len(space.shape), _linear(bounded.numel(), width)

    def forward(self, x: Tensor) -> Tensor:
        x = (x.flatten(-self.dims) if self.dims else x[..., None]).to(self.linear.weight.dtype)
        scaled = (x - self.center) / self.reach
        y: Tensor = self.linear(torch.where(self.bounded, scaled, x.sign() * x.abs().log1p()))
        return y


class _Image(nn.Module):
    """Pixels, channels last."""

    def __init__(self, space: spaces.Box, width: int) -> None:
        super().__init__()
        height, breadth, channels = space.shape
        self.conv = nn.Sequential(
            nn.Conv2d(channels, 16, 5, stride=3),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            size = self.conv(torch.zeros(1, channels, height, breadth)).shape[1]
        self.linear = _linear(size, width)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(0, -4).movedim(-1, 1).to(self.linear.weight.dtype) / 255
        y: Tensor = self.linear(self.conv(pixels))
        return y.reshape(*x.shape[:-3], -1)


class _Choices(nn.Module):
    """Categories, one table for each place; they are counted from `first`."""

    def __init__(self, sizes: np.ndarray[Any, Any], first: Any, dims: int, width: int) -> None:
        super().__init__()
        sizes = sizes.reshape(-1).astype(np.int64)
        self.dims = dims
        self.offset: Tensor
        begin = np.cumsum(sizes) - sizes - np.reshape(first, -1).astype(np.int64)
        self.register_buffer("offset", torch.as_tensor(begin), persistent=False)
        self.table = nn.Parameter(torch.randn(int(sizes.sum()), width) * sizes.size**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        values = (x.flatten(-self.dims) if self.dims else x[..., None]).long() + self.offset
        if len(self.table) > _MANY:
            looked_up: Tensor = functional.embedding(values, self.table)
            return looked_up.sum(-2)
        chosen = self.table.new_zeros(*values.shape[:-1], len(self.table)).scatter_(-1, values, 1.0)
        y: Tensor = chosen @ self.table  # several times faster than an embedding's backward
        return y


class _Bits(nn.Module):
    """Independent flags."""

    def __init__(self, space: spaces.MultiBinary, width: int) -> None:
        super().__init__()
        self.dims, self.linear = len(space.shape), _linear(int(np.prod(space.shape)), width)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(
            x.flatten(-self.dims).to(self.linear.weight.dtype), self.linear.weight, self.linear.bias
        )


def _leaves(space: spaces.Space[Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], spaces.Space[Any]]]:
    if isinstance(space, spaces.Dict):
        return [leaf for key, inner in space.spaces.items() for leaf in _leaves(inner, (*path, key))]
    if isinstance(space, spaces.Tuple):
        return [leaf for i, inner in enumerate(space.spaces) for leaf in _leaves(inner, (*path, str(i)))]
    return [(path or ("observation",), space)]


def _linear(inputs: int, width: int) -> nn.Linear:
    """Return a linear map that gives inputs of variance 1 the variance 1, so that no entry drowns another."""
    linear = nn.Linear(inputs, width)
    nn.init.normal_(linear.weight, std=inputs**-0.5)
    nn.init.zeros_(linear.bias)
    return linear


def _label(key: tuple[str, ...]) -> str:
    return "/".join(key).replace(".", "_")


def _reader(space: spaces.Space[Any], width: int, key: tuple[str, ...]) -> nn.Module:
    if isinstance(space, spaces.Box):
        image = space.dtype == np.uint8 and len(space.shape) == 3 and min(space.shape[:2]) >= 16
        return _Image(space, width) if image else _Numbers(space, width)
    if isinstance(space, spaces.Discrete):
        return _Choices(np.array([space.n]), space.start, 0, width)
    if isinstance(space, spaces.MultiDiscrete):
        return _Choices(space.nvec, space.start, space.nvec.ndim, width)
    if isinstance(space, spaces.MultiBinary):
        return _Bits(space, width)
    raise ValueError(
        f"cannot read observation {'/'.join(key)!r} of space {space}: "
        "supported are Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of these"
    )
