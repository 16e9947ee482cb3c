"""Weights saved before a memory was corrected are refused by one sentence."""

import pytest

from lifelong import load_agent
from lifelong.agents import CheckpointError, load_checkpoint, save_checkpoint
from lifelong.experiments import swap, train
from lifelong.experiments.swap import SwapConfig


def before(memory, name, tensor):
    """Return the weight as the version before had it, by its old name; None for one that it did not have."""
    if memory == "rebased":
        return name.replace(".gamma", ".scale").replace(".beta", ".shift"), tensor
    if memory == "preconditioned_delta":
        return None if ".use_gates" in name or ".centre" in name else (name, tensor)
    return name, tensor


def outdated(tiny, memory):
    """Return the folder of a run with weights of the version before."""
    folder = train.main(tiny(memory=memory)).folder
    parts, facts = load_checkpoint(folder / "checkpoints" / "last")
    old = dict(filter(None, (before(memory, *item) for item in parts["policy"].items())))
    if memory == "recurrent_delta":
        old["backbone.memories.0.input.bias"] = old["backbone.memories.0.input.weight"][:, 0].clone()
    save_checkpoint(folder / "checkpoints" / "last", parts | {"policy": old}, facts)
    return folder


@pytest.mark.parametrize(
    ("memory", "weight", "reason"),
    [
        ("rebased", r"of_keys\.beta is not there", "rebased squares the scalar product"),
        ("preconditioned_delta", r"centre is not there", "preconditioner of preconditioned_delta has gates"),
        ("recurrent_delta", r"input\.bias is \[\d+\]", "input map of recurrent_delta has no bias"),
    ],
)
def test_weights_from_before_a_correction_are_refused(tiny, memory, weight, reason):
    folder = outdated(tiny, memory)
    sentence = rf"of another agent: backbone\.memories\.0\.{weight} .*: since 0\.2 .*{reason}.* must be trained anew"
    with pytest.raises(CheckpointError, match=sentence):
        load_agent(folder)
    with pytest.raises(CheckpointError, match=sentence):
        train.main(train.TrainConfig(resume=folder))
    with pytest.raises(CheckpointError, match=sentence) as refused:
        swap.main(SwapConfig(folder, memory="gru"))
    assert "\n" not in str(refused.value)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
