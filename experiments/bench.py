"""`lifelong bench`: measure kernels, training, learning and environments on this machine."""

from lifelong.experiments.settings.bench import SUBJECTS, Asked
from lifelong.registry import load

__all__ = ["SUBJECTS", "command"]


def command(asked: Asked) -> None:
    """Run a measurement."""
    load("subject", asked.entry.target)(asked.config)
