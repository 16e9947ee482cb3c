"""MiniGrid's wrappers around environments of a stream: what `image` holds is read as what it is."""

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

pytest.importorskip("minigrid")

from minigrid import wrappers
from minigrid.core.constants import OBJECT_TO_IDX
from minigrid.core.mission import MissionSpace
from minigrid.minigrid_env import MiniGridEnv

from lifelong.envs import GymStream, GymTask, StreamError

Env = gymnasium.Env[Any, Any]
ROOM, VARIES = "MiniGrid-Empty-8x8-v0", "MiniGrid-Fetch-5x5-N2-v0"  # the second's missions vary


class Inverted(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Changes the image, and says nothing of it."""

    def observation(self, observation: Any) -> Any:
        return {**observation, "image": 255 - observation["image"]}


class Renamed(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Gives the mission another name."""

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        inner = env.observation_space.spaces  # type: ignore[attr-defined]
        self.observation_space = spaces.Dict({"image": inner["image"], "text": inner["mission"]})

    def observation(self, observation: Any) -> Any:
        return {"image": observation["image"], "text": observation["mission"]}


WRAPPED: dict[str, tuple[Callable[[Env], Env], str]] = {
    "plain": (lambda env: env, ROOM),
    "img": (wrappers.ImgObsWrapper, ROOM),
    "flat": (wrappers.FlatObsWrapper, VARIES),
    "rgb": (wrappers.RGBImgObsWrapper, ROOM),
    "rgb partial": (lambda env: wrappers.ImgObsWrapper(wrappers.RGBImgPartialObsWrapper(env)), VARIES),
    "rgb of the view's size": (lambda env: wrappers.RGBImgPartialObsWrapper(env, tile_size=1), ROOM),
    "fully": (wrappers.FullyObsWrapper, ROOM),
    "fully, of the view's size": (wrappers.FullyObsWrapper, "MiniGrid-FourRooms-7x7"),
    "img of fully": (lambda env: wrappers.ImgObsWrapper(wrappers.FullyObsWrapper(env)), VARIES),
    "flat of fully": (lambda env: wrappers.FlatObsWrapper(wrappers.FullyObsWrapper(env)), ROOM),
    "symbolic": (wrappers.SymbolicObsWrapper, VARIES),
    "view of 3": (lambda env: wrappers.ViewSizeWrapper(env, 3), VARIES),
    "view of 9": (lambda env: wrappers.ImgObsWrapper(wrappers.ViewSizeWrapper(env, 9)), ROOM),
    "one-hot": (wrappers.OneHotPartialObsWrapper, ROOM),
    "words": (wrappers.DictObservationSpaceWrapper, VARIES),
    "direction": (lambda env: wrappers.DirectionObsWrapper(env, type="angle"), ROOM),
    "bonus": (lambda env: wrappers.ActionBonus(wrappers.ImgObsWrapper(env)), ROOM),
    "someone's": (Inverted, ROOM),
    "renamed": (Renamed, VARIES),
}


LISTS = pytest.mark.filterwarnings("ignore:.*actual type. <class 'list'>")  # missions of DictObservationSpaceWrapper


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    gymnasium.register("MiniGrid-FourRooms-7x7", "minigrid.envs:EmptyEnv", kwargs={"size": 7})
    gymnasium.register("Wrapped-v0", lambda name: WRAPPED[name][0](gymnasium.make(WRAPPED[name][1])))
    yield
    del gymnasium.registry["Wrapped-v0"], gymnasium.registry["MiniGrid-FourRooms-7x7"]


def stream_of(name: str) -> GymStream:
    return GymStream(GymTask(name, env_id="Wrapped-v0", kwargs={"name": name}), 2)


def image_of(stream: GymStream) -> Any:
    space = stream.single_observation_space["observation"]
    return space["image"] if isinstance(space, spaces.Dict) else space


@LISTS
@pytest.mark.parametrize("name", WRAPPED)
def test_what_is_shown_is_of_the_space_and_as_the_environment_shows_it(name: str) -> None:
    stream = stream_of(name)
    alone = WRAPPED[name][0](gymnasium.make(WRAPPED[name][1]))
    obs, _ = stream.reset(seed=1)
    shown, _ = alone.reset(seed=int(stream.episode_seeds(np.array([0]))[0]))
    rng = np.random.default_rng(0)
    space = image_of(stream)
    base = stream.environment(0, 0).observation_space
    for _ in range(60):
        assert stream.observation_space.contains(obs)
        if name != "someone's":
            seen = obs["observation"]["image"] if isinstance(obs["observation"], dict) else obs["observation"]
            raw = np.asarray(shown["image"] if isinstance(shown, dict) else shown, np.int64)
            if name == "symbolic":  # counted from the lowest: x, y and -1
                raw = raw - np.stack([*np.indices(raw.shape[:2]), np.full(raw.shape[:2], -1)], -1)
            assert np.array_equal(seen[0], raw)
        action = int(rng.choice([0, 1, 2, 2, 3]))
        obs, _, terminated, truncated, _ = stream.step([action, 2])
        shown, *_ = alone.step(action)
        if terminated[0] or truncated[0]:
            shown, _ = alone.reset(seed=int(stream.episode_seeds(np.array([0]))[0]))
    assert space.shape == (base["image"] if isinstance(base, spaces.Dict) else base).shape


@pytest.mark.parametrize(
    ("name", "kind", "sizes"),
    [
        ("plain", spaces.MultiDiscrete, [11, 6, 3]),
        ("img", spaces.MultiDiscrete, [11, 6, 3]),
        ("view of 3", spaces.MultiDiscrete, [11, 6, 3]),
        ("view of 9", spaces.MultiDiscrete, [11, 6, 3]),
        ("fully", spaces.MultiDiscrete, [11, 6, 4]),
        ("fully, of the view's size", spaces.MultiDiscrete, [11, 6, 4]),
        ("img of fully", spaces.MultiDiscrete, [11, 6, 4]),
        ("symbolic", spaces.MultiDiscrete, [1, 1, 12]),
        ("bonus", spaces.MultiDiscrete, [11, 6, 3]),
        ("direction", spaces.MultiDiscrete, [11, 6, 3]),
        ("words", spaces.MultiDiscrete, [11, 6, 3]),
        ("one-hot", spaces.MultiBinary, None),
        ("rgb", spaces.Box, None),
        ("rgb partial", spaces.Box, None),
        ("rgb of the view's size", spaces.Box, None),
        ("someone's", spaces.Box, None),
        ("renamed", spaces.Box, None),
    ],
)
def test_an_image_is_read_as_what_the_outermost_wrapper_made_of_it(name: str, kind: Any, sizes: Any) -> None:
    space = image_of(stream_of(name))
    assert isinstance(space, kind)
    if sizes:
        assert (space.nvec == sizes).all()


class Strange(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Shows 200 in one place of the image from the first step on."""

    def step(self, action: Any) -> Any:
        obs, *rest = self.env.step(action)
        image = np.array(obs["image"] if isinstance(obs, dict) else obs)
        image.flat[2] = 200
        return ({**obs, "image": image} if isinstance(obs, dict) else image, *rest)


@LISTS
@pytest.mark.parametrize("name", WRAPPED)
def test_an_image_is_checked_by_its_categories_where_it_has_any(name: str) -> None:
    gymnasium.register("Strange-v0", lambda: Strange(WRAPPED[name][0](gymnasium.make(WRAPPED[name][1]))))
    stream = GymStream("Strange-v0")
    del gymnasium.registry["Strange-v0"]
    stream.reset()
    if isinstance(image_of(stream), spaces.Box):
        stream.step([2])
        return
    with pytest.raises(StreamError, match=r"observation ('image' )?must be .*\[.*2\], got 200"):
        stream.step([2])


def test_a_flat_observation_is_the_view_and_bits() -> None:
    space = image_of(stream_of("flat"))
    assert space.nvec.tolist() == [11, 6, 3] * 49 + [2] * 28 * 96
    assert image_of(stream_of("flat of fully")).nvec.tolist() == [11, 6, 4] * 64 + [2] * 28 * 96


def test_the_direction_of_an_agent_that_sees_the_whole_grid_has_a_category_of_its_own() -> None:
    stream = stream_of("fully, of the view's size")
    obs, _ = stream.reset()
    states = set()
    for _ in range(4):
        image = obs["observation"]["image"][0]
        states |= {*image[image[..., 0] == OBJECT_TO_IDX["agent"]][:, 2].tolist()}
        obs, *_ = stream.step([0, 0])
    assert states == {0, 1, 2, 3}


def test_a_mission_by_another_name_is_hashed() -> None:
    stream = stream_of("renamed")
    assert (stream.single_observation_space["observation"]["text"].nvec == 65).all()
    seen = [stream.reset(seed=seed)[0]["observation"]["text"][0] for seed in range(8)]
    assert len(np.unique(seen, axis=0)) > 1


class Zoo(MiniGridEnv):
    """Its missions name beasts that MiniGrid does not know."""

    def __init__(self) -> None:
        beasts = [["unicorn", "dragon", "griffin"]]
        space = MissionSpace(lambda beast: f"fetch the purple {beast}", ordered_placeholders=beasts)
        super().__init__(space, grid_size=5, max_steps=2)

    def _gen_grid(self, width: int, height: int) -> None:
        self.grid = wrappers_grid(width, height)
        self.agent_pos, self.agent_dir = (1, 1), 0
        self.mission = f"fetch the purple {self._rand_elem(['unicorn', 'dragon', 'griffin'])}"


def wrappers_grid(width: int, height: int) -> Any:
    from minigrid.core.grid import Grid

    grid = Grid(width, height)
    grid.wall_rect(0, 0, width, height)  # type: ignore[no-untyped-call]
    return grid


def test_missions_of_unknown_words_are_told_apart() -> None:
    gymnasium.register("Zoo-v0", Zoo)
    stream = GymStream("Zoo-v0", 16)
    shown = stream.reset()[0]["observation"]["mission"]
    missions = [stream.environment(slot, 0).unwrapped.mission for slot in range(16)]  # type: ignore[attr-defined]
    del gymnasium.registry["Zoo-v0"]
    assert len(set(missions)) == 3
    assert len(np.unique(shown, axis=0)) == 3
