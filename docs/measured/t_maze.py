"""Ask agents that were trained in T-mazes of 64 steps in corridors of up to 10^6, and print the table of t-maze.md.

    for memory in gated_delta gru lstm mingru bmru palimpsa; do for seed in 0 1 2 3 4; do
        lifelong train t-maze --memory $memory --seed $seed --steps 1500000 --evaluation-lives 0 --name $memory-$seed
    done; done
    python docs/measured/t_maze.py measure runs/*-[0-4]     # writes t_maze.json into each run
    python docs/measured/t_maze.py table runs/*-[0-4]

Agents are frozen, act greedily, and begin new lives; each answers in its first episode. Corridors of 10^5 steps and
more are not asked of an agent that takes the right arm in fewer than 3 of 4 mazes of a tenth of their length.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from lifelong import load_agent
from lifelong.agents import Rollout
from lifelong.envs.streams.t_maze import TMaze

LIVES = {64: 64, 1_000: 64, 10_000: 32, 100_000: 16, 1_000_000: 8}
"""Lives in corridors of each length."""
PIECE = 1000  # steps that are recorded at once
ENOUGH = 0.75


def measure(run: Path) -> dict[int, float]:
    """Return the share of lives that took the right arm, by the length of the corridor.

    Args:
        run: directory of a trained agent.
    """
    torch.set_num_threads(1)
    agent, seed = load_agent(run), json.loads((run / "config.json").read_text())["config"]["seed"]
    shares: dict[int, float] = {}
    for corridor, lives in LIVES.items():
        if corridor > 10_000 and shares[corridor // 10] < ENOUGH:
            break
        env = TMaze(lives, corridor=corridor, life_episodes=None, seed=1000 + seed)
        rollout = Rollout(agent, env, deterministic=True)
        right = np.zeros(lives, np.bool_)
        over = np.zeros(lives, np.bool_)
        while not over.all():
            rows = rollout.collect(min(PIECE, corridor + 1)).episodes
            for life, paid in zip(rows.get("life", ()), rows.get("return", ()), strict=True):
                right[life] |= not over[life] and paid == 1
                over[life] = True
        shares[corridor] = float(right.mean())
    return shares


def table(runs: list[Path]) -> list[str]:
    """Return the lines of a table: for each memory and corridor the share of each seed, in order; `-` if not asked."""
    seeds = defaultdict[str, list[dict[str, float]]](list)
    for run in sorted(runs):
        config = json.loads((run / "config.json").read_text())["config"]
        seeds[config["memory"]].append(json.loads((run / "t_maze.json").read_text()))
    lines = [
        "| memory | " + " | ".join(f"{corridor:,}" for corridor in LIVES) + " |",
        "| --- |" + " --- |" * len(LIVES),
    ]
    for memory, found in seeds.items():
        cells = [" ".join(f"{one[str(n)]:.2f}" if str(n) in one else "-" for one in found) for n in LIVES]
        lines.append(f"| `{memory}` | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    what, *folders = sys.argv[1:]
    if what == "measure":
        for folder in map(Path, folders):
            (folder / "t_maze.json").write_text(json.dumps(measure(folder)) + "\n")
            print(folder, (folder / "t_maze.json").read_text().strip(), flush=True)  # noqa: T201  a script
    elif what == "table":
        print("\n".join(table(list(map(Path, folders)))))  # noqa: T201
    else:
        sys.exit(f"the first word must be measure or table, got {what!r}")
