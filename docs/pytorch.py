"""Write `docs/pytorch.md`: which memory works with which part of PyTorch.

    python -P docs/pytorch.py [MEMORY...]

Each cell is one function below, run on a tiny memory; a cell says yes, or what the function raised. With names, only
the rows of these memories are measured again. The tests run every cell and compare it with the page.
"""

import copy
import pickle
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from tensordict import TensorDict
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lifelong.memory import MEMORIES, Memory, export_step, make_memory
from lifelong.memory.exported_step import quiet
from lifelong.memory.state_paths import by_path

PAGE = Path(__file__).with_name("pytorch.md")
B, T, D = 2, 3, 8
SEGMENT = 20
"""Steps for DDP: `lact` uses some parameters only where 16 steps are complete."""
HEAD = """# Memories in PyTorch

Written by `docs/pytorch.py`, which runs every cell; a test for each cell compares it with this page. {green:,} of the
{all:,} cells are green. Before every column was a clause of the contract, of the 72 memories of then autocast and half
precision had none, `torch.func` 4, `torch.export` 70; the other columns were not counted.

| column | what runs, and equals the plain module in float32 |
| --- | --- |
| compile | `torch.compile(memory, backend="aot_eager")` over {T} steps, with gradients |
| export | `export_step(memory, batch)` by `torch.export`, the state an input and an output |
| autocast | under `torch.autocast` in bfloat16, with gradients: computed in float32, to the same bits |
| half | x in bfloat16 and float16: y has its dtype, the state is float32; parameters in half precision are refused |
| vmap | `torch.func`: an ensemble by `vmap` over weights, gradients of single lives by `vmap` of `grad` |
| deepcopy | `copy.deepcopy`, also after the original has changed |
| pickle | `pickle.loads(pickle.dumps(memory))` |
| state_dict | `load_state_dict(state_dict())` into another one, strictly, to the same bits |
| DDP | `DistributedDataParallel` (gloo, CPU): two passes of {SEGMENT} steps, no unused parameter, equal gradients |

| memory | {columns} |
| --- |{rule}
"""


def inputs(memory: Memory, steps: int = T) -> tuple[Tensor, TensorDict, Tensor]:
    """Return x [B, T, D], a state that was lived, and start [B, T] with one start inside."""
    generator = torch.Generator().manual_seed(1)
    before, x = torch.randn(2, B, steps, D, generator=generator)
    start = torch.zeros(B, steps, dtype=torch.bool)
    with torch.no_grad():
        _, state = memory(before, memory.initial_state(B), start)
    start[0, 1] = True
    return x, state, start


def gradients(memory: Memory, run: Callable[..., tuple[Tensor, TensorDict]], steps: int = T) -> dict[str, Tensor]:
    """Return y, the state after it, and the gradients of all parameters, by name; zero where there is none."""
    x, state, start = inputs(memory, steps)
    memory.zero_grad()
    y, after = run(x, state, start)
    y.sin().sum().backward()
    found = {
        f"gradient of {name}": torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in memory.named_parameters()
    }
    memory.zero_grad()  # which leaves the gradients that were taken as they are
    return {"y": y.detach(), **{name: leaf.detach() for name, leaf in by_path(after).items()}, **found}


def same(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float = 1e-4) -> None:
    """Check that two results agree."""
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, rtol=tolerance, atol=tolerance)


def compiled(memory: Memory) -> None:
    """Check torch.compile."""
    want = gradients(memory, memory)
    torch.compiler.reset()
    same(gradients(memory, torch.compile(memory, backend="aot_eager")), want)


def exported(memory: Memory) -> None:
    """Check torch.export."""
    x, state, start = inputs(memory)
    step = export_step(memory, B).module()
    want, after = memory.step(x[:, 0], state, start[:, 1])
    y, got = step(x[:, 0], by_path(state), start[:, 1])
    same({"y": y, **got}, {"y": want.detach(), **by_path(after.detach())})


def autocast(memory: Memory) -> None:
    """Check autocast."""

    def run(*given: Any) -> tuple[Tensor, TensorDict]:
        with torch.autocast("cpu", dtype=torch.bfloat16):  # the backward pass stands outside, as torch asks for
            y, after = memory(*given)
        return y, after

    same(gradients(memory, run), gradients(memory, memory), 0.0)


def half(memory: Memory) -> None:
    """Check inputs in half precision, and the refusal of such parameters."""
    x, state, start = inputs(memory)
    for dtype in (torch.bfloat16, torch.float16):
        y, after = memory(x.to(dtype), state, start)
        want, wanted = memory(x.to(dtype).float(), state, start)
        same({"y": y, **by_path(after)}, {"y": want.to(dtype), **by_path(wanted)}, 0.0)
        try:
            copy.deepcopy(memory).to(dtype)
        except TypeError as error:
            if str(dtype) not in str(error):
                raise
        else:
            raise AssertionError(f"parameters in {dtype} must be refused")


