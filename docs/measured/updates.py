"""Print the table of updates.md: CPU time of one update of each memory, over that of gated_delta.

python -P docs/measured/updates.py                      the memories that take or took more than 3 times gated_delta's
python -P docs/measured/updates.py softmax titans       some

An update collects a segment and learns from it, at the shapes of the preset of `cued-recall`. Each update of a memory
follows one of gated_delta in the same process; the first of each, which compiles, is not counted.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch

from lifelong.agents import PPO, ActorCritic, Backbone, Encoder, Rollout
from lifelong.envs import make_stream
from lifelong.experiments.runs.presets import PRESETS
from lifelong.memory import make_memory

SLOW = (
    "yaad", "moneta", "ttt_mlp", "titans", "lola", "mom", "log_linear", "titans_mag", "titans_mal", "softmax", "hola",
    "mesa", "titans_mac", "atlas", "shm", "memora", "lact", "hope", "elmur", "cached",
)  # fmt: skip
WIDTH = 64
TURNS = 3
RATIO = 1e-6
"""Bound of max |ratio - 1| of the first minibatch."""


def updates(name: str) -> Callable[[], tuple[float, float, float]]:
    """Return a function that makes one update, and returns seconds of acting and of learning, and the ratio error."""
    settings = PRESETS["cued-recall"]
    torch.manual_seed(0)
    env = make_stream("cued-recall", num_envs=settings["num_envs"], life_episodes=settings["life_episodes"])
    memory = Backbone([make_memory(name, WIDTH)])
    agent = ActorCritic(Encoder(env.single_observation_space, WIDTH, "off"), memory, env.single_action_space)
    rollout, learner = Rollout(agent, env), PPO(agent, replace(settings["ppo"]))

    def update() -> tuple[float, float, float]:
        began = time.process_time()
        segment = rollout.collect(settings["segment"])
        acted = time.process_time()
        report = learner.learn(segment)
        return acted - began, time.process_time() - acted, report["ratio_error"]

    return update


def row(name: str, turns: int = TURNS) -> str:
    """Return a memory's line of the table."""
    base, measured = updates("gated_delta"), updates(name)
    rounds = [(base(), measured()) for _ in range(turns + 1)][1:]
    totals = [(sum(ours[:2]), sum(theirs[:2])) for ours, theirs in rounds]
    act, learn = (median(theirs[n] for _, theirs in rounds) for n in (0, 1))
    ratios = [theirs / ours for ours, theirs in totals]
    error = max(theirs[2] for _, theirs in rounds)
    spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
    return f"| `{name}` | {median(ratios):.1f} | {spread} | {act:.2f} | {learn:.2f} | {error:.1e} |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    write = sys.stdout.write
    write("| memory | over gated_delta | least to most | acting, s | learning, s | ratio error |\n")
    write("| --- | --- | --- | --- | --- | --- |\n")
    for name in sys.argv[1:] or SLOW:
        write(f"{row(name)}\n")
        sys.stdout.flush()
