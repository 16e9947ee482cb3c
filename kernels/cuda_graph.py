"""Many launches as one: a CUDA graph of a call."""

from collections.abc import Callable
from typing import TypeVar

import torch

__all__ = ["CaptureError", "captured"]

Made = TypeVar("Made")


class CaptureError(RuntimeError):
    """A call cannot be captured; says why."""


def captured(call: Callable[[], Made]) -> Callable[[], Made]:
    """Return the replay of a CUDA graph of a call: one launch that does what the call did, to the same memory.

    Every replay returns what the call returned when it was captured: the same tensors, with new numbers in them.

    Args:
        call: reads and writes tensors that stay where they are. It runs three times first, which compiles its kernels
            and finds out whether it ever waits for the GPU; whatever it writes over must be put right afterwards.

    Raises:
        CaptureError: if there is no GPU, or the call does not run, or waits for the GPU.
    """
    if not torch.cuda.is_available():
        raise CaptureError("a CUDA graph needs a GPU that torch can see; there is none")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    before = torch.cuda.get_sync_debug_mode()
    try:
        with torch.cuda.stream(side):
            call()  # the first time it may wait: for compilers, and for libraries that are loaded
            torch.cuda.set_sync_debug_mode("error")
            call()
            call()
    except Exception as error:
        raise CaptureError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
    finally:
        torch.cuda.set_sync_debug_mode(before)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = call()

    def replay() -> Made:
        graph.replay()
        return made

    return replay