def vmap(memory: Memory) -> None:
    """Check ensembles and gradients of single lives by torch.func."""
    x, state, start = inputs(memory)
    weights, fixed = dict(memory.named_parameters()), dict(memory.named_buffers())
    both = {name: torch.stack([p.detach(), 1.01 * p.detach()]) for name, p in weights.items()}

    def live(weights: dict[str, Tensor], x: Tensor, state: TensorDict, start: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(memory, (weights, fixed), (x, state, start))[0]
        return y

    def loss(weights: dict[str, Tensor], x: Tensor, state: dict[str, Tensor], start: Tensor) -> Tensor:
        one = TensorDict({tuple(name.split("/")): leaf[None] for name, leaf in state.items()}, [1])
        return live(weights, x[None], one, start[None]).sin().sum()

    ys = torch.vmap(lambda weights: live(weights, x, state, start))(both)
    for i in range(2):
        one = {name: p[i] for name, p in both.items()}
        same({"y": ys[i]}, {"y": live(one, x, state, start)})
    each = torch.vmap(torch.func.grad(loss), (None, 0, 0, 0))(weights, x, by_path(state), start)
    want = torch.autograd.grad(live(weights, x, state, start).sin().sum(), [*weights.values()], materialize_grads=True)
    same({name: grad.sum(0) for name, grad in each.items()}, dict(zip(weights, want, strict=True)))


def deepcopied(memory: Memory) -> None:
    """Check copy.deepcopy: the copy goes on when the original has changed."""
    want, original = gradients(memory, memory), copy.deepcopy(memory)
    other = copy.deepcopy(original)
    with torch.no_grad():
        for p in original.parameters():
            p.zero_()
    same(gradients(other, other), want, 0.0)


def pickled(memory: Memory) -> None:
    """Check pickle."""
    other: Memory = pickle.loads(pickle.dumps(memory))  # noqa: S301  our own bytes
    same(gradients(other, other), gradients(memory, memory), 0.0)


def state_dict(memory: Memory, name: str) -> None:
    """Check that a state dict brings another module to the same bits."""
    torch.manual_seed(5)
    other = make_memory(name, D)
    other.load_state_dict(memory.state_dict(), strict=True)
    same(gradients(other, other), gradients(memory, memory), 0.0)


def distributed(memory: Memory) -> None:
    """Check DistributedDataParallel, in this process alone."""
    want = gradients(memory, memory, SEGMENT)
    with tempfile.TemporaryDirectory() as folder:
        torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=0, world_size=1)
        try:
            parallel = DistributedDataParallel(memory)
            for _ in range(2):  # a parameter without a gradient in the first pass is an error in the second
                got = gradients(memory, parallel, SEGMENT)
        finally:
            torch.distributed.destroy_process_group()
    same(got, want)


CELLS: dict[str, Callable[[Memory, str], None]] = {
    "compile": lambda memory, name: compiled(memory),
    "export": lambda memory, name: exported(memory),
    "autocast": lambda memory, name: autocast(memory),
    "half": lambda memory, name: half(memory),
    "vmap": lambda memory, name: vmap(memory),
    "deepcopy": lambda memory, name: deepcopied(memory),
    "pickle": lambda memory, name: pickled(memory),
    "state_dict": state_dict,
    "DDP": lambda memory, name: distributed(memory),
}


def measure(name: str, column: str) -> str:
    """Return what a cell says: yes, or the error."""
    torch.manual_seed(0)
    memory = make_memory(name, D)
    try:
        with quiet():
            CELLS[column](memory, name)
    except Exception as error:  # noqa: BLE001  whatever it is, it is what the page says
        said = re.sub(r"\s+", " ", str(error).strip().partition("\n")[0])[:160]
        return f"{type(error).__name__}: {said}".replace("|", "/")
    return "yes"


def read() -> dict[str, dict[str, str]]:
    """Return the cells of the page as it stands, by memory and column."""
    rows = [line.strip("| \n").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): dict(zip(CELLS, row[1:], strict=True)) for row in rows}


def page(cells: dict[str, dict[str, str]]) -> str:
    """Return the page of measured cells."""
    green = sum(cell == "yes" for row in cells.values() for cell in row.values())
    head = HEAD.format(
        green=green,
        all=len(cells) * len(CELLS),
        T=T,
        SEGMENT=SEGMENT,
        columns=" | ".join(CELLS),
        rule=" --- |" * len(CELLS),
    )
    return head + "".join(f"| `{name}` | {' | '.join(row.values())} |\n" for name, row in cells.items())


def main(names: list[str]) -> None:
    """Measure the cells of these memories, or of all, and write the page."""
    cells = read() if names and PAGE.exists() else {}
    for name in names or MEMORIES:
        cells[name] = {column: measure(name, column) for column in CELLS}
        sys.stderr.write(f"{name} {cells[name]}\n")
    PAGE.write_text(page({name: cells[name] for name in MEMORIES if name in cells}))


if __name__ == "__main__":
    main(sys.argv[1:])
