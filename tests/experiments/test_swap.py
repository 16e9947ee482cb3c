import pytest
import torch

from lifelong import cli
from lifelong.agents import load_checkpoint
from lifelong.experiments import swap, train
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.swap import SwapConfig


def weights(run):
    return load_checkpoint(run / "checkpoints" / "last")[0]


def moments(run):
    """Return the optimiser's state, without the weights' indices."""
    return {(*x.shape, x.double().sum().item()) for key, x in run["optimizer"].items() if "exp_avg" in key}


def test_what_fits_is_kept_with_what_the_optimiser_knows_of_it(tiny):
    old = train.main(tiny(memory="gated_delta")).folder
    report = swap.main(SwapConfig(old, memory="palimpsa"))
    new = old.with_name("tiny-palimpsa")
    before, after = weights(old), weights(new)
    assert {"backbone.memories.0.project.linear.weight", "backbone.mlps.0.factors.weight"} <= report.kept.keys()
    assert "backbone.memories.0.importance_scale" in report.fresh
    assert set(report.kept) | set(report.fresh) == after["policy"].keys()
    assert set(report.kept.values()) | set(report.dropped) == before["policy"].keys()
    for name, source in report.kept.items():
        assert torch.equal(after["policy"][name], before["policy"][source])
    assert moments(after) <= moments(before)
    assert len(moments(after)) > 20


def test_what_learning_knows_of_kept_weights_is_kept(tiny):
    settings = {
        "stream": "rooms", "stream_options": ("task=empty-5x5,lavagaps5", "max_steps=4"), "schedule": "block:96 steps",
        "life_episodes": 0, "boundary": "flag", "l2_init": 1e-3, "ewc": 10.0, "normalize_reward": "on",
    }  # fmt: skip
    old = train.main(tiny(memory="gated_delta", **settings)).folder
    report = swap.main(SwapConfig(old, memory="gru", name="new"))
    before, after = weights(old), weights(old.with_name("new"))
    assert after["return_scale"]["moments"].equal(before["return_scale"]["moments"])
    assert sum(x.sum() for name, x in before["consolidation"].items() if name.startswith("fisher.")) > 0
    for name, source in report.kept.items():
        if source in before["initial"]:
            assert after["initial"][name].equal(before["initial"][source])
            for what in ("fisher", "anchor"):
                assert after["consolidation"][f"{what}.{name}"].equal(before["consolidation"][f"{what}.{source}"])
    assert train.main(train.TrainConfig(resume=old.with_name("new"))).finished


def test_a_new_memory_has_the_horizons_of_the_preset(tiny):
    settings = {"stream": "gym:CartPole-v1", "stream_options": (), "width": 64, "steps": 160}
    old = train.main(tiny(memory="gru", **settings)).folder
    swap.main(SwapConfig(old, memory="gated_delta", name="new"))
    assert open_run(old.with_name("new")).memory_options == ("horizons=[8,100000]",)
    swap.main(SwapConfig(old, memory="gated_delta", memory_options=("horizons=[4,9]",), name="own"))
    assert open_run(old.with_name("own")).memory_options == ("horizons=[4,9]",)
    swap.main(SwapConfig(old, memory="lstm", name="none"))
    assert open_run(old.with_name("none")).memory_options == ()


def test_a_swapped_agent_goes_on_and_leaves_the_old_run_alone(tiny, capsys):
    old = train.main(tiny(memory="gated_delta")).folder
    before = weights(old)
    assert cli.main(["swap", str(old), "--memory", "gru", "--name", "other"]) == 0
    said = capsys.readouterr().err
    assert "re-initialised: " in said
    assert "  backbone.memories.0.network.weight_ih_l0" in said
    outcome = train.main(train.TrainConfig(resume=old.with_name("other")))
    assert outcome.finished
    assert outcome.steps == 160
    for part, tensors in weights(old).items():
        assert all(torch.equal(tensors[name], tensor) for name, tensor in before[part].items())


def test_a_host_is_found_inside_its_metaplastic_version_and_outside_again(tiny):
    old = train.main(tiny(memory="mamba2")).folder
    report = swap.main(SwapConfig(old, memory="metaplastic:mamba2", name="plastic"))
    assert not report.dropped
    assert all(".importance" in name or name.endswith(".prior") for name in report.fresh)
    back = swap.main(SwapConfig(old.with_name("plastic"), memory="mamba2", name="back"))
    assert not back.fresh
    for name, tensor in weights(old)["policy"].items():
        assert torch.equal(weights(old.with_name("back"))["policy"][name], tensor)


def test_a_trained_memory_goes_into_a_cache_of_its_states_and_out_again(tiny):
    old = train.main(tiny(memory="gru")).folder
    report = swap.main(SwapConfig(old, memory="cached:gru", name="cached", memory_options=("slots=2", "segment=3")))
    assert not report.dropped
    assert [name.rpartition(".memories.0.")[2] for name in report.fresh] == ["gate.weight"]
    assert not swap.main(SwapConfig(old.with_name("cached"), memory="gru", name="back")).fresh


def test_wrong_names_are_refused_and_nothing_is_written(tiny):
    old = train.main(tiny()).folder
    with pytest.raises(UserError, match="no memory 'palimsa'; did you mean 'palimpsa'"):
        swap.main(SwapConfig(old, memory="palimsa"))
    with pytest.raises(UserError, match="the new run would replace the old one"):
        swap.main(SwapConfig(old, memory="gru", name="tiny", overwrite=True))
    assert [path.name for path in old.parent.iterdir()] == ["tiny"]
