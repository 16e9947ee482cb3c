"""`--env-kwargs`: what `gymnasium.make` gets, wherever the environment of a run is made again."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from lifelong import cli
from lifelong.agents import load_checkpoint
from lifelong.envs import make_stream
from lifelong.envs.constructor import settings_fault
from lifelong.experiments.reports.groups import stream_label
from lifelong.experiments.reports.run import read_run
from lifelong.experiments.runs.api import load_agent, load_life
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.train import main
from lifelong.experiments.watch import WatchConfig, main as watch

Configs = Callable[..., TrainConfig]
KWARGS = ("size=5", 'goal={"at": [1, 2], "pays": 0.5}', "level=hard")
MEANT = {"size": 5, "goal": {"at": [1, 2], "pays": 0.5}, "level": "hard"}


class Sized(gymnasium.Env[Any, Any]):
    """Shows `size` numbers, and keeps what it was made with."""

    made: list[dict[str, Any]] = []  # noqa: RUF012

    def __init__(self, size: int = 2, goal: dict[str, Any] | None = None, level: str = "easy") -> None:
        if size > 9:
            raise ValueError(f"size must be at most 9:\nsize={size}")
        self.observation_space, self.action_space = spaces.Box(0, 1, (size,)), spaces.Discrete(2)
        self.made.append({"size": size, "goal": goal, "level": level})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self.np_random.random(self.observation_space.shape, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        obs = self.np_random.random(self.observation_space.shape, np.float32)
        return obs, float(action), self.count == 3, False, {}


class Swallowing(Sized):
    """Passes on what it does not know."""

    def __init__(self, colour: str = "red", **others: Any) -> None:
        super().__init__(**others)


@pytest.fixture(autouse=True)
def sized() -> Iterator[None]:
    gymnasium.register("Sized-v0", Sized)
    gymnasium.register("Swallowing-v0", Swallowing)
    Sized.made.clear()
    yield
    del gymnasium.registry["Sized-v0"], gymnasium.registry["Swallowing-v0"]


def made_as(wanted: dict[str, Any]) -> bool:
    """Return whether environments were made, all with these settings, and forget them."""
    said = bool(Sized.made) and all(settings == wanted for settings in Sized.made)
    Sized.made.clear()
    return said


def test_everything_that_makes_the_environment_of_a_run_again_gives_it_the_same(tiny: Configs, tmp_path: Path) -> None:
    settings = tiny(
        stream="gym:Sized-v0", stream_options=(), env_kwargs=KWARGS, evaluation_lives=2, memory="gru", life_episodes=3
    )
    run = main(settings).folder
    assert made_as(MEANT)
    assert open_run(run).env_kwargs == KWARGS
    assert json.loads((run / "config.json").read_text())["config"]["env_kwargs"] == list(KWARGS)
    assert load_checkpoint(run / "checkpoints" / "last")[1]["env_kwargs"] == MEANT
    assert main(TrainConfig(resume=run)).finished
    assert made_as(MEANT)
    load_life(run, load_agent(run))
    assert made_as(MEANT)
    assert cli.main(["retention", str(run), "--steps", "8", "--lives", "2"]) == 0
    assert made_as(MEANT)
    watch(WatchConfig(run, output=tmp_path / "life.gif", steps=2))
    assert made_as(MEANT)
    assert cli.main(["check", "--memory", "gru", "--env", "gym:Sized-v0", "--env-kwargs", *KWARGS]) == 0
    assert made_as(MEANT)
    assert cli.main(["stream", "show", "gym:Sized-v0", "--env-kwargs", *KWARGS]) == 0
    assert made_as(MEANT)
    assert "size=5" in stream_label(read_run(run).stream)


def test_a_checkpoint_of_other_settings_is_refused(tiny: Configs) -> None:
    run = main(tiny(stream="gym:Sized-v0", stream_options=(), env_kwargs=("level=hard",))).folder
    config = run / "config.json"
    config.write_text(config.read_text().replace("level=hard", "level=easy"))
    with pytest.raises(UserError, match=r"was changed after the checkpoint: env_kwargs=.*easy.*, it was .*hard"):
        main(TrainConfig(resume=run))


@pytest.mark.parametrize(
    ("env_id", "word", "message"),
    [
        (
            "Sized-v0",
            "sise=3",
            r"'Sized-v0': it takes no setting 'sise'; did you mean 'size'\? it takes goal, level, max",
        ),
        (
            "Swallowing-v0",
            "taste=3",
            r"'Swallowing-v0': it takes no setting 'taste'; it takes colour, goal, level, max",
        ),
        ("Sized-v0", "size=10", r"cannot make environment 'Sized-v0': size must be at most 9: size=10$"),
        ("Sized-v0", "size=[1]", r"cannot make environment 'Sized-v0': TypeError: '>' not supported"),
    ],
)
def test_what_an_environment_does_not_take_is_one_line_before_there_is_a_folder(
    env_id: str, word: str, message: str, tiny: Configs
) -> None:
    config = tiny(stream=f"gym:{env_id}", stream_options=(), env_kwargs=(word,))
    with pytest.raises(UserError, match=message) as caught:
        main(config)
    assert "\n" not in str(caught.value)
    assert not config.runs.exists()


def test_what_an_environment_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def needy(task: str, goal: str, size: int = 3, **others: Any) -> Sized:
        return Sized(size, **others)

    spec = gymnasium.envs.registration.EnvSpec
    monkeypatch.setitem(gymnasium.registry, "Needy-v0", spec("Needy-v0", needy, kwargs={"task": "push"}))
    monkeypatch.setitem(gymnasium.registry, "Many-v0", spec("Many-v0", vector_entry_point=needy))
    with pytest.raises(ValueError, match=r"'Needy-v0': it needs goal: --env-kwargs goal=\.\.\.$"):
        make_stream("gym:Needy-v0")
    with pytest.raises(ValueError, match=r"'Needy-v0': TypeError: .*colour"):  # it passes on what it does not know
        make_stream("gym:Needy-v0", env_kwargs={"goal": "red", "colour": 3})
    make_stream("gym:Needy-v0", env_kwargs={"goal": "red", "level": "hard"}).close()
    with pytest.raises(ValueError, match="'Many-v0': it is a vector environment only, and lives are single ones"):
        make_stream("gym:Many-v0")


def test_other_streams_have_none(tiny: Configs, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text('[[tasks]]\nenv = "CartPole-v1"\n')
    for stream in ("cued-recall", str(tmp_path / "two.toml")):
        with pytest.raises(UserError, match=r"env_kwargs are for gym:<id> alone; .* env_kwargs=\{'size': 3\}"):
            main(tiny(stream=stream, stream_options=(), env_kwargs=("size=3",)))


def test_drifts_share_them_and_a_file_may_name_them() -> None:
    stream = make_stream("gym:CartPole-v1", env_kwargs={"sutton_barto_reward": True}, drifts="plain/gravity:4")
    assert [task.kwargs for task in stream.tasks] == [{"sutton_barto_reward": True}] * 2  # type: ignore[attr-defined]
    stream.close()


def test_of_what_cannot_be_looked_at_nothing_is_said() -> None:
    assert settings_fault("no_such_module:X-v0", {"size": 3}) == ""
    assert settings_fault("Sized-v0", {"size": 3}) == ""
    assert settings_fault("Sized-v0", {"max_episode_steps": 3, "render_mode": None}) == ""
