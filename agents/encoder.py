"""Encode observations of any gymnasium space as vectors of one width.

| space | encoding |
| --- | --- |
| Box of an image: [H, W], [H, W, C], [C, H, W] or a stack of them, H and W of 16 or more, of uint8 or with the bounds 0 and 1, or 0 and 255 (see `image.py`) | scaled from its bounds to [0, 1]; two strided convolutions with ReLU; a linear map |
| any other Box | flattened and scaled (see `scaling.py`), integers as floats; a linear map |
| Discrete, MultiDiscrete | an embedding of every value, summed; of more than 65,536 values, an embedding for each of two digits |
| MultiBinary | a linear map |
| Text | hashed words, 4,096 buckets, at most 72 words (see `lifelong/hashed_words.py`); an embedding for each of two digits of a word, in its place |
| Dict, Tuple | each entry by the above, summed |
| MiniGrid's `image` and `mission` | a stream gives them as MultiDiscrete (see `envs/minigrid/`) |
| Sequence, Graph, OneOf, an empty shape, an empty Dict or Tuple, more than 16,777,216 categories | refused, with the remedy |

Two digits of v, of n values: v div b and v mod b, with b = ceil(sqrt(n)); the sum of their rows differs for every v, and
a million values have 2,000 rows.

The sum goes through a gated MLP, so that entries interact before the first memory: an action is informative only
together with its reward.

Source: Shi et al. 2019, "Compositional embeddings using complementary partitions", arXiv 1909.02107 (two digits).
"""  # noqa: E501  a table

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.agents.backbone import GatedMLP, run_all
from lifelong.agents.history import HISTORY
from lifelong.agents.image import Image
from lifelong.agents.image_layout import image_rows, layout
from lifelong.agents.leaves import leaves_of
from lifelong.agents.scaling import Normalize, Path, Scaling
from lifelong.hashed_words import is_hashed, without_text
from lifelong.kernels.embedding_sum import bind_embedding_sum, embedding_sum
from lifelong.readable import MANY, brief, refusal

__all__ = ["Encoder", "as_tensors", "narrow"]


class Encoder(nn.Module):
    """Map observations of a space to vectors.

    Args:
        space: of one life's observation; texts in it are given as hashed words, see `hash_text`.
        width: D, width of the result.
        normalize: which numbers are normalised by what was observed; see `Scaling`.

    Raises:
        ValueError: if some part of the space cannot be read; names it.
    """

    def __init__(self, space: spaces.Space[Any], width: int, normalize: Normalize = "off") -> None:
        super().__init__()
        space = without_text(space)
        self.space, self.width = space, width
        leaves: dict[type[nn.Module], dict[Path, Any]] = {_Numbers: {}, _Choices: {}, Image: {}}
        for path, leaf in leaves_of(space):
            for key in cast("tuple[object, ...]", path):
                if not isinstance(key, str):
                    raise ValueError(
                        f"keys of observations must be strings, got {key!r}; a task stream names them itself"
                    )
            leaves[_reader(leaf, path)][path] = leaf
        scaling = Scaling(leaves[_Numbers], normalize)
        self.numbers = _Numbers(leaves[_Numbers], scaling, width) if leaves[_Numbers] else None
        self.choices = _Choices(leaves[_Choices], width) if leaves[_Choices] else None
        self.image_paths = list(leaves[Image])
        self.images = nn.ModuleList(Image(leaf, width) for leaf in leaves[Image].values())
        self.mlp = GatedMLP(width)

    def describe(self) -> str:
        """Return in one sentence what each entry is read by, without previous action, reward and episode starts."""
        entries: dict[str, list[str]] = {}
        for path, leaf in leaves_of(self.space):
            if path[0] not in HISTORY:
                entries.setdefault(_how(leaf), []).append(f"{'/'.join(path)} {_size(leaf)}".rstrip())
        return "reads " + "; ".join(f"{_listed(names)} by {how}" for how, names in entries.items())

    @torch.no_grad()
    def update(self, observation: TensorDict) -> None:
        """Take observations [..., N] into account by which numbers are scaled; nothing happens where none are.

        Args:
            observation: batch [...].
        """
        if self.numbers is not None and self.numbers.scaling.running:
            self.numbers.scaling.update(_side_by_side(observation, self.numbers.dims))

    def forward(self, observation: TensorDict | Mapping[Path, Tensor]) -> Tensor:
        """Return [..., D] from a batch [...] of observations, or of their entries by path."""
        read = [part(observation) for part in (self.numbers, self.choices) if part is not None]
        read += [image(observation[path]) for image, path in zip(self.images, self.image_paths, strict=True)]
        y: Tensor = self.mlp(sum(read[1:], read[0]))
        return y

    def bind(self, x: Tensor) -> tuple[dict[Path, NDArray[Any]], Callable[[], None]] | None:
        """Bind the encoding of one step to fixed tensors, for acting without gradients.

        Args:
            x: [B, D] float32 on the CPU, written over by each call.

        Returns:
            Arrays [B, ...] by path, into which the entries of an observation are written, and a call that encodes them.
            None where entries are not plain numbers and categories: `forward` reads them.
        """
        parts = [part for part in (self.numbers, self.choices) if part is not None]
        if self.images or not parts or not all(part.bindable for part in parts):
            return None
        entries, calls = parts[0].bind(x)
        if len(parts) > 1:
            other = torch.empty_like(x)
            more, further = parts[1].bind(other)
            entries, calls = entries | more, [*calls, *further, partial(x.add_, other)]
        calls += self.mlp.bind(x)
        return entries, partial(run_all, calls)


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
        return torch.from_numpy(narrow(array))

    return TensorDict(convert(tree), batch_size, device=device)


