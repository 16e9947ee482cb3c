"""The contract of every registered stream, with its defaults and with short lives."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import scipy.stats
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from lifelong.envs import (
    STREAMS as NAMED,
    Actuators,
    ColourCubes,
    ColourRule,
    CuedRecall,
    DarkRoom,
    DelayedActions,
    DelayedRewards,
    Doors,
    EarlyChoice,
    EndlessCues,
    EndlessTMaze,
    Foraging,
    Gravity,
    GymStream,
    GymTask,
    MapChange,
    Mass,
    NoisyObservations,
    Reversal,
    ReversedActions,
    Rooms,
    ShuffledObservations,
    Single,
    StickyActions,
    TaskStream,
    TMaze,
    check_stream,
    make_single,
    make_stream,
)
from lifelong.envs.check import CLAUSES
from lifelong.envs.extras import is_installed
from lifelong.envs.schedules import Block, Cyclic, Interleaved, RandomHazard, Redrawn, Walk

CARTPOLE = GymTask("short", env_id="CartPole-v1", kwargs={"max_episode_steps": 9})
CARTPOLE_TOO = GymTask("shorter", env_id="CartPole-v1", kwargs={"max_episode_steps": 6})
PENDULUM = GymTask("swing", env_id="Pendulum-v1", kwargs={"max_episode_steps": 7})
CARTPOLE_DRIFTED = replace(
    CARTPOLE, name="drifted", drifts=[Gravity(3.0), StickyActions(), DelayedRewards(2), ShuffledObservations()]
)
PENDULUM_DRIFTED = replace(
    PENDULUM, name="drifted", drifts=[Mass(2.0), DelayedActions(1), NoisyObservations(), ReversedActions()]
)
DOORKEY = GymTask("door", env_id="MiniGrid-DoorKey-5x5-v0", kwargs={"max_steps": 8})

REACHER = GymTask("reach", env_id="Reacher-v5", kwargs={"max_episode_steps": 7})
REACHER_DRIFTED = replace(REACHER, name="drifted", drifts=[Actuators(-1.0, 1), Mass(2.0), ReversedActions()])


def reachers(n: int, **options: Any) -> GymStream:
    pytest.importorskip("mujoco")
    return GymStream([REACHER, REACHER_DRIFTED], n, schedule=RandomHazard(0.5), life_episodes=3, **options)


STREAMS: dict[str, Callable[..., TaskStream]] = {
    "cued recall": lambda n, **o: CuedRecall(n, cues=5, life_episodes=14, **o),
    "cued recall, blanks": lambda n, **o: CuedRecall(
        n, cues=4, blanks=2, feedback="reward", schedule=RandomHazard(0.3), life_episodes=None, **o
    ),
    "cued recall, changing": lambda n, **o: CuedRecall(n, cues=5, life_episodes=14, change_at=6, **o),
    "cued recall, rewards, changing": lambda n, **o: CuedRecall(
        n, cues=4, feedback="reward", life_episodes=9, change_at=5, **o
    ),
    "colour rule": lambda n, **o: ColourRule(n, max_steps=6, schedule=Redrawn(3), life_episodes=7, **o),
    "reversal": lambda n, **o: Reversal(n, contexts=3, hazard=0.3, life_episodes=9, **o),
    "reversal, lives of a hazard": lambda n, **o: make_stream(
        "reversal", n, contexts=3, hazard=0.3, life_episodes=None, life_hazard=0.2, **o
    ),
    "reversal, endless": lambda n, **o: Reversal(n, life_episodes=None, **o),
    "dark room": lambda n, **o: DarkRoom(n, size=3, max_steps=3, maps=3, schedule=Block(2), life_episodes=5, **o),
    "map change": lambda n, **o: MapChange(n, size=5, max_steps=3, nearest=1, maps=3, life_episodes=5, **o),
    "doors": lambda n, **o: Doors(n, doors=2, depth=1, colours=3, life_episodes=6, **o),
    "T-maze": lambda n, **o: TMaze(n, corridor=4, life_episodes=5, **o),
    "T-maze, active, with distractors": lambda n, **o: TMaze(n, corridor=3, variant="active", distractors=2, **o),
    "early choice": lambda n, **o: EarlyChoice(n, delay=3, noise=0.5, contexts=3, choices=4, life_episodes=6, **o),
    "early choice, of a life": lambda n, **o: EarlyChoice(n, delay=2, rule="life", life_episodes=6, **o),
    "colour cubes": lambda n, **o: ColourCubes(n, size=3, colours=2, phases=2, teleport=0.5, life_episodes=5, **o),
    "foraging": lambda n, **o: Foraging(n, size=5, things=3, stretch=5, regrow=3, season=2, life_episodes=4, **o),
    "endless cues": lambda n, **o: EndlessCues(n, longest=4, life_episodes=9, **o),
    "endless T-maze": lambda n, **o: EndlessTMaze(n, mazes=3, corridor=2, life_episodes=4, **o),
    "rooms": lambda n, **o: Rooms(n, task="lavagaps5", max_steps=8, life_episodes=6, **o),
    "rooms, several": lambda n, **o: Rooms(
        n,
        task=["distshift1", "keycorridors3r1", "lavacrossings9n3", "multiroom-n2-s4"],
        max_steps=7,
        schedule=Redrawn(2),
        life_episodes=5,
        **o,
    ),
    "rooms, drifting": lambda n, **o: make_stream(
        "rooms",
        n,
        task="lavagaps5",
        max_steps=8,
        life_episodes=6,
        drifts="plain/reversed_actions+sticky_actions/rotated_observations+delayed_actions:2+delayed_rewards:2",
        schedule="hazard:0.5",
        **o,
    ),
    "cued recall, drifting": lambda n, **o: make_stream(
        "cued-recall",
        n,
        cues=4,
        feedback="reward",
        blanks=1,
        life_episodes=9,
        drifts="noisy_observations:0.3,cue+scaled_rewards:-1/plain/shuffled_actions",
        drift_schedule="redrawn:2",
        **o,
    ),
    "reversal, drifting": lambda n, **o: make_stream(
        "reversal", n, contexts=2, hazard=0.3, drifts="plain/reversed_actions", drift_schedule="hazard:0.4", **o
    ),
    "CartPole, drifting with its stream": lambda n, **o: make_stream(
        "cartpole-sign", n, drifts="plain/noisy_observations/delayed_rewards", drift_schedule="interleaved", **o
    ),
    "CartPole": lambda n, **o: GymStream(CARTPOLE, n, **o),
    "two CartPoles": lambda n, **o: GymStream(
        [CARTPOLE, CARTPOLE_TOO], n, schedule=Interleaved(), life_episodes=4, **o
    ),
    "Pendulum": lambda n, **o: GymStream(PENDULUM, n, schedule=Cyclic(2), life_episodes=3, **o),
    "DoorKey": lambda n, **o: GymStream(DOORKEY, n, **o),
    "drifting CartPole": lambda n, **o: GymStream(
        [CARTPOLE, CARTPOLE_DRIFTED], n, schedule=RandomHazard(0.5), life_episodes=5, **o
    ),
    "drifting Pendulum": lambda n, **o: GymStream([PENDULUM, PENDULUM_DRIFTED], n, schedule=Walk(0.5), **o),
    "drifting Reacher": reachers,
}
every_stream = pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)

IDS = [name for name, spec in gymnasium.registry.items() if name.startswith("lifelong/") and spec.vector_entry_point]
REGISTERED: dict[str, Callable[..., TaskStream]] = {name: lambda n, name=name, **o: made(name, n, **o) for name in IDS}
SHORT: dict[str, dict[str, Any]] = {"lifelong/TMaze-v0": {"corridor": 6}, "lifelong/EarlyChoice-v0": {"delay": 3}}
"""Settings for episodes that are short beside the steps of a check."""
every_id = pytest.mark.parametrize("name", IDS)


def skip_unless_installed(name: str) -> None:
    stream = gymnasium.spec(name).kwargs.get("name")
    if stream and not is_installed(NAMED[stream].extra):
        pytest.skip(f"needs {NAMED[stream].extra}")


def made(name: str, num_envs: int, **options: Any) -> TaskStream:
    skip_unless_installed(name)
    stream = gymnasium.make_vec(name, num_envs=num_envs, **options).unwrapped
    assert isinstance(stream, TaskStream)
    return stream


def test_every_stream_that_has_a_name_has_an_id() -> None:
    named = {spec.kwargs["name"] for spec in (gymnasium.spec(name) for name in IDS)}
    assert named == set(NAMED)


@every_stream
def test_every_stream_keeps_its_promises(make: Callable[..., TaskStream]) -> None:
    checked = check_stream(make)
    assert checked.clauses == tuple(CLAUSES)
    assert checked.lives >= 2
    assert checked.episodes > 1


@pytest.mark.slow  # each stream does by its usual settings, in the test above
@every_id
def test_every_id_keeps_its_promises(name: str) -> None:
    one_level = re.match(r"lifelong/Rooms-(Empty-\d|DistShift)", name)
    check_stream(REGISTERED[name], deterministic=bool(one_level), **SHORT.get(name, {}))


@every_id
def test_a_wrong_action_is_named(name: str) -> None:
    stream = made(name, 2)
    stream.reset()
    space = stream.single_action_space
    wrong: list[tuple[Any, str]]
    if isinstance(space, spaces.Discrete):
        wrong = [
            ([0, space.n], f"actions must be 0 to {space.n - 1}, got 0 to {space.n}"),
            ([-1, 0], f"actions must be 0 to {space.n - 1}, got -1 to 0"),
            ([0.0, 1.0], "actions must be integers, got float64"),
        ]
    else:
        spoiled = np.zeros((2, *space.shape), space.dtype)
        spoiled[1] = np.nan
        wrong = [(spoiled, "actions must be finite, got nan")]
    for actions, message in [*wrong, (np.zeros((3, *space.shape), space.dtype), r"actions must be \[2")]:
        with pytest.raises(ValueError, match=message):
            stream.step(actions)


@pytest.mark.filterwarnings("ignore:.*Box observation space m.*infinity", "ignore:.*symmetric and normalized")
@pytest.mark.parametrize("name", [*IDS, "lifelong/ColourRoom-v0"])
def test_one_life_is_an_environment_like_any_other(name: str) -> None:
    skip_unless_installed(name)
    env = gymnasium.make(name)
    check_env(env.unwrapped, skip_render_check=True)  # see test_rooms.py
    env.close()
    env.close()


def test_one_life_goes_on_over_resets_and_gives_up_what_is_not_over() -> None:
    single = make_single("reversal", contexts=2, schedule="cyclic:1", life_episodes=3)
    with pytest.raises(gymnasium.error.ResetNeeded):
        single.step(0)
    told = []
    for _ in range(5):  # none of them is lived to its end
        _, info = single.reset()
        told.append((info["task"], info["life_start"]))
        single.step(1)
    assert told == [(0, True), (1, False), (0, False), (0, True), (1, False)]
    single.reset(seed=1)
    single.step(1)
    *_, info = single.step(1)
    assert (info["row"]["episode"], info["row"]["lag_episodes"]) == (0, -1)
    with pytest.raises(ValueError, match=r"no options of reset, got {'level': 1}"):
        single.reset(options={"level": 1})
    with pytest.raises(ValueError, match="num_envs=2"):
        Single(make_stream("reversal", 2))


# ---- what is hidden says nothing of what is shown, and the other way round -------------------------------------------


Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def of_cued_recall(stream: Any, seen: Any) -> Pairs:
    return stream.right_answers(), (seen["cue"][:, :3] > 0) @ np.array([1, 2, 4])


def of_reversal(stream: Any, seen: Any) -> Pairs:
    good = stream.good_arms().copy()
    reward = stream.step(np.zeros(stream.num_envs, np.int64))[1]
    return good, (reward == (good == 0)).astype(np.int64)  # whether the arm did what it mostly does


def of_dark_room(stream: Any, seen: Any) -> Pairs:
    goals = stream._goals @ np.array([1, stream.size])  # nothing is laid out; of two maps
    return goals[:, 0], goals[:, 1] // 20


def of_map_change(stream: Any, seen: Any) -> Pairs:
    goals = (stream.cells() == 2).reshape(stream.num_envs, -1).argmax(1)
    return goals, (stream.cells()[:, stream.size // 2, 1 : stream.size // 2] != 1).argmax(1)  # an opening to the north


def of_doors(stream: Any, seen: Any) -> Pairs:
    return stream.right_doors(), seen["place"][:, 0]


def of_colour_rule(stream: Any, seen: Any) -> Pairs:
    return stream.task.copy(), seen["direction"]


PAIRS = {
    "cued-recall": of_cued_recall,
    "reversal": of_reversal,
    "dark-room": of_dark_room,
    "map-change": of_map_change,
    "doors": of_doors,
    "colour-rule": of_colour_rule,
}


def chance(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Return how probable it is that numbers that do not depend on each other look as if they did as much."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    assert min(table.shape) > 1
    return float(scipy.stats.chi2_contingency(table).pvalue)


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_hidden_does_not_depend_on_what_is_laid_out(name: str) -> None:
    """Over the lives of a seed, and over the first lives of seeds."""
    many, one = make_stream(name, 200 if name == "colour-rule" else 5_000), make_stream(name, 1)
    of_lives = PAIRS[name](many, many.reset()[0]["observation"])
    drawn = [PAIRS[name](one, one.reset(seed=seed)[0]["observation"]) for seed in range(400)]
    of_seeds = tuple(np.concatenate(part) for part in zip(*drawn, strict=True))
    for hidden, laid_out in (of_lives, of_seeds):
        assert chance(hidden % 7, laid_out) > 1e-3
        assert chance(hidden % 7, np.where(hidden % 7 % 2, laid_out, 0)) < 1e-3  # what depends is found
        counts = np.bincount(hidden)
        assert scipy.stats.chisquare(counts[counts > 0]).pvalue > 1e-3
