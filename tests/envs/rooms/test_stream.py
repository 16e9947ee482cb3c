import gymnasium
import numpy as np
import pytest

from lifelong.envs import Rooms, make_stream
from lifelong.envs.minigrid.bridge import draw, from_minigrid
from lifelong.envs.references.planner import plan
from lifelong.envs.references.rooms import measure
from lifelong.envs.rooms.tasks import TASKS
from lifelong.envs.schedules import Cyclic, Redrawn

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)


def test_one_episode_by_hand() -> None:
    """Two steps to the corner, a turn, two steps to the goal: 5 of 100, worth 1 - 0.9 * 5 / 100."""
    stream = Rooms(task="empty-5x5")
    seen, _ = stream.reset()
    image = seen["observation"]["image"][0]
    assert seen["observation"]["direction"][0] == 0
    np.testing.assert_array_equal(image[3, 6], (1, 0, 0))  # the agent stands on an empty cell
    np.testing.assert_array_equal(image[3, 3], (2, 5, 0))  # the wall three cells ahead
    np.testing.assert_array_equal(image[5, 4], (8, 1, 0))  # the goal, two ahead and two to the right
    for action in (FORWARD, FORWARD, RIGHT, FORWARD):
        _, reward, terminated, truncated, _ = stream.step([action])
        assert (reward[0], terminated[0], truncated[0]) == (0, False, False)
    seen, reward, terminated, truncated, info = stream.step([FORWARD])
    assert (reward[0], terminated[0], truncated[0]) == (pytest.approx(0.955), True, False)
    row = {name: column[0] for name, column in info["episodes"].items()}
    assert (row["length"], row["success"], row["answer"]) == (5, 1, FORWARD)
    np.testing.assert_array_equal(seen["observation"]["image"][0], image)  # the next episode's first


def test_time_runs_out_with_what_was_seen_last() -> None:
    stream = Rooms(2, task="doorkey-5x5", max_steps=3)
    stream.reset()
    for step in range(3):
        assert stream.episode_length[0] == step
        before = stream.grids.direction.copy()
        seen, reward, terminated, truncated, info = stream.step([LEFT, DONE])
    assert truncated.all()
    assert not terminated.any()
    assert not reward.any()
    assert (info["episodes"]["success"] == 0).all()
    np.testing.assert_array_equal(info["final_obs"]["observation"]["direction"], (before + np.array([3, 0])) % 4)
    assert not np.array_equal(info["final_obs"]["observation"]["image"], seen["observation"]["image"])


def test_several_tasks_in_one_life() -> None:
    stream = make_stream("rooms", 3, task=["empty-5x5", "multiroom-n2-s4"], schedule="cyclic:1", max_steps=4)
    assert isinstance(stream, Rooms)
    assert stream.schedule == Cyclic(1)
    assert [task.name for task in stream.tasks] == ["empty-5x5", "multiroom-n2-s4"]
    assert [task.name for task in Rooms(task="empty-5x5, multiroom-n2-s4").tasks] == ["empty-5x5", "multiroom-n2-s4"]
    stream.reset()
    tasks = [stream.step(np.full(3, DONE))[4]["task"][0] for _ in range(12)]
    assert tasks == [0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1]


def test_the_mission_is_told_where_it_differs() -> None:
    alone, among = (
        Rooms(4, task="keycorridors3r1"),
        Rooms(8, task=["empty-5x5", "keycorridors3r1"], schedule=Redrawn(1)),
    )
    assert "mission" not in Rooms(task="empty-5x5").reset()[0]["observation"]
    shown = alone.reset()[0]["observation"]["mission"]
    assert all((alone.grids.cells[slot] == 8 * 6 + colour).any() for slot, colour in enumerate(shown))
    seen, info = among.reset()
    assert ((seen["observation"]["mission"] == 6) == (info["task"] == 0)).all()


