"""Print what a step of training costs, and the bytes of state, as lives, width and layers grow.

    python -P docs/measured/growth.py               gated_delta, gru and window
    python -P docs/measured/growth.py mesa          another memory

One number at a time is changed from the preset of `cued-recall` (128 lives, width 64, one layer). Each update of a case
follows one of the base case in the same process; the first of each, which compiles, is not counted.
"""

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from lifelong.agents import Rollout
from lifelong.experiments.runs.build import make_agent, make_learner
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig

MEMORIES = ("gated_delta", "gru", "window")
CASES: dict[str, tuple[Any, ...]] = {"num_envs": (16, 64, 256, 512), "width": (32, 128, 256), "layers": (2, 4)}
TURNS = 3

Update = Callable[[], tuple[float, float]]


def updates(memory: str, **changed: Any) -> tuple[Update, int]:
    """Return a function that makes one update, and the bytes of state of one life.

    The function returns CPU microseconds of acting and of learning, per step of a life.
    """
    config = TrainConfig("cued-recall", memory, **changed).resolved()
    torch.manual_seed(0)
    env = make_env(config)
    agent = make_agent(config, env)
    learner, rollout = make_learner(config, agent), Rollout(agent, env, config.carry)
    steps = (config.segment or 1) * (config.num_envs or 1)

    def update() -> tuple[float, float]:
        began = time.process_time()
        segment = rollout.collect(config.segment or 1)
        acted = time.process_time()
        learner.learn(segment)
        return (acted - began) * 1e6 / steps, (time.process_time() - acted) * 1e6 / steps

    return update, agent.backbone.state_bytes


def rows(memory: str) -> list[str]:
    """Return a memory's lines of the table: the base case, and each of the others beside it."""
    base, size = updates(memory)
    based: list[float] = []
    lines = []
    for name, values in CASES.items():
        for value in values:
            case, its_size = updates(memory, **{name: value})
            rounds = [(base(), case()) for _ in range(TURNS + 1)][1:]
            based += [sum(one) for one, _ in rounds]
            act, learn = (median(mine[part] for _, mine in rounds) for part in (0, 1))
            ratios = sorted(sum(mine) / sum(one) for one, mine in rounds)
            spread = f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            cells = (f"{name} {value}", f"{act:.1f}", f"{learn:.1f}", spread, f"{1e6 / (act + learn):,.0f}")
            lines.append(f"| `{memory}` | {' | '.join(cells)} | {its_size:,} |")
    middle = median(based)
    return [f"| `{memory}` | preset | | | 1 | {1e6 / middle:,.0f} | {size:,} |", *lines]


if __name__ == "__main__":
    torch.set_num_threads(1)
    write = sys.stdout.write
    write(
        "| memory | case | acting, µs a step | learning | over the preset | steps per CPU second | bytes of state |\n"
    )
    write("| --- | --- | --- | --- | --- | --- | --- |\n")
    for one in sys.argv[1:] or MEMORIES:
        for line in rows(one):
            write(f"{line}\n")
            sys.stdout.flush()
