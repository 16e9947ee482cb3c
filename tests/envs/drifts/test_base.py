"""Drifts of single environments: their effect, and its undoing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from lifelong.envs import (
    Actuators,
    Damping,
    DelayedActions,
    DelayedRewards,
    Drift,
    Drifted,
    Friction,
    Gravity,
    GymStream,
    GymTask,
    Length,
    Mass,
    NoisyObservations,
    RemappedColours,
    ReversedActions,
    RotatedObservations,
    ScaledRewards,
    ShuffledActions,
    ShuffledObservations,
    StickyActions,
    SwappedObjects,
)
from lifelong.envs.drifts.effect import effect
from lifelong.envs.rng import Purpose, cycle
from lifelong.envs.schedules import Cyclic

ANYWHERE = [
    ReversedActions(),
    ShuffledActions(),
    DelayedActions(2),
    StickyActions(0.5),
    ScaledRewards(-0.5),
    DelayedRewards(3),
]
VECTORS = [ShuffledObservations(1), RotatedObservations(30.0), NoisyObservations(0.1)]
VIEWS = [ShuffledObservations(1), RotatedObservations(90.0), RotatedObservations(180.0)]
FITTING: dict[str, Sequence[Drift]] = {
    "CartPole-v1": [*ANYWHERE, *VECTORS, Gravity(2.0), Mass(3.0), Length(0.5), Actuators(0.5), Actuators(-1.0)],
    "Pendulum-v1": [
        *(drift for drift in ANYWHERE if not isinstance(drift, ShuffledActions)),
        *VECTORS,
        Gravity(0.5),
        Mass(2.0),
        Length(0.7),
        Actuators(0.3),
    ],
    "Acrobot-v1": [*ANYWHERE, *VECTORS, Mass(2.0), Length(2.0), Actuators(0.0)],
    "MountainCar-v0": [*ANYWHERE, *VECTORS, Gravity(0.8), Actuators(2.0)],
    "MountainCarContinuous-v0": [StickyActions(), *VECTORS, Actuators(2.0)],
    "FrozenLake-v1": [*ANYWHERE[:4], ShuffledObservations()],
    "MiniGrid-DoorKey-5x5-v0": [StickyActions(), *VIEWS, RemappedColours(), SwappedObjects("door", "key")],
    "MiniGrid-LavaGapS5-v0": [SwappedObjects(), DelayedActions(1)],
}
CASES = [(env_id, drift) for env_id, drifts in FITTING.items() for drift in drifts]
MUJOCO: dict[str, Sequence[Drift]] = {
    "HalfCheetah-v5": [Gravity(0.5), Mass(2.0), Friction(0.3), Damping(3.0), Actuators(0.0, 2), *ANYWHERE, *VECTORS],
    "InvertedPendulum-v5": [Mass(2.0), Actuators(0.4), Actuators(-1.0), ReversedActions()],
    "Reacher-v5": [Actuators(-1.0, 1), ShuffledActions(), ReversedActions()],
}
IN_MUJOCO = [(env_id, drift) for env_id, drifts in MUJOCO.items() for drift in drifts]


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings where it stands


def made(env_id: str) -> gymnasium.Env[Any, Any]:
    if env_id in MUJOCO:
        pytest.importorskip("mujoco", exc_type=ImportError)
    if env_id.startswith("MiniGrid"):
        pytest.importorskip("minigrid")
    return gymnasium.make(env_id, disable_env_checker=True)


def episode(env: gymnasium.Env[Any, Any], seed: int, steps: int = 40, act: Any = None) -> list[Any]:
    """Return observations and rewards of an episode of actions drawn from the seed."""
    space = env.action_space
    space.seed(seed)
    actions = [space.sample() if act is None else act for _ in range(steps)]
    said: list[Any] = [flat(env.reset(seed=seed)[0])]
    for action in actions:
        seen, *rest, _ = env.step(action)
        said.append([*flat(seen), *(np.float64(x) for x in rest)])
        if rest[1] or rest[2]:
            break
    return said


def flat(seen: Any) -> list[Any]:
    return [np.array(seen[key]) for key in seen if key != "mission"] if isinstance(seen, dict) else [np.array(seen)]


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        len(a) == len(b) and all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a, b, strict=True))
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(("env_id", "drift"), CASES + IN_MUJOCO, ids=str)
def test_a_drift_acts_and_is_undone_to_the_last_bit(env_id: str, drift: Drift) -> None:
    pristine, env = made(env_id), Drifted(made(env_id))
    assert effect(env.env, [drift]) > 0
    env.drifts = (drift,)
    first, again = episode(env, 3), episode(env, 3)
    assert same(first, again)
    env.drifts = ()
    for seed in (3, 4):
        assert same(episode(env, seed), episode(pristine, seed))
    env.drifts = (drift,)
    assert same(episode(env, 3), first)
    env.undo()
    assert same(episode(env.unwrapped, 5, 8), episode(pristine.unwrapped, 5, 8))


@pytest.mark.parametrize(("env_id", "drift"), CASES + IN_MUJOCO, ids=str)
def test_what_is_shown_and_done_stays_in_the_spaces(env_id: str, drift: Drift) -> None:
    env = Drifted(made(env_id), [drift])
    plain, wanted = env.env, env.observation_space
    executed: list[Any] = []
    original = plain.step
    plain.step = lambda action: executed.append(action) or original(action)  # type: ignore[method-assign, func-returns-value]
    for seed in range(4):
        seen, _ = env.reset(seed=seed)
        env.action_space.seed(seed)
        for _ in range(20):
            assert wanted.contains(seen)
            seen, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                break
    assert all(env.action_space.contains(action) for action in executed)


@pytest.mark.parametrize(
    ("env_id", "drift", "message"),
    [
        (
            "CartPole-v1",
            Friction(2.0),
            r"Friction\(factor=2.0\) does not fit CartPole-v1: it has no fri.*gravity",
        ),
        (
            "Acrobot-v1",
            Gravity(2.0),
            r"Gravity\(factor=2.0\) does not fit Acrobot-v1: it has no .*mass, length",
        ),
        ("FrozenLake-v1", Gravity(2.0), "it has no gravity to change, but nothing that is known"),
        ("FrozenLake-v1", NoisyObservations(), "only numbers of floating point have an error"),
        ("CartPole-v1", RemappedColours(), "CartPole-v1: it does not show MiniGrid's cells"),
        ("CartPole-v1", ShuffledObservations(entry="image"), "entry='image', but observations are no Dict"),
        ("MiniGrid-Empty-5x5-v0", ShuffledObservations(entry="picture"), "entry must be one of .*image.*'picture'"),
        ("MiniGrid-Empty-5x5-v0", RotatedObservations(45.0), r"a view \[7, 7, 3\] cannot be turned by degrees=45.0"),
        ("MiniGrid-Empty-5x5-v0", SwappedObjects("cat", "goal"), "one must be one of unseen, .*got 'cat'"),
        (
            "MiniGrid-Empty-5x5-v0",
            RemappedColours(2),
            r"RemappedColours\(order=2\) has no effect on MiniGrid-Empty",
        ),
        ("MiniGrid-Empty-5x5-v0", SwappedObjects("ball", "key"), "has no effect on MiniGrid-Empty-5x5-v0"),
        ("CartPole-v1", Gravity(1.0), r"Gravity\(factor=1.0\) has no effect on CartPole-v1"),
        ("CartPole-v1", Actuators(2.0, 1), "actuator must be below 1: actuator=1"),
        ("Pendulum-v1", Actuators(2.0), "has no effect on Pendulum-v1"),  # no action reaches beyond what is cut off
        ("Pendulum-v1", ShuffledActions(), "has no effect on Pendulum-v1"),
        ("Pendulum-v1", RotatedObservations(360.0), "has no effect on Pendulum-v1"),
        ("Pendulum-v1", Actuators(-1.0), "a largest torque cannot be negative: factor=-1.0; ReversedActions"),
        ("HalfCheetah-v5", Length(2.0), "MuJoCo has no length to change, but gravity, mass, friction, damping"),
        ("HalfCheetah-v5", Actuators(0.5, 6), "actuator must be below 6: actuator=6"),
        ("InvertedPendulum-v5", Friction(0.2), "has no effect on InvertedPendulum-v5"),
    ],
)
def test_a_drift_without_effect_is_refused_by_name(env_id: str, drift: Drift, message: str) -> None:
    made(env_id)
    with pytest.raises(ValueError, match=message):
        GymStream(GymTask(env_id, drifts=[drift]))


def test_drifts_that_undo_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[ReversedActions\(\), ShuffledActions\(order=0\)\] together has no effect"):
        GymStream(GymTask("CartPole-v1", drifts=[ReversedActions(), ShuffledActions()]))


def test_rewards_that_random_actions_do_not_find_are_believed_to_be_there() -> None:
    stream = GymStream(GymTask("MiniGrid-DoorKey-8x8-v0", drifts=[ScaledRewards(-1.0)]))
    assert stream.tasks[0].drifts == (ScaledRewards(-1.0),)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Gravity(-1.0),
        lambda: Mass(0.0),
        lambda: Length(np.inf),
        lambda: Actuators(0.5, -1),
        lambda: Actuators(np.nan),
        lambda: ScaledRewards(1.0),
        lambda: ScaledRewards(np.nan),
        lambda: DelayedRewards(0),
        lambda: DelayedActions(-1),
        lambda: StickyActions(0.0),
        lambda: StickyActions(1.5),
        lambda: ShuffledActions(-1),
        lambda: ShuffledObservations(-1),
        lambda: RemappedColours(-2),
        lambda: NoisyObservations(0.0),
        lambda: RotatedObservations(np.nan),
    ],
)
def test_a_strength_that_cannot_be_meant_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        wrong()


def test_what_mujoco_computes_from_its_numbers_is_put_back_too() -> None:
    env = Drifted(made("InvertedPendulum-v5"), [Actuators(-1.0), Mass(3.0)])
    model: Any = env.unwrapped.model  # type: ignore[attr-defined]
    numbers = {name: getattr(model, name) for name in dir(model) if isinstance(getattr(model, name), np.ndarray)}
    before = {name: kept.copy() for name, kept in numbers.items()}
    env.reset(seed=1)
    assert model.actuator_gear[0, 0] == -100
    assert not np.array_equal(model.body_invweight0, before["body_invweight0"])
    env.undo()
    assert [name for name, kept in before.items() if not np.array_equal(kept, numbers[name])] == []


def test_a_gear_turned_round_is_a_torque_turned_round() -> None:
    turned, reversed_ = (Drifted(made("Reacher-v5"), [drift]) for drift in (Actuators(-1.0), ReversedActions()))
    assert same(episode(turned, 3), episode(reversed_, 3))


def test_drifts_are_data() -> None:
    drifts = [drift for drifts in (*FITTING.values(), *MUJOCO.values()) for drift in drifts]
    assert {eval(repr(drift)) for drift in drifts} == set(drifts)  # noqa: S307
    one = GymTask("heavy", env_id="CartPole-v1", drifts=[Gravity(2.0)])
    other = GymTask("heavy", env_id="CartPole-v1", drifts=(Gravity(2.0),))
    assert one == other
    assert hash(one) == hash(other)


# ---- what each of them does, worked out by hand ----------------------------------------------------------------------


class Dummy(gymnasium.Env[Any, Any]):
    """Environment with given observation and rewards; an episode has six steps."""

    def __init__(self, look: spaces.Space[Any], act: spaces.Space[Any], shown: Any = None) -> None:
        self.observation_space, self.action_space, self.shown = look, act, shown
        self.executed: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.executed = []
        return self.shown, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.executed.append(action)
        return self.shown, float(len(self.executed)), len(self.executed) == 6, False, {}


LINE = spaces.Box(-1.0, 1.0, (1,), np.float32)


def doings(act: spaces.Space[Any], drift: Drift, chosen: Sequence[Any]) -> list[Any]:
    env = Dummy(LINE, act, np.zeros(1, np.float32))
    drifted = Drifted(env, [drift])
    drifted.reset(seed=1)
    for action in chosen:
        drifted.step(action)
    return env.executed


def test_reversed_actions_are_mirrored_in_their_range() -> None:
    assert doings(spaces.Discrete(4, start=3), ReversedActions(), [3, 4, 6]) == [6, 5, 3]
    box = spaces.Box(np.array([-2, 0, -np.inf], np.float32), np.array([2, 1, np.inf], np.float32))
    (did,) = doings(box, ReversedActions(), [np.array([0.5, 0.25, 3.0], np.float32)])
    assert did.tolist() == [-0.5, 0.75, -3.0]
    assert did.dtype == np.float32


def test_shuffled_actions_go_once_around_all() -> None:
    meaning = doings(spaces.Discrete(5, start=-1), ShuffledActions(3), [-1, 0, 1, 2, 3])
    assert sorted(meaning) == [-1, 0, 1, 2, 3]
    assert all(executed != chosen for executed, chosen in zip(meaning, range(-1, 4), strict=True))
    (did,) = doings(spaces.Box(-1, 1, (2, 2)), ShuffledActions(), [np.array([[1, 2], [3, 4]]) / 4])
    assert sorted(did.ravel()) == [0.25, 0.5, 0.75, 1.0]
    assert (did != np.array([[1, 2], [3, 4]]) / 4).all()
    with pytest.raises(ValueError, match="entries with other bounds cannot take each other's place"):
        doings(spaces.Box(np.zeros(2), np.array([1.0, 2.0]), dtype=np.float64), ShuffledActions(), [])


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_a_cycle_is_one_circle_through_all(n: int) -> None:
    for seed in range(20):
        order, place, met = cycle(n, seed, Purpose.DRIFT), 0, []
        for _ in range(n):
            met.append(place)
            place = int(order[place])
        assert place == 0
        assert sorted(met) == list(range(n))
    assert n < 4 or len({tuple(cycle(n, seed, Purpose.DRIFT)) for seed in range(20)}) > 1


def test_delayed_actions_come_in_order() -> None:
    assert doings(spaces.Discrete(9), DelayedActions(2), [5, 1, 2, 3, 4]) == [5, 5, 5, 1, 2]


def test_sticky_actions_stick_as_often_as_they_say() -> None:
    chosen, stuck, seeds = list(range(5)), 0, 400
    for seed in range(seeds):
        env = Dummy(LINE, spaces.Discrete(9), np.zeros(1, np.float32))
        drifted = Drifted(env, [StickyActions(0.25)])
        drifted.reset(seed=seed)
        for action in chosen:
            drifted.step(action)
        assert env.executed[0] == 0
        assert all(env.executed[t] in (env.executed[t - 1], chosen[t]) for t in range(1, 5))
        stuck += sum(executed != want for executed, want in zip(env.executed, chosen, strict=True))
    assert abs(stuck / (4 * seeds) - 0.25) < 0.03


@pytest.mark.parametrize(
    ("drift", "paid"),
    [
        (ScaledRewards(-2.0), [-2, -4, -6, -8, -10, -12]),
        (DelayedRewards(1), [0, 1, 2, 3, 4, 5 + 6]),
        (DelayedRewards(4), [0, 0, 0, 0, 1, 2 + 3 + 4 + 5 + 6]),
        (DelayedRewards(9), [0, 0, 0, 0, 0, 21]),
    ],
)
def test_rewards_are_scaled_and_paid_later(drift: Drift, paid: list[float]) -> None:
    env = Drifted(Dummy(LINE, spaces.Discrete(2), np.zeros(1, np.float32)), [drift])
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(0)[1] for _ in range(6)] == paid


def test_an_effect_is_the_share_of_steps_that_differ() -> None:
    env = Dummy(LINE, spaces.Discrete(2), np.zeros(1, np.float32))  # an observation, then six steps
    assert effect(env, [ScaledRewards(0.0)]) == 6 / 7
    assert effect(env, [DelayedRewards(9)]) == 6 / 7
    assert effect(env, [ReversedActions()]) == 0
    assert effect(env, [NoisyObservations()]) == 1


def shown(look: spaces.Space[Any], drift: Drift, what: Any) -> Any:
    return Drifted(Dummy(look, spaces.Discrete(2), what), [drift]).reset(seed=0)[0]


def test_shuffled_entries_keep_their_place_in_the_range() -> None:
    low, high = np.array([0, -np.inf, -4, -np.inf, 0], np.float32), np.array([1, np.inf, 4, np.inf, np.inf], np.float32)
    seen = shown(spaces.Box(low, high), ShuffledObservations(), np.array([0.75, 10, 2, 20, 7], np.float32))
    assert seen.tolist() == [0.75, 20, 2, 10, 7]  # 3/4 and 3/4 of two ranges, two without bounds, one like no other
    seen = shown(spaces.Box(low, high), ShuffledObservations(), np.array([0.5, 10, 4, 20, 7], np.float32))
    assert seen.tolist() == [1, 20, 0, 10, 7]


def test_a_turned_pair_has_the_length_it_had_but_for_the_shrinking() -> None:
    seen = shown(spaces.Box(-1, 1, (3,)), RotatedObservations(90.0), np.array([0.25, 0.5, 0.1], np.float32))
    assert np.allclose(seen, [-0.5, 0.25, 0.1])
    seen = shown(spaces.Box(-1, 1, (2,)), RotatedObservations(45.0), np.array([1.0, 1.0], np.float32))
    assert np.allclose(seen, [0.0, 1.0])


def test_a_view_is_turned_and_its_cells_move_whole() -> None:
    space, view = spaces.Box(0, 255, (2, 2, 3), np.uint8), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.array_equal(shown(space, RotatedObservations(90.0), view)[..., 0], [[3, 9], [0, 6]])
    seen = shown(space, ShuffledObservations(), view)
    assert sorted(seen[..., 0].ravel()) == [0, 3, 6, 9]
    assert (seen != view).all()
    assert np.array_equal(seen - seen[..., :1], view - view[..., :1])


def test_the_entry_of_a_dict_is_drifted_alone() -> None:
    look = spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Box(-1, 1, (2,)), c=spaces.Discrete(3))
    what = {"a": np.array([0, 1], np.float32), "b": np.array([0, 1], np.float32), "c": 2}
    seen = shown(look, ShuffledObservations(entry="b"), what)
    assert (seen["a"].tolist(), seen["b"].tolist(), seen["c"]) == ([0, 1], [1, 0], 2)
    assert what["b"].tolist() == [0, 1]
    assert shown(look, ShuffledObservations(entry="c"), what)["c"] in (0, 1)
    with pytest.raises(ValueError, match="entry must say which part is meant: a, b, c"):
        shown(look, ShuffledObservations(), what)


def test_noise_is_as_large_as_it_says() -> None:
    low, high = np.full(4000, -np.inf, np.float32), np.full(4000, np.inf, np.float32)
    low[:2000], high[:2000] = 0, 20
    error = shown(spaces.Box(low, high), NoisyObservations(0.1), np.full(4000, 10, np.float32)) - 10
    assert abs(error[:2000].std() - 1.0) < 0.05
    assert abs(error[2000:].std() - 0.1) < 0.005
    env = Drifted(Dummy(LINE, spaces.Discrete(2), np.zeros(1, np.float32)), [NoisyObservations(0.5)])
    assert env.reset(seed=0)[0] != env.step(0)[0]


def test_only_things_that_come_in_colours_are_recoloured() -> None:
    env = Drifted(gymnasium.make("MiniGrid-DoorKey-5x5-v0", disable_env_checker=True))
    plain = env.reset(seed=0)[0]["image"]
    env.drifts = (RemappedColours(),)
    seen = env.reset(seed=0)[0]["image"]
    coloured = np.isin(plain[..., 0], [4, 5, 6, 7])
    assert coloured.any()
    assert np.array_equal(seen[~coloured], plain[~coloured])
    assert np.array_equal(seen[..., [0, 2]], plain[..., [0, 2]])
    assert (seen[coloured, 1] != plain[coloured, 1]).all()


def test_what_follows_from_an_edited_number_is_computed_again() -> None:
    env = Drifted(gymnasium.make("CartPole-v1"), [Mass(3.0), Length(2.0)])
    env.reset(seed=0)
    base: Any = env.unwrapped
    assert (base.total_mass, base.polemass_length) == pytest.approx((3.3, 0.3 * 1.0))
    env.drifts = ()
    env.reset(seed=0)
    assert (base.total_mass, base.polemass_length, base.length) == (1.1, 0.05, 0.5)


def test_twice_the_mass_under_twice_the_torque_moves_the_same() -> None:
    one, two = made("Acrobot-v1"), Drifted(made("Acrobot-v1"), [Mass(2.0), Actuators(2.0)])
    for a, b in zip(episode(one, 1), episode(two, 1), strict=True):
        assert np.allclose(a[0], b[0], atol=1e-5)
    assert type(two.unwrapped).LINK_MASS_1 == 1.0  # type: ignore[attr-defined]


def test_the_first_drift_stands_next_to_the_environment() -> None:
    env = Drifted(Dummy(LINE, spaces.Discrete(2), np.zeros(1, np.float32)), [ScaledRewards(3.0), DelayedRewards(5)])
    env.reset(seed=0)
    assert sum(env.step(0)[1] for _ in range(6)) == 3 * 21
    swapped = Dummy(LINE, spaces.Discrete(3), np.zeros(1, np.float32))
    both = Drifted(swapped, [ShuffledActions(), ReversedActions()])
    both.reset(seed=0)
    both.step(0)
    assert swapped.executed == doings(spaces.Discrete(3), ShuffledActions(), [2])


def test_drifts_need_a_seed() -> None:
    with pytest.raises(ValueError, match=r"an episode with drifts needs a seed: seed=None, drifts=\[ReversedActions"):
        Drifted(gymnasium.make("CartPole-v1"), [ReversedActions()]).reset()
    Drifted(gymnasium.make("CartPole-v1")).reset()


def test_a_stream_of_drifting_tasks_can_be_resumed_to_the_last_bit() -> None:
    tasks = [
        GymTask("plain", env_id="CartPole-v1"),
        GymTask("strange", env_id="CartPole-v1", drifts=[Gravity(3.0), StickyActions(), NoisyObservations()]),
    ]
    stream, later = (GymStream(tasks, 3, schedule=Cyclic(1), seed=4) for _ in range(2))
    stream.reset()
    for step in range(60):
        stream.step([step % 2, 1, step // 2 % 2])
    later.resume(stream.position())
    for step in range(60):
        one, other = (s.step([step % 2, 0, step // 2 % 2]) for s in (stream, later))
        assert np.array_equal(one[0]["observation"], other[0]["observation"])
        assert np.array_equal(one[1], other[1])
    assert stream.meetings.min() > 0
