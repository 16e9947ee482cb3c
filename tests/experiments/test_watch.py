"""A film of a trained agent, and what it says of the memory."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lifelong import cli
from lifelong.envs.rng import evaluation_seed
from lifelong.experiments.runs import screen
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.directory import load_policy
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.evaluation import live_frozen, own_random
from lifelong.experiments.runs.moments import moments
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.sources import Source
from lifelong.experiments.train import main as train
from lifelong.experiments.watch import WatchConfig, main

Tiny = Callable[..., TrainConfig]
ROOMS: dict[str, Any] = {"stream": "rooms", "stream_options": ("task=empty-5x5,empty-6x6", "max_steps=6"),
                         "schedule": "cyclic:1", "life_episodes": None}  # fmt: skip


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes: dict[str, Any] = {"num_envs": 2, "segment": 8, "width": 16, "steps": 32, "evaluation_lives": 0}
    return train(TrainConfig(**ROOMS, **sizes, runs=tmp_path_factory.mktemp("runs"))).folder


def frames(path: Path) -> tuple[int, tuple[int, int]]:
    with Image.open(path) as film:
        return getattr(film, "n_frames", 1), film.size


def test_a_film_has_a_frame_for_each_step_and_each_end(rooms: Path, tmp_path: Path) -> None:
    shown = main(WatchConfig(rooms, tmp_path / "films" / "life.gif", episodes=3))
    count, size = frames(tmp_path / "films" / "life.gif")
    assert size == (720, 360)
    assert 1 < count <= len(shown)  # Pillow joins frames that are alike
    assert [moment.ended for moment in shown].count(True) == 3
    assert shown[-1].ended
    assert [moment.task for moment in shown if moment.ended] == ["empty-5x5", "empty-6x6", "empty-5x5"]
    assert [moment.lag for moment in shown if moment.ended] == [-1, -1, 2]
    assert all(moment.picture is not None and moment.picture.shape[-1] == 3 for moment in shown)


def test_play_and_video_are_other_names_of_it(rooms: Path, tmp_path: Path) -> None:
    assert cli.main(["play", str(rooms), "--video", str(tmp_path / "life.gif"), "--steps", "3"]) == 0
    assert frames(tmp_path / "life.gif")[0] > 1


def test_the_moments_are_those_of_a_frozen_life(rooms: Path, tmp_path: Path) -> None:
    shown = main(WatchConfig(rooms, tmp_path / "life.gif", episodes=4, seed=3))
    config = open_run(rooms).resolved()
    env = make_env(config, num_envs=1, seed=evaluation_seed(3))
    agent = make_agent(config, env)
    load_policy(rooms, agent)
    rows = live_frozen(agent, env, sum(not moment.ended for moment in shown), seed=3)
    ends = [moment for moment in shown if moment.ended]
    assert rows["return"].tolist() == pytest.approx([moment.gained for moment in ends])
    assert rows["lag_episodes"].tolist() == [moment.lag for moment in ends]
    assert rows["episode"].tolist() == [moment.episode for moment in ends]


def test_write_strength_is_the_change_of_the_state_over_its_norm(rooms: Path) -> None:
    config = open_run(rooms).resolved()
    env = make_env(config, num_envs=1)
    agent = make_agent(config, env)
    with own_random(0):
        life = moments(agent, env, "lifetime")
        first, second = next(life), next(life)
    assert first.write["S"] == pytest.approx(1.0)  # the state was zero
    assert first.norm.keys() == second.norm.keys() == {"S"}  # and not the window of the convolution

    env = make_env(config, num_envs=1)
    observation, _ = env.reset()
    with own_random(0), torch.no_grad():
        states, start = [agent.backbone.initial_state(1)], torch.ones(1, dtype=torch.bool)
        for _ in range(2):
            tensors = {k: _tensor(v) for k, v in observation.items()}
            policy_out, after = agent.act(_batch(tensors), states[-1], start)
            states.append(after)
            observation, *_ = env.step(policy_out["action"].numpy())
            start = torch.zeros(1, dtype=torch.bool)
    before, after_ = (state["0", "S"] for state in states[1:])
    assert second.norm["S"] == pytest.approx(after_.norm().item())
    assert second.write["S"] == pytest.approx(((after_ - before).norm() / after_.norm()).item())


def test_the_sources_of_a_step_are_those_of_its_layer(rooms: Path) -> None:
    config = open_run(rooms).resolved()
    env = make_env(config, num_envs=1)
    agent = make_agent(config, env)
    with own_random(0):
        life = moments(agent, env, "lifetime")
        shown = [next(life) for _ in range(6)]
    steps = [moment for moment in shown if not moment.ended]
    assert steps[0].sources == ()  # nothing was written before
    for t, moment in enumerate(steps[1:], 1):
        shares = [source.share for source in moment.sources]
        assert 1 <= len(shares) <= 3
        assert shares == sorted(shares, reverse=True)
        assert {source.step for source in moment.sources} <= set(range(t))
        assert all(source.episode == steps[source.step].episode for source in moment.sources)


def test_a_caption_names_the_sources() -> None:
    from lifelong.experiments.runs.film import _read_from

    moment: Any = type("Moment", (), {"sources": (Source(1_037, 12, 0.777), Source(4, 0, 0.04))})()
    assert _read_from(moment) == "reads from step 1,037 (78 %), 4 (4 %)"


def _tensor(value: Any) -> Any:
    return {k: _tensor(v) for k, v in value.items()} if isinstance(value, dict) else torch.from_numpy(value)


def _batch(tensors: Any) -> Any:
    from tensordict import TensorDict

    return TensorDict(tensors, [1])


def test_a_memory_that_is_reset_at_every_episode_begins_at_zero(tiny: Tiny, tmp_path: Path) -> None:
    folder = train(tiny(**ROOMS, carry="episode")).folder
    shown = main(WatchConfig(folder, tmp_path / "life.gif", episodes=3))
    firsts = [b for a, b in pairwise(shown) if a.ended]
    assert [moment.norm["S"] < 0.8 * shown[5].norm["S"] for moment in firsts] == [True, True]


def test_one_task_alone(rooms: Path, tmp_path: Path) -> None:
    shown = main(WatchConfig(rooms, tmp_path / "life.gif", task="empty-6x6", episodes=2))
    assert {moment.task for moment in shown} == {"empty-6x6"}


def test_steps_end_the_film(rooms: Path, tmp_path: Path) -> None:
    shown = main(WatchConfig(rooms, tmp_path / "life.gif", steps=2, episodes=9))
    assert sum(not moment.ended for moment in shown) == 2


@pytest.mark.parametrize(
    ("changes", "picture", "tensors"),
    [
        ({"memory": "none"}, None, []),  # cued-recall: vectors and numbers
        ({"stream": "dark-room", "stream_options": (), "layers": 2}, None, ["0/S", "1/S"]),
        ({"stream": "gym:MiniGrid-Empty-5x5-v0", "stream_options": (), "life_episodes": None}, (160, 160, 3), ["S"]),
        ({"stream": "colour-rule", "stream_options": (), "memory": "palimpsa"}, (192, 192, 3), ["M", "J"]),
    ],
)
def test_streams_with_and_without_pictures(
    changes: dict[str, Any], picture: tuple[int, ...] | None, tensors: list[str], tiny: Tiny, tmp_path: Path
) -> None:
    folder = train(tiny(**changes, num_envs=2, steps=32)).folder
    shown = main(WatchConfig(folder, tmp_path / "life.gif", steps=2))
    assert [m.picture if m.picture is None else m.picture.shape for m in shown] == [picture] * len(shown)
    assert frames(tmp_path / "life.gif")[0] >= 1
    assert list(shown[0].norm) == tensors
    if not tensors:
        assert [moment.sources for moment in shown] == [()] * len(shown)


def test_numbers_and_whole_numbers_are_drawn(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    from lifelong.experiments.runs.film import draw_observation

    axes = Figure().subplots()
    draw_observation(axes, {"cue": np.array([0.5, -2.0], np.float32), "revealed": np.array(4)})
    assert [bar.get_height() for bar in axes.patches] == [0.5, -2.0]
    assert axes.texts[0].get_text() == "revealed: 4"


def test_a_window_shows_it(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    seen = []
    monkeypatch.setattr(pygame.display, "flip", lambda: seen.append(pygame.display.get_surface().get_size()))
    shown = main(WatchConfig(rooms, window=True, steps=2, fps=1000))
    assert seen == [(720, 360)] * len(shown)
    pygame.display.init()
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    film: Any = type("Film", (), {"pixels": lambda self: np.zeros((4, 6, 4), np.uint8)})()
    window = screen.Window("x", 1000)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert not window.frame(film)
    window.close()


def test_what_cannot_be_shown_is_refused(rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"needs --output FILE\.gif"):
        WatchConfig(rooms)
    with pytest.raises(UserError, match=r"a film is a .gif or an .mp4: output=life.avi"):
        WatchConfig(rooms, Path("life.avi"))
    with pytest.raises(UserError, match=r"no task 'empty-7x7'; did you mean 'empty-"):
        main(WatchConfig(rooms, tmp_path / "life.gif", task="empty-7x7"))
    (tmp_path / "life.gif").write_text("")
    with pytest.raises(UserError, match="exists: pass --overwrite"):
        WatchConfig(rooms, tmp_path / "life.gif")
    assert main(replace(WatchConfig(rooms, tmp_path / "life.gif", overwrite=True), steps=1))
    monkeypatch.setattr("matplotlib.animation.FFMpegWriter.isAvailable", lambda: False)
    with pytest.raises(UserError, match=r"an .mp4 needs ffmpeg, which is not on PATH: life.gif needs nothing"):
        WatchConfig(rooms, Path("life.mp4"))
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(UserError, match="a window needs a display"):
        WatchConfig(rooms, window=True)


def test_a_film_shows_greedy_actions_when_it_is_told_to(rooms: Path, tmp_path: Path) -> None:
    drawn, *greedy = (
        main(WatchConfig(rooms, tmp_path / f"{actions}-{seed}.gif", episodes=2, seed=3, actions=actions))
        for actions, seed in (("drawn", 0), ("greedy", 0), ("greedy", 1))
    )
    first, again = ([moment.action for moment in shown] for shown in greedy)
    assert first == again
    assert first != [moment.action for moment in drawn]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("cat > /dev/null; echo 'life.mp4: No space left on device' >&2; exit 1", "ffmpeg: life.mp4: No space left on"),
        ("cat > /dev/null; kill -9 $$", "ffmpeg: ended by signal 9"),
        ("exit 3", ""),  # before it has read the film
    ],
)
def test_what_ffmpeg_cannot_write_is_said(
    script: str,
    said: str,
    rooms: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "ffmpeg").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    words = ["watch", str(rooms), "--output", str(tmp_path / "life.mp4"), "--steps", "3"]
    assert cli.main(words) == 2
    assert f"lifelong: cannot write {tmp_path / 'life.mp4'}: {said}" in capsys.readouterr().err
