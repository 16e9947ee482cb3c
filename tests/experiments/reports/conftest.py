"""Run directories of simulated agents: what a report must say of them is known."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifelong.envs.stream import ROW
from lifelong.experiments.runs.config import FORMAT, PPOOverrides, TrainConfig
from lifelong.experiments.runs.episodes import EpisodeLog, Mode

Row = dict[str, Any]
Write = Callable[..., Path]


def simulate(
    order: Callable[[np.random.Generator], Sequence[int]],
    score: Callable[[int, int, int], float],
    *,
    lives: int,
    seed: int,
    chance: float = 0.25,
) -> dict[str, Any]:
    """Return rows of an agent that succeeds with a known probability.

    Args:
        order: of the tasks of a life.
        score: probability of success by (lag in episodes, earlier meetings, episodes since the visit began).
        lives: how many.
        seed: of everything.
        chance: `within`; `normalised` is success.
    """
    rng, rows = np.random.default_rng(seed), []
    for life in range(lives):
        last: dict[int, int] = {}
        met: dict[int, int] = {}
        visits: dict[int, int] = {}
        before = -1
        index = 0
        tasks = list(order(rng))
        for episode, task in enumerate(tasks):
            index = index + 1 if task == before else 0
            visits[task] = visits.get(task, -1) + (task != before)
            lag = episode - last[task] if task in last else -1
            load = len(set(tasks[last[task] + 1 : episode])) if task in last else -1
            success = float(rng.random() < score(lag, met.get(task, 0), index))
            rows.append({
                "step": (episode + 1) * lives, "life": life, "episode": episode, "task": task, "visit": visits[task],
                "index_in_visit": index, "lag_steps": lag, "lag_episodes": lag, "lag_tasks": load,
                "meetings": met.get(task, 0), "load": load, "length": 1, "return": success, "normalised": success,
                "within": chance, "cross": 1.0 if lag > 0 else chance, "success": success, "answer": 0,
                "old_answer": -1, "since_change": -1,
            })  # fmt: skip
            last[task], met[task], before = episode, met.get(task, 0) + 1, task
    return {name: np.array([row[name] for row in rows], dtype) for name, dtype in ROW.items()}


def recall_rows(
    half_life: float, *, seed: int = 0, lives: int = 24, episodes: int = 64, cues: int = 4
) -> dict[str, Any]:
    """Return rows of cued recall of an exponential forgetter; it recalls nothing if its half-life is 0."""

    def order(rng: np.random.Generator) -> list[int]:
        tasks = [int(rng.integers(cues))]
        while len(tasks) < episodes:
            tasks.append(int((tasks[-1] + rng.integers(1, cues)) % cues))
        return tasks

    def score(lag: int, met: int, index: int) -> float:
        q = 2.0 ** (-lag / half_life) if met and half_life else 0.0
        return q + (1 - q) / 4

    return simulate(order, score, lives=lives, seed=seed)


def visit_rows(kept: float, *, seed: int = 0, lives: int = 16, blocks: int = 9, length: int = 8) -> dict[str, Any]:
    """Return rows of three tasks in turn: success .1 at first, .9 after a few episodes; a share is kept on return."""

    def score(lag: int, met: int, index: int) -> float:
        return 0.9 if index >= 3 else 0.1 if not met else 0.1 + 0.8 * kept

    order = [block % 3 for block in range(blocks) for _ in range(length)]
    return simulate(lambda rng: order, score, lives=lives, seed=seed, chance=np.nan)


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    """Return a function that writes a run directory."""

    def write(
        name: str = "run",
        *,
        rows: dict[str, Any] | None = None,
        mode: Mode = "frozen",
        evaluations: Sequence[tuple[int, dict[str, Any]]] = (),
        steps: int | None = 1000,
        seconds: float = 2.0,
        **settings: Any,
    ) -> Path:
        settings = {"stream_options": ("cues=4",), "memory": "gru", "width": 8, "steps": 1000} | settings
        if settings.get("stream") == "rooms":
            settings["stream_options"] = ("task=empty-5x5,fourrooms,doorkey-5x5",)
        config = TrainConfig(**settings, name=name, runs=tmp_path / "runs", ppo=PPOOverrides(minibatches=1)).resolved()
        folder = config.run
        folder.mkdir(parents=True)
        origin = {
            "versions": {"lifelong-rl": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
            "git": None,
            "command": ["/usr/bin/lifelong", "train", config.stream, "--memory", config.memory],
            "device": "cpu",
            "threads": 1,
            "machine": "x86_64",
        }
        content = {"format": FORMAT, "config": replace(config).to_json(), "origin": origin}
        (folder / "config.json").write_text(json.dumps(content))
        counts = {"rows": 0, "evaluation_rows": 0}
        if rows is not None:
            counts["rows"] = rows["step"].size if mode == "train" else 0
            with EpisodeLog(folder, mode) as log:
                log.append(rows, -1 if mode == "train" else 1000)
        if evaluations:
            with EpisodeLog(folder, config.evaluate_mode) as log:
                for step, found in evaluations:
                    log.append(found, step)
                counts["evaluation_rows"] = log.rows
        if steps is not None:
            facts = folder / "checkpoints" / "last" / "facts.json"
            facts.parent.mkdir(parents=True)
            lived = {"mean_length": 1.0, "env_shapes": {}}
            facts.write_text(json.dumps({"steps": steps, "seconds": seconds, "evaluation_steps": 0, **lived, **counts}))
        return folder

    return write
