"""Train an agent on a stream of tasks, its memory carried over every episode's end.

    lifelong train                                     cued recall with the gated delta rule, minutes on two cores
    lifelong train --memory palimpsa --seed 1
    lifelong train colour-rule                         hidden rules on MiniGrid
    lifelong train gym:CartPole-v1 --memory gru        anything gymnasium can make
    lifelong train --resume runs/NAME                  go on with an interrupted run
    lifelong train --resume runs/NAME --new-episodes   the same, where an environment cannot be brought back
    lifelong train --resume runs/NAME --steps 2e6      go on with a finished one
    torchrun --nproc-per-node 2 --no-python lifelong train    gradients by two ranks, on this machine or on several
    lifelong train --seeds 0..4                        five seeds, one after another, and the report of all

Ends with the retention of the frozen agent in fresh lives, as a table.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from rich.console import Console

from lifelong.experiments.runs.carried_on import CarriedOn
from lifelong.experiments.runs.compiling import Compiling
from lifelong.experiments.runs.config import PPOOverrides, TrainConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.families import FAMILIES
from lifelong.experiments.runs.going_on import MAY_CHANGE
from lifelong.experiments.runs.matrix import show_matrix
from lifelong.experiments.runs.open_run import on_device, open_run
from lifelong.experiments.runs.processor import without_avx2
from lifelong.experiments.runs.ranks import joined
from lifelong.experiments.runs.seeds import of_seed, series_name, state_of
from lifelong.experiments.runs.summary import Summary, show_summary
from lifelong.experiments.runs.tensorboard import first_page
from lifelong.experiments.runs.torchrun import ranks
from lifelong.experiments.runs.trainer import Trainer
from lifelong.experiments.runs.trusted import with_trust
from lifelong.experiments.settings.train import Asked

__all__ = ["Outcome", "command", "main", "train_seeds"]

_NO_FLOOR = 1e-6  # of advantages: nothing but a division by 0 is kept off
_ELSEWHERE = (*MAY_CHANGE, "on_log_error")
"""Settings with which a run may go on that it did not begin with."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a training.

    Args:
        folder: of the run.
        steps: environment steps.
        seconds: spent acting and learning, without those in which loops were compiled.
        finished: false if it was interrupted.
        summary: on the frozen agent in fresh lives; None without an evaluation.
        lived: on the endless lives of training, if they met several tasks; else None.
        transfer: backward and forward, by TensorBoard tag, as far as they are known.
        carried_on: the memory of training beside new lives, where lives are endless and of one task; else None.
    """

    folder: Path
    steps: int
    seconds: float
    finished: bool
    summary: Summary | None
    lived: Summary | None = None
    transfer: Mapping[str, float] = field(default_factory=dict)
    carried_on: CarriedOn | None = None


def command(asked: Asked) -> None:
    """Run the verb, or help rank 0 of `torchrun` to run it."""
    config = _of_all_ranks(asked.config)
    with joined() as trains:
        if not trains:
            return
        if asked.seeds:
            sys.stdout.write(train_seeds(config, asked.seeds, Console(stderr=True), asked.again))
        else:
            main(config, Console(stderr=True))


def _of_all_ranks(config: TrainConfig) -> TrainConfig:
    """Return a config whose processes are the ranks of `torchrun`, if it began several."""
    size = ranks().size
    if size > 1 and config.processes not in (None, size):
        raise UserError(
            f"processes must be the ranks that torchrun began, {size}, or not be given: processes={config.processes}"
        )
    return replace(config, processes=size) if size > 1 else config


def train_seeds(config: TrainConfig, seeds: Sequence[int], console: Console, again: str) -> str:
    """Train several seeds one after another, and return the head of the report of all.

    A run that is finished is kept, an interrupted one goes on.

    Args:
        config: of all; its seed does not count.
        seeds: to train.
        console: for progress.
        again: command that goes on, if this is interrupted.

    Raises:
        UserError: if the config cannot be met, or a run of a seed's name has other settings or is of other code.
    """
    runs = [of_seed(config, seed).resolved() for seed in seeds]
    states = [state_of(run) for run in runs]  # of all, before any is trained
    done: list[int] = []
    for seed, run, state in zip(seeds, runs, states, strict=True):
        console.print(f"seed {seed} ({len(done) + 1} of {len(seeds)}): {run.run}, {state}", soft_wrap=True)
        try:
            finished = state == "finished"
            if not finished:  # one that was interrupted has the settings that are asked, so what it names is trusted
                asked = TrainConfig(resume=run.run, trust=True) if state == "interrupted" else run
                finished = main(asked, console, tables=False).finished
        except KeyboardInterrupt:
            _tell_how_to_go_on(seed, done, again, console)
            raise
        if not finished:
            _tell_how_to_go_on(seed, done, again, console)
            return ""
        done.append(seed)
    from lifelong.experiments.report import ReportConfig, main as write_report  # not above: one run does without

    report = ReportConfig(tuple(str(run.run) for run in runs), output=config.runs / series_name(config))
    text, written = write_report(report)
    for path in written:
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    return text


def _tell_how_to_go_on(seed: int, done: Sequence[int], again: str, console: Console) -> None:
    kept = f"done: seeds {', '.join(map(str, done))}" if done else "no seed is done"
    console.print(f"interrupted in seed {seed}; {kept}; go on with the same command: {again}", soft_wrap=True)


def main(config: TrainConfig, console: Console | None = None, *, tables: bool = True) -> Outcome:
    """Train, or go on training.

    Args:
        config: settings.
        console: for progress and tables; None for silence.
        tables: whether tables of the results are printed.

    Raises:
        UserError: if the config cannot be met; nothing is written then.
    """
    console = console or Console(quiet=True)
    resumed, new_episodes = config.resume is not None, config.new_episodes
    config = _interrupted_run(config) if resumed else config.resolved()
    compiling = Compiling(lambda line: console.print(line, soft_wrap=True))
    with compiling, Trainer(config, resumed, console, new_episodes=new_episodes, clock=compiling.clock) as trainer:
        if slower := without_avx2():
            console.print(slower, soft_wrap=True)
        if not resumed and config.preset in FAMILIES:
            console.print(_settings(config), soft_wrap=True, markup=False, highlight=False)
        finished = trainer.train()
        summary = trainer.evaluate() if finished and config.evaluation_lives else None
        carried_on = trainer.carried_on() if summary is not None else None
        lived = trainer.lived()
        if finished:
            trainer.finish(lived or summary)
        cost, unwell = trainer.evaluation.cost(trainer.rollout.steps), trainer.health.out_of_bounds()
    outcome = Outcome(
        config.run, trainer.rollout.steps, trainer.seconds, finished, summary, lived, trainer.transfer(), carried_on
    )
    _tell(outcome, config, console)
    if finished and unwell:
        console.print(unwell, markup=False, highlight=False, soft_wrap=True)
    if tables:
        _show(outcome, config, console, cost, trainer.tasks)
    return outcome


def _settings(config: TrainConfig) -> str:
    """Return what a family's preset chose, in one line."""
    ppo = config.learning
    working = "" if config.working_memory == "off" else f" behind {config.working_memory} within episodes"
    settings = f" ({' '.join(config.memory_options)})" if config.memory_options else ""
    bounds = (f", divergence at most {ppo.target_kl:g}" if ppo.target_kl else "") + (
        f", advantages divided by {ppo.advantage_floor:g} at least" if ppo.advantage_floor > _NO_FLOOR else ""
    )
    spread = ", one spread of actions" if config.action_std == "free" else ""
    spread += f", {config.initial_std:g} at first" if config.initial_std != 1 else ""
    return (
        f"preset {config.preset}: {config.memory}{settings}{working}, {config.num_envs} lives, "
        f"segments of {config.segment}, lr {ppo.lr:g}, {ppo.epochs} passes in {ppo.minibatches} minibatches{bounds}, "
        f"entropy {ppo.entropy_coef:g}{spread}, gamma {ppo.gamma:g}, rewards normalised {ppo.normalize_reward}, "
        f"observations {config.normalize_observation}"
    )


