"""A training says what it reads, refuses what it cannot read before anything is written, and is used anywhere."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import SyncVectorEnv
from rich.console import Console

from lifelong import load_agent
from lifelong.envs import GymStream
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.train import main

SEEN = spaces.Dict(
    picture=spaces.Box(0, 255, (3, 20, 24), np.uint8),
    task=spaces.Text(30, charset="abc "),
    card=spaces.Discrete(10**6),
    speed=spaces.Box(-1, 1, (2,), np.float32),
)
UNREADABLE: dict[str, spaces.Space[Any]] = {
    "Sequence": spaces.Dict(cards=spaces.Sequence(spaces.Discrete(9))),
    "Graph": spaces.Dict(map=spaces.Graph(spaces.Discrete(2), None)),
    "OneOf": spaces.Dict(either=spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1)])),
    "Discrete(10000000000)": spaces.Dict(code=spaces.Discrete(10**10)),
    "Box([], [], (0,), float32)": spaces.Dict(nothing=spaces.Box(0, 1, (0,))),
    "Dict()": spaces.Dict(a=spaces.Discrete(2), nobody=spaces.Dict()),
}


class Shown(gymnasium.Env[Any, Any]):
    """Shows samples of a space that its seed draws."""

    def __init__(self, shown: spaces.Space[Any] = SEEN) -> None:
        self.observation_space, self.action_space, self.count = shown, spaces.Discrete(3), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.count = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return self.observation_space.sample(), float(action), self.count == 6, False, {}


@pytest.fixture(autouse=True)
def shown() -> Iterator[None]:
    gymnasium.register("Shown-v0", Shown)
    for number, space in enumerate(UNREADABLE.values()):
        gymnasium.register(f"Unreadable{number}-v0", Shown, kwargs={"shown": space})
    yield
    for name in ["Shown-v0", *(f"Unreadable{number}-v0" for number in range(len(UNREADABLE)))]:
        del gymnasium.registry[name]


def test_a_run_says_what_it_reads_by_what_and_its_agent_acts_on_texts(tiny: Callable[..., TrainConfig]) -> None:
    said = io.StringIO()
    config = tiny(stream="gym:Shown-v0", stream_options=(), memory="gru", life_episodes=4)
    outcome = main(config, Console(file=said, width=300))
    line = next(line for line in said.getvalue().splitlines() if line.startswith("reads "))
    assert line == (
        "reads observation/card by an embedding of two digits; observation/picture 3x20x24 by convolutions (channels "
        "first); observation/speed 2 by a linear map; observation/task 60 by an embedding of hashed words"
    )
    env, agent = Shown(), load_agent(outcome.folder)
    agent.check_spaces(env)
    action, state = agent.act(env.reset(seed=0)[0])
    obs, reward, *_ = env.step(action)
    assert env.action_space.contains(agent.act(obs, state, reward=reward)[0])


class Counting(Shown):
    """Counts nothing from 0, and observes a Tuple."""

    def __init__(self) -> None:
        seen = spaces.Tuple(
            [spaces.Discrete(3, start=-2), spaces.Dict({7: spaces.MultiDiscrete([2, 3], start=[4, -1])})]
        )
        super().__init__(seen)
        self.action_space = spaces.Dict(a=spaces.Discrete(3, start=-3), b=spaces.MultiDiscrete([2, 2], start=[5, -9]))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        return super().step(1)


def test_an_agent_of_a_run_reads_and_answers_the_environment_itself_as_it_counts(
    tiny: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gymnasium.registry, "Counting-v0", EnvSpec("Counting-v0", entry_point=Counting))
    folder = main(tiny(stream="gym:Counting-v0", stream_options=(), memory="gru", life_episodes=4)).folder
    env, agent, stream = Counting(), load_agent(folder), GymStream("Counting-v0", seed=0)
    action, state = agent.act(env.reset(seed=0)[0], deterministic=True)
    for _ in range(3):
        obs, reward, *_ = env.step(action)
        action, state = agent.act(obs, state, reward=reward, deterministic=True)
    shown, _ = stream.reset()
    own = env.reset(seed=int(stream.episode_seeds(np.arange(1))[0]))[0]
    ours, theirs = (agent.act(obs, deterministic=True)[0] for obs in (shown, own))
    assert theirs["a"] == ours["a"][0] - 3
    assert theirs["b"].tolist() == [ours["b"][0][0] + 5, ours["b"][0][1] - 9]
    batch = SyncVectorEnv([Counting] * 2)
    assert batch.action_space.contains(agent.act(batch.reset(seed=0)[0])[0])


@pytest.mark.parametrize("number", range(len(UNREADABLE)))
def test_what_cannot_be_read_is_refused_before_a_folder_is_made(
    number: int, tiny: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    space, config = list(UNREADABLE)[number], tiny(stream=f"gym:Unreadable{number}-v0", stream_options=())
    entry = list(list(UNREADABLE.values())[number])[-1]  # type: ignore[call-overload]
    with pytest.raises(UserError) as caught:
        main(config)
    message = str(caught.value)
    assert f"Unreadable{number}-v0: observations {space}" in message
    assert f" of {entry!r} are not supported: " in message
    assert any(word in message for word in ("pad it", "give ", "leave it out"))
    assert "\n" not in message
    assert not list(tmp_path.iterdir())
