"""The device that a name means, and whether torch can compute there."""

import torch

from lifelong.experiments.runs.errors import UserError

__all__ = ["check_device"]


def check_device(name: str) -> torch.device:
    """Return the device of a name.

    Raises:
        UserError: if it is none, or torch cannot compute there.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device must be cpu, cuda or cuda:<number>: device={name}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"torch sees no GPU here: device={name}; --device cpu works everywhere")
    try:
        torch.zeros(1, device=device).item()
    except (AssertionError, RuntimeError, NotImplementedError, ImportError):
        raise UserError(f"torch cannot compute on this device here: device={name}; use cpu or cuda") from None
    return device
