"""What a processor lacks."""

import torch

__all__ = ["without_avx2"]


def without_avx2() -> str:
    """Return a line for an x86 processor without AVX2, on which everything runs with shorter vectors; else nothing.

    Half the speed is what `cued-recall` has where numba, torch and MKL are kept to SSE: 62 µs of CPU per step, and 30
    with AVX-512 on the same Intel Xeon (acting 20.7 and 10.6, learning 41.5 and 19.8).
    """
    found = torch.cpu.get_capabilities()
    if found.get("architecture") != "x86_64" or found.get("avx2"):
        return ""
    return "this processor has no AVX2: a training takes about twice the time"
