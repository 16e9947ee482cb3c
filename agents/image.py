"""Convolutions over images; which spaces hold one, and how it lies in them, says `image_layout.py`.

A uint8 [H, W, C] is read by the convolutions as they are, which leave out what their strides do not reach: up to five
rows and columns at the far edges (one of each in 84 × 84). All other images are padded with zeros, so that every pixel
is read.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from lifelong.agents.image_layout import image_rows
from lifelong.agents.image_parts import read_in_parts

__all__ = ["Image", "PickedLives", "pick_lives"]

_AT_ONCE = 2**20  # numbers of a batch of images that is read at once: 37 of 84 x 84 x 4, 10 of 210 x 160 x 3


class PickedLives:
    """Images of some lives of a segment, [n, T, *shape], which are copied when they are read, and only those.

    Args:
        images: [B, T, *shape].
        lives: n numbers of lives.
    """

    def __init__(self, images: Tensor, lives: Sequence[int]) -> None:
        self.images, self.lives = images, lives
        self.shape = torch.Size([len(lives), *images.shape[1:]])

    def __getitem__(self, steps: tuple[slice, slice]) -> "PickedLives":
        """Return some steps of all these lives, as `[:, steps]` of a tensor."""
        return PickedLives(self.images[steps], self.lives)

    def rows(self, first: int, end: int) -> Tensor:
        """Return images `first` to `end`, all lives and steps counted through: [end - first, *shape]."""
        runs, length = [], self.shape[1]
        while first < end:
            life, step = divmod(first, length)
            runs.append(self.images[self.lives[life], step : step + end - first])
            first += len(runs[-1])
        return torch.cat(runs)


def pick_lives(images: Tensor, lives: Tensor) -> "Tensor | PickedLives":
    """Return `images[lives]`, or if they are many and large, what `Image` reads without a copy of all of them.

    Args:
        images: [B, T, *shape].
        lives: [n] numbers of lives.
    """
    many = len(lives) * math.prod(images.shape[1:]) > _AT_ONCE
    return PickedLives(images, lives.tolist()) if many else images[lives]


class Image(nn.Module):
    """Convolutional encoder of pixels.

    Args:
        space: of an image, see the table.
        width: D, width of the result.
    """

    def __init__(self, space: spaces.Box, width: int) -> None:
        super().__init__()
        rows = image_rows(space)
        assert rows is not None  # noqa: S101  the caller's business
        self.rows, self.axes = rows, len(space.shape)
        self.low = float(space.low.min())
        self.span = float(space.high.max()) - self.low or 1.0
        height, breadth = space.shape[rows : rows + 2]
        channels = int(np.prod(space.shape)) // (height * breadth)
        plain = space.dtype == np.uint8 and self.axes == 3 and rows == 0
        below, right = (0, 0) if plain else (_left_out(height), _left_out(breadth))
        self.padding = (0, right, 0, below)
        self.conv = nn.Sequential(
            nn.Conv2d(channels, 16, 5, stride=3),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 32, 3, stride=2),
            nn.ReLU(inplace=True),
            nn.Flatten(),
        )
        with torch.no_grad():
            size = self.conv(torch.zeros(1, channels, height + below, breadth + right)).shape[1]
        self.linear = nn.Linear(size, width)
        nn.init.normal_(self.linear.weight, std=size**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor | PickedLives) -> Tensor:
        """Return [..., D] from images [..., *shape].

        Many large images are read in parts, and with gradients each part once more in the backward pass: what their
        convolutions would keep until then is several times the images themselves.
        """
        batch, shape = x.shape[: -self.axes], x.shape[-self.axes :]
        count, most = math.prod(batch), max(_AT_ONCE // math.prod(shape), 1)
        if isinstance(x, Tensor):
            if count <= most:
                y: Tensor = self.linear(self._features(x.flatten(0, -self.axes - 1)))
                return y.reshape(*batch, -1)
            x = x[None] if len(batch) == 1 else x.flatten(0, -self.axes - 2)
            x = PickedLives(x, range(len(x)))
        parts = [partial(x.rows, first, min(first + most, count)) for first in range(0, count, most)]
        return read_in_parts(parts, self._features, self.conv, self.linear).reshape(*batch, -1)

    def _features(self, images: Tensor) -> Tensor:
        """Return what the linear map reads, [N, M], from images [N, *shape]."""
        pixels = images.movedim((self.rows + 1, self.rows + 2), (-2, -1))
        pixels = pixels.unsqueeze(1) if self.axes == 2 else pixels.flatten(1, -3)
        pixels = pixels.to(self.linear.weight.dtype, copy=True)
        pixels = (pixels.sub_(self.low) if self.low else pixels).div_(self.span)
        if any(self.padding):
            pixels = nn.functional.pad(pixels, self.padding)
        features: Tensor = self.conv(pixels)
        return features


def _left_out(side: int) -> int:
    """Return the padding with which strides of 3 and 2 read every pixel: sides of 11, 17, 23, ..."""
    return -(side - 11) % 6
