"""Stream files: parsing and errors."""

import numpy as np
import pytest

from lifelong.envs import Gravity, References, StickyActions, make_stream
from lifelong.envs.composed_schedules import Held
from lifelong.envs.schedules import Cyclic, Walk
from lifelong.envs.stream_file import StreamFileError, read_stream_file

TOML = """\
schedule = "walk:0.5 every 5"
life_episodes = 40

[[tasks]]
env = "CartPole-v1"

[[tasks]]
name = "heavy"
env = "CartPole-v1"
drifts = "gravity:4+sticky_actions:0.25"
kwargs = { sutton_barto_reward = true }
references = { random = 22, oracle = 500.0 }

[train]
steps = 2000
"""
YAML = """\
schedule: walk:0.5 every 5
life_episodes: 40
tasks:
  - env: CartPole-v1
  - name: heavy
    env: CartPole-v1
    drifts: gravity:4+sticky_actions:0.25
    kwargs: {sutton_barto_reward: true}
    references: {random: 22, oracle: 500.0}
train:
  steps: 2000
"""


@pytest.mark.parametrize(("suffix", "text"), [("toml", TOML), ("yaml", YAML)])
def test_a_file_becomes_the_stream_it_describes(suffix, text, tmp_path):
    path = tmp_path / f"seasons.{suffix}"
    path.write_text(text)
    assert read_stream_file(path).train == {"steps": 2000}
    stream = make_stream(str(path), 2, seed=3)
    plain, heavy = stream.tasks
    assert (plain.name, plain.drifts, heavy.name) == ("CartPole-v1", (), "heavy")
    assert heavy.drifts == (Gravity(4), StickyActions(0.25))
    assert heavy.references == References(random=22.0, oracle=500.0, within=heavy.references.within)
    assert np.isnan(heavy.references.within)
    assert heavy.kwargs == {"sutton_barto_reward": True}
    assert (stream.schedule, stream.life_episodes) == (Held(Walk(0.5), 5), 40)
    assert make_stream(str(path), 2, schedule="cyclic:3", life_episodes=None).schedule == Cyclic(3)


def test_a_file_may_take_a_stream_that_has_a_name(tmp_path):
    path = tmp_path / "cues.toml"
    path.write_text('stream = "cued-recall"\nlife_episodes = 0\n[options]\ncues = 5\n')
    stream = make_stream(str(path), 3)
    assert (len(stream.tasks), stream.life_episodes, stream.num_envs) == (5, None, 3)


