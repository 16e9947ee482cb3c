"""Settings of `lifelong bench envs`."""

from dataclasses import dataclass

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_fields
from lifelong.experiments.runs.sizes import Count, Lives, Threads

__all__ = ["BenchConfig", "read"]


@dataclass(frozen=True)
class BenchConfig:
    """Measure how fast worlds are.

    Args:
        num_envs: number of lives in parallel.
        steps: steps of every life in a turn; a hundredth of it for MiniGrid.
        turns: turns of each that are counted.
        threads: threads that EnvPool and JAX may use; ours use one.
    """

    num_envs: Lives = 1024
    steps: Count = 1000
    turns: Count = 9
    threads: Threads = 2

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        if self.num_envs * self.steps > 2**33:  # actions are drawn before the timing starts
            raise UserError(f"num_envs * steps must be at most {2**33:,}: num_envs={self.num_envs}, steps={self.steps}")


def read(words: list[str]) -> BenchConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    return parse(BenchConfig, words, "bench envs")
