"""Change hidden answers in the lives of a trained agent, its slow weights frozen: does its memory rewrite them?

    lifelong adaptation runs/NAME                    half of the cues change after the life it was trained with
    lifelong adaptation runs/NAME --change-at 512 --steps 2048
    lifelong adaptation runs/NAME --carry episode    the control: memory reset at every episode's end

The lives are new. At episode `--change-at` of each life a random half of its tasks gets another answer, without notice.
Prints P(new answer) and P(old answer) against the task's meetings since, and against environment steps since, with 95 %
intervals over lives; beside them tasks of the same lives that did not change, and tasks learned for the first time. A
memory that only keeps stays with the old answer. Writes rows, JSON and picture to runs/NAME/report/, and a TensorBoard
run runs/NAME/<report>; the same command again replaces them.
"""

from collections.abc import Mapping
from dataclasses import asdict

import torch
from rich.console import Console
from rich.table import Table

from lifelong.envs.rng import evaluation_seed
from lifelong.experiments.metrics.curve import number_text
from lifelong.experiments.metrics.proportions import Shares
from lifelong.experiments.metrics.rewrite import Axis, RewriteCurve, rewrite_curve
from lifelong.experiments.runs.bands import Chart, Line, plot_bands
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig, options
from lifelong.experiments.runs.directory import load_policy, origin
from lifelong.experiments.runs.episodes import FROZEN, EpisodeLog
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.evaluation import live_frozen
from lifelong.experiments.runs.machine_limits import check_threads
from lifelong.experiments.runs.open_run import open_run_as
from lifelong.experiments.runs.progress import Progress
from lifelong.experiments.runs.report_files import ReportFiles, report_name
from lifelong.experiments.runs.summary import chance_of
from lifelong.experiments.runs.tensorboard import RunWriter
from lifelong.experiments.settings.adaptation import AdaptationConfig

__all__ = ["AdaptationConfig", "command", "main"]

_TIMES = 4.0  # how much longer lives are than until the change, if nothing is said
_COUNTED: dict[Axis, str] = {"meetings": "meetings of the task", "steps": "environment steps"}
_LINES = {
    "new": "new answer",
    "old": "old answer",
    "unchanged": "right, of answers that did not change",
    "first": "right, of answers learned first",
}


def command(config: AdaptationConfig) -> None:
    """Run the verb."""
    main(config, Console(stderr=True))


def main(config: AdaptationConfig, console: Console | None = None) -> dict[Axis, RewriteCurve]:
    """Measure a run's agent and return its curves by what they count.

    Args:
        config: settings.
        console: for progress and tables; None for silence.

    Raises:
        UserError: if there is no such run, its stream has no answers that can change, or settings do not fit.
        CheckpointError: if its checkpoint cannot be read.
    """
    console = console or Console(quiet=True)
    check_threads(config.threads)
    torch.set_num_threads(config.threads)
    trained, schedule = open_run_as(
        config.run, config.schedule, config.stream_options, config.device, trust=config.trust
    )
    _check_stream(trained)
    usual_change = options(trained.stream_options).get("change_at") or trained.life_episodes or 128
    change_at = config.change_at or int(usual_change)
    lives = config.lives or trained.evaluation_lives or trained.num_envs
    env = make_env(trained, num_envs=lives, life_episodes=None, seed=evaluation_seed(config.seed), change_at=change_at)
    agent = make_agent(trained, env)
    facts = load_policy(config.run, agent)
    until = max(round(change_at * facts["mean_length"]), 1)
    steps = config.steps or round(_TIMES * until)
    if steps <= until:
        raise UserError(f"lives must be longer than the {until:,} steps until answers change: steps={steps}")
    carry = config.carry or trained.carry
    with Progress(steps * env.num_envs, 0, console) as progress:
        rows = live_frozen(
            agent,
            env,
            steps,
            actions=config.actions,
            carry=carry,
            seed=config.seed,
            cuda_graph=trained.cuda_graph,
            progress=lambda lived: progress.update(lived, {}),
        )
    env.close()
    if not rows:
        raise UserError(f"no episode ended within steps={steps}")
    axes: tuple[Axis, ...] = ("meetings", "steps")
    chance = chance_of(env)
    curves: dict[Axis, RewriteCurve] = {axis: rewrite_curve(rows, axis, chance) for axis in axes}
    usual = lives == (trained.evaluation_lives or trained.num_envs)
    name = report_name(
        f"adaptation-{change_at}-{steps}",
        actions=config.actions,
        carry=carry,
        schedule=schedule,
        options=config.stream_options,
        seed=config.seed,
        lives=None if usual else lives,
    )
    files = ReportFiles(config.run, name, (".json", ".png"))
    with EpisodeLog(files.rows, FROZEN[config.actions], tasks=[task.name for task in env.tasks]) as log:
        log.truncate(0)
        log.append(rows, facts["steps"])
    files.added(files.rows / "episodes")
    settings = {
        "run": config.run, "trained_steps": facts["steps"], "stream": trained.stream, "memory": trained.memory,
        "change_at": change_at, "steps": steps, "lives": lives, "actions": config.actions, "carry": carry,
        "schedule": env.schedule, "stream_options": trained.stream_options, "seed": config.seed,
    }  # fmt: skip
    content = {axis: asdict(curve) | {"bins": curve.bins} for axis, curve in curves.items()}
    files.write_json({"settings": settings, "origin": origin(trained, agent), "curves": content})
    title = f"{config.run.name}: half of the answers change at episode {change_at:,}"
    plot_bands([_chart(curve) for curve in curves.values()], files.add(".png"), title)
    with RunWriter(files.added(files.events)) as writer:
        for axis, curve in curves.items():
            for at, values in zip(curve.least, _scalars(curve), strict=True):
                writer.scalars({f"adaptation/{name}_by_{axis}": value for name, value in values.items()}, at)
    said = f"carry={carry}, {config.actions} actions, {lives:,} lives of {steps:,} steps"
    for curve in curves.values():
        _show(curve, f"{title}, {said}", console)
    files.show(console)
    return curves


