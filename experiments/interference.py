"""Disturb the memory of a trained agent, its slow weights frozen: what is left after n steps of something else?

    lifelong interference runs/NAME                              noise: random observations and rewards
    lifelong interference runs/NAME --by cued-recall             strange lives of the same stream
    lifelong interference runs/NAME --by doors --by-options colours=2         another stream, if its spaces fit

New lives are lived for as long as in training. Then a copy of each memory goes through n steps of something else, n =
0, 16, 64, 256, ..., and every task that was met is asked once, each from that same memory, so that asking teaches
nothing. Prints retention against n with 95 % intervals over lives, and what is lost of the same questions. Writes rows,
JSON and picture to runs/NAME/report/, and a TensorBoard run runs/NAME/<report>; the same command again replaces them.

Noise is drawn uniformly from the observation space, where that has no bounds from a normal distribution. In streams
that reveal the answer in the next episode, the last task is not asked: its answer is still to be shown.
"""

import math
from dataclasses import asdict, replace
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from rich.console import Console
from rich.table import Table

from lifelong.envs import TaskStream
from lifelong.envs.fitted import fit
from lifelong.envs.noise import Noise
from lifelong.envs.rng import evaluation_seed
from lifelong.experiments.metrics.curve import number_text
from lifelong.experiments.metrics.interference import InterferenceCurve, interference_curve
from lifelong.experiments.runs.bands import Chart, Line, plot_bands
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.directory import load_policy, origin
from lifelong.experiments.runs.disturbance import powers_of_four, probe_after
from lifelong.experiments.runs.episodes import EpisodeLog
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.evaluation import training_horizon
from lifelong.experiments.runs.machine_limits import check_threads
from lifelong.experiments.runs.open_run import open_run_as
from lifelong.experiments.runs.progress import Progress
from lifelong.experiments.runs.report_files import ReportFiles, report_name
from lifelong.experiments.runs.summary import MEASURES, chance_of
from lifelong.experiments.runs.tensorboard import RunWriter
from lifelong.experiments.settings.interference import LIVES, InterferenceConfig

__all__ = ["InterferenceConfig", "check_stream", "command", "main", "something_else"]


def command(config: InterferenceConfig) -> None:
    """Run the verb."""
    main(config, Console(stderr=True))


def main(config: InterferenceConfig, console: Console | None = None) -> InterferenceCurve:
    """Measure a run's agent.

    Args:
        config: settings.
        console: for progress and table; None for silence.

    Raises:
        UserError: if there is no such run, what its stream retains cannot be asked for, or settings do not fit.
        CheckpointError: if its checkpoint cannot be read.
    """
    console = console or Console(quiet=True)
    check_threads(config.threads)
    torch.set_num_threads(config.threads)
    trained, schedule = open_run_as(
        config.run, config.schedule, config.stream_options, config.device, trust=config.trust
    )
    env, copies = (
        make_env(trained, num_envs=config.lives, life_episodes=None, seed=evaluation_seed(config.seed))
        for _ in range(2)
    )
    check_stream(trained.stream, env)
    between = something_else(config, trained, env)
    agent = make_agent(trained, env)
    facts = load_policy(config.run, agent)
    before = config.before or training_horizon(trained, facts["mean_length"])
    carry, grid = config.carry or trained.carry, powers_of_four(config.most)
    copies.reset()
    recalled = env.retention == "recall"
    with Progress((before + config.most) * config.lives, 0, console) as progress:
        rows = probe_after(
            agent,
            env,
            copies,
            between,
            before=before,
            grid=grid,
            least_lag=2 if recalled else 1,
            actions=config.actions,
            carry=carry,
            seed=config.seed,
            progress=lambda lived: progress.update(lived, {}),
        )
    for stream in (env, copies, between):
        stream.close()
    if not rows["life"].size:
        raise UserError(f"there is nothing to ask: no task was met within before={before} steps, but perhaps the last")
    curve = interference_curve(rows, "recall" if recalled else "index", chance_of(env))
    name = report_name(
        f"interference-{config.by}-{config.most}",
        actions=config.actions,
        carry=carry,
        schedule=schedule,
        options=(*config.by_options, *config.stream_options, *([f"before={before}"] if config.before else [])),
        seed=config.seed,
        lives=None if config.lives == LIVES else config.lives,
    )
    files = ReportFiles(config.run, name, (".json", ".png"))
    files.added(files.rows)
    for n in grid:
        with EpisodeLog(files.rows / f"after-{n}", "probe", tasks=[task.name for task in env.tasks]) as log:
            log.truncate(0)
            at = rows["disturbed"] == n
            log.append({key: column[at] for key, column in rows.items() if key != "disturbed"}, facts["steps"])
    settings = {
        "run": config.run, "trained_steps": facts["steps"], "stream": trained.stream, "memory": trained.memory,
        "by": config.by, "by_options": config.by_options, "most": config.most, "before": before,
        "lives": config.lives, "actions": config.actions, "carry": carry, "schedule": env.schedule,
        "stream_options": trained.stream_options, "seed": config.seed,
    }  # fmt: skip
    files.write_json({"settings": settings, "origin": origin(trained, agent), "curve": asdict(curve)})
    what = "noise" if config.by == "noise" else f"foreign {config.by}"
    title = f"{config.run.name}: retention after n steps of {what}"
    line = Line(curve.rho, curve.low, curve.high)
    levels = {"nothing forgotten": 1.0, "no memory": 0.0}
    places = [f"{n:,}" for n in curve.steps]
    plot_bands([Chart(f"steps of {what}", "retention", places, {what: line}, levels)], files.add(".png"), title)
    with RunWriter(files.added(files.events)) as writer:
        for n, rho in zip(curve.steps, curve.rho, strict=True):
            writer.scalars({f"retention/after_steps_of_{config.by.replace('/', '-')}": rho}, n)
    said = f"carry={carry}, {config.actions} actions, {config.lives:,} lives of {before:,} steps before"
    _show(curve, f"{title}, {said}", console)
    files.show(console)
    return curve


