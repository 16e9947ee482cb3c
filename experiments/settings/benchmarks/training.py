"""Settings of `lifelong bench training`."""

from dataclasses import dataclass

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_sizes
from lifelong.experiments.runs.names import check_memories

__all__ = ["BenchConfig", "read"]


@dataclass(frozen=True)
class BenchConfig:
    """Measure training end to end.

    Args:
        env: a gymnasium id; MiniGrid ids are seen as their 7x7x3 image.
        rooms: ours act in `rooms`, the compiled twin of a MiniGrid id; the other acts in MiniGrid.
        num_envs: number of environments in parallel.
        steps: steps of each between two updates.
        width: width of the backbone, of the LSTM, and of the layers around it.
        epochs: passes over every batch.
        minibatches: parts of a batch.
        turns: updates of each that are counted.
        threads: threads of torch.
        memories: names of our memories to measure (see `lifelong list`).
    """

    env: str = "CartPole-v1"
    rooms: bool = False
    num_envs: int = 16
    steps: int = 128
    width: int = 128
    epochs: int = 4
    minibatches: int = 4
    turns: int = 5
    threads: int = 1
    memories: tuple[str, ...] = ("gated_delta", "gru")

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_sizes(self, ("num_envs", "steps", "width", "epochs", "minibatches", "turns", "threads"))
        if not self.memories:
            raise UserError("memories must not be empty")


def read(words: list[str]) -> BenchConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(BenchConfig, words, "bench training")
    check_memories(*config.memories)
    return config
