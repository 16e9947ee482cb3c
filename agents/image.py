"""Convolutions over images; which spaces hold one, and how it lies in them, says `image_layout.py`.

A uint8 [H, W, C] is read by the convolutions as they are, which leave out what their strides do not reach: up to five
rows and columns at the far edges (one of each in 84 × 84). All other images are padded with zeros, so that every pixel
is read.
"""

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lifelong.agents.image_layout import image_rows

__all__ = ["Image"]

_AT_ONCE = 2**21  # numbers of a batch of images that is read at once: 74 of 84 x 84 x 4, 20 of 210 x 160 x 3


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
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            size = self.conv(torch.zeros(1, channels, height + below, breadth + right)).shape[1]
        self.linear = nn.Linear(size, width)
        nn.init.normal_(self.linear.weight, std=size**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., D] from images [..., *shape].

        Many large images are read in parts, and with gradients each part once more in the backward pass: what their
        convolutions would keep until then is several times the images themselves.
        """
        images = x.flatten(0, -self.axes - 1)
        if images.numel() <= _AT_ONCE:
            y = self._read(images)
        else:
            parts = images.split(max(_AT_ONCE * images.shape[0] // images.numel(), 1))
            y = torch.cat([checkpoint(self._read, part, use_reentrant=False) for part in parts])
        return y.reshape(*x.shape[: -self.axes], -1)

    def _read(self, images: Tensor) -> Tensor:
        """Return [N, D] from images [N, *shape]."""
        pixels = images.movedim((self.rows + 1, self.rows + 2), (-2, -1))
        pixels = pixels.unsqueeze(1) if self.axes == 2 else pixels.flatten(1, -3)
        pixels = pixels.to(self.linear.weight.dtype)
        pixels = (pixels - self.low if self.low else pixels) / self.span
        if any(self.padding):
            pixels = nn.functional.pad(pixels, self.padding)
        y: Tensor = self.linear(self.conv(pixels))
        return y


def _left_out(side: int) -> int:
    """Return the padding with which strides of 3 and 2 read every pixel: sides of 11, 17, 23, ..."""
    return -(side - 11) % 6