def test_a_mission_that_is_done_ends_the_episode() -> None:
    stream = Rooms(6, task=["keycorridors4r3", "unlock"], schedule=Cyclic(1))
    stream.reset()
    for _ in range(2):
        ways = [plan(stream.grids, slot) for slot in range(6)]
        for step in range(max(way.size for way in ways)):
            actions = np.array([way[step] if step < way.size else DONE for way in ways])
            last = np.array([step == way.size - 1 for way in ways])
            over = np.array([step >= way.size for way in ways])
            _, reward, terminated, _, _ = stream.step(actions)
            assert (terminated == last)[~over].all()
            assert ((reward > 0) == last)[~over].all()
        stream.reset(seed=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "doorkey-5x5, doorkey-5x5"}, "tasks are named once each, got 'doorkey-5x5' twice"),
        ({"task": "dorkey-8x8"}, "no task 'dorkey-8x8'; did you mean 'doorkey-8x8'"),
        ({"task": []}, "at least one task"),
        ({"max_steps": 0}, "max_steps=0"),
        ({"render_mode": "human", "num_envs": 2}, "a window shows one life: render_mode='human', num_envs=2"),
        ({"render_mode": "ansi"}, "render_mode must be rgb_array, human or None, got 'ansi'"),
    ],
)
def test_what_makes_no_stream_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rooms(**settings)


def test_a_position_of_other_worlds_is_refused() -> None:
    small, large = Rooms(2, task="empty-5x5"), Rooms(2, task="doorkey-8x8")
    small.reset()
    with pytest.raises(ValueError, match="position has cells"):
        large.resume(small.position())


def test_pictures_are_made_when_asked_for() -> None:
    assert Rooms(2).render() is None
    stream = gymnasium.make_vec("lifelong/Rooms-Unlock-v0", num_envs=2, render_mode="rgb_array")
    with pytest.raises(gymnasium.error.ResetNeeded):
        stream.unwrapped.render()
    stream.reset()
    pictures = stream.render()
    assert [picture.shape for picture in pictures] == [(6 * 32, 11 * 32, 3)] * 2
    assert pictures[0].max() > 200
    env = gymnasium.make("lifelong/Rooms-Unlock-v0", render_mode="rgb_array")
    env.reset(seed=0)
    np.testing.assert_array_equal(
        env.render(), draw(env.unwrapped.stream.grids.level(0), env.unwrapped.stream.grids.image[0], 32)
    )


@pytest.mark.filterwarnings("ignore:The system font")  # MiniGrid's; it takes another
def test_one_world_is_seen_in_minigrids_window_as_minigrid_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same level in both, with the mission of MiniGrid's, to the last pixel; at the start and after two steps."""
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    minigrid = gymnasium.make("MiniGrid-KeyCorridorS3R1-v0", disable_env_checker=True, render_mode="human").unwrapped
    env = gymnasium.make("lifelong/Rooms-KeyCorridorS3R1-v0", render_mode="human")
    env.reset(seed=0)
    stream = env.unwrapped.stream
    minigrid.reset(seed=3)
    stream.grids.load(0, 0, from_minigrid(minigrid))
    for action in (LEFT, FORWARD):
        minigrid.step(action)
        theirs = pygame.surfarray.array3d(minigrid.window)
        env.step(action)
        ours = pygame.surfarray.array3d(stream._window.window)
        np.testing.assert_array_equal(ours, theirs)
        assert len(np.unique(ours)) > 10
    assert env.render() is None
    env.close()
    env.close()
    minigrid.window = None  # pygame has quit


def test_references_are_told_with_the_rows_and_lie_apart() -> None:
    stream = Rooms(1, task="empty-random-5x5", seed=3)
    stream.reset()
    rows = []
    while len(rows) < 3:
        for action in plan(stream.grids, 0):
            *_, info = stream.step([action])
        rows.append({name: column[0] for name, column in info["episodes"].items()})
    for row in rows:
        task = TASKS["empty-random-5x5"]
        assert row["return"] == pytest.approx(1 - 0.9 * row["length"] / task.max_steps)
        assert row["normalised"] == pytest.approx((row["return"] - task.random) / (task.oracle - task.random), rel=1e-5)
        assert np.isnan([row["within"], row["cross"]]).all()
    assert all(0 <= task.random < task.oracle - 0.3 < 1 for task in TASKS.values())


@pytest.mark.parametrize("name", ["empty-5x5", "lavagaps5"])
def test_references_are_what_is_measured(name: str) -> None:
    random, oracle = measure(name, 1000)
    assert oracle == pytest.approx(TASKS[name].oracle, abs=0.002)
    assert random == pytest.approx(TASKS[name].random, abs=0.05)  # standard error 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_all_references_are_what_is_measured(name: str) -> None:
    random, oracle = measure(name, 20_480)
    assert oracle == pytest.approx(TASKS[name].oracle, abs=1e-4)
    assert random == pytest.approx(TASKS[name].random, abs=1e-4)
