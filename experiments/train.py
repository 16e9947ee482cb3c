"""Train an agent on a stream of tasks, its memory carried over every episode's end.

    lifelong train                                     cued recall with the gated delta rule, minutes on two cores
    lifelong train --memory palimpsa --seed 1
    lifelong train colour-rule                         hidden rules on MiniGrid
    lifelong train gym:CartPole-v1 --memory gru        anything gymnasium can make
    lifelong train --resume runs/NAME                  go on with an interrupted run

Ends with the retention of the frozen agent in fresh lives, as a table.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

from rich.console import Console

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.config import ALIASES, PPOOverrides, TrainConfig
from lifelong.experiments.runs.directory import open_run
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.matrix import show_matrix
from lifelong.experiments.runs.summary import Summary, show_summary
from lifelong.experiments.runs.tensorboard import first_page
from lifelong.experiments.runs.trainer import Trainer

__all__ = ["Outcome", "command", "main"]

EXAMPLES = """examples:
  lifelong train colour-rule --memory palimpsa --steps 2e6
  lifelong train --resume runs/NAME"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a training.

    Args:
        folder: of the run.
        steps: environment steps.
        seconds: spent acting and learning.
        finished: false if it was interrupted.
        summary: on the frozen agent in fresh lives; None without an evaluation.
        lived: on the endless lives of training, if they met several tasks; else None.
    """

    folder: Path
    steps: int
    seconds: float
    finished: bool
    summary: Summary | None
    lived: Summary | None = None


def command(arguments: list[str]) -> None:
    """Run the verb with words from the command line."""
    main(parse(TrainConfig, arguments, "train", ALIASES, EXAMPLES, _preset_of), Console(stderr=True))


def _preset_of(said: TrainConfig) -> tuple[TrainConfig, str]:
    """Return the settings that a run of this stream has if nothing else is said, and a sentence that says so."""
    of = f"{said.stream} --feedback {said.feedback}" if said.feedback else said.stream
    sentence = f"Defaults are those of {of}; `lifelong train STREAM --help` shows those of another stream."
    shown = TrainConfig(said.stream, feedback=said.feedback).resolved()
    return replace(shown, stream=TrainConfig().stream, feedback=None), sentence


def main(config: TrainConfig, console: Console | None = None) -> Outcome:
    """Train, or go on training.

    Args:
        config: settings.
        console: for progress and table; None for silence.

    Raises:
        UserError: if the config cannot be met; nothing is written then.
    """
    console = console or Console(quiet=True)
    resumed = config.resume is not None
    config = _interrupted_run(config) if resumed else config.resolved()
    with Trainer(config, resumed, console) as trainer:
        finished = trainer.train()
        summary = trainer.evaluate() if finished and config.evaluation_lives else None
        lived = trainer.lived()
        cost = trainer.evaluation.cost(trainer.rollout.steps)
    outcome = Outcome(config.run, trainer.rollout.steps, trainer.seconds, finished, summary, lived)
    _tell(outcome, config, console, cost, trainer.tasks)
    return outcome


def _interrupted_run(config: TrainConfig) -> TrainConfig:
    """Return the config of the run to go on with; the resume flag may come with nothing else."""
    assert config.resume is not None  # noqa: S101  the caller's business
    other = [
        field.name
        for field in fields(TrainConfig)
        if field.name not in ("resume", "ppo") and getattr(config, field.name) != field.default
    ]
    other += list(config.ppo.set()) if isinstance(config.ppo, PPOOverrides) else ["ppo"]
    if other:
        raise UserError(f"--resume goes on with what {config.resume} was; it cannot also change {', '.join(other)}")
    found = open_run(config.resume)
    folder = config.resume.resolve()  # `.` has no name
    return replace(found, runs=folder.parent, name=folder.name, overwrite=False)


def _tell(outcome: Outcome, config: TrainConfig, console: Console, cost: str, tasks: list[str]) -> None:
    """Print what came out, and where to look further."""
    speed = outcome.steps / max(outcome.seconds, 1e-9)
    console.print(
        f"{outcome.steps:,} steps in {outcome.seconds:,.0f} s ({speed:,.0f} steps/s) · {outcome.folder}",
        soft_wrap=True,
    )
    if outcome.finished and config.steps is not None and outcome.steps > config.steps:
        rounded = f"{config.steps:,} steps were rounded up to whole segments of all lives: {outcome.steps:,}"
        console.print(rounded, soft_wrap=True)
    for name in ("config.json", "episodes", "checkpoints/last"):
        console.print(f"wrote {outcome.folder / name}", markup=False, highlight=False, soft_wrap=True)
    if not outcome.finished:
        console.print(f"interrupted; go on with: lifelong train --resume {outcome.folder}", soft_wrap=True)
    if outcome.lived is not None:
        show_summary(outcome.lived, f"{config.memory} in training", console)
    if cost:
        show_matrix(read_episodes(outcome.folder, [config.evaluate_mode]), tasks, cost, console)
    if outcome.summary is not None:
        show_summary(outcome.summary, f"frozen {config.memory} in fresh lives", console)
    console.print(f"look further: tensorboard --logdir {outcome.folder.parent}, then {first_page()}", soft_wrap=True)