def narrow(array: NDArray[Any]) -> NDArray[Any]:
    """Return float32 of float64, and anything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


class _Numbers(nn.Module):
    """Linear map of all numbers side by side, scaled."""

    def __init__(self, leaves: dict[Path, spaces.Box | spaces.MultiBinary], scaling: Scaling, width: int) -> None:
        super().__init__()
        self.dims = {path: len(leaf.shape) for path, leaf in leaves.items()}
        self.scaling = scaling
        sizes = [int(np.prod(leaf.shape)) for leaf in leaves.values()]
        self.sizes = dict(zip(leaves, sizes, strict=True))
        self.linear = nn.Linear(sum(sizes), width)
        with torch.no_grad():  # an entry of variance 1 adds the variance 1, however many numbers it has
            for weight in self.linear.weight.split(sizes, 1):
                weight.normal_(std=weight.shape[1] ** -0.5)
            self.linear.bias.zero_()

    def forward(self, observation: TensorDict | Mapping[Path, Tensor]) -> Tensor:
        x = _side_by_side(observation, self.dims).to(self.linear.weight.dtype)
        y: Tensor = self.linear(self.scaling(x))
        return y

    bindable = True

    def bind(self, y: Tensor) -> tuple[dict[Path, NDArray[Any]], list[Callable[[], Any]]]:
        """Bind one step; see `Encoder.bind`."""
        numbers = y.new_zeros(len(y), self.linear.in_features)
        bias, weight = self.linear.bias.detach(), self.linear.weight.detach().T

        def encode() -> None:
            torch.addmm(bias, self.scaling(numbers), weight, out=y)

        return _columns(numbers, self.sizes), [encode]


class _Choices(nn.Module):
    """Summed embeddings of all categories: one table with rows for each entry, counted from its first category.

    A place of more than `MANY` categories becomes two, its digits v div b and v mod b.
    """

    def __init__(self, leaves: dict[Path, spaces.Discrete | spaces.MultiDiscrete], width: int) -> None:
        super().__init__()
        self.dims = {path: np.ndim(leaf.start) for path, leaf in leaves.items()}
        sizes = [np.reshape(_categories(leaf), -1) for leaf in leaves.values()]
        self.sizes = {path: size.size for path, size in zip(leaves, sizes, strict=True)}
        firsts = [np.reshape(leaf.start, -1) for leaf in leaves.values()]
        counts, first = (np.concatenate(part).astype(np.int64) for part in (sizes, firsts))
        bases = [_base(int(count)) for count in counts]
        digits = [
            [int(count)] if base is None else [-(-int(count) // base), base]
            for count, base in zip(counts, bases, strict=True)
        ]
        rows = np.array([n for part in digits for n in part], np.int64)
        self.split = any(bases)
        if self.split:
            self.source: Tensor
            self.divisor: Tensor
            self.base: Tensor
            split = [[(1, 0)] if base is None else [(base, 0), (1, base)] for base in bases]
            numbers = [(place, *number) for place, part in enumerate(split) for number in part]
            for name, column in zip(("source", "divisor", "base"), zip(*numbers, strict=True), strict=True):
                self.register_buffer(name, torch.tensor(column), persistent=False)
        self.begin: Tensor
        self.first: Tensor
        self.register_buffer("begin", torch.as_tensor(np.cumsum(rows) - rows), persistent=False)
        self.register_buffer("first", torch.as_tensor(first), persistent=False)
        self.from_zero = not first.any()
        shares = np.concatenate([np.full(size.size, size.size**-0.5) for size in sizes])  # each entry adds variance 1
        parts = zip(shares, digits, strict=True)
        scales = np.concatenate([np.full(sum(part), share * len(part) ** -0.5) for share, part in parts])
        table = torch.randn(int(rows.sum()), width) * torch.as_tensor(scales, dtype=torch.float32)[:, None]
        self.table = nn.Parameter(table)

    def forward(self, observation: TensorDict | Mapping[Path, Tensor]) -> Tensor:
        values = _side_by_side(observation, self.dims)
        values = values if self.from_zero else values - self.first
        return embedding_sum(self._digits(values) if self.split else values, self.table, self.begin)

    @property
    def bindable(self) -> bool:
        """Whether values are rows of the table as they are."""
        return self.from_zero and not self.split

    def bind(self, y: Tensor) -> tuple[dict[Path, NDArray[Any]], list[Callable[[], Any]]]:
        """Bind one step; see `Encoder.bind`."""
        values = torch.zeros(len(y), len(self.begin), dtype=torch.int64)
        return _columns(values, self.sizes), [bind_embedding_sum(values, self.table, self.begin, y)]

    def _digits(self, values: Tensor) -> Tensor:
        """Return [..., P'] with two digits in place of each value of many categories."""
        digits = values.long()[..., self.source].div(self.divisor, rounding_mode="floor")
        return torch.where(self.base > 0, digits % self.base.clamp_min(1), digits)


def _base(categories: int) -> int | None:
    """Return the base of two digits for so many categories; None where each has a row of its own."""
    return None if categories <= MANY else math.isqrt(categories - 1) + 1


def _side_by_side(observation: TensorDict | Mapping[Path, Tensor], dims: dict[Path, int]) -> Tensor:
    """Return all entries as one row of numbers, [..., N]; `dims` are those an entry itself has."""
    parts = [observation[path].flatten(-n) if n else observation[path][..., None] for path, n in dims.items()]
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]


