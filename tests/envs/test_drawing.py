"""Pictures: every stream draws, and what is drawn shows the observation."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordVideo

from lifelong.envs import STREAMS, make_single, make_vector
from lifelong.envs.drawing import draw
from lifelong.envs.extras import is_installed

IDS = [name for name, spec in gymnasium.registry.items() if name.startswith("lifelong/") and spec.vector_entry_point]


@pytest.mark.filterwarnings("ignore:.*Box observation space m.*infinity", "ignore:.*symmetric and normalized")
@pytest.mark.parametrize("name", IDS)
def test_every_id_draws(name: str) -> None:
    extra = STREAMS[gymnasium.spec(name).kwargs["name"]].extra
    if not is_installed(extra):
        pytest.skip(f"needs {extra}")
    if extra in ("mujoco", "metaworld"):
        pytest.skip("MuJoCo draws by OpenGL, which not every machine has")
    env = gymnasium.make(name, render_mode="rgb_array")
    assert "rgb_array" in env.metadata["render_modes"]
    env.reset(seed=0)
    picture: Any = env.render()
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert np.ptp(picture) > 0
    again = env.render()
    np.testing.assert_array_equal(again, picture)
    env.close()


def test_cells_by_hand() -> None:
    """A place (2, 1) in a hall of 4 x 2 cells, a key of colour 0 of 3, a number, and a view."""
    space = spaces.Dict(
        {
            "a": spaces.MultiDiscrete([4, 2]),
            "b": spaces.Discrete(3),
            "c": spaces.Box(-np.inf, np.inf, (2,), np.float32),
            "d": spaces.MultiDiscrete(np.full((2, 2), 3)),
        }
    )
    picture = draw(space, {"a": [2, 1], "b": 0, "c": [1.0, -3.0], "d": [[0, 1], [2, 0]]})[..., 0]
    centre = picture[8:, 4 + 8 :: 16]  # of the cells of the first strip
    assert picture.shape == (4 + 2 * 16 + 4 + 16 + 4 + 16 + 4 + 2 * 16 + 4, 4 * 16 + 8)
    assert centre[4, :4].tolist() == [20, 20, 20, 20]
    assert centre[4 + 16, :4].tolist() == [20, 20, 255, 20]
    assert centre[4 + 16 + 20, :4].tolist() == [255, 20, 20, 60]
    assert centre[4 + 16 + 40, :4].tolist() == [255, 0, 60, 60]
    assert centre[4 + 16 + 60, :2].tolist() == [20, 137]
    assert centre[4 + 16 + 76, :2].tolist() == [255, 20]


def test_long_vectors_and_images_fit() -> None:
    assert draw(spaces.Box(-1, 1, (70,), np.float32), np.zeros(70)).shape == (3 * 16 + 8, 32 * 16 + 8, 3)
    assert draw(spaces.Box(0, 255, (5, 6, 3), np.uint8), np.zeros((5, 6, 3), np.uint8)).shape == (88, 104, 3)
    assert draw(spaces.MultiBinary(4), np.array([0, 1, 0, 1])).shape == (24, 72, 3)


def test_a_vector_environment_draws_every_life() -> None:
    env = make_vector("doors", 3, render_mode="rgb_array", flat=True)
    with pytest.raises(gymnasium.error.ResetNeeded, match="render before"):
        env.render()
    env.reset(seed=0)
    pictures = env.render()
    assert pictures is not None
    assert len(pictures) == 3
    assert make_vector("doors", 3).render() is None


def test_a_mode_that_there_is_not_is_named() -> None:
    for make in (make_single, make_vector):
        with pytest.raises(ValueError, match="render_mode must be rgb_array or None, got 'human'"):
            make("doors", render_mode="human")
        with pytest.raises(ValueError, match="render_mode must be rgb_array, human or None, got 'ansi'"):
            make("rooms", render_mode="ansi")
    with pytest.raises(gymnasium.error.ResetNeeded, match="render before"):
        make_single("doors", render_mode="rgb_array").render()


@pytest.mark.filterwarnings("ignore:.*Box observation space m.*infinity")
@pytest.mark.parametrize("name", ["lifelong/CuedRecall-v0", "lifelong/CartPoleSign-v0"])
def test_gymnasiums_checker_takes_the_pictures(name: str) -> None:
    env = gymnasium.make(name, render_mode="rgb_array", disable_env_checker=True)
    check_env(env.unwrapped, skip_render_check=False)
    env.close()


def test_a_video_is_recorded(tmp_path: Any) -> None:
    pytest.importorskip("moviepy")
    env = RecordVideo(make_single("doors", render_mode="rgb_array"), str(tmp_path / "videos"))
    env.reset(seed=0)
    while not any(env.step(0)[2:4]):
        pass
    env.close()
    assert list((tmp_path / "videos").glob("*.mp4"))
