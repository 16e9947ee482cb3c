"""Compile every kernel for an H100, which need not be there, with the arguments it is really launched with.

What would launch a kernel compiles it instead; the tensors stay on the CPU, and what comes out means nothing.
Run in a process of its own: with `TRITON_INTERPRET=1` there is nothing to compile.
"""

import importlib
import re
import sys
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

KERNELS = Path(__file__).parents[2] / "kernels"
HOPPER = GPUTarget("cuda", 90, 32)
OPTIONS = ("num_warps", "num_stages")
TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.uint8: "*u8"}


def main():
    """Compile all that the operation named on the command line launches; what does not compile is an error."""
    op, compiled = sys.argv[1], set()

    def build(kernel, *given, grid, warmup, **named):
        options = {name: named.pop(name) for name in OPTIONS if name in named}
        arguments = dict(zip(kernel.arg_names, given, strict=False)) | named
        assert set(arguments) == set(kernel.arg_names), kernel.__name__
        signature, constants, attributes = {}, {}, {}
        for place, parameter in enumerate(kernel.params):
            x = arguments[parameter.name]
            if parameter.is_constexpr or x is None or (isinstance(x, int) and x == 1):
                signature[parameter.name], constants[(place,)] = "constexpr", x
            else:
                signature[parameter.name] = TYPES[x.dtype] if isinstance(x, torch.Tensor) else "i32"
                if isinstance(x, torch.Tensor) or x % 16 == 0:
                    attributes[(place,)] = [["tt.divisibility", 16]]
        module = kernel.fn.__module__.removeprefix("lifelong.kernels.")
        try:
            made = triton.compile(ASTSource(kernel, signature, constants, attributes), target=HOPPER, options=options)
        except Exception as error:
            raise RuntimeError(f"{module}.{kernel.__name__} does not compile with {signature}, {constants}") from error
        assert made.asm["cubin"], f"{module}.{kernel.__name__} has no machine code"
        compiled.add((module, kernel.__name__))

    triton.JITFunction.run = build
    CASES[op]()
    missed = _launched(op) - compiled
    if missed:
        sys.exit(f"never launched: {sorted(missed)}")
    sys.stdout.write("".join(f"{module}.{name}\n" for module, name in sorted(compiled)))


def _launched(op):
    """Return the module and name of all that is launched anywhere in the folder of an operation."""
    found = set()
    for file in (KERNELS / op).glob("triton_*.py"):
        names = re.findall(r"^ +(\w+)\[.*\]\(", file.read_text(), re.MULTILINE)
        found |= {(f"{file.parent.name}.{file.stem}", name) for name in names}
    return found


def _load(op, form):
    return getattr(importlib.import_module(f"lifelong.kernels.{op}.{form}"), op)


def _both_ways(form, given):
    """Run a form without gradients, then forward and backward with one for every input."""
    form(**given)
    leaves = {n: x.requires_grad_() if x is not None and x.is_floating_point() else x for n, x in given.items()}
    sum(x.sum() for x in form(**leaves)).backward()


B, T, H, K, V = 2, 64, 4, 64, 64


def _fast_weight():
    decays = (None, (B, T, H), (B, T, H, K))
    erases = ({}, {"erase": (B, T, H, K)}, {"erase": (B, T, H, K), "erase_key": (B, T, H, K)}, {"rate": (B, T, H)})
    for form in ("triton_step", "triton_chunk"):
        for decay in decays:
            for erase in erases:
                shapes = {"q": (B, T, H, K), "k": (B, T, H, K), "v": (B, T, H, V), "state": (B, H, V, K)} | erase
                given = {name: torch.zeros(shape) for name, shape in shapes.items()}
                given |= {"start": torch.zeros(B, T, dtype=torch.bool)}
                _both_ways(_load("fast_weight", form), given | {"decay": None if decay is None else torch.zeros(decay)})


def _posterior():
    for form, steps in (("triton_step", T), ("triton_chunk", 4 * T)):
        for decay in (None, (B, steps, H), (B, steps, H, K)):
            keys, values, state = (B, steps, H, K), (B, steps, H, V), (B, H, V, K)
            shapes = {"q": keys, "k": keys, "w": values, "b": values, "evidence": state, "importance": state}
            given = {name: torch.zeros(shape) for name, shape in shapes.items()}
            given |= {"start": torch.zeros(B, steps, dtype=torch.bool), "prior": torch.ones(H)}
            _both_ways(_load("posterior", form), given | {"decay": None if decay is None else torch.zeros(decay)})


def _linear_scan():
    for form in ("triton_step", "triton_chunk"):
        for fixed in (False, True):
            given = {
                "u": torch.zeros(B, T, H, K),
                "decay": torch.zeros(1, 1, H) if fixed else torch.zeros(B, T, H),
                "state": torch.zeros(B, H, K),
                "start": torch.zeros(B, T, dtype=torch.bool),
            }
            _both_ways(_load("linear_scan", form), given)
            wide = {"u": (B, T, K), "decay": (1, 1, K, 16) if fixed else (B, T, K, 16), "state": (B, K, 16)}
            wide |= {"write": (B, T, 16), "read": (B, T, 16)}
            _both_ways(_load("linear_scan", form), given | {name: torch.zeros(shape) for name, shape in wide.items()})


def _layer_step():
    C = H * (2 * K + V)
    for conv_size in (1, 4):
        z, bias, conv, norm = (torch.zeros(x) for x in ((B, C + 2 * H + H * V), (2 * H,), (C, conv_size), (V,)))
        window, state, start = (
            torch.zeros(B, conv_size - 1, C),
            torch.zeros(B, H, V, K),
            torch.zeros(B, dtype=torch.bool),
        )
        _load("layer_step", "triton_step")(z, bias, conv, norm, window, state, start)


def _fused():
    ops, C = importlib.import_module("lifelong.kernels.fused.triton_step"), H * (2 * K + V)
    for dtype in (torch.float32, torch.bfloat16):
        for unit, conv_size, steps in ((True, 4, T), (False, 1, T), (True, 2, 1)):
            shapes = {"x": (B, steps, C), "weight": (C, conv_size), "state": (B, conv_size - 1, C)}
            given = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
            given["start"] = torch.zeros(B, steps, dtype=torch.bool)
            _both_ways(lambda unit=unit, **given: ops.qkv(**given, num_heads=H, key_dim=K, unit=unit), given)
        for width in (V, 1000, ops.WIDEST):
            x, weight, gate = (torch.zeros(shape, dtype=dtype) for shape in ((B, T, width), (width,), (B, T, width)))
            for given in ({}, {"gate": gate}):
                _both_ways(lambda **given: (ops.gated_norm(**given),), {"x": x, "weight": weight} | given)
            _both_ways(lambda **given: (ops.gated_linear(**given),), {"z": torch.zeros(B, T, 2 * width, dtype=dtype)})


CASES = {
    "fast_weight": _fast_weight,
    "fused": _fused,
    "layer_step": _layer_step,
    "linear_scan": _linear_scan,
    "posterior": _posterior,
}

if __name__ == "__main__":
    main()
