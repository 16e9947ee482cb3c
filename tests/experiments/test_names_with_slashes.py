"""Tensors of a memory of one's own may have slashes in their names, in checkpoints and in files of a state."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from lifelong import load_agent
from lifelong.agents import load_state, save_state
from lifelong.agents.checkpoint import load_checkpoint
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.open_run import LAST, open_run
from lifelong.experiments.runs.trainer import Trainer
from lifelong.experiments.train import main

MEAN = '''
from tensordict import TensorDict
from torch import nn

from lifelong.memory import Memory


class Mean(Memory):
    """An average of what was seen."""

    def __init__(self, width):
        super().__init__(width)
        self.inward = nn.Linear(width, width)

    def initial_state(self, batch):
        return TensorDict({"mean/of/x": self.zeros(batch, self.width)}, [batch])

    def step(self, x, state, start):
        mean = 0.9 * self.restart(state, start)["mean/of/x"] + 0.1 * self.inward(x)
        return x + mean, TensorDict({"mean/of/x": mean}, state.batch_size)
'''


def test_they_come_back_as_they_were(
    tiny: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "means.py").write_text(MEAN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "means", raising=False)
    run = main(tiny(memory="means:Mean", steps=64)).folder
    before = load_checkpoint(run / LAST)[0]["memory"]
    assert before.keys() == {"0/mean/of/x"}
    with Trainer(open_run(run, trust=True).resolved(), True, Console(quiet=True)) as trainer:
        assert trainer.rollout.state["0", "mean/of/x"].equal(before["0/mean/of/x"])
    agent = load_agent(run, trust=True)
    state = agent.initial_state(2)
    state.memory["0", "mean/of/x"].fill_(7)
    save_state(tmp_path / "life.safetensors", state)
    found = load_state(tmp_path / "life.safetensors", agent)
    assert found.memory["0", "mean/of/x"].eq(7).all()
