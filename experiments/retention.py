"""Evaluate a trained agent with frozen slow weights in long new lives and measure its retention curve.

    lifelong retention runs/NAME                    16 times the life it was trained with
    lifelong retention runs/NAME --times 256
    lifelong retention runs/NAME --stream-options cues=64 --steps 4096       more to remember at a time
    lifelong retention runs/NAME --carry episode    the control: memory reset at every episode's end
    lifelong retention runs/NAME --actions greedy   the most probable actions, not drawn ones
    lifelong retention runs/NAME --probe --stream-options cues=256           what was met once, 2, 4, 8, ... 256 ago
    lifelong retention runs/NAME --probe --lags 3 10 30 100 --meetings 2
    lifelong retention runs/NAME --sources          and which episodes wrote what the memory reads

The lives are new and endless, with new hidden rules: they can only be known in fast weights. Prints the curve with 95 %
intervals (over lives), and writes it to runs/NAME/report/ and, for TensorBoard, as a run runs/NAME/<report>.
A report is named after its steps and every setting that is not the default, such as
frozen-2048-episode-cyclic-20-seed1-lives64; the same command again replaces it and says so.

With --probe every task is met once and then not again, while others come. Copies of the lives are asked for it at exact
lags and thrown away: asking does not rehearse, and lag is not practice. Its load, the different tasks met since, stands
beside each lag.
"""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.durable import writing
from lifelong.envs import TaskStream
from lifelong.envs.rng import evaluation_seed
from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.answer_sources import (
    LOOKED_AT,
    SOURCES,
    AnswerSources,
    find_sources,
    show_sources,
)
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.directory import load_policy
from lifelong.experiments.runs.episodes import FROZEN, EpisodeLog, Mode
from lifelong.experiments.runs.evaluation import live_frozen, training_horizon
from lifelong.experiments.runs.machine_limits import check_threads, check_workers
from lifelong.experiments.runs.open_run import open_run_as
from lifelong.experiments.runs.probes import ask_at_lags, check_probe, length_of_life
from lifelong.experiments.runs.progress import Progress
from lifelong.experiments.runs.report_files import ReportFiles, report_name
from lifelong.experiments.runs.summary import Summary, retention_of, show_summary, summarise
from lifelong.experiments.runs.surface import plot_surface, surface_of
from lifelong.experiments.runs.tensorboard import RunWriter, plot_curves
from lifelong.experiments.settings.retention import RetentionConfig

__all__ = ["RetentionConfig", "command", "main"]


@dataclass(frozen=True)
class _Lived:
    """What the lives have shown.

    Args:
        rows: of their episodes, or of the copies'.
        mode: of the rows.
        name: how the name of the report begins.
        length: of the lives, in words.
        more: the same, with what it is compared to.
    """

    rows: Rows
    mode: Mode
    name: str
    length: str
    more: str


def command(config: RetentionConfig) -> None:
    """Run the verb."""
    main(config, Console(stderr=True))


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
    check_threads(config.threads)
    check_workers(config.env_workers or 0)
    torch.set_num_threads(config.threads)
    trained, schedule = open_run_as(
        config.run, config.schedule, config.stream_options, config.device, trust=config.trust
    )
    if config.probe and schedule is None:
        trained = replace(trained, schedule=f"once:meetings={config.meetings}")
    trained = replace(trained, carry=config.carry or trained.carry)
    if config.env_workers is not None:
        trained = replace(trained, env_workers=config.env_workers)
    usual = trained.evaluation_lives or trained.num_envs
    lives = config.lives or usual

    def stream() -> TaskStream:
        return make_env(trained, num_envs=lives, life_episodes=None, seed=evaluation_seed(config.seed))

    env = stream()
    agent = make_agent(trained, env)
    facts = load_policy(config.run, agent)
    if config.probe:
        lived = _ask(config, trained, agent, env, stream, facts["mean_length"], console)
    else:
        lived = _live(config, trained, agent, env, facts["mean_length"], console)
    env.close()
    sources = _sources(config, trained, agent, stream()) if config.sources else None
    name = report_name(
        lived.name,
        actions=config.actions,
        carry=trained.carry,
        schedule=schedule,
        options=config.stream_options,
        seed=config.seed,
        lives=None if lives == usual else lives,
    )
    summary = summarise(lived.rows, env, config.actions)
    if config.probe:
        curve = _with_load(lived.rows, env)
        summary = replace(summary, curve=curve, first=curve)
    files = _write(config.run, name, lived, summary, env, facts["steps"])
    if sources is not None:
        files.add(SOURCES).write_text(json.dumps(sources.to_json(), indent=1) + "\n", encoding="utf-8")
    kind = "probe" if config.probe else "frozen"
    title = f"{config.run.name} {kind}, {lived.more}, carry={trained.carry}, {config.actions} actions"
    show_summary(summary, title, console)
    if sources is not None:
        show_sources(sources, f"{config.run.name}: who wrote what is read", console)
    files.show(console)
    return summary


