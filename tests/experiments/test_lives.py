"""Lives of a run: their default, what is said of them, and the memory of training, carried on."""

import io
import json
import warnings
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from lifelong import load_agent, load_life
from lifelong.agents import CheckpointError, Rollout, load_checkpoint, save_checkpoint
from lifelong.envs.fork import fork
from lifelong.experiments.runs.build import make_agent, make_learner
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.carried_on import CarriedOn
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.directory import restore
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.evaluation import training_horizon
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.train import main

CHECKPOINT = Path("checkpoints", "last")
LIVES = [
    ({}, (0, 0.1)),
    ({"life_episodes": 0}, (0, None)),
    ({"life_episodes": 50}, (50, None)),
    ({"life_hazard": 0.5}, (0, 0.5)),
    ({"stream_options": ("drifts=plain/gravity:4",)}, (0, None)),
    ({"stream_options": ('tasks=["CartPole-v1", "Acrobot-v1"]', "unify=true")}, (0, None)),
    ({"stream_options": ("life_episodes=7",)}, (0, None)),
    ({"stream": "rooms"}, (0, None)),
    ({"stream": "cartpole-sign"}, (0, None)),
    ({"stream": "cued-recall"}, (128, None)),
    ({"stream": "cued-recall", "life_hazard": 0.01}, (0, 0.01)),
    ({"stream": "cued-recall", "life_episodes": 9}, (9, None)),
]


def settings(tmp_path: Path, **changes: Any) -> TrainConfig:
    usual: dict[str, Any] = {
        "stream": "gym:CartPole-v1", "name": "x", "runs": tmp_path, "steps": 512, "num_envs": 4, "segment": 32,
        "width": 16, "life_episodes": 0, "evaluation_lives": 0,
    }  # fmt: skip
    return TrainConfig(**usual | changes)


