"""Encode observations of any gymnasium space as vectors of one width.

| space | how it is read |
| --- | --- |
| Box of floats | flattened and scaled (see `scaling.py`); a linear map |
| Box of uint8 [H, W, C], sides of 16 or more | three strided convolutions, ReLU, a linear map |
| Box of integers | as floats |
| Discrete, MultiDiscrete | an embedding of every value, summed |
| MultiBinary | a linear map |
| Dict, Tuple | each entry by the above, summed |

The sum goes through a gated MLP, so that entries interact before the first memory: an action is informative only
together with its reward.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.agents.backbone import GatedMLP
from lifelong.agents.scaling import Normalize, Path, Scaling
from lifelong.kernels.embedding_sum import embedding_sum

__all__ = ["Encoder", "as_tensors", "leaves_of"]


class Encoder(nn.Module):
    """Map observations of a space to vectors.

    Args:
        space: of one life's observation.
        width: D, width of the result.
        normalize: which numbers are normalised by what was observed; see `Scaling`.

    Raises:
        ValueError: if some part of the space cannot be read; names it.
    """

    def __init__(self, space: spaces.Space[Any], width: int, normalize: Normalize = "off") -> None:
        super().__init__()
        self.space, self.width = space, width
        leaves: dict[type[nn.Module], dict[Path, Any]] = {_Numbers: {}, _Choices: {}, _Image: {}}
        for path, leaf in leaves_of(space):
            leaves[_reader(leaf, path)][path] = leaf
        scaling = Scaling(leaves[_Numbers], normalize)
        self.numbers = _Numbers(leaves[_Numbers], scaling, width) if leaves[_Numbers] else None
        self.choices = _Choices(leaves[_Choices], width) if leaves[_Choices] else None
        self.image_paths = list(leaves[_Image])
        self.images = nn.ModuleList(_Image(leaf, width) for leaf in leaves[_Image].values())
        self.mlp = GatedMLP(width)

    @torch.no_grad()
    def update(self, observation: TensorDict) -> None:
        """Take observations [..., N] into account by which numbers are scaled; nothing happens where none are.

        Args:
            observation: batch [...].
        """
        if self.numbers is not None and self.numbers.scaling.running:
            self.numbers.scaling.update(_side_by_side(observation, self.numbers.dims))

    def forward(self, observation: TensorDict) -> Tensor:
        """Return [..., D] from a batch [...] of observations."""
        read = [part(observation) for part in (self.numbers, self.choices) if part is not None]
        read += [image(observation[path]) for image, path in zip(self.images, self.image_paths, strict=True)]
        y: Tensor = self.mlp(sum(read[1:], read[0]))
        return y


def as_tensors(observation: Any, batch_size: tuple[int, ...], device: torch.device | None = None) -> TensorDict:
    """Return a batch of observations as a TensorDict; arrays that are in no dict or tuple get the key `observation`.

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
    """Linear map of all numbers side by side, scaled."""

    def __init__(self, leaves: dict[Path, spaces.Box | spaces.MultiBinary], scaling: Scaling, width: int) -> None:
        super().__init__()
        self.dims = {path: len(leaf.shape) for path, leaf in leaves.items()}
        self.scaling = scaling
        sizes = [int(np.prod(leaf.shape)) for leaf in leaves.values()]
        self.linear = nn.Linear(sum(sizes), width)
        with torch.no_grad():  # an entry of variance 1 adds the variance 1, however many numbers it has
            for weight in self.linear.weight.split(sizes, 1):
                weight.normal_(std=weight.shape[1] ** -0.5)
            self.linear.bias.zero_()

    def forward(self, observation: TensorDict) -> Tensor:
        x = _side_by_side(observation, self.dims).to(self.linear.weight.dtype)
        y: Tensor = self.linear(self.scaling(x))
        return y


class _Image(nn.Module):
    """Convolutional encoder of pixels, channels last."""

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
        self.linear = nn.Linear(size, width)
        nn.init.normal_(self.linear.weight, std=size**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(0, -4).movedim(-1, 1).to(self.linear.weight.dtype) / 255
        y: Tensor = self.linear(self.conv(pixels))
        return y.reshape(*x.shape[:-3], -1)


class _Choices(nn.Module):
    """Summed embeddings of all categories: one table with rows for each entry, counted from its first category."""

    def __init__(self, leaves: dict[Path, spaces.Discrete | spaces.MultiDiscrete], width: int) -> None:
        super().__init__()
        self.dims = {path: np.ndim(leaf.start) for path, leaf in leaves.items()}
        sizes = [np.reshape(_categories(leaf), -1) for leaf in leaves.values()]
        firsts = [np.reshape(leaf.start, -1) for leaf in leaves.values()]
        rows, first = (np.concatenate(part).astype(np.int64) for part in (sizes, firsts))
        self.begin: Tensor
        self.first: Tensor
        self.register_buffer("begin", torch.as_tensor(np.cumsum(rows) - rows), persistent=False)
        self.register_buffer("first", torch.as_tensor(first), persistent=False)
        self.from_zero = not first.any()
        scales = np.concatenate([np.full(size.sum(), size.size**-0.5) for size in sizes])  # each entry adds variance 1
        table = torch.randn(int(rows.sum()), width) * torch.as_tensor(scales, dtype=torch.float32)[:, None]
        self.table = nn.Parameter(table)

    def forward(self, observation: TensorDict) -> Tensor:
        values = _side_by_side(observation, self.dims)
        return embedding_sum(values if self.from_zero else values - self.first, self.table, self.begin)


def _side_by_side(observation: TensorDict, dims: dict[Path, int]) -> Tensor:
    """Return all entries as one row of numbers, [..., N]; `dims` are those an entry itself has."""
    parts = [observation[path].flatten(-n) if n else observation[path][..., None] for path, n in dims.items()]
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]


def _categories(leaf: spaces.Discrete | spaces.MultiDiscrete) -> Any:
    return leaf.n if isinstance(leaf, spaces.Discrete) else leaf.nvec


def leaves_of(space: spaces.Space[Any], path: Path = ()) -> list[tuple[Path, spaces.Space[Any]]]:
    """Return the entries of a space that are no Dict or Tuple, with their paths; a space without entries is one.

    Args:
        space: of one observation.
        path: of the space itself.
    """
    if isinstance(space, spaces.Dict):
        return [leaf for key, inner in space.spaces.items() for leaf in leaves_of(inner, (*path, key))]
    if isinstance(space, spaces.Tuple):
        return [leaf for i, inner in enumerate(space.spaces) for leaf in leaves_of(inner, (*path, str(i)))]
    return [(path or ("observation",), space)]


def _reader(leaf: spaces.Space[Any], path: Path) -> type[nn.Module]:
    """Return the name of the reader of an entry."""
    if isinstance(leaf, spaces.Box):
        image = leaf.dtype == np.uint8 and len(leaf.shape) == 3 and min(leaf.shape[:2]) >= 16
        return _Image if image else _Numbers
    if isinstance(leaf, spaces.MultiBinary):
        return _Numbers
    if isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete):
        return _Choices
    raise ValueError(
        f"cannot read observation {'/'.join(path)!r} of space {leaf}: "
        "supported are Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of these"
    )