def _columns(rows: Tensor, sizes: dict[Path, int]) -> dict[Path, NDArray[Any]]:
    """Return the columns [B, n] of each entry in rows [B, N] of all."""
    ends = np.cumsum(list(sizes.values()))
    return {path: rows.numpy()[:, end - size : end] for (path, size), end in zip(sizes.items(), ends, strict=True)}


def _categories(leaf: spaces.Discrete | spaces.MultiDiscrete) -> Any:
    return leaf.n if isinstance(leaf, spaces.Discrete) else leaf.nvec


def _reader(leaf: spaces.Space[Any], path: Path) -> type[nn.Module]:
    """Return the class that reads an entry."""
    if reason := refusal(leaf):
        raise ValueError(f"cannot read observation {'/'.join(path)!r} of space {brief(leaf)}: {reason}")
    if isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete):
        return _Choices
    return _Numbers if image_rows(leaf) is None else Image


def _how(leaf: spaces.Space[Any]) -> str:
    """Return by what an entry is read, in words."""
    if how := layout(leaf):
        return f"convolutions ({how})"
    if is_hashed(leaf):
        return "an embedding of hashed words"
    if not isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete):
        return "a linear map"
    return "an embedding of two digits" if np.max(_categories(leaf)) > MANY else "an embedding"


def _size(leaf: spaces.Space[Any]) -> str:
    return "x".join(map(str, leaf.shape or ()))


def _listed(names: list[str], most: int = 6) -> str:
    return ", ".join(names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"])
