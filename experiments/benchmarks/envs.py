"""Measure steps per second of vector environments, ours and others'.

    lifelong bench envs
    pip install envpool xminigrid 'jax[cpu]'    # to have them measured beside it

All run the same environment: DoorKey 8x8 with its 7 x 7 view, random actions, the same `num_envs`. A step of ours is
the whole of `TaskStream.step`, with resets, level generation, counters and infos; so it is with the others. Two other
streams are measured beside it. First `rooms` is compared with MiniGrid step by step. Then all take turns in one
process; every turn is long enough for episodes to end, except MiniGrid's own, where that would take minutes.
Prints a Markdown table of medians, their spread, and ratios.
"""

import importlib.util
import os
import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import gymnasium
import numpy as np

from lifelong.envs import make_stream
from lifelong.experiments.settings.benchmarks.envs import BenchConfig

__all__ = ["BenchConfig", "command", "main"]

_ID = "MiniGrid-DoorKey-8x8-v0"
_TASK = "doorkey-8x8"

Turn = Callable[[], int]
"""Takes some steps and returns their number, of all lives together."""


def main(config: BenchConfig) -> str:
    """Measure and return the table."""
    compared = agree(1000)
    turns: dict[str, Turn] = {
        "lifelong rooms, DoorKey 8x8": _ours(config, "rooms", task=_TASK),
        "lifelong cued-recall": _ours(config, "cued-recall"),
        "lifelong reversal": _ours(config, "reversal"),
        "MiniGrid, gymnasium SyncVectorEnv": _minigrid(config),
    }
    missing = []
    for name, module, make in (("EnvPool MiniGrid", "envpool", _envpool), ("XLand-MiniGrid", "xminigrid", _xland)):
        if importlib.util.find_spec(module):
            turns[name] = make(config)
        else:
            missing.append(f"{name} (pip install {module})")
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(config.turns + 1):
        for name, turn in turns.items():
            began = time.perf_counter()
            steps = turn()
            if number:  # the first compiles
                rates[name].append(steps / (time.perf_counter() - began))
    return _table(config, rates, compared, missing)


def agree(steps: int) -> int:
    """Step `rooms` and MiniGrid from equal levels with equal actions; return how many steps were compared.

    Raises:
        RuntimeError: if they differ in an observation, a reward or an episode end.
    """
    from lifelong.envs.minigrid.bridge import from_minigrid
    from lifelong.envs.rooms.grids import Grids
    from lifelong.envs.rooms.tasks import TASKS

    theirs = _make_minigrid().unwrapped
    grids, rng = Grids(1, [TASKS[_TASK]]), np.random.default_rng(0)
    compared, seed, over, step = 0, 0, True, 0
    while compared < steps:
        if over:
            obs, _ = theirs.reset(seed=seed)
            grids.load(0, 0, from_minigrid(theirs))
            seed, step = seed + 1, 0
        action = rng.integers(7)
        obs, *ends = theirs.step(action)
        own = [of[0] for of in grids.step(np.array([action]), np.array([step]))]
        ends[2] = ends[2] and not ends[1]
        if own != ends[:3] or not np.array_equal(grids.image[0], obs["image"]):
            raise RuntimeError(f"MiniGrid and rooms differ at step {step} of level {seed - 1}: {ends[:3]}, {own}")
        compared, step, over = compared + 1, step + 1, bool(ends[1] or ends[2])
    return compared


def _ours(config: BenchConfig, name: str, **options: Any) -> Turn:
    env = make_stream(name, num_envs=config.num_envs, **options)
    env.reset()
    return _stepping(env, config, int(env.single_action_space.n))  # type: ignore[attr-defined]


def _stepping(env: Any, config: BenchConfig, number: int, share: int = 1) -> Turn:
    """Return a turn of a vector environment: a share of the steps, with random actions below `number`."""
    rng = np.random.default_rng(0)
    actions = rng.integers(number, size=(max(1, config.steps // share), config.num_envs)).astype(np.int32)

    def turn() -> int:
        for action in actions:
            env.step(action)
        return int(actions.size)

    return turn


def _make_minigrid() -> Any:
    importlib.import_module("minigrid")  # registers its environments
    return gymnasium.make(_ID, disable_env_checker=True)


def _minigrid(config: BenchConfig) -> Turn:
    from minigrid.wrappers import ImgObsWrapper

    env = gymnasium.vector.SyncVectorEnv([lambda: ImgObsWrapper(_make_minigrid())] * config.num_envs)  # type: ignore[no-untyped-call]
    env.reset(seed=0)
    return _stepping(env, config, 7, share=100)


def _envpool(config: BenchConfig) -> Turn:
    envpool: Any = importlib.import_module("envpool")
    env = envpool.make_gymnasium(_ID, num_envs=config.num_envs, num_threads=config.threads)
    env.reset()
    return _stepping(env, config, 7, share=4)


def _xland(config: BenchConfig) -> Turn:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    jax: Any = importlib.import_module("jax")
    xminigrid: Any = importlib.import_module("xminigrid")
    wrappers: Any = importlib.import_module("xminigrid.wrappers")
    env, parameters = xminigrid.make(_ID.removesuffix("-v0"))
    env = wrappers.GymAutoResetWrapper(env)
    number = env.num_actions(parameters)

    def live(now: Any, key: Any) -> Any:
        action = jax.random.randint(key, (config.num_envs,), 0, number)
        now = jax.vmap(env.step, in_axes=(None, 0, 0))(parameters, now, action)
        return now, (now.reward.sum(), now.observation.sum())

    steps = max(1, config.steps // 4)
    scan = jax.jit(lambda now, key: jax.lax.scan(live, now, jax.random.split(key, steps)))
    keys = jax.random.split(jax.random.key(0), config.num_envs)
    state = {"now": jax.vmap(env.reset, in_axes=(None, 0))(parameters, keys), "key": jax.random.key(1)}

    def turn() -> int:
        state["key"], key = jax.random.split(state["key"])
        state["now"], sums = scan(state["now"], key)
        jax.block_until_ready(sums)
        return steps * config.num_envs

    return turn


def _table(config: BenchConfig, rates: dict[str, list[float]], compared: int, missing: list[str]) -> str:
    own = median(rates["lifelong rooms, DoorKey 8x8"])
    lines = [
        f"{config.num_envs:,} lives, random actions, {config.steps} steps a turn, median of {config.turns} turns "
        f"(least to most), {platform.machine()}, numpy {np.__version__}",
        f"{compared:,} steps held against MiniGrid's, none differed",
        "",
        "| environment | million steps/s | spread | rooms is so many times as fast |",
        "| --- | --- | --- | --- |",
    ]
    for name, found in rates.items():
        middle, low, high = (f"{of(found) / 1e6:.3g}" for of in (median, min, max))
        lines.append(f"| {name} | {middle} | {low} to {high} | {own / median(found):,.1f} |")
    if missing:
        lines += ["", f"Not installed, so not measured: {', '.join(missing)}."]
    return "\n".join(lines)


def command(config: BenchConfig) -> None:
    """Measure and print the table."""
    print(main(config))