def _live(
    config: RetentionConfig,
    trained: TrainConfig,
    agent: ActorCritic,
    env: TaskStream,
    mean_length: float,
    console: Console,
) -> _Lived:
    """Let the agent live on."""
    horizon = training_horizon(trained, mean_length)
    steps = config.steps or round(config.times * horizon)
    with Progress(steps * env.num_envs, 0, console) as progress:
        rows = live_frozen(
            agent,
            env,
            steps,
            actions=config.actions,
            carry=trained.carry,
            seed=config.seed,
            cuda_graph=trained.cuda_graph,
            progress=lambda lived: progress.update(lived, {}),
        )
    length, mode = f"{steps:,} steps", FROZEN[config.actions]
    return _Lived(rows, mode, f"frozen-{steps}", length, f"{length} ({steps / horizon:.3g}x)")


def _sources(config: RetentionConfig, trained: TrainConfig, agent: ActorCritic, env: TaskStream) -> AnswerSources:
    """Attribute what the agent reads in the beginning of its lives."""
    steps = min(config.steps or LOOKED_AT, LOOKED_AT)
    with closing(env):
        return find_sources(agent, env, steps, carry=trained.carry, actions=config.actions, seed=config.seed)


def _ask(
    config: RetentionConfig,
    trained: TrainConfig,
    agent: ActorCritic,
    env: TaskStream,
    stream: Callable[[], TaskStream],
    mean_length: float,
    console: Console,
) -> _Lived:
    """Let the agent live on, and ask copies at the lags.

    Raises:
        UserError: if tasks of the stream cannot be asked for, or not at these lags.
    """
    meetings = config.meetings
    lags = check_probe(env, trained.stream, config.lags, meetings)
    episodes, copies = length_of_life(env, lags, meetings), stream()
    with Progress(round(episodes * mean_length) * env.num_envs, 0, console) as progress:
        rows = ask_at_lags(
            agent,
            env,
            copies,
            lags,
            episodes=episodes,
            meetings=meetings,
            actions=config.actions,
            carry=trained.carry,
            seed=config.seed,
            cuda_graph=trained.cuda_graph,
            progress=lambda lived: progress.update(lived, {}),
        )
    copies.close()
    words = ["probe", *map(str, lags if config.lags else lags[-1:]), *([f"meetings{meetings}"] * (meetings > 1))]
    often = "once" if meetings == 1 else f"{meetings} times"
    more = f"{episodes:,} episodes, each task met {often}"
    return _Lived(rows, "probe", "-".join(words), f"{often} met", more)


def _with_load(rows: Rows, env: TaskStream) -> RetentionCurve:
    """Return retention by exact lag, with the mean load at each."""
    curve = retention_of(rows, env, exact=True)
    loads = tuple(float(np.mean(rows["load"][rows["lag_episodes"] == lag])) for lag in curve.lags)
    return replace(curve, load=loads)


def _write(run: Path, name: str, lived: _Lived, summary: Summary, env: TaskStream, trained_steps: int) -> ReportFiles:
    """Write a report in place of one of the same name, and return its files."""
    files = ReportFiles(run, name, (".json", ".png", "-load.png", SOURCES))
    files.added(files.rows / "episodes")
    with EpisodeLog(files.rows, lived.mode, tasks=[task.name for task in env.tasks]) as log:
        log.truncate(0)
        if lived.rows:  # no episode may have ended
            log.append(lived.rows, trained_steps)
    if summary.curve.measured:
        with writing(files.folder):
            files.add(".json").write_text(summary.curve.to_json() + "\n", encoding="utf-8")
        title = f"{run.name}, {lived.length}, {summary.actions} actions"
        curves = {title: summary.curve}
        if summary.first.measured and summary.first.rho != summary.curve.rho:
            curves["at first exposure"] = summary.first
        plot_curves(curves, files.add(".png"))
        surface = surface_of(lived.rows, env) if lived.mode != "probe" else None  # among probes load goes with lag
        with RunWriter(files.added(files.events)) as writer:
            writer.retention(summary.curve, None)
            if surface is not None:
                writer.figure(
                    "retention/load_and_lag", plot_surface(surface, files.add("-load.png"), title), trained_steps
                )
    return files
