"""Learning is compared in the same episodes, resumed trial by trial, and reported from the results alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong import cli
from lifelong.experiments.benchmarks.learning import command as learning, trial as trials
from lifelong.experiments.benchmarks.learning.command import BenchConfig
from lifelong.experiments.benchmarks.learning.evaluation import BINS, EPISODES, SLOTS, binned, play
from lifelong.experiments.benchmarks.learning.others import OTHERS
from lifelong.experiments.benchmarks.learning.ours import changed_since, config_of
from lifelong.experiments.benchmarks.learning.report import CURVES, PAGE, _held, write_report
from lifelong.experiments.benchmarks.learning.stable_baselines import make_env, normalises, published
from lifelong.experiments.benchmarks.learning.tasks import TASKS
from lifelong.experiments.benchmarks.learning.trial import Trial
from lifelong.experiments.runs.errors import UserError


class Counting:
    """Slot b plays episodes of b + 1 steps; every step of its k-th episode is paid k."""

    num_envs = 3

    def reset(self, seed: int) -> tuple[NDArray[Any], dict[str, Any]]:
        self.step_in, self.episode = np.zeros(3, np.int64), np.zeros(3, np.int64)
        self.starts: list[list[bool]] = []
        return self.episode.copy(), {}

    def step(self, action: Any) -> tuple[Any, ...]:
        reward = self.episode.astype(np.float64)
        self.step_in += 1
        over = self.step_in > np.arange(3)
        self.episode += over
        self.step_in[over] = 0
        return self.episode.copy(), reward, over, np.zeros(3, np.bool_), {}


def test_the_first_episodes_of_every_slot_count_however_long_they_are() -> None:
    env, starts = Counting(), list[list[bool]]()

    def act(obs: NDArray[Any], start: NDArray[np.bool_]) -> NDArray[np.int64]:
        starts.append(start.tolist())
        return obs

    returns = play(env, act, 0, episodes=2)
    assert returns.tolist() == [[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]
    assert [row[2] for row in starts] == [True, False, False, True, False, False]


def test_a_curve_is_the_mean_of_the_episodes_of_each_part() -> None:
    curve = binned(np.array([1, 2, 10, 500]), np.array([1.0, 3.0, 5.0, 7.0]), 10 * BINS)
    assert curve.steps == [10 * (part + 1) for part in range(BINS)]
    assert curve.returns == [3.0, *[None] * (BINS - 2), 7.0]


def result(task: str, agent: str, seed: int, drawn: float, greedy: float, **more: Any) -> dict[str, Any]:
    return {
        "task": task, "agent": agent, "seed": seed, "asked_steps": 100, "steps": 128, "drawn": [[drawn, drawn]],
        "greedy": [[greedy, greedy + 2]], "seconds": 4.0, "cpu_seconds": 2.0 + seed, "settings": {},
        "curve": {"steps": [64, 128], "returns": [None, drawn]}, "versions": {"torch": "2"}, "git": "0123456789abcdef",
    } | more  # fmt: skip


def write(folder: Path, *results: dict[str, Any]) -> None:
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    for one in results:
        name = f"{one['task']}-{one['agent'].replace('/', '-')}-seed{one['seed']}.json"
        (folder / "trials" / name).write_text(json.dumps(one))


def test_the_report_is_a_function_of_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, *(result("Acrobot-v1", "sb3-ppo", seed, -80.0, -90.0) for seed in range(5)))
    write(
        tmp_path, *(result("CartPole-v1", "gru", seed, drawn, 500.0) for seed, drawn in enumerate([0, 100, 102, 900]))
    )
    write(tmp_path, result("CartPole-v1", "none/episode", 0, 9.25, 9.0))
    words = ["bench", "learning", "--report-only", "--output", str(tmp_path), "--runs", str(tmp_path / "runs")]
    assert cli.main(words) == 0
    page, figure = (tmp_path / PAGE).read_text(), (tmp_path / CURVES).read_bytes()
    assert "| `sb3-ppo` | 5 | -80.0 [-80.0, -80.0] | -80.0 | -89.0 [-89.0, -89.0] | -89.0 | 4 | 4 (2 to 6) |\n" in page
    assert "| `gru` | 4 | 101.0 [" in page  # the middle half of four is two
    assert "| `none/episode` | 1 | 9.250 | 9.250 | 10.0 | 10.0 | 4 | 2 |\n" in page
    assert page.index("## CartPole-v1") < page.index("## Acrobot-v1")
    assert "Some agents have only 1 or 4 seeds" in page.partition("## Acrobot-v1")[0]
    assert "Some agents" not in page.partition("## Acrobot-v1")[2]
    assert "`sb3-ppo`: ppo.yml, Acrobot-v1." in page
    assert "Commits: 0123456789ab. Packages: torch 2." in page
    write_report(tmp_path)
    assert ((tmp_path / PAGE).read_text(), (tmp_path / CURVES).read_bytes()) == (page, figure)
    assert not (tmp_path / "runs").exists()
    assert capsys.readouterr().out == ""


def test_the_report_names_what_a_preset_has_changed_since(tmp_path: Path) -> None:
    config = config_of("CartPole-v1", "gru", 100, 0, tmp_path / "runs" / "x").resolved().to_json()
    same = {name: value for name, value in config.items() if name not in ("name", "runs")}
    assert changed_since(same) == []
    assert changed_since({}) == []
    delta = config_of("CartPole-v1", "gated_delta", 100, 0, tmp_path / "runs" / "x").resolved().to_json()
    assert changed_since(delta) == []
    assert changed_since(delta | {"memory_options": []}) == ["memory_options () then and ('horizons=[8,100000]',) now"]
    none = config_of("Pendulum-v1", "none", 100, 0, tmp_path / "runs" / "x").resolved().to_json()
    assert changed_since(none) == []  # what its preset puts in front of memories is left out
    then = same | {"segment": 77, "ppo": same["ppo"] | {"gamma": 0.5}}
    assert changed_since(then) == ["segment 77 then and 128 now", "gamma 0.5 then and 0.99 now"]
    write(tmp_path, result("CartPole-v1", "gru", 0, 1.0, 1.0, settings=then))
    write(tmp_path, result("CartPole-v1", "gru", 1, 1.0, 1.0, settings=same))
    said = "`gru` was trained with segment 77 then and 128 now, gamma 0.5 then and 0.99 now."
    assert said in write_report(tmp_path)


def test_the_report_says_what_a_preset_gave_a_memory(tmp_path: Path) -> None:
    for task in ("CartPole-v1", "Pendulum-v1"):
        for agent in ("gated_delta", "none"):
            config = config_of(task, agent, 100, 0, tmp_path / "runs" / "x").resolved().to_json()
            write(tmp_path, result(task, agent, 0, 1.0, 1.0, settings=config))
    page = write_report(tmp_path)
    assert "Ours: preset classic-control. `gated_delta` has horizons=[8,100000]. Some" in page
    behind = "`gated_delta` stands behind a `gru` that begins anew with every episode. Some"
    assert f"Ours: preset classic-control/continuous. {behind}" in page


def test_the_report_shows_least_and_most_seconds_where_their_mean_says_nothing(tmp_path: Path) -> None:
    for agent, seconds in (("gru", (80, 640, 90)), ("none", (10, 20, 15))):
        for seed, cpu in enumerate(seconds):
            write(tmp_path, result("CartPole-v1", agent, seed, 1.0, 1.0, cpu_seconds=cpu, seconds=5))
    page = write_report(tmp_path)
    assert "| 5 | 270 (80 to 640) |" in page
    assert "| 5 | 15 |" in page  # a factor of two at most


def test_the_published_page_is_what_its_trials_say(tmp_path: Path) -> None:
    published = Path(__file__).parents[3] / "docs/results/learning"
    shutil.copytree(published / "trials", tmp_path / "trials")
    assert write_report(tmp_path) == (published / PAGE).read_text()


def test_a_curve_without_a_common_part_is_drawn_where_all_seeds_are_known(tmp_path: Path) -> None:
    gaps = [[None, 1.0, None], [2.0, None, None], [None, None, None]]
    held = [_held(np.array(curve, np.float64)).tolist() for curve in gaps]
    np.testing.assert_array_equal(held, [[np.nan, 1.0, 1.0], [2.0, 2.0, 2.0], [np.nan] * 3])
    for seed, curve in enumerate(gaps):
        more = {"steps": [40, 80, 128], "returns": curve}
        write(tmp_path, result("CartPole-v1", "gru", seed, 1.0, 1.0, curve=more))
    write_report(tmp_path)  # the third seed never ended an episode
    assert (tmp_path / CURVES).stat().st_size > 0


def test_finished_trials_are_kept_and_failed_ones_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = BenchConfig(("CartPole-v1",), ("gru", "none"), "0,1", 100, output=tmp_path, runs=tmp_path / "runs")
    tried: list[tuple[str, int]] = []
    broken = {("none", 0)}

    def process(trial: Trial) -> str:
        tried.append((trial.agent, trial.seed))
        if tried[-1] in broken:
            return "ValueError: broken"
        write(tmp_path, result(trial.task, trial.agent, trial.seed, 1.0, 1.0))
        assert trial.path.exists()
        return ""

    monkeypatch.setattr(learning, "_run_process", process)
    assert learning.main(config) == 1
    assert sorted(tried) == [("gru", 0), ("gru", 1), ("none", 0), ("none", 1)]
    assert "| `none` | 1 |" in (tmp_path / PAGE).read_text()
    tried.clear()
    broken.clear()
    assert learning.main(config) == 0
    assert tried == [("none", 0)]
    assert "| `none` | 2 |" in (tmp_path / PAGE).read_text()


def test_the_process_of_a_trial_that_breaks_leaves_its_last_line(tmp_path: Path) -> None:
    trial = Trial("CartPole-v1", "no_memory", 0, 1, str(tmp_path / "output"), str(tmp_path / "runs"))
    assert "no memory 'no_memory'" in learning._run_process(trial)
    assert "Traceback" in trial.log.read_text()
    assert not trial.path.exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["CartPole-v2"], "no task 'CartPole-v2'; did you mean 'CartPole-v1'? known: CartPole-v1, "),
        (["CartPole-v1", "--agents", "grru"], "no agent 'grru'; did you mean 'gru'? known: "),
        (["CartPole-v1", "--agents", "sb3-pp"], "no agent 'sb3-pp'; did you mean 'sb3-ppo'? known: "),
        (["CartPole-v1", "--agents", "gru/life"], "one of lifetime, task, episode: agent=gru/life"),
        (["CartPole-v1", "--seeds", "4..0"], "seeds must be like 0..4"),
        (["CartPole-v1", "--processes", "0"], "processes must be positive: processes=0"),
        (["--report-only"], "holds no results of lifelong bench learning"),
        (["Acrobot-v1", "--agents", "gru", "--steps", "5"], "is of steps=100, asked are steps=5: take --steps 100"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--report-only" not in words:
        write(tmp_path, result("Acrobot-v1", "gru", 0, 1.0, 1.0))
    assert cli.main(["bench", "learning", *words, "--output", str(tmp_path), "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert said.err.count("\n") == 1


def test_a_result_that_is_none_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"task": "CartPole-v1", "agent": "gru", "seed": 0})
    with pytest.raises(UserError, match=r"CartPole-v1-gru-seed0.json is no result of a trial: .*asked_steps"):
        write_report(tmp_path)


def test_what_is_not_installed_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"task Hopper-v5 needs mujoco: pip install 'lifelong-rl\[bench\]'"):
        learning.main(BenchConfig(("Hopper-v5",), ("gru",)))
    with pytest.raises(UserError, match="agent sb3-ppo needs stable_baselines3, sb3_contrib: "):
        learning.main(BenchConfig(("CartPole-v1",), ("sb3-ppo",)))


def check_trial(task: str, agent: str, folder: Path) -> dict[str, Any]:
    trial = Trial(task, agent, 3, 256, str(folder / "output"), str(folder / "runs"))
    trials.run(trial)
    found: dict[str, Any] = json.loads(trial.path.read_text())
    for kind in ("drawn", "greedy"):
        assert np.shape(found[kind]) == (SLOTS, EPISODES)
        assert np.isfinite(found[kind]).all()
    assert found["steps"] >= 256
    assert found["curve"]["steps"][-1] == found["steps"]
    assert sum(value is not None for value in found["curve"]["returns"]) > 0
    assert "CartPole" in write_report(folder / "output")
    return found


def test_an_agent_of_ours_is_trained_and_evaluated_in_new_lives(tmp_path: Path) -> None:
    found = check_trial("CartPoleReward1000-v1", "gru/episode", tmp_path)
    assert found["settings"]["carry"] == "episode"
    assert found["settings"]["steps"] == 256
    assert 8 <= np.mean(found["drawn"]) <= 100  # in rewards of CartPole, not thousands
    assert np.nanmean([value or np.nan for value in found["curve"]["returns"]]) < 100


@pytest.mark.parametrize("agent", OTHERS)
def test_an_agent_of_another_library_is_trained_and_evaluated(agent: str, tmp_path: Path) -> None:
    pytest.importorskip("sb3_contrib")
    found = check_trial("CartPoleNoVel-v1", agent, tmp_path)
    assert found["settings"]["source"] == published(TASKS["CartPoleNoVel-v1"], agent).source


def test_with_our_settings_others_observations_are_normalised_where_ours_are() -> None:
    wide, unit = spaces.Box(-5, 5, (3,)), spaces.Box(-1, 1, (3,))
    assert [normalises(space, "auto") for space in (wide, unit, spaces.Discrete(4))] == [True, False, False]
    assert not normalises(wide, "off")
    assert not normalises(spaces.Box(0, 255, (3,), np.uint8), "auto")


def test_what_our_agents_were_trained_with_is_what_others_with_our_settings_are(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    found = check_trial("CartPoleNoVel-v1", "sb3-ppo/ours", tmp_path)
    assert found["settings"]["normalize"] == {"norm_obs": True, "norm_reward": True}


def test_others_with_our_settings_begin_exploring_as_ours_do() -> None:
    pytest.importorskip("mujoco")
    ours = published(TASKS["Hopper-v5"], "sb3-ppo/ours").settings
    assert ours["policy_kwargs"]["log_std_init"] == pytest.approx(np.log(0.4))


@pytest.mark.parametrize("agent", ["sb3-ppo", "sb3-recurrent-ppo"])
@pytest.mark.parametrize("task", TASKS)
def test_agents_of_other_libraries_read_every_task_as_one_vector(task: str, agent: str) -> None:
    for module in TASKS[task].needs:
        pytest.importorskip(module)
    env = make_env(TASKS[task].env_id, published(TASKS[task], agent).settings.get("env_wrapper"))
    obs, _ = env.reset(seed=0)
    assert isinstance(env.observation_space, spaces.Box | spaces.Discrete)  # of others RecurrentPPO makes no network
    assert len(env.observation_space.shape or ()) <= 1
    assert env.observation_space.contains(obs)
    env.close()
