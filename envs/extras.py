"""Optional dependencies (extras) of some streams."""

from importlib.util import find_spec

import gymnasium

__all__ = ["EXTRAS", "extra_hint", "install_line", "is_installed"]

EXTRAS: dict[str, tuple[str, ...]] = {"mujoco": ("mujoco",), "metaworld": ("metaworld", "mujoco")}
"""The modules behind each extra of this package that environments may need."""

_REPAIR = "pip uninstall -y mujoco mujoco-core mujoco-studio, then pip install 'mujoco<4'"
"""Version 4 is in three packages, and what was made for version 3, or pins it, breaks with it or breaks it."""


def is_installed(extra: str) -> bool:
    """Return whether all modules of an extra are installed; the empty name needs none."""
    return not extra or all(find_spec(module) is not None for module in EXTRAS[extra])


def install_line(extra: str) -> str:
    """Return the pip command that installs an extra."""
    return f"pip install 'lifelong-rl[{extra}]'"


def extra_hint(error: BaseException) -> str:
    """Return how to install what an environment lacked when it was made, or to repair it; empty if that is not known.

    Args:
        error: that its constructor raised.
    """
    said = str(error).lower()
    if "pip install" in said:  # it says so itself
        return ""
    if wanted := [extra for extra in EXTRAS if extra in said and not is_installed(extra)]:
        return f"; {install_line(wanted[0])} installs what it needs"
    unloaded = isinstance(error, ImportError | OSError | AttributeError | gymnasium.error.DependencyNotInstalled)
    if unloaded and ("mujoco" in said or "mjmodel" in said) and is_installed("mujoco"):
        return f"; this MuJoCo does not fit, or is of two versions: {_REPAIR} helps"
    return ""