def test_a_file_may_say_from_which_return_on_an_episode_is_a_success(tmp_path):
    path = tmp_path / "poles.toml"
    made = 'env = "CartPole-v1"\nkwargs = { max_episode_steps = 40 }\n'
    names = [("no", ""), ("seldom", "success_return = 10.0\n"), ("never", "success_return = 41\n")]
    path.write_text("".join(f'[[tasks]]\nname = "{name}"\n{made}{least}' for name, least in names))
    stream = make_stream(str(path), 4)
    assert [task.success_return for task in stream.tasks] == [None, 10.0, 41]
    stream.reset()
    rows = []
    for step in range(300):
        *_, info = stream.step(np.where(np.arange(4) < 2, step % 2, 0))  # two sway, two fall in 8 to 10 steps
        rows += [info["episodes"]] if "episodes" in info else []
    task, returns, success = (np.concatenate([part[name] for part in rows]) for name in ("task", "return", "success"))
    assert np.isnan(success[task == 0]).all()
    assert np.array_equal(success[task == 1], returns[task == 1] >= 10)
    assert {*success[task == 1].tolist()} == {0.0, 1.0}
    assert (returns == 10).any()
    assert not success[task == 2].any()


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("gravity:4", "gravty:4", 10, "no drift 'gravty'; did you mean 'gravity'"),
        ("walk:0.5", "walk:2", 1, "rate must lie in [0, 1]"),
        ("life_episodes = 40", "life_episodes = true", 2, "life_episodes must be an integer, got True"),
        ("life_episodes = 40", "life_episodes = -1", 2, "life_episodes must not be negative: life_episodes=-1"),
        ("life_episodes = 40", "life_episode = 40", 2, "no entry 'life_episode'; did you mean 'life_episodes'"),
        ("life_episodes = 40", "life_hazard = 0", 2, "life_hazard must lie above 0 and be at most 1: life_hazard=0"),
        ("life_episodes = 40", "life_episodes = 40\nlife_hazard = 0.1", 3, "exclude each other: 0.1 and 40"),
        ("oracle = 500.0", "orcale = 500.0", 12, "no entry 'orcale'; did you mean 'oracle'"),
        ('name = "heavy"', "name = 7", 8, "name must be a text, got 7"),
        ('name = "heavy"', 'success_return = "high"', 8, "success_return must be a number, got 'high'"),
        ('name = "heavy"', "success_return = nan", 8, "success_return must be finite: success_return=nan"),
        ('name = "heavy"', "sucess_return = 1", 8, "no entry 'sucess_return'; did you mean 'success_return'"),
        ('[[tasks]]\nenv = "CartPole-v1"\n\n', "[[tasks]]\n\n", 4, "env is missing"),
        ("life_episodes = 40", "[options]\ncues = 5", 2, "options are for a stream that has a name"),
        ("life_episodes = 40", 'stream = "cued-recall"', None, "stream and tasks exclude each other"),
    ],
)
def test_mistakes_are_answered_with_their_line_and_what_is_allowed(old, new, line, message, tmp_path):
    path = tmp_path / "seasons.toml"
    assert old in TOML
    path.write_text(TOML.replace(old, new, 1))
    with pytest.raises(StreamFileError) as caught:
        read_stream_file(path)
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("second", "line"),
    [
        ('env = "CartPole-v1"', 4),  # the same again
        ('env = "CartPole-v1"\ndrifts = "gravity:4"', 4),  # others of the same name
        ('env = "Acrobot-v1"\nname = "CartPole-v1"', 6),
    ],
)
def test_a_task_that_is_listed_twice_is_refused(second, line, tmp_path):
    path = tmp_path / "twice.toml"
    path.write_text(f'[[tasks]]\nenv = "CartPole-v1"\n\n[[tasks]]\n{second}\n')
    with pytest.raises(StreamFileError) as caught:
        read_stream_file(path)
    said = f"{path}:{line}: task 'CartPole-v1' is listed twice, first in line 1; "
    assert str(caught.value).startswith(said)


def test_yaml_tells_where_a_task_is_listed_twice(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("tasks:\n  - env: CartPole-v1\n  - env: Acrobot-v1\n  - env: CartPole-v1\n")
    with pytest.raises(StreamFileError, match=r"twice\.yaml:4: task 'CartPole-v1' is listed twice, first in line 2"):
        read_stream_file(path)


def test_yaml_knows_its_lines_too(tmp_path):
    path = tmp_path / "seasons.yaml"
    path.write_text(YAML.replace("oracle", "orcale"))
    with pytest.raises(StreamFileError, match=r"seasons\.yaml:9: no entry 'orcale'"):
        read_stream_file(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.toml", "schedule = \n", "no TOML: .*line 1"),
        ("x.yaml", "schedule: [", r"x\.yaml:1: no YAML: "),
        ("x.yaml", "- 1", "a file is a table of entries, got list"),
        ("x.toml", 'schedule = "cyclic:1"', "neither stream nor tasks is there"),
        ("x.toml", "tasks = []", "a stream needs at least one task"),
        ("x.toml", None, "cannot read .*No such file"),
    ],
)
def test_what_is_no_stream_file_is_refused(name, text, message, tmp_path):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(StreamFileError, match=message):
        read_stream_file(path)
