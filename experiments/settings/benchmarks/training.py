"""Settings of `lifelong bench training`."""

from dataclasses import dataclass
from typing import Literal

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_fields
from lifelong.experiments.runs.names import check_memories, check_stream
from lifelong.experiments.runs.sizes import Count, Lives, Seed, Threads, Width

__all__ = ["BenchConfig", "Solvable", "read"]

Solvable = Literal["doorkey-8x8", "cued-recall"]


@dataclass(frozen=True)
class BenchConfig:
    """Compare trainers in the same environment: steps per second, and seconds to solve.

    Args:
        env: id of gymnasium; for `rooms`, MiniGrid's id of the task.
        worlds: where it runs: in `rooms`, MiniGrid compiled, or in its own Python.
        resets: few: the environment's own limit of steps; many: at most 40, for MiniGrid's ids.
        num_envs: number of environments in parallel.
        steps: steps of each between two updates.
        width: width of the backbone, of the LSTM, and of the layers around it.
        epochs: passes over every batch.
        minibatches: parts of a batch.
        turns: updates of each that are counted.
        threads: threads of torch.
        memories: names of our memories to measure (see `lifelong list`).
        solve: tasks that are learned until they are solved, too.
        solve_steps: environment steps after which that is given up; if not given, those of the task's preset.
        seed: random seed of that.
    """

    env: str = "MiniGrid-DoorKey-8x8-v0"
    worlds: tuple[Literal["rooms", "python"], ...] = ("rooms", "python")
    resets: tuple[Literal["few", "many"], ...] = ("few", "many")
    num_envs: Lives = 64
    steps: Count = 128
    width: Width = 128
    epochs: Count = 4
    minibatches: Lives = 4
    turns: Count = 8
    threads: Threads = 1
    memories: tuple[str, ...] = ("gated_delta", "lstm")
    solve: tuple[Solvable, ...] = ()
    solve_steps: Count | None = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        for name in ("memories", "worlds", "resets"):
            if not getattr(self, name):
                raise UserError(f"{name} must not be empty")
        if "many" in self.resets and not self.env.startswith(("MiniGrid-", "BabyAI-")):
            raise UserError(f"resets=many sets max_steps of MiniGrid's ids: pass --resets few with env={self.env}")


def read(words: list[str]) -> BenchConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(BenchConfig, words, "bench training")
    check_memories(*config.memories)
    check_stream(f"gym:{config.env}")
    return config
