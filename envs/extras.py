"""Extras: other people's packages that some streams need, and that do not come with this one unless asked for."""

from importlib.util import find_spec

__all__ = ["EXTRAS", "install_line", "is_installed"]

EXTRAS: dict[str, tuple[str, ...]] = {"mujoco": ("mujoco",), "metaworld": ("metaworld", "mujoco")}
"""The modules behind each extra of this package that environments may need."""


def is_installed(extra: str) -> bool:
    """Return whether all modules of an extra are there; none are needed by the extra without a name."""
    return not extra or all(find_spec(module) is not None for module in EXTRAS[extra])


def install_line(extra: str) -> str:
    """Return what installs an extra."""
    return f"pip install 'lifelong-rl[{extra}]'"
