"""Settings of `lifelong bench kernels`."""

from lifelong.experiments.runs.errors import UserError
from lifelong.kernels.benchmark.config import BenchConfig
from lifelong.kernels.benchmark.options import OptionError, options

__all__ = ["read"]


def read(words: list[str]) -> BenchConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    try:
        return options(words, "lifelong bench kernels")
    except OptionError as error:
        raise UserError(str(error)) from None