def _check_stream(trained: TrainConfig) -> None:
    """Validate that hidden answers of the run's stream can change within a life.

    Raises:
        UserError: if they cannot.
    """
    env = make_env(trained, num_envs=1)
    env.close()
    if not env.rewritable:
        raise UserError(
            f"stream {trained.stream!r} has no hidden answers that can change within a life; adaptation is measured in "
            "streams with the setting change_at: cued-recall"
        )
    if env.drifting:
        raise UserError(
            f"rows of stream {trained.stream!r} with drifts do not tell which answer was meant; adaptation is measured "
            "without drifts"
        )


def _named(curve: RewriteCurve) -> Mapping[str, Shares]:
    found = {"new": curve.new, "old": curve.old, "unchanged": curve.unchanged, "first": curve.first}
    return {name: shares for name, shares in found.items() if any(shares.count)}


def _scalars(curve: RewriteCurve) -> list[dict[str, float]]:
    named = _named(curve)
    return [{name: shares.mean[k] for name, shares in named.items()} for k in range(len(curve.bins))]


def _chart(curve: RewriteCurve) -> Chart:
    lines = {_LINES[name]: Line(shares.mean, shares.low, shares.high) for name, shares in _named(curve).items()}
    return Chart(f"{_COUNTED[curve.axis]} since the change", "P(answer)", curve.bins, lines, {"chance": curve.chance})


def _show(curve: RewriteCurve, title: str, console: Console) -> None:
    if curve.reason:
        console.print(f"no curve by {curve.axis}: {curve.reason}", soft_wrap=True, markup=False, highlight=False)
        return
    table = Table(title=f"{title}: by {_COUNTED[curve.axis]} since", title_justify="left")
    named = _named(curve)
    for heading in (curve.axis, *(f"P({name})" if name in ("new", "old") else name for name in named), "count"):
        table.add_column(heading, justify="right")
    for k, label in enumerate(curve.bins):
        cells = [_with_interval(shares, k) for name, shares in named.items() if name in ("new", "old")]
        cells += [number_text(shares.mean[k]) for name, shares in named.items() if name not in ("new", "old")]
        table.add_row(label, *cells, f"{curve.new.count[k]:,}")
    console.print(table)
    at = curve.crossover
    above = f"from {at} {curve.axis} since the change on" if at is not None else "nowhere"
    words = [f"{name}: {_LINES[name]}" for name in named if name not in ("new", "old")]
    said = [f"P(new) above P(old): {above}", f"chance {curve.chance:.3g}", *words]
    console.print(" · ".join(said), soft_wrap=True, highlight=False)


def _with_interval(shares: Shares, k: int) -> str:
    return number_text(shares.mean[k]) + (f" {shares.low[k]:.3f}-{shares.high[k]:.3f}" if shares.low[k] >= 0 else "")
