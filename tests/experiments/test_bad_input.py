"""Every verb answers bad input with one line on stderr and exit code 2."""

import json
from pathlib import Path

import pytest

from lifelong import cli

HUGE = "1_000_000_000_000_000"

CASES = """
train --width 0                                 | width must be positive: width=0
train --num-envs {huge}                         | num_envs must be at most
train --threads {huge}                          | threads must be at most
train --seed 1e30                               | seed must be 0 to 9223372036854775807: seed=1
train --seed -1                                 | seed must be 0 to 9223372036854775807: seed=-1
retention odd --seed 9223372036854775808        | seed must be 0 to 9223372036854775807: seed=9223372036854775808
train --memory-options heads=1.0                | num_heads must be an integer or None (null), got 1.0
train --memory-options heads=x                  | num_heads must be an integer or None (null), got 'x'
train --memory-options heads=true               | num_heads must be an integer or None (null), got True
train --memory-options heads=1000000            | num_heads must divide width
train --memory-options key_dim=10000000 value_dim=10000000 | memory 'gated_delta' would take
train --memory table --memory-options slots={huge} | slots must be an integer, got '1_000_000_000_000_000'
train --memory table --memory-options slots=1000000000 | memory 'table': slots must be at most 16,777,216
swap odd --memory gru --memory-options hidden=1.5 | odd/config.json is no config of a run
train --initial-std 0.01                        | initial_std must lie above 0.01 and be at most 100: initial_std=0.01
train --clear -1                                | clear must be 0 to 2147483648: clear=-1
train --clear 1.5                               | clear
train --cloning -1                              | cloning must not be negative: cloning=-1
train --life-hazard 0                           | life_hazard must lie above 0 and be at most 1: life_hazard=0
train --life-hazard 1.5                         | life_hazard must lie above 0 and be at most 1: life_hazard=1.5
train --life-hazard 0.1 --life-episodes 9       | exclude each other, both end lives: life_hazard=0.1, life_episodes=9
stream show cued-recall --life-hazard 2         | life_hazard must lie above 0 and be at most 1: life_hazard=2
train --device gpu                              | device must be cpu, cuda or cuda:<number>: device=gpu
train --device meta                             | torch cannot compute on this device here: device=meta
train --runs file/x --steps 8                   | file is no folder
train --resume odd                              | odd/config.json is no config of a run
train --resume newer                            | has format 99, this version reads up to
train --resume file                             | file is no run
train MiniGrid-DoorKey-5x5-v0                   | did you mean 'gym:MiniGrid-DoorKey-5x5-v0'?
train gym:Nope-v0                               | cannot make environment 'Nope-v0'
train --final-lr-fraction 7                     | final_lr_fraction must lie in [0, 1]
retention nope                                  | nope is no run
retention odd --threads {huge}                  | threads must be at most
retention newer                                 | has format 99
retention odd --lives 0                         | lives must be positive
train --actions best                            | --actions must be one of both, drawn, greedy; got 'best'
retention odd --actions both                    | --actions must be one of drawn, greedy; got 'both'
adaptation odd --actions best                   | --actions must be one of drawn, greedy; got 'best'
interference odd --actions best                 | --actions must be one of drawn, greedy; got 'best'
watch odd --window --actions best               | --actions must be one of drawn, greedy; got 'best'
adaptation nope                                 | nope is no run
adaptation newer                                | has format 99
adaptation odd --change-at 0                    | change_at must be positive
adaptation odd --lives {huge}                   | lives must be at most
adaptation odd --seed -1                        | seed must be 0 to
adaptation odd --change 3                       | no option '--change'
interference nope                               | nope is no run
interference newer --by cued-recall             | has format 99
interference odd --most 0                       | most must be positive
interference odd --before 0                     | before must be positive
interference odd --lives {huge}                 | lives must be at most
interference odd --by-options cues=2            | noise has no settings: by_options=cues=2
swap nope --memory gru                          | nope is no run
swap newer --memory gru                         | has format 99
swap odd --memory gru --steps 0                 | steps must be positive
fork nope y                                     | nope is no run
fork newer y.safetensors                        | has format 99
fork odd y --slots -1                           | slots must not be negative: slots=(-1,)
train --seeds 0..4 --seed 1                     | --seeds and --seed exclude each other
train --seeds 4..0                              | seeds must be like 0..4 or 0,1,2
report nope                                     | no run nope: . holds
report file                                     | file is no folder of a run
report odd                                      | odd/config.json is no config of a run
report newer                                    | has format 99
report odd --figure x.gif                       | figure must end in .pdf, .svg, .png
report odd --output file/x                      | odd/config.json is no config of a run
train --log tensorbord                          | did you mean 'tensorboard'?
train --log csv,csv                             | log names each logger once
export nope --format csv --output o             | nope is no run
export newer --format csv --output o            | has format 99
export odd --format l2loger --output o          | did you mean 'l2logger'?
export odd --format csv --output odd            | odd is not empty
export odd --format csv --output file/x         | file is no folder
export --format csv --output o                  | export needs at least one run
export file --format csv --output o             | file is no run
watch nope --output o.gif                       | nope is no run
watch odd                                       | watch needs --output FILE.gif
watch odd --output o.avi                        | a film is a .gif or an .mp4
watch odd --output o.gif --episodes 0           | episodes must be positive
watch odd --output file/o.gif                   | file is no folder
stream show cued-recall --output t.foo          | output must end in .pdf, .svg, .png: output=t.foo
stream show cued-recall --output timeline       | output must end in .pdf, .svg, .png: output=timeline
bench training --worlds                         | worlds must not be empty
capacity --pairs                                | pairs must not be empty
capacity --keys                                 | keys must not be empty
capacity --width 3                              | width must be at least 4
capacity --width {huge}                         | width must be at most
capacity --repeats {huge}                       | repeats must be at most
capacity --seed -1                              | seed must be 0 to
capacity --rules hebian                         | did you mean 'hebbian'?
capacity --output file/x.md                     | file is no folder
recall --device gpu --output o                  | device must be cpu, cuda
recall --width 0 --output o                     | width must be positive
recall --memories nope --output o               | no memory 'nope'
recall --output file                            | file is no folder
recall --output odd                             | odd holds no runs of lifelong recall
cost --device gpu                               | device must be cpu, cuda
cost --lives 0                                  | lives must be positive
cost --recall odd                               | odd has no finished measurement
cost --memories nope                            | no memory 'nope'
stream show nope                                | no stream 'nope'
stream show cued-recall --seed -1                | seed must be 0 to
stream show cued-recall --episodes {huge}       | episodes must be at most
stream show cued-recall --output file/x.png     | file is no folder
certify nope                                    | no stream 'nope'
certify reversal --lives {huge}                 | lives must be at most
certify reversal --episodes 0                   | episodes must be
certify reversal --seed -1                      | seed must be 0 to
list gated_dleta                                | did you mean 'gated_delta'?
list a b                                        | list takes at most one name
bench kernel                                    | did you mean 'kernels'?
bench kernels --device gpu                      | --device
bench training --width 0                        | width must be positive
bench training --threads {huge}                 | threads must be at most
bench training --device gpu                     | no option '--device'
bench envs --num-envs {huge}                  | num_envs must be at most
bench worlds --steps {huge}                     | num_envs * steps must be at most
bench life nope                                 | nope is no run
"""


@pytest.mark.parametrize("case", [line for line in CASES.splitlines() if line])
def test_bad_input_is_answered_in_one_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, _, reason = (part.strip() for part in case.partition("|"))
    monkeypatch.chdir(tmp_path)
    for name, content in (("odd", [1]), ("newer", {"format": 99, "config": {}})):
        Path(name).mkdir()
        Path(name, "config.json").write_text(json.dumps(content))
    Path("file").write_text("")
    assert cli.main(words.format(huge=HUGE).split()) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert said.err.startswith("lifelong: ")
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize("env", ["Nope-v0", "no-id"])
def test_bench_training_names_an_environment_that_cannot_be_made(env: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "training", "--env", env, "--resets", "few"]) == 2
    assert f"cannot make environment '{env}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
)
def test_sizes_that_memory_does_not_hold_are_bad_input(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> None:
        raise error

    monkeypatch.setattr("lifelong.experiments.list.command", fail)
    assert cli.main(["list"]) == 2
    assert capsys.readouterr().err == "lifelong: not enough memory for these sizes\n"
