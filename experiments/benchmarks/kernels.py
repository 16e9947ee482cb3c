"""`lifelong bench kernels`: run `lifelong.kernels.benchmark.bench` with a memory layer and TorchRL's LSTMModule.

The layer is GatedDelta; LSTMModule supports resets inside a sequence, as our kernels do.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lifelong.kernels.benchmark.bench import main
from lifelong.kernels.benchmark.config import BenchConfig, Guests
from lifelong.kernels.benchmark.operations import Trial
from lifelong.kernels.benchmark.shape import Shape

__all__ = ["command", "guests"]


def guests() -> Guests:
    """Return the layer and peers that are installed."""
    layer, peers, missing = None, {}, []
    try:
        layer = importlib.import_module("lifelong.memory.delta.gated_delta").GatedDelta
    except ImportError as error:
        missing.append(f"lifelong.memory cannot be imported: {error}.")
    try:
        importlib.import_module("torchrl.modules")
        peers = {
            "torchrl LSTMModule": lambda shape, starts: _lstm_module(shape, starts, python_based=False),
            "torchrl LSTMModule, python_based": lambda shape, starts: _lstm_module(shape, starts, python_based=True),
        }
    except ImportError as error:
        missing.append(f"TorchRL cannot be imported: {error}.")
    return Guests(layer, peers, tuple(missing))


def _lstm_module(shape: Shape, starts: float, *, python_based: bool) -> Trial:
    from tensordict import TensorDict
    from torchrl.modules import LSTMModule, set_recurrent_mode

    B, T, W = shape.B, shape.T, shape.H * shape.d
    torch.manual_seed(0)
    module = LSTMModule(W, W, in_key="x", out_key="y", python_based=python_based)
    inputs: dict[str, Any] = {
        "x": torch.randn(B, T, W, requires_grad=True),
        "recurrent_state_h": torch.zeros(B, T, 1, W),
        "recurrent_state_c": torch.zeros(B, T, 1, W),
        "is_init": torch.rand(B, T, 1) < starts,
    }

    def run() -> Sequence[Tensor]:
        with set_recurrent_mode(True):
            return (module(TensorDict(inputs, [B, T]))["y"],)

    return Trial(run, [inputs["x"], *module.parameters()])


def command(config: BenchConfig) -> None:
    """Measure and print the report."""
    sys.stdout.write(main(config, guests()))
