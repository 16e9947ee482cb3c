"""Images: which spaces hold one, and convolutions over it.

| Box | read as |
| --- | --- |
| [H, W] | one grey channel |
| [H, W, C]; [C, H, W] where H and W are not the first two | C channels |
| [N, H, W, C], [N, C, H, W], [H, W, C, N] | N images, stacked: N C channels |

H and W are 16 or more. Pixels are of uint8 with any bounds, or of any other type with the bounds 0 and 1, or 0 and 255.
They are scaled from their bounds to [0, 1].

A uint8 [H, W, C] is read by the convolutions as they are, which leave out what their strides do not reach: up to five
rows and columns at the far edges (one of each in 84 × 84). All other images are padded with zeros, so that every pixel
is read.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["Image", "image_rows", "layout"]

_SMALLEST = 16
_AT_ONCE = 2**21  # numbers of a batch of images that is read at once: 74 of 84 x 84 x 4, 20 of 210 x 160 x 3
_CANDIDATES = {2: (0,), 3: (0, 1), 4: (1, 2, 0)}  # the axis of the rows, by the number of axes; columns are the next
_LAYOUTS = {
    (2, 0): "grey",
    (3, 0): "channels last",
    (3, 1): "channels first",
    (4, 0): "stacked last",
    (4, 1): "stacked, channels last",
    (4, 2): "stacked, channels first",
}


def image_rows(space: spaces.Space[Any]) -> int | None:
    """Return the axis of an image's rows, which its columns follow; None if a space is not that of an image.

    Args:
        space: an entry of an observation.
    """
    if not isinstance(space, spaces.Box) or not (space.dtype == np.uint8 or _bounds_of_pixels(space)):
        return None
    shape = space.shape
    return next((r for r in _CANDIDATES.get(len(shape), ()) if min(shape[r : r + 2]) >= _SMALLEST), None)


def layout(space: spaces.Space[Any]) -> str | None:
    """Return how an image's axes are read, in words; None if a space is not that of an image.

    Args:
        space: an entry of an observation.
    """
    rows = image_rows(space)
    return None if rows is None else _LAYOUTS[len(space.shape or ()), rows]


def _bounds_of_pixels(space: spaces.Box) -> bool:
    return bool((space.low == 0).all() and any((space.high == white).all() for white in (1, 255)))


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
