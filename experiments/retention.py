"""Freeze a trained agent, let it live on, and measure what it still knows after how long.

    lifelong retention runs/NAME                    16 times the life it was trained with
    lifelong retention runs/NAME --times 256
    lifelong retention runs/NAME --carry episode    the control: its memory wiped at every episode's end

The lives are fresh and endless, and their hidden rules new: what is right in them can only stand in fast weights.
Prints the curve with 95 % intervals (bootstrap over lives), writes it to runs/NAME/report/ and shows it in TensorBoard
as a run of its own, runs/NAME/<report>.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from lifelong.agents import Carry
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.build import make_agent, make_env
from lifelong.experiments.runs.directory import load_policy, open_run
from lifelong.experiments.runs.episodes import EpisodeLog
from lifelong.experiments.runs.errors import check_sizes
from lifelong.experiments.runs.evaluation import EVALUATION_SEED, live_frozen, training_horizon
from lifelong.experiments.runs.progress import Progress
from lifelong.experiments.runs.summary import Summary, show_summary, summarise
from lifelong.experiments.runs.tensorboard import RunWriter, plot_curves

__all__ = ["RetentionConfig", "command", "main"]


@dataclass(frozen=True)
class RetentionConfig:
    """Freeze a trained agent, let it live on, and measure what it still knows after how long.

    Args:
        run: directory of the run.
        steps: environment steps of every life; if not given, `times` the life of training.
        times: how many times longer the lives are than in training.
        lives: number of lives in parallel; if not given, as in the evaluation of training.
        carry: what ends the memory; if not given, as in training.
        schedule: which task comes next; if not given, as in training. `spaced` probes a grid of lags.
        seed: random seed of the lives; they are never those of training.
        threads: threads of torch.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    steps: int | None = None
    times: float = 16.0
    lives: int | None = None
    carry: Carry | None = None
    schedule: str | None = None
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_sizes(self, ("steps", "times", "lives", "threads"))
        check_sizes(self, ("seed",), 0)


def command(arguments: list[str]) -> None:
    """Run the verb with words from the command line."""
    main(parse(RetentionConfig, arguments, "retention"), Console(stderr=True))


def main(config: RetentionConfig, console: Console | None = None) -> Summary:
    """Measure a run's agent.

    Args:
        config: what to do.
        console: where progress and the table go; None keeps quiet.

    Raises:
        UserError: if there is no such run, or its agent cannot live so.
        CheckpointError: if its checkpoint cannot be read.
    """
    console = console or Console(quiet=True)
    trained = open_run(config.run).resolved()
    torch.set_num_threads(config.threads)
    if config.schedule is not None:
        trained = replace(trained, schedule=config.schedule)
    lives = config.lives or trained.evaluation_lives or trained.num_envs
    env = make_env(trained, num_envs=lives, life_episodes=None, seed=EVALUATION_SEED + config.seed)
    agent = make_agent(trained, env)
    facts = load_policy(config.run, agent)
    horizon = training_horizon(trained, facts["mean_length"])
    steps = config.steps or round(config.times * horizon)
    carry = config.carry or trained.carry
    name = f"frozen-{steps}" + ("" if carry == "lifetime" else f"-{carry}")
    with Progress(steps * env.num_envs, 0, console) as progress:
        rows = live_frozen(
            agent,
            env,
            steps,
            carry=carry,
            seed=config.seed,
            cuda_graph=trained.cuda_graph,
            progress=lambda lived: progress.update(lived, {}),
        )
    env.close()
    summary = summarise(rows, env)
    report = config.run / "report"
    report.mkdir(exist_ok=True)
    written: list[Path] = []
    with EpisodeLog(report / name, "sandbox") as log:
        log.truncate(0)
        if rows:  # no episode may have ended
            log.append(rows)
    if summary.curve is not None:
        written += [report / f"{name}.json", report / f"{name}.png"]
        written[0].write_text(summary.curve.to_json() + "\n")
        plot_curves({f"{config.run.name}, {steps:,} steps": summary.curve}, written[1])
        with RunWriter(config.run / name) as writer:
            writer.retention(summary.curve, None)
        written.append(config.run / name)
    show_summary(summary, f"{config.run.name} frozen, {steps:,} steps ({steps / horizon:.3g}x), carry={carry}", console)
    for path in [report / name / "episodes", *written]:
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    return summary
