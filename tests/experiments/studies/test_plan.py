"""Arms are made equal in bytes and parameters, or refused with their line and the nearest sizes."""

from typing import Any

import pytest
import torch

from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.studies.plan import shapes_near, unequal
from lifelong.experiments.studies.settings import train_config
from lifelong.memory import make_memory

SIZE = (
    'arms = ["gated_delta", "gru"]',
    'arms = ["gated_delta", "window", {memory = "gru", size = "parameters"}]\n'
    "size = {state_bytes = 1200, parameters = 6000, tolerance = 0.06}",
)


@pytest.mark.slow  # every shape of a grid is built; the neighbours of one size are tested below
def test_bytes_and_parameters_are_made_equal(made: Any) -> None:
    study = made(
        SIZE, ("seeds = ", 'tune = {shape = "grid", seeds = [9], by = "area(rho1, evaluation, 2:3)"}\nseeds = ')
    )
    delta, window, gru = study.plans
    for plan in (delta, window):
        assert plan.state_bytes == pytest.approx(1200, rel=0.06)
    for plan in (delta, window, gru):
        env = make_env(plan.config, num_envs=1)
        agent = make_agent(plan.config, env)
        assert sum(p.numel() for p in agent.parameters()) == plan.parameters == pytest.approx(6000, rel=0.06)
        assert agent.backbone.state_bytes == plan.state_bytes
    assert gru.state_bytes < 200
    assert unequal(study.plans, 0.06)[0].startswith(f"unequal in bytes of state: {gru.state_bytes} (gru) to 1,")
    assert 1 < len(delta.shapes) <= 4
    for shape in delta.shapes:
        assert make_memory("gated_delta", 16, **shape).state_bytes == pytest.approx(1200, rel=0.06)
    assert len({str(shape) for shape in delta.shapes}) == len(delta.shapes)
    choices = study.tuning(delta).choices
    assert [choice.settings["shape"] for choice in choices] == list(delta.shapes)
    assert all(choice.trials[0].config.expansion for choice in choices)


