import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import gymnasium
import pytest

import lifelong.envs
from lifelong.envs import (
    DRIFTS,
    STREAMS,
    Actuators,
    ColourRule,
    CuedRecall,
    DelayedRewards,
    Drift,
    Gravity,
    GymStream,
    ReversedActions,
    ScaledRewards,
    SwappedObjects,
    known_streams,
    make_stream,
    parse_drifts,
)
from lifelong.envs.extras import is_installed
from lifelong.envs.schedules import Interleaved


def run_python(code: str) -> None:
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"], check=True)


@pytest.mark.parametrize("name", [*STREAMS, "cued_recall", "gym:CartPole-v1"])
def test_every_name_makes_its_stream(name: str) -> None:
    if name in STREAMS and not is_installed(STREAMS[name].extra):
        pytest.skip(f"needs {STREAMS[name].extra}")
    stream = make_stream(name, 2, seed=3)
    assert (stream.num_envs, stream.seed) == (2, 3)
    stream.reset()


def test_options_reach_the_stream_and_a_schedule_may_be_text() -> None:
    stream = make_stream("cued-recall", cues=3, schedule="interleaved:zipf=1")
    assert isinstance(stream, CuedRecall)
    assert stream.cues == 3
    assert stream.schedule == Interleaved(1.0)
    assert isinstance(make_stream("colour_rule"), ColourRule)
    assert isinstance(make_stream("gym:minigrid:MiniGrid-Empty-5x5-v0"), GymStream)


def test_a_world_that_changes_may_be_written_in_one_line() -> None:
    stream = make_stream("gym:CartPole-v1", drifts="plain/gravity:4 + reversed_actions", schedule="cyclic:2")
    assert [task.name for task in stream.tasks] == ["plain", "gravity:4 + reversed_actions"]
    assert [task.drifts for task in stream.tasks] == [(), (Gravity(4.0), ReversedActions())]  # type: ignore[attr-defined]
    assert make_stream("gym:CartPole-v1", drifts=["plain", "mass:2"]).tasks[1].name == "mass:2"
    with pytest.raises(ValueError, match=r"Gravity\(factor=1.0\) has no effect on CartPole-v1"):
        make_stream("gym:CartPole-v1", drifts="gravity:1")


