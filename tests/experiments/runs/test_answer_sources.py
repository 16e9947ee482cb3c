"""Shares of episodes in what is read: of a memory whose writes are known, and of trained agents."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong import cli
from lifelong.experiments.retention import RetentionConfig, main as retention
from lifelong.experiments.runs.answer_sources import KINDS, SOURCES, AnswerSources, _Timeline, find_sources
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.train import main as train
from lifelong.memory import Attribution, Memory

Configs = Callable[..., TrainConfig]

# two lives of four episodes: of 1, 2, 1, 2 steps of tasks 0, 1, 0, 1, and of 2, 1, 2, 1 steps of 0, 0, 1, 0
ROWS = {
    "life": np.array([0, 1, 0, 0, 1, 1, 0, 1]),
    "episode": np.array([0, 0, 1, 2, 1, 2, 3, 3]),
    "task": np.array([0, 0, 1, 0, 0, 1, 1, 0]),
    "length": np.array([1, 2, 2, 1, 1, 2, 2, 1]),
    "lag_episodes": np.array([-1, -1, -1, 2, 1, -1, 2, 2]),
}


def named(numbers: np.ndarray) -> list[str]:
    return [KINDS[number] for number in numbers]


def test_each_step_of_a_life_is_an_episodes_and_the_step_behind_it_is_too() -> None:
    timeline = _Timeline(ROWS, 2, 6)
    assert [(t, sorted(slots)) for t, slots in timeline.asked()] == [
        (2, [(1, 4)]),
        (3, [(0, 3)]),
        (5, [(0, 6), (1, 7)]),
    ]
    assert named(timeline.whose(0, 3)) == ["last", "last", "others", "present"]
    assert named(timeline.whose(1, 4)) == ["last", "last", "last"]  # the answer is seen in the step that asks again
    assert named(timeline.whose(1, 7)) == ["earlier", "earlier", "last", "last", "others", "present"]


class Equal(Memory):
    """Memory that reads all writes alike: the share of every step is 1 / (T + 1), of the state before too."""

    sums_writes = True

    def initial_state(self, batch: int) -> TensorDict:
        return TensorDict({"x": torch.zeros(batch, self.width)}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        return x, state

    def attribution(self, x: Tensor, state: TensorDict, start: Tensor) -> Attribution:
        B, T = x.shape[:2]
        one = torch.full((B, T, 1, 1), 1 / (T + 1))
        return Attribution(one, one[:, 0], torch.ones(B, 1, 1))


def test_shares_are_those_of_a_memory_whose_writes_are_known(tiny: Configs) -> None:
    config = replace(tiny(life_episodes=0), memory="none").resolved()
    env = make_env(config, num_envs=3, life_episodes=None, seed=1)
    agent = make_agent(config, env)
    agent.backbone.memories[0] = Equal(config.width)
    found = find_sources(agent, env, 24, carry="lifetime")
    total = [sum(found.shares[kind][n] for kind in KINDS) for n in range(len(found.lags))]
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    for n, _ in enumerate(found.lags):  # of T steps each has 1 / (T + 1)
        assert 0.8 < found.shares["last"][n] / found.chance[n] < 1
        assert found.shares["before"][n] > 0


def test_what_reads_no_sum_of_writes_is_refused(tiny: Configs) -> None:
    config = tiny(memory="gru").resolved()
    env = make_env(config, num_envs=2, life_episodes=None)
    with pytest.raises(UserError, match="what GRU reads is no sum of writes"):
        find_sources(make_agent(config, env), env, 8, carry="lifetime")
    config = tiny(memory="gated_delta", stream_options=("cues=64",)).resolved()
    env = make_env(config, num_envs=2, life_episodes=None)
    with pytest.raises(UserError, match="no task was met again in 2 steps: more --steps"):
        find_sources(make_agent(config, env), env, 2, carry="lifetime")


def test_retention_writes_the_shares_and_the_report_shows_them(
    tiny: Configs, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tiny(memory="gated_delta")).folder
    assert cli.main(["retention", str(run), "--steps", "48", "--lives", "4", "--sources"]) == 0
    assert "who wrote what is read" in " ".join(capsys.readouterr().err.split())
    (path,) = (run / "report").glob(f"*{SOURCES}")
    found = AnswerSources.from_json(json.loads(path.read_text()))
    assert sum(found.shares[kind][0] for kind in KINDS) == pytest.approx(1, abs=1e-5)
    assert cli.main(["report", str(run)]) == 0
    text = (run / "report" / "report.md").read_text()
    assert "### Sources of what the memory reads" in text
    assert f"| {found.lags[0]} | {found.episodes[0]} | {found.shares['last'][0]:.3f} |" in text
    path.write_text("{}")
    assert cli.main(["report", str(run)]) == 0
    assert "cannot be read: no shares of answers" in (run / "report" / "report.md").read_text()
    with pytest.raises(UserError, match="one of the two"):
        RetentionConfig(run, probe=True, sources=True)
    retention(RetentionConfig(run, steps=48, lives=4))  # in place of the report before
    assert not path.exists()