def test_shapes_around_a_size_are_its_neighbours() -> None:
    below, above = shapes_near("gated_delta", 32, 2048, {}, grid=False)
    # one head, V = 32, and a window of one step: 32 K + 2 K + 32 floats
    assert (below.options, below.state_bytes) == ({"key_dim": 14}, 2032)
    assert (above.options, above.state_bytes) == ({"key_dim": 15}, 2168)
    assert [shape.options for shape in shapes_near("gru", 16, 1, {}, grid=False)] == [{"hidden": 1}]
    assert shapes_near("gru", 16, 10**6, {}, grid=False, most_parameters=4000)[0].options["hidden"] < 64
    hands_on = shapes_near("meta_mamba2", 32, 5000, {}, grid=False)  # its options are those of what it wraps
    assert min(abs(shape.state_bytes - 5000) for shape in hands_on) < 600


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"gru"]', '"gruu"]', "4: no memory 'gruu'; did you mean 'gru'? known: "),
        (
            '"gru"]',
            '{name = "gru", memory = "gru", hiden = 3}]',
            "4: no setting 'hiden'; did you mean 'hidden'?",
        ),
        ('"gru"]', '{name = "gru", memory = "gru", hidden = 0}]', "4: arm 'gru': "),
        ('"gru"]', '{name = "gru", memory = "gru", seed = 3}]', "4: seed is the study's own and cannot be set here"),
        ("cues = 3", "cuse = 3", "2: no setting 'cuse'; did you mean 'cues'?"),
        ("steps = 160", 'steps = "many"', "2: steps must be an integer, got 'many'"),
        ("steps = 160", "steps = 0", "2: steps must be positive: steps=0"),
        ("steps = 160", 'carry = "life"', "2: carry must be one of lifetime, task, episode, got 'life'"),
        ("seeds = ", 'stream = "cued-recal"\nseeds = ', "3: no stream 'cued-recal'; did you mean 'cued-recall'?"),
        (
            'name = "far"',
            'name = "left"\nby = "interference"\ndisturbedby = "doors"\n\n[[test]]\nname = "far"',
            "9: no setting 'disturbedby'; did you mean 'disturbed_by'?",
        ),
        (
            'name = "far"',
            'name = "left"\nby = "interference"\ndisturbed_by = "rooms"\n\n[[test]]\nname = "far"',
            "6: test 'left': an agent of 'cued-recall' cannot live in stream 'rooms': ",
        ),
        (
            'name = "far"',
            'name = "left"\nby = "interference"\ndisturbed_by = "roomz"\n\n[[test]]\nname = "far"',
            "6: test 'left': no stream 'roomz'; did you mean 'rooms'?",
        ),
        (
            'name = "far"',
            'name = "whole"\nby = "training"\ntimes = 2\n\n[[test]]\nname = "far"',
            "9: a test by training measures the rows that it left and has no settings, got times",
        ),
        ("times = 2", "tims = 2", "8: no setting 'tims'; did you mean 'times'?"),
        ("times = 2", "times = 2\nlags = [3]", "6: lags and meetings are those of --probe"),
        ("times = 2", "probe = true\ncues = 8\nlags = [1]", "6: test 'far': lags must be at least 2, got 1"),
        ("times = 2", "probe = true\nschedule = 'novelty'", "6: test 'far': "),
        ("times = 2", "cues = 0", "6: test 'far': "),
        ("far, 2:7", "far, 5:6", "14: test 'far' has no lags within 5:6: it has 1, 2-3, 4-7, ..."),
        ("far, 2:7", "far, 2:31", "14: lives of test 'far' have 16 episodes, too few for lags 2:31"),
        ("far, 2:7", "evaluation, 2:15", "14: lives of test 'evaluation' have 8 episodes, too few for lags 2:15"),
        ("times = 2", "probe = true\ncues = 16\nlags = [8, 9]", "16: test 'far' has no lags within 2:7: it has 8, 9"),
        (
            "seeds = ",
            "size = {state_bytes = 10}\nseeds = ",
            "5: arm 'gated_delta': no shape of 'gated_delta' has 10 bytes",
        ),
        ("seeds = ", "size = {parameters = 10}\nseeds = ", "5: arm 'gated_delta': the agent cannot have 10 parameters"),
        (
            "seeds = ",
            "size = {parameters = 999_999_999_999}\nseeds = ",
            "5: arm 'gated_delta': the agent cannot have 999,999,999,999 parameters within 0.02: it has at most 8",
        ),
        (
            "seeds = ",
            "tune = {lrr = [1], seeds = [9], by = 'return(far)'}\nseeds = ",
            "3: no setting 'lrr'; did you mean 'lr'?",
        ),
        (
            "seeds = ",
            "tune = {lr = [1e-3, 2e-3], seeds = [9], by = 'area(rho1, far, 5:6)'}\nseeds = ",
            "3: test 'far' has no lags within 5:6: it has 1, 2-3, 4-7, ...",
        ),
        (
            '"gru"]',
            '{name = "gru", memory = "gru", lr = 1e-4}]\ntune = {lr = [1e-3, 2e-3], seeds = [9], by = "return(far)"}',
            "4: arm 'gru' sets lr, which tune tries in every arm: one of the two",
        ),
        (
            "seeds = ",
            'tune = {segment = {from = 8.0, to = 16.0}, search = "random", samples = 3, seeds = [9], '
            'by = "return(far)"}\nseeds = ',
            "3: segment has no values between 8.0 and 16.0: two integers make a range of such",
        ),
        (
            "seeds = ",
            "size = {parameters = 6000, tolerance = 0.02}\n"
            'tune = {expansion = [8.0, 9.0], seeds = [9], by = "return(far)"}\nseeds = ',
            "4: with expansion=8.0 arm 'gated_delta' has ",
        ),
        ("evaluation_lives = 4", "evaluation_lives = 0", "4: arm 'gated_delta': evaluation_lives must be positive"),
        (
            'name = "far"\ntimes = 2\n\n[[hypothesis]]\nid = "H1"\nsays = "the delta rule keeps more"\n'
            'contrast = "gated_delta - gru"\nmeasure = "area(rho1, far, 2:7)"',
            'name = "far"\nby = "interference"\nmost = 64\n\n[[hypothesis]]\nid = "H1"\nsays = "more"\n'
            'contrast = "gated_delta - gru"\nmeasure = "area(left, far, 65:256)"',
            "15: test 'far' ends after 64 steps, before 65:256: most = ...",
        ),
        ("times = 2", "times = 2\nseed = 7", "9: seed is the study's own and cannot be set here"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(made: Any, old: str, new: str, said: str) -> None:
    path = made().file.path
    with pytest.raises(UserError) as raised:
        _ = made((old, new)).plans
    assert str(raised.value).startswith(f"{path}:{said}")
    assert "\n" not in str(raised.value)


def test_numbers_of_the_matrix_need_evaluations(made: Any) -> None:
    changes = [
        ('name = "far"\ntimes = 2', 'name = "whole"\nby = "training"'),
        ("area(rho1, far, 2:7)", "forgetting(whole)"),
    ]
    assert made(*changes).plans
    off = made(*changes, ("evaluation_lives = 4", 'evaluation_lives = 4, evaluate_every = "off"'))
    with pytest.raises(UserError, match=r"kept\.toml:14: forgetting\(whole\) needs evaluations: evaluate_every is off"):
        _ = off.plans


def test_what_is_tuned_is_what_is_trained(made: Any) -> None:
    tune = 'tune = {key_dim = [4, 8], expansion = [1, 2], seeds = [9], by = "area(rho1, far, 2:7)"}\nseeds = '
    study = made(("seeds = ", tune), ('"gru"', '{name = "gru", memory = "gla"}'))
    choices = study.tuning(study.plans[0]).choices
    trained = [(one.trials[0].settings["memory_options"], one.trials[0].settings["expansion"]) for one in choices]
    assert trained == [(("key_dim=4",), 1), (("key_dim=4",), 2), (("key_dim=8",), 1), (("key_dim=8",), 2)]
    assert len({one.trials[0].run for one in choices}) == 4
    small, large = (study.tuned(study.plans[0], one.settings) for one in (choices[0], choices[3]))
    for plan in (small, large):
        env = make_env(plan.config, num_envs=1)
        agent = make_agent(plan.config, env)
        assert plan.parameters == sum(p.numel() for p in agent.parameters())
        assert plan.state_bytes == agent.backbone.state_bytes
    assert small.state_bytes < study.plans[0].state_bytes


def test_one_value_of_tuning_is_what_every_arm_has(made: Any) -> None:
    study = made(("seeds = ", 'tune = {lr = [7e-4], seeds = [9], by = "area(rho1, far, 2:7)"}\nseeds = '))
    for plan in study.plans:
        tuning = study.tuning(plan)
        assert (tuning.ended, tuning.chosen, tuning.choices) == (True, {"lr": 7e-4}, ())
        assert study.trials(plan, tuning.chosen)[0].settings["ppo"]["lr"] == 7e-4


def test_arms_of_other_lives_are_told(made: Any) -> None:
    study = made(('"gru"]', '{name = "gru", cues = 5, num_envs = 8}]'))
    assert "arms differ in stream_options, num_envs: their lives are not paired" in unequal(study.plans, 0.0)


def test_a_budget_that_no_shape_meets_names_the_nearest(made: Any) -> None:
    study = made(
        ('["gated_delta"', '[{name = "gated_delta", memory = "lact"}'),
        ("seeds = ", "size = {state_bytes = 1000}\nseeds = "),
    )
    said = (
        r"5: arm 'gated_delta': no shape of 'lact' has 1,000 bytes of state within 0\.02: the nearest have [\d,]{5,}; "
    )
    with pytest.raises(UserError, match=said):
        _ = study.plans


def test_settings_go_where_they_belong(made: Any) -> None:
    study = made(
        (
            '"gru"]',
            '{name = "gru", memory = "gru", hidden = 5, lr = 1e-4, stream_options = {answers = 3}, steps = 1e3}]',
        )
    )
    config = train_config(study.file, study.file.arms[1])
    assert config.memory_options == ("hidden=5",)
    assert config.stream_options == ("cues=3", "size=4", "answers=3")
    assert (config.steps, config.ppo.set()) == (1000, {"epochs": 1, "minibatches": 2, "lr": 1e-4})
    assert config.paired_weights


def test_arms_of_one_seed_begin_with_the_same_weights_where_they_can(made: Any) -> None:
    study = made()
    agents = []
    for plan in study.plans:
        (trial, *_) = study.trials(plan, {})
        env = make_env(trial.config, num_envs=1)
        agents.append(make_agent(trial.config, env))
    for part in ("encoder", "backbone.mlps", "critic", "actor"):
        first, second = (dict(agent.get_submodule(part).named_parameters()) for agent in agents)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), part
        assert any(weight.std() > 0 for weight in first.values())
