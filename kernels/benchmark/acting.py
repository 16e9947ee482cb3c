"""Benchmark of acting: single steps of a whole layer from its own state."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lifelong.kernels.in_place import in_place

from .accuracy import TOLERANCE
from .clock import Call
from .config import Guests
from .layer import GatedDeltaLayer

__all__ = ["examine_layer", "living", "make_layer"]

Step = Callable[[Tensor, Any, Tensor], tuple[Tensor, Any]]


def make_layer(guests: Guests, width: int, num_heads: int | None = None, head_dim: int | None = None) -> Any:
    """Return the layer to act with: the guests' layer, or `GatedDeltaLayer`.

    Args:
        guests: of the layers above.
        width: D, width of the layer.
        num_heads: H; None for the layer's own, as for the next.
        head_dim: of keys and values; None makes keys twice as values.
    """
    torch.manual_seed(0)
    if guests.layer is not None:
        return guests.layer(width, num_heads=num_heads, key_dim=head_dim, value_dim=head_dim)
    H = num_heads or max(n for n in range(1, max(1, width // 32) + 1) if width % n == 0)
    return GatedDeltaLayer(width, H, head_dim or 2 * width // H, head_dim or width // H)


def living(step: Step, layer: Any, num_envs: int, width: int, device: torch.device | str, steps: int = 1) -> Call:
    """Return a call that takes consecutive steps.

    Args:
        step: the layer's, or a compiled form of it.
        layer: makes the initial state.
        num_envs: B.
        width: D.
        device: torch device.
        steps: steps of one call.
    """
    x = torch.randn(num_envs, width, device=device)
    start = torch.zeros(num_envs, dtype=torch.bool, device=device)
    state = layer.initial_state(num_envs)

    def call() -> None:
        nonlocal state
        for _ in range(steps):
            _, state = step(x, state, start)

    return call


def examine_layer(step: Step, layer: Any, width: int, device: torch.device | str) -> str | None:
    """Compare three in-place steps with the layer in float64; return the error, None if they agree."""
    exact = copy.deepcopy(layer).cpu().double()
    try:
        with torch.no_grad():
            state, true_state = layer.initial_state(4), exact.initial_state(4)
            for t in range(3):
                x, start = torch.randn(4, width), torch.arange(4) == t
                with in_place():
                    y, state = step(x.to(device), state, start.to(device))
                wanted, true_state = exact.step(x.double(), true_state, start)
                error = ((y.cpu() - wanted).abs().max() / wanted.abs().max().clamp_min(1.0)).item()
                if not error <= TOLERANCE:  # true for NaN
                    return f"y differs by {error:.1e} at step {t}, allowed {TOLERANCE:.0e}"
    except Exception as error:  # noqa: BLE001  any exception is reported, and the layer not timed
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None
