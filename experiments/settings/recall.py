"""Settings of `lifelong recall`."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, get_args

from lifelong.experiments.associative_recall.sequences import Task, shortest
from lifelong.experiments.associative_recall.sizes import PRESETS, TUNING_SEED, Equal, Sizes, Until
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_fields, check_output
from lifelong.experiments.runs.names import check_memories
from lifelong.experiments.runs.sizes import Batch, Count, CountOrZero, Layers, Length, Positive, Width

__all__ = ["RecallConfig", "read"]


@dataclass(frozen=True)
class RecallConfig:
    """Train memories on associative recall and test them below and above what they can hold, and beyond their training.

    Args:
        memories: names of memories (see `lifelong list`), or package.module:Class.
        tasks: every pair shown once and asked once, or keys rewritten for ever and asked in between.
        preset: sizes for minutes on a CPU, or those of a paper; what is not given below takes its number.
        length: tokens of a sequence in training.
        pairs: keys of a sequence; a batch draws one of these numbers, and every one is tested.
        times: lengths of the tests, as multiples of that of training.
        keys: keys of the vocabulary.
        values: values of the vocabulary.
        width: width of the backbone.
        layers: blocks of the backbone.
        equal: what is alike: bytes of state, or heads, keys and values, whatever bytes that takes; a memory that has
            none of these then still gets the bytes.
        state_bytes: most bytes of state, per layer and sequence.
        num_heads: heads of the memories that have them; if not given here or by the preset, as each has them.
        key_dim: channels of a key, at equal shape.
        value_dim: channels of a value.
        conv_size: steps of the short convolution.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.
        shapes: shapes of these bytes of which each memory takes its best, such as thin keys in several heads.
        parameters: parameters of the backbone; 0: no MLPs, and as many as the memories have.
        steps: batches of training.
        until: train on so many batches, or in rounds of as many until recall does not rise any more.
        batch: sequences of a batch.
        learning_rates: learning rates of which each memory takes its best.
        tuning_seeds: runs at each learning rate to choose it by; their seeds are used for nothing else.
        seeds: runs at the chosen learning rate.
        workers: runs in parallel; 0 is one for every core, or one on a GPU.
        device: where to compute: cpu, cuda or cuda:<number>.
        output: directory of the runs and of what is made of them.
    """

    memories: tuple[str, ...] = (
        "none",
        "gru",
        "window",
        "linear_attention",
        "based",
        "gla",
        "mamba2",
        "delta_net",
        "gated_delta",
        "mesa",
        "not_palimpsa",
        "palimpsa",
        "palimpsa_scalar",
        "meta_mamba2",
        "kalman_delta",
    )
    tasks: tuple[Task, ...] = get_args(Task)
    preset: Literal["small", "published"] = "small"
    length: Length | None = None
    pairs: tuple[int, ...] | None = None
    times: tuple[int, ...] | None = None
    keys: Count | None = None
    values: Count | None = None
    width: Width | None = None
    layers: Layers | None = None
    equal: Equal | None = None
    state_bytes: Count | None = None
    num_heads: Count | None = None
    key_dim: Count | None = None
    value_dim: Count | None = None
    conv_size: Count | None = None
    horizons: tuple[Positive, Positive] | None = None
    shapes: Count | None = None
    parameters: CountOrZero | None = None
    steps: Count | None = None
    until: Until | None = None
    batch: Batch | None = None
    learning_rates: tuple[float, ...] | None = None
    tuning_seeds: Count = 1
    seeds: Count = 5
    workers: CountOrZero = 0
    device: str = "cpu"
    output: Path = Path("runs/recall")

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        check_output(self.output, folder=True)
        for name in ("memories", "tasks", "pairs", "times", "learning_rates"):
            value = getattr(self, name)
            if value is not None and not value:
                raise UserError(f"{name} must not be empty")
            if value is not None and not isinstance(value[0], str) and not min(value) > 0:
                raise UserError(f"{name} must be positive: {name}={value}")
        if self.tuning_seeds + self.seeds > TUNING_SEED:
            raise UserError(f"seeds must be fewer than {TUNING_SEED}: {self.seeds} and {self.tuning_seeds} of tuning")

    def sizes(self) -> Sizes:
        """Return the shared settings of the runs, from the config or the preset.

        Raises:
            UserError: if there are more pairs than keys, or sequences too short for them.
        """
        given = {field.name: getattr(self, field.name) for field in fields(Sizes)}
        sizes = replace(PRESETS[self.preset][0], **{name: value for name, value in given.items() if value is not None})
        if (most := max(sizes.pairs)) > sizes.keys:
            raise UserError(f"pairs must be at most keys={sizes.keys}: pairs={most}")
        if sizes.length < (least := max(shortest(task, most) for task in self.tasks)):
            raise UserError(f"length must be at least {least} with pairs={most}: length={sizes.length}")
        if sizes.equal == "bytes" and self.key_dim is not None:
            raise UserError(
                f"key_dim is what is turned to the bytes: --equal shape keeps it, got key_dim={self.key_dim}"
            )
        if sizes.equal == "shape" and sizes.shapes > 1:
            raise UserError(f"shapes are tried at equal bytes, not with --equal shape: shapes={sizes.shapes}")
        if sizes.equal == "shape" and sizes.key_dim is None:
            raise UserError(
                "equal shapes need --key-dim, and --num-heads and --value-dim if they are not the memories' own"
            )
        return sizes


def read(words: list[str]) -> RecallConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(RecallConfig, words, "recall")
    check_memories(*config.memories)
    return config