@pytest.mark.parametrize(
    ("text", "drifts"),
    [
        ("plain", ()),
        ("actuators:0,2", (Actuators(0.0, 2),)),
        ("actuators:factor=0.5", (Actuators(0.5),)),
        ("swapped_objects:key,other=ball+delayed_rewards:3", (SwappedObjects("key", "ball"), DelayedRewards(3))),
        ("scaled_rewards", (ScaledRewards(-1.0),)),
    ],
)
def test_drifts_are_read_from_text(text: str, drifts: tuple[Drift, ...]) -> None:
    assert parse_drifts(text) == drifts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gravty:2", "no drift 'gravty'; did you mean 'gravity'.* known: actuators:factor=N, "),
        ("gravity", "drift 'gravity' needs factor; write gravity:factor=N"),
        ("gravity:much", "factor must be a number, got 'much'"),
        ("actuators:1,x", "actuator must be an integer, got 'x'"),
        ("plain+gravity:2", "no drift 'plain'"),
        ("", "no drift ''"),
    ],
)
def test_what_is_no_drift_is_refused_with_what_is(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_drifts(text)


def test_every_drift_has_a_name() -> None:
    kinds = {name: entry.target.partition(":")[2] for name, entry in DRIFTS.items()}
    assert {name.replace("_", "") for name in kinds} == {kind.lower() for kind in kinds.values()}
    assert all(issubclass(getattr(lifelong.envs, kind), Drift) for kind in kinds.values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cued-recal", "no stream 'cued-recal'; did you mean 'cued-recall'.*colour-rule, cued-recall, .*, or gym:"),
        ("x", "no stream 'x'; known"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(name: str, message: str) -> None:
    with pytest.raises(KeyError, match=message):
        make_stream(name)


def test_wrong_options_are_named() -> None:
    with pytest.raises(
        TypeError, match=r"'cued-recall' got an unexpected keyword argument 'clues'; did you mean 'cues'\? known: "
    ):
        make_stream("cued-recall", clues=3)
    with pytest.raises(ValueError, match="no schedule 'often'"):
        make_stream("cued-recall", schedule="often")
    with pytest.raises(ValueError, match="CartPool-v1"):
        make_stream("gym:CartPool-v1")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("cued-recall", {"cues": "foo"}, "cues must be an integer, got 'foo'"),
        ("cued-recall", {"life_episodes": 2.5}, "life_episodes must be an integer or None (null), got 2.5"),
        ("cued-recall", {"sealed": 1}, "sealed must be true or false, got 1"),
        ("reversal", {"hazard": "often"}, "hazard must be a number, got 'often'"),
        ("rooms", {"task": 3}, "task must be a text or a list of texts, got 3"),
        ("gym:CartPole-v1", {"tasks": 3}, "tasks must be "),
    ],
)
def test_an_option_of_another_type_is_named(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=f"^stream '{name}': {re.escape(said)}"):
        make_stream(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("cued-recall", {"schedule": 5}, "schedule must be a schedule or its text, such as cyclic:4: schedule=5"),
        ("gym:CartPole-v1", {"drifts": "none/mask", "drift_schedule": 5}, "drift_schedule must be a schedule or"),
        ("gym:CartPole-v1", {"drifts": [1, 2]}, "drifts must be a text or a list of texts: drifts=[1, 2]"),
        ("reversal", {"drifts": 3}, "drifts must be a text or a list of texts: drifts=3"),
        ("gym:", {"tasks": [1, 2]}, "tasks must be ids of gymnasium or GymTasks: got 1"),
        ("gym:CartPole-v1", {"env_kwargs": 5}, "env_kwargs must be names with values: env_kwargs=5"),
        ("reversal", {"life_hazard": "often"}, "life_hazard must be a number or None: life_hazard='often'"),
        ("reversal", {"life_hazard": True}, "life_hazard must be a number or None: life_hazard=True"),
    ],
)
def test_an_option_that_no_annotation_tells_is_named_too(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=re.escape(said)):
        make_stream(name, **options)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("lifelong.envs.streams.cued_recall:CuedRecall", None, ""),
        ("lifelong.envs.nowhere:X", ImportError, "cannot load stream 'lifelong.envs.nowhere:X'"),
        ("types:SimpleNamespace", TypeError, "must be a lifelong.envs.TaskStream, got SimpleNamespace"),
    ],
)
def test_plugins_are_known(monkeypatch: pytest.MonkeyPatch, target: str, error: Any, message: str) -> None:
    found = [EntryPoint("my_stream", target, "lifelong.streams")]
    monkeypatch.setattr("lifelong.registry.entry_points", lambda group: found if group == "lifelong.streams" else [])
    assert known_streams()["my_stream"].target == target
    if error is None:
        assert isinstance(make_stream("my-stream"), CuedRecall)
    else:
        with pytest.raises(error, match=message):
            make_stream("my-stream")


def test_gymnasium_makes_the_streams_without_the_import_too() -> None:
    run_python(
        "import gymnasium\n"
        "made = gymnasium.make_vec('lifelong.envs:lifelong/Reversal-v0', num_envs=3, life_episodes=9).unwrapped\n"
        "assert (made.num_envs, made.life_episodes) == (3, 9)\n"
        "made = gymnasium.make('lifelong.envs:lifelong/Reversal-v0', life_episodes=9)\n"
        "assert made.unwrapped.stream.life_episodes == 9"
    )


def test_gymnasiums_own_vector_wrappers_fit() -> None:
    made = gymnasium.wrappers.vector.RecordEpisodeStatistics(gymnasium.make_vec("lifelong/CuedRecall-v0", num_envs=2))
    made.reset()
    assert "episode" in made.step([0, 0])[4]


def test_names_come_without_minigrid_and_torch() -> None:
    run_python(
        "import lifelong.envs as e\n"
        "assert e.known_streams(); e.parse_schedule('spaced'); e.make_stream('cued-recall')\n"
        "assert not {'minigrid', 'torch'} & sys.modules.keys()"
    )


def test_every_public_name_is_there() -> None:
    assert all(getattr(lifelong.envs, name) is not None for name in lifelong.envs.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        lifelong.envs.nonsense  # noqa: B018
