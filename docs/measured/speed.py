"""Compare the training speed of two checkouts, in turns, and print the table of speed.md.

    git worktree add ../before 4f3d565
    python docs/measured/speed.py ../before .

Each checkout trains in a process of its own, one thread; they take turns, a segment and its update each, so that a
disturbance hits both. Times are CPU seconds; ratios are medians over the rounds of the ratio within a round.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "cued-recall, 128 lives": {"stream": "cued-recall"},
    "cued-recall, 16 lives": {"stream": "cued-recall", "num_envs": 16},
    "rooms, 64 lives, width 128": {"stream": "rooms", "num_envs": 64, "width": 128},
    "cued-recall, 128 lives, gru": {"stream": "cued-recall", "memory": "gru"},
    "rooms, 64 lives, width 128, gru": {"stream": "rooms", "memory": "gru", "num_envs": 64, "width": 128},
    "CartPole, 16 lives, gru": {"stream": "gym:CartPole-v1", "memory": "gru"},
    "CartPole, 16 lives, lstm": {"stream": "gym:CartPole-v1", "memory": "lstm"},
}
ROUNDS = 12


def work(case: str) -> None:
    """Collect a segment and learn from it at every line that comes in; answer with CPU seconds of both, and steps."""
    import torch

    torch.set_num_threads(1)
    collect, learn, steps = _training(CASES[case])
    for _ in range(2):  # compiles
        learn(collect())
    _say(["ready"])
    for _ in sys.stdin:
        began = time.process_time()
        segment = collect()
        collected = time.process_time()
        learn(segment)
        _say([collected - began, time.process_time() - collected, steps])


def _training(settings: dict[str, Any]) -> tuple[Any, Any, int]:
    """Return calls that collect and learn, and the steps of a segment, of this checkout, 0.1 or later."""
    import torch

    try:
        from lifelong.agents import Rollout
        from lifelong.experiments.runs import build, config as configs

        config = configs.TrainConfig(**settings).resolved()
        torch.manual_seed(0)
        try:
            from lifelong.experiments.runs.build_env import make_env
        except ImportError:
            make_env = build.make_env
        env = make_env(config)
        agent = build.make_agent(config, env)
        learner, rollout = build.make_learner(config, agent), Rollout(agent, env, config.carry)
        collect, learn = (lambda: rollout.collect(config.segment)), learner.learn
    except ImportError:
        from lifelong.agents import Lifetime
        from lifelong.experiments import assembly
        from lifelong.experiments.config import TrainConfig

        config = TrainConfig(**settings).resolved()
        torch.manual_seed(0)
        env = assembly.make_world(config)
        agent = assembly.make_agent(config, env)
        old, lifetime = assembly.make_learner(config, agent), Lifetime(agent, env, config.carry)
        collect, learn = (lambda: lifetime.segment(config.segment)), (lambda segment: old.learn(segment, 1.0))
    return collect, learn, config.segment * config.num_envs


def _say(words: list[Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def compare(checkouts: list[Path], case: str) -> str:
    """Return the line of a case: microseconds of CPU per step of both, acting and learning, and the ratios."""
    workers = []
    for checkout in checkouts:
        environ = os.environ | {"PYTHONPATH": str(checkout.resolve() / "src"), "PYTHONSAFEPATH": "1"}
        words = [sys.executable, "-P", __file__, "--work", case]
        pipe = subprocess.PIPE
        process = subprocess.Popen(  # noqa: S603  this file
            words, env=environ, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        workers.append(process)
    for worker in workers:
        _answer(worker)
    rounds = []
    for _ in range(ROUNDS):
        answers = []
        for worker in workers:
            print("go", file=worker.stdin, flush=True)
            answers.append(_answer(worker))
        rounds.append(answers)
    for worker in workers:
        worker.kill()
    cells = [case]
    for part in (0, 1):
        times = [statistics.median(answers[i][part] / answers[i][2] * 1e6 for answers in rounds) for i in (0, 1)]
        ratios = [answers[0][part] / answers[1][part] for answers in rounds]
        cells.append(f"{times[0]:.1f} → {times[1]:.1f} (× {statistics.median(ratios):.2f})")
    totals = sorted((old[0] + old[1]) / (new[0] + new[1]) for old, new in rounds)
    rates = [round(statistics.median(a[i][2] / (a[i][0] + a[i][1]) for a in rounds)) for i in (0, 1)]
    cells.append(f"{rates[0]:,} → {rates[1]:,}")
    cells.append(f"**× {statistics.median(totals):.2f}** ({totals[0]:.2f} to {totals[-1]:.2f})")
    return f"| {' | '.join(cells)} |"


def _answer(worker: Any) -> list[Any]:
    answer: list[Any] = json.loads(worker.stdout.readline())
    return answer


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2])
    elif len(sys.argv) != 3:
        sys.exit("usage: python docs/measured/speed.py BEFORE AFTER")
    else:
        folders = [Path(word) for word in sys.argv[1:]]
        sys.stdout.write("| case | acting, µs a step | learning, µs a step | steps per CPU second | together |\n")
        sys.stdout.write("| --- | --- | --- | --- | --- |\n")
        for name in CASES:
            sys.stdout.write(compare(folders, name) + "\n")
            sys.stdout.flush()
