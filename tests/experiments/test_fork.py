"""Forked lives come with all that they have, and go on as the run would that they are from."""

import json
from pathlib import Path

import pytest
import torch

from lifelong import cli, load_agent, load_state
from lifelong.agents import load_checkpoint
from lifelong.experiments import fork, train
from lifelong.experiments.fork import ForkConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.train import TrainConfig


def checkpoint(run):
    return load_checkpoint(run / "checkpoints" / "last")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def on(run, steps):
    """Go on with a run, and return its folder."""
    return train.main(TrainConfig(resume=run, steps=steps)).folder


@pytest.mark.parametrize("stream", ["cued-recall", "gym:CartPole-v1"])
def test_all_lives_go_on_to_the_same_bits_in_the_new_run(tiny, stream):
    old = train.main(tiny(stream=stream, stream_options=())).folder
    longer = on(old, 240)  # with another piece of the learning rate
    new = fork.main(ForkConfig(longer, old.with_name("new")))
    assert not read_episodes(new, ["train"])["life"].size
    on(old, 400)
    on(new, 400)
    (before, facts), (after, own) = checkpoint(old), checkpoint(new)
    assert own["steps"] == facts["steps"]
    assert before.keys() == after.keys()
    for part in before:
        assert same(before[part], after[part]), part
    rows, own_rows = read_episodes(old, ["train"]), read_episodes(new, ["train"])
    n = own_rows["life"].size
    assert n
    assert all((rows[name][-n:] == column).all() for name, column in own_rows.items() if column.dtype.kind == "i")


def test_chosen_lives_come_with_their_memory_and_what_they_have_met(tiny):
    old = train.main(tiny(num_envs=4)).folder
    new = fork.main(ForkConfig(old, old.with_name("new"), slots=(3, 1)))
    (before, facts), (after, own) = checkpoint(old), checkpoint(new)
    assert own["steps"] == facts["steps"] // 2
    for part in ("policy", "optimizer", "random"):
        assert same(before[part], after[part])
    for name, x in before["memory"].items():
        assert torch.equal(after["memory"][name], x[[3, 1]])
    for name in ("life", "episode", "life_step", "met", "meetings"):
        assert torch.equal(after["env"][name], before["env"][name][[3, 1]])
    config = json.loads((new / "config.json").read_text())
    assert config["forked"] == {"run": str(old), "step": facts["steps"], "slots": [3, 1]}
    assert config["config"]["num_envs"] == 2
    outcome = train.main(TrainConfig(resume=new, steps=2 * own["steps"]))
    assert outcome.steps >= 2 * own["steps"]
    assert set(after["env"]["life"].tolist()) <= set(read_episodes(new, ["train"])["life"].tolist())


def test_a_file_holds_the_lives_for_another_process(tiny, capsys):
    old = train.main(tiny(num_envs=4)).folder
    file = old.parent / "not" / "there" / "life.safetensors"
    assert cli.main(["fork", str(old), str(file), "--slots", "2", "2", "0"]) == 0
    assert "3 of 4 lives" in capsys.readouterr().err
    state = load_state(file, load_agent(old))
    memory = checkpoint(old)[0]["memory"]
    for name, x in state.tensors().items():
        if name.startswith("memory/"):
            assert torch.equal(x, memory[name.removeprefix("memory/")][[2, 2, 0]])


def test_what_cannot_be_forked_is_refused_and_nothing_is_written(tiny):
    old = train.main(tiny(num_envs=2)).folder
    before = sorted(path.name for path in old.parent.iterdir())
    for to, slots, said in (
        ("new", (2,), "slots must lie in 0 to 1"),
        ("new", (1, 1), "slots must differ, got 1 twice"),
        (old.name, (), "would replace the old one"),
        ("x.safetensors", (5,), "slots must lie in 0 to 1"),
    ):
        with pytest.raises(UserError, match=said):
            fork.main(ForkConfig(old, Path(to), slots=slots))
    assert sorted(path.name for path in old.parent.iterdir()) == before
