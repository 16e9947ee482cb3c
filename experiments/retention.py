"""Evaluate a trained agent with frozen slow weights in long new lives and measure its retention curve.

    lifelong retention runs/NAME                    16 times the life it was trained with
    lifelong retention runs/NAME --times 256
    lifelong retention runs/NAME --stream-options cues=64 --steps 4096       more to remember at a time
    lifelong retention runs/NAME --carry episode    the control: memory reset at every episode's end

The lives are new and endless, with new hidden rules: they can only be known in fast weights. Prints the curve with 95 %
intervals (over lives), and writes it to runs/NAME/report/ and, for TensorBoard, as a run runs/NAME/<report>.
A report is named after its steps and every setting that is not the default, such as
frozen-2048-episode-cyclic-20-seed1-lives64; the same command again replaces it and says so.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from lifelong.agents import Carry
from lifelong.envs.rng import evaluation_seed
from lifelong.experiments.metrics.practice_and_load import retention_surface
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.build import make_agent, make_env
from lifelong.experiments.runs.directory import load_policy, open_run
from lifelong.experiments.runs.episodes import EpisodeLog
from lifelong.experiments.runs.errors import check_seed, check_sizes
from lifelong.experiments.runs.evaluation import live_frozen, training_horizon
from lifelong.experiments.runs.progress import Progress
from lifelong.experiments.runs.report_files import ReportFiles, report_name
from lifelong.experiments.runs.summary import Summary, retention_of, show_summary, summarise
from lifelong.experiments.runs.surface import plot_surface
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
        stream_options: settings of the stream in place of training's, such as cues=64.
        seed: random seed of the lives; they are never those of training.
        threads: threads of torch.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    steps: int | None = None
    times: float = 16.0
    lives: int | None = None
    carry: Carry | None = None
    schedule: str | None = None
    stream_options: tuple[str, ...] = ()
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_sizes(self, ("steps", "times", "lives", "threads"))
        check_seed(self.seed)


def command(arguments: list[str]) -> None:
    """Run the verb with words from the command line."""
    main(parse(RetentionConfig, arguments, "retention"), Console(stderr=True))


def main(config: RetentionConfig, console: Console | None = None) -> Summary:
    """Measure a run's agent.

    Args:
        config: settings.
        console: for progress and table; None for silence.

    Raises:
        UserError: if there is no such run, or the settings do not fit its agent.
        CheckpointError: if its checkpoint cannot be read.
    """
    console = console or Console(quiet=True)
    trained = open_run(config.run).resolved()
    torch.set_num_threads(config.threads)
    schedule = None if config.schedule == trained.schedule else config.schedule
    if schedule is not None:
        trained = replace(trained, schedule=schedule)
    trained = replace(trained, stream_options=(*trained.stream_options, *config.stream_options))
    usual = trained.evaluation_lives or trained.num_envs
    lives = config.lives or usual
    env = make_env(trained, num_envs=lives, life_episodes=None, seed=evaluation_seed(config.seed))
    agent = make_agent(trained, env)
    facts = load_policy(config.run, agent)
    horizon = training_horizon(trained, facts["mean_length"])
    steps = config.steps or round(config.times * horizon)
    carry = config.carry or trained.carry
    name = report_name(
        f"frozen-{steps}",
        carry=carry,
        schedule=schedule,
        options=config.stream_options,
        seed=config.seed,
        lives=None if lives == usual else lives,
    )
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
    files = ReportFiles(config.run, name, (".json", ".png", "-load.png"))
    files.added(files.rows / "episodes")
    with EpisodeLog(files.rows, "frozen", tasks=[task.name for task in env.tasks]) as log:
        log.truncate(0)
        if rows:  # no episode may have ended
            log.append(rows, facts["steps"])
    if summary.curve.measured:
        files.add(".json").write_text(summary.curve.to_json() + "\n")
        curves = {f"{config.run.name}, {steps:,} steps": summary.curve}
        if summary.first.measured and summary.first.rho != summary.curve.rho:
            curves["at first exposure"] = summary.first
        plot_curves(curves, files.add(".png"))
        surface = retention_surface(rows, lambda chosen: retention_of(rows, env, where=chosen))
        if len(surface.load) > 1:
            plot_surface(surface, files.add("-load.png"), f"{config.run.name}, {steps:,} steps")
        with RunWriter(files.added(files.events)) as writer:
            writer.retention(summary.curve, None)
    show_summary(summary, f"{config.run.name} frozen, {steps:,} steps ({steps / horizon:.3g}x), carry={carry}", console)
    files.show(console)
    return summary
