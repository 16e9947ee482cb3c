"""Capture a call as a CUDA graph."""

from collections.abc import Callable
from typing import TypeVar

import torch

__all__ = ["CaptureError", "captured"]

Made = TypeVar("Made")


class CaptureError(RuntimeError):
    """A call cannot be captured; the message gives the reason."""


def captured(call: Callable[[], Made]) -> Callable[[], Made]:
    """Capture a call as a CUDA graph and return its replay: one launch on the same buffers.

    Every replay returns the tensors that the call returned when captured, with new values.

    Args:
        call: reads and writes static tensors. It first runs three times, to compile its kernels and to detect
            synchronisations; the caller restores overwritten tensors afterwards.

    Raises:
        CaptureError: if there is no GPU, or the call raises or synchronises.
    """
    if not torch.cuda.is_available():
        raise CaptureError("a CUDA graph needs a GPU that torch can see; there is none")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    before = torch.cuda.get_sync_debug_mode()
    try:
        with torch.cuda.stream(side):
            call()  # the first call may synchronise, for compilers and lazily loaded libraries
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
