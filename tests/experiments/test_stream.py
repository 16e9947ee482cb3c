"""`lifelong stream show`, and training on a stream file."""

from dataclasses import fields

import pytest

from lifelong import cli
from lifelong.envs.schedules import Cyclic
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import PPOOverrides, TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.stream import ShowConfig
from lifelong.experiments.train import main as train

FILE = """\
schedule = "cyclic:2"
life_episodes = 7
boundary = "flag"
[[tasks]]
env = "FrozenLake-v1"
[[tasks]]
name = "slippery"
env = "FrozenLake-v1"
drifts = "sticky_actions:0.5"
[train]
steps = 64
num_envs = 2
"""


@pytest.fixture
def seasons(tmp_path):
    path = tmp_path / "seasons.toml"
    path.write_text(FILE)
    return path


def test_it_shows_what_a_stream_is_and_draws_it(seasons, tmp_path, capsys):
    assert cli.main(["stream", "show", str(seasons), "--episodes", "8", "--output", str(tmp_path / "x.png")]) == 0
    said = capsys.readouterr().out
    assert "schedule  Cyclic(episodes=2)" in said
    assert "life      7 episodes" in said
    assert "FrozenLake-v1 |██  ██  |\nslippery      |  ██  ██|\n" in said
    assert (tmp_path / "x.png").stat().st_size > 5_000


def test_it_takes_the_words_of_training(capsys):
    words = ["--num-envs", "7", "--seed", "2", "--feedback", "reward", "--schedule", "cyclic:3", "--boundary", "flag",
             "--life_episodes", "0", "--stream-options", "cues=3"]  # fmt: skip
    trained, shown = parse(TrainConfig, words, "train"), parse(ShowConfig, ["cued-recall", *words], "stream show")
    own = {"episodes", "life", "output"}
    assert all(getattr(shown, f.name) == getattr(trained, f.name) for f in fields(ShowConfig) if f.name not in own)
    assert cli.main(["stream", "show", "cued-recall", *words, "--episodes", "9"]) == 0
    said = capsys.readouterr().out
    for line in ("schedule  Cyclic(episodes=3)", "life      endless", "lives     7 in parallel", "boundary  flag",
                 "cue 0 |███      |"):  # fmt: skip
        assert f"\n{line}\n" in said


def test_it_shows_the_lives_of_the_streams_preset(capsys):
    assert cli.main(["stream", "show", "reversal", "--episodes", "2"]) == 0
    said = capsys.readouterr().out
    assert "life      200 episodes\n" in said
    assert "lives     64 in parallel\n" in said


@pytest.mark.parametrize(
    ("schedule", "half", "plain_first", "span"),
    [
        ("block:1e4 steps", 50, True, "20,000 steps of all lives together"),
        ("order:slippery,0 every 500 steps", 50, False, "1,000 steps of all lives together"),
        ("order:slippery,FrozenLake-v1 every 2", 2, False, "4 episodes"),
    ],
)
def test_a_schedule_in_steps_is_shown_in_steps(schedule, half, plain_first, span, seasons, tmp_path, capsys):
    picture = str(tmp_path / "x.png")
    words = ["stream", "show", str(seasons), "--episodes", "4", "--schedule", schedule, "--output", picture]
    assert cli.main(words) == 0
    one, other = "█" * half + " " * half, " " * half + "█" * half
    line = (one, other) if plain_first else (other, one)
    said = capsys.readouterr().out
    assert f"FrozenLake-v1 |{line[0]}|\nslippery      |{line[1]}|\n" in said
    assert said.rstrip().endswith(span)
    assert (tmp_path / "x.png").stat().st_size > 5_000


def test_a_schedule_of_steps_and_episodes_has_no_timeline_and_says_why(seasons, tmp_path, capsys):
    words = ["stream", "show", str(seasons), "--schedule", "cyclic:500 steps every 3"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "no timeline: the schedule counts steps and episodes, and how long episodes are is not known" in said
    assert "|" not in said
    assert cli.main([*words, "--output", str(tmp_path / "x.png")]) == 2
    assert "cannot draw" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stream"], "stream what? known: show"),
        (["stream", "shw"], "no subject 'shw'; did you mean 'show'? known: show"),
        (["stream", "show", "nothing"], "no stream 'nothing'"),
        (
            ["stream", "show", "rooms", "--schedule", "order:doorky-8x8"],
            "no task 'doorky-8x8'; did you mean 'doorkey-8x8'?",
        ),
        (
            ["stream", "show", "rooms", "--schedule", "hazard:1 steps"],
            "only block, cyclic, sweep and order can be counted",
        ),
        (["stream", "show", "no.toml"], "cannot read no.toml: No such file"),
        (["stream", "show", "cued-recall", "--episodes", "0"], "episodes must be positive: episodes=0"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(words, message, capsys):
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err


def test_a_run_keeps_its_file_and_is_trained_as_it_says(seasons, tmp_path):
    settings = {
        "segment": 8,
        "width": 8,
        "evaluation_lives": 0,
        "ppo": PPOOverrides(minibatches=1),
        "runs": tmp_path / "runs",
        "name": "x",
    }
    outcome = train(TrainConfig(stream=str(seasons), **settings))
    assert outcome.steps == 64
    seasons.write_text("nothing that could be read")
    trained = open_run(outcome.folder)
    assert (trained.num_envs, trained.life_episodes) == (2, 7)
    env = make_env(trained)
    assert (env.schedule, env.boundary, len(env.tasks)) == (Cyclic(2), "flag", 2)


def test_the_command_line_wins_over_the_file(seasons):
    config = TrainConfig(
        stream=str(seasons), life_episodes=3, boundary="task_id", steps=10, schedule="hazard:1"
    ).resolved()
    env = make_env(config)
    assert (config.steps, config.num_envs, env.life_episodes, env.boundary) == (10, 2, 3, "task_id")
    assert str(env.schedule) == "RandomHazard(hazard=1.0)"


def test_settings_of_training_that_do_not_exist_are_refused(seasons):
    seasons.write_text(FILE.replace("steps = 64", "stepz = 64"))
    with pytest.raises(UserError, match=r"train has no setting 'stepz'; did you mean 'steps'\?"):
        TrainConfig(stream=str(seasons)).resolved()
