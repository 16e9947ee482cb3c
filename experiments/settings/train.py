"""Settings of `lifelong train`, and the names among them."""

import shlex
from dataclasses import dataclass, fields, replace
from typing import Annotated, NamedTuple

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.config import ALIASES, TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.help_page import Heading
from lifelong.experiments.runs.names import check_memories, check_stream
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.seed_ranges import parse_seeds

__all__ = ["Asked", "read"]

EXAMPLES = """examples:
  lifelong train colour-rule --memory palimpsa --steps 2e6
  lifelong train --resume runs/NAME
  lifelong train --memory gru --seeds 0..4"""


@dataclass(frozen=True)
class _Arguments(TrainConfig):
    """Train an agent on a stream of tasks, its memory carried over every episode's end.

    Args:
        seeds: several seeds, such as 0..4 or 0,1,2: a run of each, one after another, and the report of all; the same
            command goes on where it was interrupted. Excludes --seed.
    """

    seeds: Annotated[str | None, Heading("several runs")] = None


class Asked(NamedTuple):
    """What is to be trained."""

    config: TrainConfig
    """Of all; of a new run, resolved."""
    seeds: tuple[int, ...]
    """Seeds of several runs, one after another; none for one run."""
    again: str
    """Command that goes on, if several are interrupted."""


def read(words: list[str]) -> Asked:
    """Return what words of the command line ask for.

    Raises:
        UserError: if a word is wrong, or names what there is not.
    """
    given = parse(_Arguments, words, "train", ALIASES, EXAMPLES, _preset_of)
    config = TrainConfig(**{field.name: getattr(given, field.name) for field in fields(TrainConfig)})
    seeds: tuple[int, ...] = ()
    if given.seeds is not None:
        for other in ("--seed", "--resume"):
            if any(word.partition("=")[0] == other for word in words):
                raise UserError(f"--seeds and {other} exclude each other: --seeds={given.seeds}")
        seeds = parse_seeds(given.seeds)
    again = [word for word in words if word not in ("--overwrite", "--no-overwrite")]
    return Asked(_checked(config), seeds, shlex.join(["lifelong", "train", *again]))


def _checked(config: TrainConfig) -> TrainConfig:
    """Validate the names in a config, and return it resolved if it is of a new run."""
    if config.resume is not None:
        open_run(config.resume, config.trust)
        return config
    check_memories(config.memory)
    if config.working_memory not in (None, "off"):
        check_memories(config.working_memory)
    check_stream(config.stream)
    resolved = config.resolved()
    if config.only_task is not None or config.schedule is not None or config.stream_options:
        from lifelong.experiments.runs.build_env import make_env  # not above: numba, which other words do without

        make_env(resolved, num_envs=1).close()  # names the task, the schedule or the setting that there is not
    return resolved


def _preset_of(said: _Arguments) -> tuple[_Arguments, str]:
    """Return the settings that a run of this stream has if nothing else is said, and a sentence that says so."""
    of = f"{said.stream} --feedback {said.feedback}" if said.feedback else said.stream
    sentence = f"Defaults are those of {of}; `lifelong train STREAM --help` shows those of another stream."
    shown = _Arguments(said.stream, feedback=said.feedback, preset=said.preset).resolved()
    return replace(shown, stream=TrainConfig().stream, feedback=None), sentence
