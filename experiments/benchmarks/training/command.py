"""Measure recurrent trainers in the same environment: environment steps per second, and seconds to solve.

    pip install 'lifelong-rl[bench]'                                for sb3-contrib beside ours
    lifelong bench training                                         DoorKey in `rooms` and Python, few and many resets
    lifelong bench training --env CartPole-v1 --worlds python --resets few
    lifelong bench training --solve doorkey-8x8 cued-recall         minutes to hours

Ours with several memories beside an LSTM loop written out by hand and sb3-contrib's RecurrentPPO: the same stream,
width, steps per update, epochs, minibatches and threads, memories reset where an episode ends. Each turn is one update
(collect, then learn); all take turns in one process, the first of each is not counted. A table for each environment has
medians, the interquartile range, steps per second of the processor, and the policy's whole step: collecting without the
environment. A verdict is refused where more processes ran than there are cores, or the range is above 30 % of a median.
"""

import os
import platform

import torch

from lifelong.experiments.benchmarks.training.contestants import INSTALL, contestants, is_installed
from lifelong.experiments.benchmarks.training.measure import Measured, doubts, in_turns, load_average, middle, spread
from lifelong.experiments.benchmarks.training.solve import solve_table
from lifelong.experiments.benchmarks.training.worlds import World
from lifelong.experiments.runs.errors import as_user_error
from lifelong.experiments.settings.benchmarks.training import BenchConfig

__all__ = ["command", "main"]

_GOALS = {"lifelong gated_delta": 1.0, "lifelong lstm": 1.0}
"""Steps per second over RecurrentPPO's that ours are to reach, by trainer; twice as many with many resets."""


def main(config: BenchConfig) -> str:
    """Measure and return the tables."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    parts = [
        f"{config.num_envs} environments, {config.steps} steps, width {config.width}, {config.epochs} epochs, "
        f"{config.minibatches} minibatches, {config.threads} thread(s), median of {config.turns} turns, torch "
        f"{torch.__version__}, {platform.machine()}, {os.cpu_count()} cores"
    ]
    worlds = [
        World(config.env, where == "rooms", resets == "many") for resets in config.resets for where in config.worlds
    ]
    for world in worlds:
        with as_user_error():
            compared = contestants(config, world)
        before = load_average()
        measured = in_turns(compared, config.turns)
        after = load_average()
        load = None if before is None or after is None else max(before, after)
        parts.append(_table(config, world, measured, load))
    if not is_installed():
        parts.append("\n".join(f"Not installed, so not measured: {name} ({how})." for name, how in INSTALL.items()))
    parts += [solve_table(task, config) for task in config.solve]
    return "\n\n".join(parts)


def _table(config: BenchConfig, world: World, measured: dict[str, Measured], load: float | None) -> str:
    """Return the table of one environment, and a verdict."""
    batch = config.num_envs * config.steps
    against = "sb3-contrib RecurrentPPO" if "sb3-contrib RecurrentPPO" in measured else "LSTM loop"
    rival, loop = middle(measured[against].wall), middle(measured["LSTM loop"].acting)
    lines = [
        f"## {world}",
        "",
        "| trainer | steps/s | range, % of the median | steps per CPU second | ratio | a policy's step, ms | over the "
        "LSTM loop's |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, seconds in measured.items():
        acting = middle(seconds.acting)
        step = f"{1e3 * acting / config.steps:.3g} | {acting / loop:.2f}" if seconds.acting else "- | -"
        wide = f"{100 * spread(seconds.wall):.0f}" if len(seconds.wall) > 2 else "-"
        lines.append(
            f"| {name} | {batch / middle(seconds.wall):,.0f} | {wide} | {batch / middle(seconds.cpu):,.0f} | "
            f"{rival / middle(seconds.wall):.2f} | {step} |"
        )
    reasons = doubts(measured, load, os.cpu_count() or 1)
    if reasons:
        return "\n".join([*lines, "", f"Verdict refused: {'; '.join(reasons)}."])
    return "\n".join([*lines, "", f"Against {against}: {_verdict(measured, rival, many=world.short)}."])


def _verdict(measured: dict[str, Measured], rival: float, *, many: bool) -> str:
    """Return which of our trainers reach their goals."""
    said = []
    for name, seconds in measured.items():
        if name in _GOALS:
            goal, ratio = _GOALS[name] * (2.0 if many else 1.0), rival / middle(seconds.wall)
            said.append(f"{name} {ratio:.2f}, the goal of {goal:g} is {'met' if ratio >= goal else 'missed'}")
    return "; ".join(said) or "no goals for these memories"


def command(config: BenchConfig) -> None:
    """Measure and print the tables."""
    print(main(config))
