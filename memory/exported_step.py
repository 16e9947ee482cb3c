"""Export a memory's step by torch.export, with the state as an explicit input and output.

    program = export_step(memory, batch=1)
    torch.export.save(program, "memory.pt2")
    y, state = torch.export.load("memory.pt2").module()(x, state, start)

x is [B, D], start [B] bool, and the state a dict of tensors [B, ...] by path, as `S` or `a/window`, before and after:
`by_path(memory.initial_state(B))` begins a life. In the program kernels are plain loops, in operations of torch.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from lifelong.kernels.backends import plain_loops
from lifelong.memory.memory import Memory
from lifelong.memory.state_paths import by_path, nested, paths_of

__all__ = ["export_step", "program_of", "quiet"]


def export_step(memory: Memory, batch: int = 1) -> ExportedProgram:
    """Return a memory's step as a program: (x, state, start) -> (y, state), in float32 or the memory's own dtype.

    Args:
        memory: any memory; left as it is.
        batch: B, lives side by side; the program is for exactly so many.

    Raises:
        ValueError: if `batch` is not positive.
        TypeError: if torch cannot translate the step, such as one that branches on data; says why in one sentence.
    """
    if batch < 1:
        raise ValueError(f"batch must be positive: batch={batch}")
    x = memory.zeros(batch, memory.width)
    start = torch.ones(batch, dtype=torch.bool, device=x.device)
    state = {name: leaf.clone() for name, leaf in by_path(memory.initial_state(batch)).items()}
    try:
        return program_of(_Step(memory), (x, state, start))
    except Exception as error:
        said = next(iter(str(error).strip().splitlines()), "")
        name = type(memory).__name__
        raise TypeError(f"torch cannot export the step of {name}: {type(error).__name__}: {said}") from error


def program_of(module: nn.Module, inputs: tuple[Any, ...]) -> ExportedProgram:
    """Return a module's forward as a program that `torch.export.save` can write, with plain loops for kernels.

    Args:
        module: left as it is.
        inputs: of the forward; the program is for tensors of exactly these shapes.
    """
    for x in module.buffers():
        if not x.numel():  # torch cannot save an empty tensor over an empty array of numpy's
            x.data = x.data.clone()
    with quiet(), torch.no_grad(), plain_loops():
        return torch.export.export(module, inputs)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what torch warns of and prints while it traces; what is wrong is an exception."""
    nowhere, before = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class _Step(nn.Module):
    """The step of a memory as a function of tensors."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory, self.paths = memory, paths_of(memory.initial_state(1))

    def forward(self, x: Tensor, state: dict[str, Tensor], start: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y, after = self.memory.step(x, nested(state, self.paths, x.shape[0]), start)
        return y, by_path(after)
