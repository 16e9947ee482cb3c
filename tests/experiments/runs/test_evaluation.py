"""Frozen lives by drawn and by greedy actions, in environments whose returns are known in closed form."""

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lifelong.agents import ActorCritic, Rollout, join_rows
from lifelong.envs.rng import evaluation_seed
from lifelong.experiments.runs import evaluation
from lifelong.experiments.runs.actions import ACTIONS, Actions
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import PPOOverrides, TrainConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.evaluation import evaluate_frozen, live_frozen, own_random
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.seeds import state_of
from lifelong.experiments.train import main

SHORT, LONG = 1, 39  # steps of an episode of Queue, each as likely


class Queue(gymnasium.Env[Any, Any]):
    """Reward 1 in each of 1 or 39 steps, by the episode's seed: a mean return of 20, whatever is done."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)
    lengths: tuple[int, ...] = SHORT, LONG

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = self.lengths[self.np_random.integers(len(self.lengths))]
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return np.zeros(1, np.float32), self.reward(action), self.left == 0, False, {}

    def reward(self, action: Any) -> float:
        return 1.0


class Coin(Queue):
    """One step; reward 1 for action 1."""

    lengths = (1,)

    def reward(self, action: Any) -> float:
        return float(action == 1)


class Endless(Queue):
    """No episode ends."""

    lengths = (-1,)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    envs = {"Queue-v0": Queue, "Coin-v0": Coin, "Endless-v0": Endless}
    for name, env in envs.items():
        gymnasium.register(name, env)
    yield
    for name in envs:
        del gymnasium.registry[name]


def config_of(stream: str = "gym:Coin-v0", **changes: Any) -> TrainConfig:
    sizes: dict[str, Any] = {"steps": 10**6, "num_envs": 2, "segment": 32, "width": 8, "evaluation_lives": 16}
    return TrainConfig(stream, **(sizes | changes)).resolved()


def agent_of(config: TrainConfig, probability: float = 0.7) -> ActorCritic:
    """Return an agent that takes action 1 with this probability, always."""
    agent = make_agent(config, make_env(config, num_envs=1))
    (head,) = [layer for layer in agent.actor.modules() if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([1 - probability, probability]).log())
    return agent


def assert_rows(found: Any, wanted: Any) -> None:
    assert found.keys() == wanted.keys()
    for name, column in wanted.items():
        np.testing.assert_array_equal(found[name], column, strict=True)


@pytest.mark.parametrize(("probability", "greedy"), [(0.7, 1.0), (0.3, 0.0)])
def test_drawn_and_greedy_returns_are_those_of_the_policy(probability: float, greedy: float) -> None:
    config = config_of(evaluation_lives=64)
    found = evaluate_frozen(agent_of(config, probability), config, 1.0)
    assert found.notes == ()
    returns = {actions: rows["return"] for actions, rows in found.rows.items()}
    assert list(returns) == ["drawn", "greedy"]
    assert returns["drawn"].size == returns["greedy"].size == 64 * 32
    assert abs(returns["drawn"].mean() - probability) < 4 * math.sqrt(0.21 / (64 * 32))
    assert (returns["greedy"] == greedy).all()


@pytest.mark.parametrize("stream", ["gym:Coin-v0", "gym:Queue-v0", "cued-recall"])
def test_drawn_rows_are_those_of_before_and_greedy_ones_of_the_same_lives(stream: str) -> None:
    life = {"stream_options": ("cues=3", "size=4"), "life_episodes": 8} if stream == "cued-recall" else {}
    config = config_of(stream, **life)
    agent = make_agent(config, make_env(config, num_envs=1))
    found = evaluate_frozen(agent, config, 1.0).rows
    with own_random(config.seed):  # as it was before there were greedy actions
        env = make_env(config, num_envs=config.evaluation_lives, seed=evaluation_seed(config.seed), life_hazard=None)
        rollout = Rollout(agent, env)
        steps = 8 if life else 10 * 32
        parts = [rollout.collect(min(64, steps - done)).episodes for done in range(0, steps, 64)]
    rows = join_rows([part for part in parts if part])
    if not life:
        counted = rows["episode"] < found["drawn"]["episode"].max() + 1
        early = rows["step"] <= found["drawn"]["step"].max()
        rows = {name: column[counted & early] for name, column in rows.items()}
    assert_rows(found["drawn"], rows)
    assert_rows(evaluate_frozen(agent, replace(config, actions="drawn"), 1.0).rows["drawn"], rows)
    alone = evaluate_frozen(agent, replace(config, actions="greedy"), 1.0).rows
    assert alone.keys() == {"greedy"}
    assert_rows(alone["greedy"], found["greedy"])
    assert np.array_equal(found["greedy"]["task"], rows["task"])  # nothing that an agent does changes what comes


def test_greedy_lives_draw_nothing() -> None:
    config = config_of()
    agent = agent_of(config, 0.5 + 1e-3)

    def returns(actions: Actions, seed: int) -> list[float]:
        env = make_env(config, num_envs=8)
        found: list[float] = live_frozen(agent, env, 32, actions=actions, seed=seed)["return"].tolist()
        return found

    assert returns("greedy", 0) == returns("greedy", 1) == [1.0] * 256
    assert returns("drawn", 0) != returns("drawn", 1)
    with own_random(3):
        before = torch.get_rng_state()
        Rollout(agent, make_env(config, num_envs=8), deterministic=True).collect(32)
        assert torch.get_rng_state().equal(before)


# ---- as many episodes of each endless life --------------------------------------------------------------------------


def lengths_of(config: TrainConfig, episodes: int) -> Any:
    """Return [lives, episodes] the lengths that come first in the lives of an evaluation."""
    env = make_env(config, num_envs=config.evaluation_lives, seed=evaluation_seed(config.seed), life_hazard=None)
    rows = live_frozen(agent_of(config), env, 10 * 32 + 10 * LONG)
    return np.array([rows["length"][rows["life"] == life][:episodes] for life in range(config.evaluation_lives or 0)])


@pytest.mark.parametrize("mean_length", [1.0, 3.0, 20.0])
def test_long_episodes_count_as_much_as_short_ones(mean_length: float) -> None:
    config = config_of("gym:Queue-v0", evaluation_lives=32, actions="drawn")
    agent = agent_of(config)
    rows = evaluate_frozen(agent, config, mean_length).rows["drawn"]
    (count,) = set(np.bincount(rows["life"]).tolist())  # the same for all lives
    assert count == 10 if mean_length == 20 else 5 < count < round(32 / mean_length)
    wanted = lengths_of(config, count)
    assert rows["return"].mean() == pytest.approx(wanted.mean())
    assert abs(rows["return"].mean() - 20) < 4 * 19 / math.sqrt(wanted.size)
    horizon = evaluation.training_horizon(config, mean_length)
    env = make_env(config, num_envs=32, seed=evaluation_seed(config.seed), life_hazard=None)
    before = live_frozen(agent, env, horizon)["return"].mean()  # all that end within the horizon
    assert before < rows["return"].mean()
    assert before == SHORT or mean_length == 20


def test_lives_of_their_own_length_last_as_in_training() -> None:
    config = config_of("gym:Queue-v0", life_episodes=4)
    rows = evaluate_frozen(agent_of(config), config, 20.0).rows["drawn"]
    env = make_env(config, num_envs=16, seed=evaluation_seed(config.seed), life_hazard=None)
    assert_rows(rows, live_frozen(agent_of(config), env, 80))
    assert evaluation.training_episodes(config, 20.0) is None


def test_lives_in_which_no_episode_ends_are_given_up_and_said() -> None:
    config = config_of("gym:Endless-v0", evaluation_lives=2)
    found = evaluate_frozen(agent_of(config), config, 1.0)
    assert found.rows == {"drawn": {}, "greedy": {}}
    assert found.notes == tuple(
        f"lives of {actions} actions without an episode that ended in 320 steps: 2" for actions in ACTIONS
    )


@pytest.mark.parametrize(("steps", "both"), [(3_414, True), (3_413, False)])
def test_both_is_drawn_alone_where_a_pass_takes_more_than_30_percent_of_the_steps(steps: int, both: bool) -> None:
    config = config_of(steps=steps)  # 16 lives of 64 steps, a segment: 1,024
    found = evaluate_frozen(agent_of(config), config, 1.0)
    assert list(found.rows) == (["drawn", "greedy"] if both else ["drawn"])
    assert len(found.notes) == (not both)
    if not both:
        assert "drawn ones took 1,024 steps" in found.notes[0]
        assert f"lifelong retention {config.run} --actions greedy" in found.notes[0]
    assert list(evaluate_frozen(agent_of(config), replace(config, actions="greedy"), 1.0).rows) == ["greedy"]


# ---- what a run says and writes -------------------------------------------------------------------------------------


def trained(tmp_path: Path, **changes: Any) -> tuple[Path, str, Any]:
    console = Console(file=io.StringIO(), width=200)
    config = config_of(steps=20_480, runs=tmp_path, name="x", num_envs=64, ppo=PPOOverrides(epochs=1), **changes)
    outcome = main(config, console)
    return outcome.folder, console.file.getvalue(), outcome.summary  # type: ignore[attr-defined]


def scalars(folder: Path) -> dict[str, float]:
    events = EventAccumulator(str(folder)).Reload()
    return {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"] if tag.startswith("evaluation/")}


def test_both_are_named_in_one_line_in_tensorboard_and_in_files_of_their_own(tmp_path: Path) -> None:
    folder, said, summary = trained(tmp_path)
    drawn, greedy = (read_episodes(folder, [mode])["return"] for mode in ("frozen", "greedy"))
    assert drawn.size == greedy.size == 16 * 32
    assert (summary.actions, summary.mean_return, summary.greedy_return) == ("drawn", drawn.mean(), greedy.mean())
    numbers = f"mean return drawn {drawn.mean():.3f}, greedy {greedy.mean():.3f}"
    assert f"frozen gated_delta in fresh lives: 512 episodes · {numbers}" in said
    assert scalars(folder) == pytest.approx({
        "evaluation/return_drawn": drawn.mean(), "evaluation/return_greedy": greedy.mean(),
    })  # fmt: skip


@pytest.mark.parametrize(("actions", "mode", "other"), [("greedy", "greedy", "frozen"), ("drawn", "frozen", "greedy")])
def test_one_kind_alone_is_named_too(actions: Actions, mode: Any, other: Any, tmp_path: Path) -> None:
    folder, said, summary = trained(tmp_path, actions=actions)
    mean = read_episodes(folder, [mode])["return"].mean()
    assert not read_episodes(folder, [other])["step"].size
    assert (summary.actions, summary.mean_return) == (actions, mean)
    assert math.isnan(summary.greedy_return)
    assert f"512 episodes · mean return {actions} {mean:.3f}\n" in said
    assert scalars(folder) == pytest.approx({f"evaluation/return_{actions}": mean})


def test_a_run_by_greedy_actions_is_finished_when_its_rows_are_there(tmp_path: Path) -> None:
    folder, _, _ = trained(tmp_path, actions="greedy")
    config = open_run(folder).resolved()
    assert state_of(config) == "finished"
    (folder / "episodes" / "greedy-000000.parquet").unlink()
    assert state_of(config) == "interrupted"


def test_a_run_from_before_the_setting_was_evaluated_by_drawn_actions() -> None:
    content = config_of().to_json()
    assert TrainConfig.from_json(content).actions == "both"
    del content["actions"]
    assert TrainConfig.from_json(content).actions == "drawn"


def test_unknown_actions_are_refused() -> None:
    with pytest.raises(UserError, match=r"^actions must be one of drawn, greedy, both, got 'best'$"):
        config_of(actions="best")