def told(config: TrainConfig) -> str:
    text = io.StringIO()
    main(config, Console(file=text, width=200))
    return text.getvalue()


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of endless lives, of 4 updates."""
    return main(settings(tmp_path_factory.mktemp("runs"))).folder


def as_if_after(updates: int, run: Path, folder: Path, **facts: Any) -> Path:
    """Copy a run, with a checkpoint that says that training had so many updates of 128 steps."""
    parts, known = load_checkpoint(run / CHECKPOINT)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_bytes((run / "config.json").read_bytes())
    known |= {"steps": 128 * updates, **facts}
    save_checkpoint(folder / CHECKPOINT, parts, {name: value for name, value in known.items() if value is not None})
    return folder


@pytest.mark.parametrize(("changes", "expected"), LIVES)
def test_streams_of_one_task_have_lives_that_end_and_what_is_said_wins(
    changes: dict[str, Any], expected: tuple[int, float | None]
) -> None:
    config = TrainConfig(**{"stream": "gym:CartPole-v1"} | changes).resolved()
    assert (config.life_episodes, config.life_hazard) == expected
    assert config.resolved() == TrainConfig.from_json(json.loads(json.dumps(config.to_json()))).resolved() == config
    with closing(make_env(replace(config, num_envs=1))) as env:
        hidden = 7 if "life_episodes=7" in config.stream_options else expected[0] or None
        assert (env.life_episodes, env.life_hazard) == (hidden, expected[1])
    with closing(make_env(config, num_envs=1, life_episodes=None)) as env:  # such as later evaluations need
        assert env.life_episodes is env.life_hazard is None


def test_a_run_from_before_the_setting_is_of_endless_lives() -> None:
    content = TrainConfig("gym:CartPole-v1", life_episodes=0).resolved().to_json()
    del content["life_hazard"]
    assert TrainConfig.from_json(content).resolved().endless


def test_a_stream_file_says_how_its_lives_end_and_the_command_line_wins(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    tasks = '[[tasks]]\nenv = "CartPole-v1"\n'
    path.write_text(tasks)
    assert TrainConfig(str(path)).resolved().endless
    path.write_text(f"life_hazard = 0.25\n{tasks}")
    for config, expected in (
        (TrainConfig(str(path)), (None, 0.25)),
        (TrainConfig(str(path), life_episodes=9), (9, None)),
        (TrainConfig(str(path), life_episodes=0), (None, None)),
        (TrainConfig(str(path), life_hazard=0.5), (None, 0.5)),
    ):
        with closing(make_env(config.resolved(), num_envs=1)) as env:
            assert (env.life_episodes, env.life_hazard) == expected
    path.write_text(f"{tasks}[train]\nlife_hazard = 0.125\n")
    assert TrainConfig(str(path)).resolved().life_hazard == 0.125
    path.write_text(f"life_episodes = 9\n{tasks}[train]\nlife_hazard = 0.125\n")
    with pytest.raises(UserError, match=r"exclude each other, both end lives: life_hazard=0.125, life_episodes=9"):
        TrainConfig(str(path)).resolved()


def test_frozen_lives_do_not_end_by_the_hazard(tmp_path: Path) -> None:
    folder = main(settings(tmp_path, life_episodes=None, life_hazard=1.0, evaluation_lives=3)).folder
    rows = read_episodes(folder, ["frozen"])
    assert set(rows["life"].tolist()) == {0, 1, 2}
    assert rows["episode"].max() > 1


def test_frozen_lives_of_a_hazard_are_as_long_as_endless_ones() -> None:
    config = TrainConfig("gym:CartPole-v1").resolved()
    assert training_horizon(config, 500.0) == training_horizon(replace(config, life_hazard=None), 500.0) == 5000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "lives: endless, with an empty memory at their beginning only (--life-episodes, --life-hazard)"),
        (
            {"life_episodes": 9},
            "lives: 9 episodes; then the slot begins a new one with an empty memory (--life-episodes)",
        ),
        (
            {"life_episodes": None, "life_hazard": 0.25},
            "lives: 4 episodes on average, each the last with probability 0.25; then the slot begins a new one with an "
            "empty memory (--life-hazard)",
        ),
    ],
)
def test_a_training_begins_with_how_its_lives_end(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    assert sentence in told(settings(tmp_path, **changes)).splitlines()[:2]  # the preset before it


@pytest.mark.parametrize(
    ("changes", "last"),
    [
        ({}, 0),
        ({"carry": "episode"}, 384),  # the first step of the last segment
        ({"life_episodes": 1}, 384),
        ({"life_episodes": None, "life_hazard": 1.0}, 384),
    ],
)
def test_a_checkpoint_knows_when_a_memory_was_last_empty(changes: dict[str, Any], last: int, tmp_path: Path) -> None:
    folder = main(settings(tmp_path, **changes)).folder
    assert load_checkpoint(folder / CHECKPOINT)[1]["last_empty_memory"] == last
    assert main(TrainConfig(resume=folder)).finished
    assert load_checkpoint(folder / CHECKPOINT)[1]["last_empty_memory"] == last


@pytest.mark.parametrize(
    ("updates", "facts", "warned"),
    [
        (50, {}, None),
        (51, {}, 51),
        (90, {"last_empty_memory": 30 * 128}, 60),
        (90, {"last_empty_memory": 50 * 128}, None),
        (51, {"last_empty_memory": None}, 51),  # a run from before it was known
    ],
)
def test_load_agent_warns_after_50_updates_without_an_empty_memory(
    updates: int, facts: dict[str, Any], warned: int | None, endless: Path, tmp_path: Path
) -> None:
    run = as_if_after(updates, endless, tmp_path / "run", **facts)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        load_agent(run)
    said = [str(warning.message) for warning in seen]
    assert len(said) == (warned is not None)
    if warned is not None:
        assert said[0].startswith(f"the agent of {run} has met no empty memory in the last {warned} updates")
        assert "load_life(" in said[0]
        assert seen[0].filename == __file__


def test_an_older_run_of_lives_that_end_is_not_warned_of(tmp_path: Path) -> None:
    folder = main(settings(tmp_path, life_episodes=5)).folder
    run = as_if_after(200, folder, tmp_path / "run", last_empty_memory=None)
    assert load_agent(run).carry == "lifetime"


def test_the_memory_of_training_acts_as_copies_of_training_do_bit_for_bit(endless: Path) -> None:
    config = open_run(endless).resolved()
    env = make_env(config)
    policy = make_agent(config, env)
    rollout = Rollout(policy, env, config.carry)
    restore(endless, rollout, env, make_learner(config, policy))
    slots = np.array([2, 0, 2])
    copies = make_env(config, num_envs=3)
    copy = Rollout(policy, copies, config.carry)
    obs, info = fork(copies, env.position(), slots, 0)
    copy.bound = False  # as `agent.step` acts, to the bit
    copy.observe(obs, info)
    copy.state = rollout.state[slots].clone()
    torch.manual_seed(5)
    expected = copy.collect(40)

    agent = load_agent(endless)
    state = load_life(endless, agent, slots.tolist())
    stream = make_env(config, num_envs=3)
    stream.reset()
    obs, _ = fork(stream, env.position(), slots, 0)
    torch.manual_seed(5)
    reward: Any = 0.0  # there is one already
    ended: Any = True
    for step in range(40):
        policy_out, state = agent.step(obs["observation"], state, reward=reward, episode_end=ended)
        for name in ("action", "action_log_prob", "state_value"):
            assert policy_out[name].equal(expected.steps[name][:, step]), (step, name)
        obs, reward, terminated, truncated, _ = stream.step(policy_out["action"].numpy().reshape(3))
        ended = terminated | truncated
    new, _ = agent.step(obs["observation"], agent.initial_state(3))
    carried, _ = agent.step(obs["observation"], load_life(endless, agent, slots.tolist()), episode_end=True)
    assert not new["state_value"].equal(carried["state_value"])


def test_a_life_of_a_slot_that_is_not_there_is_refused(endless: Path) -> None:
    with pytest.raises(ValueError, match=r"slots must lie in 0 to 3, the lives of .*: slots=4"):
        load_life(endless, load_agent(endless), [0, 4])


def test_a_life_of_another_agent_is_refused(endless: Path, tmp_path: Path) -> None:
    other = load_agent(main(settings(tmp_path, memory="gru")).folder)
    with pytest.raises(CheckpointError, match="is damaged or of another agent: "):
        load_life(endless, other)
    acrobot = load_agent(main(settings(tmp_path, name="y", stream="gym:Acrobot-v1")).folder)
    with pytest.raises(ValueError, match=r"env must have the agent's observation space .*\(6,\).*, got .*\(4,\)"):
        load_life(endless, acrobot)


def test_a_run_of_endless_lives_ends_with_both_kinds_of_return(tmp_path: Path) -> None:
    config = settings(tmp_path, evaluation_lives=3)
    said = told(config)
    assert "mean return with the memory of training carried on " in said
    again = main(replace(config, name="again"))
    assert again.carried_on is not None
    assert again.carried_on.sentence() in said
    assert 8 < again.carried_on.carried < 200
    for changes in ({"life_episodes": 5}, {"carry": "episode"}, {"life_episodes": None}):
        other = main(settings(tmp_path, name="other", overwrite=True, evaluation_lives=3, **changes))
        assert other.summary is not None
        assert other.carried_on is None


@pytest.mark.parametrize(
    ("carried", "said"),
    [
        (CarriedOn(20.0, 0.0, 18.4, 0.2), "carried on 20 ± 0, of new lives 18.4 ± 0.2: new lives are worse"),
        (CarriedOn(20.0, 0.0, 20.0, 0.0), "carried on 20 ± 0, of new lives 20 ± 0"),
        (CarriedOn(18.0, 0.5, 20.0, 0.5), ": the memory of training makes it worse"),
        (CarriedOn(19.0, 0.5, 20.0, 0.5), "of new lives 20 ± 0.5"),
        (CarriedOn(25.0, float("nan"), 20.0, 0.5), "of new lives 20 ± 0.5"),
    ],
)
def test_a_difference_is_said_where_it_is_beyond_its_standard_error(carried: CarriedOn, said: str) -> None:
    sentence = carried.sentence()
    assert said in sentence
    assert ("worse" in sentence) == ("worse" in said)
    assert ("--life-hazard 0.1" in sentence) == ("new lives are worse" in said)
