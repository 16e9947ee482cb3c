"""Which spaces are images, and that all their pixels are read."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from lifelong.agents import Encoder
from lifelong.agents.encoder import as_tensors
from lifelong.agents.image import Image, PickedLives, pick_lives
from lifelong.agents.image_layout import image_rows, layout

IMAGES: dict[str, tuple[spaces.Space[Any], str, int]] = {
    "grey": (spaces.Box(0, 255, (84, 84), np.uint8), "grey", 1),
    "last": (spaces.Box(0, 255, (84, 80, 4), np.uint8), "channels last", 4),
    "many channels last": (spaces.Box(0, 255, (16, 30, 40), np.uint8), "channels last", 40),
    "first": (spaces.Box(0, 255, (4, 84, 80), np.uint8), "channels first", 4),
    "one first": (spaces.Box(0, 255, (1, 20, 24), np.uint8), "channels first", 1),
    "stacked grey": (spaces.Box(0, 255, (8, 20, 24), np.uint8), "channels first", 8),
    "stacked": (spaces.Box(0, 255, (4, 20, 24, 3), np.uint8), "stacked, channels last", 12),
    "stacked, first": (spaces.Box(0, 255, (4, 3, 20, 24), np.uint8), "stacked, channels first", 12),
    "stacked at the end": (spaces.Box(0, 255, (20, 24, 3, 4), np.uint8), "stacked last", 12),
    "float": (spaces.Box(0, 1, (20, 24, 3), np.float32), "channels last", 3),
    "double": (spaces.Box(0, 1, (3, 20, 24), np.float64), "channels first", 3),
    "float grey": (spaces.Box(0, 1, (20, 24), np.float32), "grey", 1),
    "float to 255": (spaces.Box(0, 255, (20, 24, 3), np.float32), "channels last", 3),
    "integers": (spaces.Box(0, 255, (20, 24, 3), np.int64), "channels last", 3),
    "bits": (spaces.Box(0, 1, (20, 24, 3), np.uint8), "channels last", 3),
    "part of the range": (spaces.Box(10, 200, (3, 20, 24), np.uint8), "channels first", 3),
}

NUMBERS: dict[str, spaces.Space[Any]] = {
    "small": spaces.Box(0, 255, (4, 4, 3), np.uint8),
    "a vector": spaces.Box(0, 255, (128,), np.uint8),
    "a thin table": spaces.Box(0, 255, (84, 3), np.uint8),
    "signed": spaces.Box(-1, 1, (20, 24, 3), np.float32),
    "unbounded": spaces.Box(-np.inf, np.inf, (20, 24), np.float32),
    "torques": spaces.Box(0, 3, (20, 24), np.float32),
    "bits": spaces.MultiBinary([20, 24]),
    "apart": spaces.Box(0, 255, (20, 3, 24), np.uint8),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_go_through_convolutions(name: str) -> None:
    space, words, channels = IMAGES[name]
    encoder = Encoder(space, 8)
    assert layout(space) == words
    assert encoder.numbers is None
    assert encoder.images[0].conv[0].in_channels == channels  # type: ignore[union-attr,index]


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_image_is_numbers(name: str) -> None:
    assert image_rows(NUMBERS[name]) is None
    assert not Encoder(NUMBERS[name], 8).images


@pytest.mark.parametrize("name", [name for name in IMAGES if name not in ("last", "many channels last")])
def test_every_pixel_is_read(name: str) -> None:
    """Far corners and edges too, which strides may leave out."""
    torch.manual_seed(0)
    space = IMAGES[name][0]
    assert isinstance(space, spaces.Box)
    image, x = Image(space, 8).double(), torch.full((1, *space.shape), 0.5, dtype=torch.float64, requires_grad=True)
    image.conv[1] = image.conv[3] = torch.nn.Identity()  # a ReLU may be shut at a place
    image(x).sum().backward()
    assert x.grad is not None
    plain = space.dtype == np.uint8 and layout(space) == "channels last"
    seen = x.grad[0, :17, :23] if plain else x.grad[0]  # of 20 × 24
    assert (seen != 0).all()


@pytest.mark.parametrize("name", IMAGES)
def test_one_pixel_makes_a_difference(name: str) -> None:
    torch.manual_seed(0)
    space, encoder = IMAGES[name][0], Encoder(IMAGES[name][0], 16)
    space.seed(0)
    picture = space.sample()
    rng, other = np.random.default_rng(0), np.stack([picture] * 8)
    rows = image_rows(space)
    assert rows is not None
    for n in range(8):
        place = tuple(
            int(rng.integers(side - 6)) if i in (rows, rows + 1) else 0 for i, side in enumerate(picture.shape)
        )
        low, high = space.low[place], space.high[place]  # type: ignore[attr-defined]
        other[(n, *place)] = high if picture[place] < (float(low) + float(high)) / 2 else low
    with torch.no_grad():
        read = encoder(as_tensors(np.concatenate([picture[None], other]), (9,)))
    assert torch.pdist(read).min() > 0


def test_layouts_of_one_picture_are_the_same_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 17, 23, 3), np.uint8)
    first = np.moveaxis(picture, -1, 1)
    pairs = {(17, 23, 3): picture, (3, 17, 23): first}
    read = []
    for shape, pixels in pairs.items():
        torch.manual_seed(0)
        read.append(Image(spaces.Box(0, 255, shape, np.uint8), 8)(torch.from_numpy(pixels)))
    torch.manual_seed(0)
    floats = Image(spaces.Box(0, 1, (17, 23, 3), np.float32), 8)
    read.append(floats(torch.from_numpy(picture.astype(np.float32) / 255)))
    torch.testing.assert_close(read[0], read[1])
    torch.testing.assert_close(read[0], read[2])


def test_pixels_are_scaled_by_their_own_bounds() -> None:
    picture = np.random.default_rng(0).integers(0, 2, (2, 17, 23, 3), np.uint8)
    read = []
    for low, high in ((0, 1), (0, 255), (10, 210)):
        torch.manual_seed(0)
        pixels = (low + (high - low) * picture).astype(np.uint8)
        read.append(Image(spaces.Box(low, high, (17, 23, 3), np.uint8), 8)(torch.from_numpy(pixels)))
    torch.testing.assert_close(read[0], read[1])
    torch.testing.assert_close(read[0], read[2])


def test_many_large_images_are_read_in_parts_with_the_same_result_and_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    image = Image(spaces.Box(0, 255, (20, 18, 3), np.uint8), 8).double()
    x = torch.randint(0, 256, (3, 5, 20, 18, 3), dtype=torch.uint8)
    found = []
    for most in (2**24, 4 * 20 * 18 * 3, 1):  # at once, four at a time, one by one
        monkeypatch.setattr("lifelong.agents.image._AT_ONCE", most)
        image.zero_grad()
        y = image(x)
        assert y.shape == (3, 5, 8)
        y.square().sum().backward()
        found.append([y.detach(), *(p.grad.clone() for p in image.parameters() if p.grad is not None)])
    for parts in found[1:]:
        for one, other in zip(parts, found[0], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [slice(None), slice(2, 5), slice(4, 9)])
def test_picked_lives_are_read_as_copies_of_them_are(monkeypatch: pytest.MonkeyPatch, steps: slice) -> None:
    torch.manual_seed(0)
    image = Image(spaces.Box(0, 255, (20, 18, 3), np.uint8), 8)
    x, lives = torch.randint(0, 256, (4, 7, 20, 18, 3), dtype=torch.uint8), torch.tensor([3, 0, 2])
    monkeypatch.setattr("lifelong.agents.image._AT_ONCE", 4 * 20 * 18 * 3)
    picked = pick_lives(x, lives)
    assert isinstance(picked, PickedLives)
    found = []
    for seen in (x[lives][:, steps], picked[:, steps]):
        image.zero_grad()
        y = image(seen)
        y.square().sum().backward()
        found.append([y.detach(), *(p.grad for p in image.parameters() if p.grad is not None)])
    assert found[0][0].shape == (*x[:3, steps].shape[:2], 8)
    assert all(one.equal(other) for one, other in zip(*found, strict=True))
    monkeypatch.undo()
    assert pick_lives(x, lives).equal(x[lives])  # few small ones are copied
