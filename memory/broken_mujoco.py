"""TorchRL beside a MuJoCo that cannot be loaded.

TorchRL looks for MuJoCo's backends when it is imported, and loads MuJoCo for it. Where that fails, as it does after pip
has put version 3 over the three packages of version 4, TorchRL cannot be imported, and without it nothing of ours can.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

__all__ = ["broken_mujoco_hidden"]


@contextmanager
def broken_mujoco_hidden() -> Iterator[None]:
    """Hide MuJoCo inside the block if it is installed and cannot be loaded: imports there find that there is none."""
    if "torchrl" in sys.modules or "mujoco" in sys.modules or find_spec("mujoco") is None:
        yield
        return
    try:
        importlib.import_module("mujoco")
    except Exception:  # noqa: BLE001  ImportError, OSError of a library, or whatever its own code raises
        sys.modules["mujoco"] = None  # type: ignore[assignment]  # as the import system has it for what is not there
        try:
            yield
        finally:
            sys.modules.pop("mujoco", None)
    else:
        yield