def check_stream(name: str, env: TaskStream) -> None:
    """Validate that what a memory retains of this stream can be asked for in copies.

    Args:
        name: of the stream.
        env: that was made of it.

    Raises:
        UserError: if it cannot.
    """
    if env.retention not in ("recall", "index"):
        raise UserError(
            f"stream {name!r} has no score without a memory that retention could be measured from; interference is "
            "measured in streams whose retention is recall or index: cued-recall, colour-rule, reversal, dark-room, "
            "map-change, doors, early-choice with rule=life"
        )
    if env.unforkable:
        raise UserError(f"lives of stream {name!r} cannot be copied: {env.unforkable}")


def something_else(config: InterferenceConfig, trained: TrainConfig, env: TaskStream) -> VectorEnv[Any, Any, Any]:
    """Return what comes between, in the agent's spaces.

    Args:
        config: of the measurement.
        trained: settings of the agent's run.
        env: where it lives.

    Raises:
        UserError: if there is no such stream, or its spaces do not fit.
    """
    spaces = env.single_observation_space, env.single_action_space
    if config.by == "noise":
        return Noise(config.lives, *spaces, seed=config.seed)  # type: ignore[arg-type]
    if config.by.replace("_", "-") == trained.stream:
        foreign = replace(trained, stream_options=(*trained.stream_options, *config.by_options))
    else:
        foreign = TrainConfig(
            config.by, boundary=trained.boundary, stream_options=config.by_options, trust=config.trust
        ).resolved()
    seed = evaluation_seed(config.seed ^ 1)  # other lives than those that are asked
    stream = make_env(foreign, num_envs=config.lives, life_episodes=None, seed=seed)
    try:
        return fit(stream, *spaces)
    except ValueError as error:
        stream.close()
        raise UserError(
            f"an agent of {trained.stream!r} cannot live in stream {config.by!r}: {error}; noise fits always"
        ) from error


def _show(curve: InterferenceCurve, title: str, console: Console) -> None:
    if curve.reason:
        console.print(f"no curve: {curve.reason}", soft_wrap=True, markup=False, highlight=False)
        return
    table = Table(title=title, title_justify="left", caption_justify="left", caption=MEASURES[curve.measure])
    for heading in ("steps", "retention", "lost", "score", "count"):
        table.add_column(heading, justify="right")
    for k, n in enumerate(curve.steps):
        lost = _with_interval(curve.loss[k], curve.loss_low[k], curve.loss_high[k]) if k else ""
        kept = _with_interval(curve.rho[k], curve.low[k], curve.high[k])
        table.add_row(f"{n:,}", kept, lost, number_text(curve.score[k]), f"{curve.count[k]:,}")
    console.print(table)
    if not curve.retained:
        console.print("nothing was retained before the disturbance, so there is no half to lose", soft_wrap=True)
        return
    half = f"from {curve.half:,} steps on" if curve.half is not None else f"not within {curve.steps[-1]:,} steps"
    console.print(f"no more than half is left: {half} · lost: of the same questions after 0 steps", soft_wrap=True)


def _with_interval(value: float, low: float, high: float) -> str:
    return number_text(value) + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")
