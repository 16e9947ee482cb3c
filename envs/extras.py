"""Optional dependencies (extras) of some streams."""

from importlib.util import find_spec

__all__ = ["EXTRAS", "install_line", "is_installed"]

EXTRAS: dict[str, tuple[str, ...]] = {"mujoco": ("mujoco",), "metaworld": ("metaworld", "mujoco")}
"""The modules behind each extra of this package that environments may need."""


def is_installed(extra: str) -> bool:
    """Return whether all modules of an extra are installed; the empty name needs none."""
    return not extra or all(find_spec(module) is not None for module in EXTRAS[extra])


def install_line(extra: str) -> str:
    """Return the pip command that installs an extra."""
    return f"pip install 'lifelong-rl[{extra}]'"