def _interrupted_run(config: TrainConfig) -> TrainConfig:
    """Return the config of the run to go on with; the resume flag may come with few others."""
    assert config.resume is not None  # noqa: S101  the caller's business
    other = [
        field.name
        for field in fields(TrainConfig)
        if field.name not in ("resume", "new_episodes", "trust", "ppo", *_ELSEWHERE)
        and getattr(config, field.name) != field.default
    ]
    other += list(config.ppo.set()) if isinstance(config.ppo, PPOOverrides) else ["ppo"]
    if other:
        raise UserError(
            f"--resume goes on with what {config.resume} was; it takes {', '.join(_ELSEWHERE)} and cannot also change "
            f"{', '.join(other)}"
        )
    found = open_run(config.resume, config.trust).resolved()
    found = on_device(found, config.device or found.device or "cpu")
    found = replace(found, threads=config.threads or found.threads or 1, steps=config.steps or found.steps)
    found = replace(found, processes=config.processes or found.processes or 1)
    if config.env_workers is not None:
        found = replace(found, env_workers=config.env_workers)
    if config.on_log_error != "stop":
        found = replace(found, on_log_error=config.on_log_error)
    folder = config.resume.resolve()  # `.` has no name
    return replace(found, runs=folder.parent, name=folder.name, overwrite=False)


def _tell(outcome: Outcome, config: TrainConfig, console: Console) -> None:
    """Print how far the run came, and where it is."""
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
        console.print(
            f"interrupted; go on with: lifelong train --resume {outcome.folder}{with_trust(config)}", soft_wrap=True
        )


def _show(outcome: Outcome, config: TrainConfig, console: Console, cost: str, tasks: list[str]) -> None:
    """Print what came out, and where to look further."""
    if outcome.lived is not None:
        show_summary(outcome.lived, f"{config.memory} in training", console)
    if cost:
        evaluated = read_episodes(outcome.folder, [config.evaluate_mode])
        show_matrix(evaluated, tasks, cost, console, more=outcome.transfer)
    if outcome.summary is not None:
        show_summary(outcome.summary, f"frozen {config.memory} in fresh lives", console)
    if outcome.carried_on is not None:
        console.print(outcome.carried_on.sentence(), soft_wrap=True)
    console.print(f"look further: tensorboard --logdir {outcome.folder.parent}, then {first_page()}", soft_wrap=True)
