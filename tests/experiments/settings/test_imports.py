"""Help and wrong words are answered without what only the work needs: torch, and all that takes long to import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lifelong import cli
from lifelong.experiments.settings.bench import SUBJECTS

SLOW = [
    "torch",
    "tensordict",
    "torchrl",
    "triton",
    "scipy",
    "pyarrow",
    "safetensors",
    "matplotlib",
    "minigrid",
    "numba",
]

ANSWERED_AT_ONCE = """
train --memry x                             | no option '--memry'; did you mean '--memory'?
train --steps many                          | --steps must be a whole number
train --memory gated_delt                   | no memory 'gated_delt'; did you mean 'gated_delta'?
train --memory cached:gated_delt            | no memory 'gated_delt'; did you mean 'gated_delta'?
train --working-memory gur                  | no memory 'gur'; did you mean 'gru'?
train cued-recal                            | no stream 'cued-recal'; did you mean 'cued-recall'?
train CartPole-v1                           | no stream 'CartPole-v1'; did you mean 'gym:CartPole-v1'?
train gym:CartPol-v1                        | cannot make environment 'CartPol-v1': Environment `CartPol` doesn't exist.
train --preset clasic-control               | no preset 'clasic-control'; did you mean 'classic-control'?
train --log tensorbord                      | no logger 'tensorbord'; did you mean 'tensorboard'?
train --resume nowhere                      | nowhere is no run
train --seeds 0..x                          | seeds must be like 0..4 or 0,1,2
retention nowhere                           | nowhere is no run
adaptation nowhere                          | nowhere is no run
interference nowhere                        | nowhere is no run
study chek                                  | study chek?; did you mean 'check'?
study run x.toml --workers -1               | workers must not be negative: workers=-1
swap nowhere --memory gur                   | no memory 'gur'; did you mean 'gru'?
report nowhere                              | no run nowhere
watch nowhere --output life.gif             | nowhere is no run
export nowhere --format cvs --output there  | no format 'cvs'; did you mean 'csv'?
export-policy nowhere --output policy.pt2   | nowhere is no run
capacity --rules hebian                     | no rule 'hebian'; did you mean 'hebbian'?
recall --memories gur                       | no memory 'gur'; did you mean 'gru'?
cost --memories gur                         | no memory 'gur'; did you mean 'gru'?
stream show cued-recal                      | no stream 'cued-recal'; did you mean 'cued-recall'?
certify dors                                | no stream 'dors'; did you mean 'doors'?
check --memory gur --env cued-recall        | no memory 'gur'; did you mean 'gru'?
check --memory gru --env cued-recal         | no stream 'cued-recal'; did you mean 'cued-recall'?
list gur                                    | did you mean 'gru'?
study chek                                  | study chek?; did you mean 'check'?
bench kernel                                | no subject 'kernel'; did you mean 'kernels'?
bench kernels --repeats many                | must be a positive number, got 'many'
bench training --memories gur               | no memory 'gur'; did you mean 'gru'?
bench learning CartPole-v2                  | no task 'CartPole-v2'; did you mean 'CartPole-v1'?
bench learning --agents grru                | no agent 'grru'; did you mean 'gru'?
bench envs --turns 0                        | turns must be positive
bench life nowhere                          | nowhere is no run
"""

ANSWERED_BY_THE_STREAM = """
train --only-task cue0                                | no task 'cue0'; did you mean 'cue 0'?
train --schedule blok:2                               | no schedule 'blok'; did you mean 'block'?
train --stream-options cuse=3                         | unexpected keyword argument 'cuse'; did you mean 'cues'?
train rooms --stream-options task=doorkey-8x9         | no task 'doorkey-8x9'; did you mean 'doorkey-8x8'?
"""

PROGRAM = """
import contextlib, io, json, sys
from lifelong.cli import main

slow, commands = json.load(sys.stdin)
found = []
for words in commands:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as ended:
            code = ended.code
    found.append((code, out.getvalue(), err.getvalue(), [name for name in slow if name in sys.modules]))
print(json.dumps(found))
"""


def answers(commands: list[list[str]], slow: list[str], folder: Path) -> list[tuple[int, str, str, list[str]]]:
    """Return exit code, output, errors and what was imported that is slow, of each command in one fresh process."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=env,
        input=json.dumps([slow, commands]),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def test_help_of_every_verb_imports_nothing_slow(tmp_path: Path) -> None:
    commands = [[verb, "--help"] for verb in cli.VERBS]
    commands += [["bench", subject, "--help"] for subject in SUBJECTS] + [["stream", "show", "--help"]]
    for words, (code, out, _, imported) in zip(commands, answers(commands, SLOW, tmp_path), strict=True):
        assert (code, imported) == (0, []), words
        assert f"usage: lifelong {' '.join(words[:-1])}" in out


def test_a_wrong_word_of_a_study_is_answered_before_anything_slow_is_imported(tmp_path: Path) -> None:
    begin = 'question = "Is it kept?"\nseeds = "0..2"\n'
    files = {
        'arms = ["gru", "gated_delt"]\n': "3: no memory 'gated_delt'; did you mean 'gated_delta'?",
        'arms = ["gru"]\nstreem = "doors"\n': "4: no entry 'streem'; did you mean 'stream'?",
        'arms = ["gru"]\nstream = "dors"\n': "4: no stream 'dors'; did you mean 'doors'?",
    }
    for number, text in enumerate(files):
        (tmp_path / f"{number}.toml").write_text(begin + text)
    commands = [["study", part, f"{number}.toml"] for part in ("check", "run") for number in range(len(files))]
    for words, (code, _, said, imported) in zip(commands, answers(commands, SLOW, tmp_path), strict=True):
        reason = list(files.values())[int(words[2][0])]
        assert (code, imported) == (2, []), words
        assert f"{words[2]}:{reason}" in said


@pytest.mark.parametrize(
    ("cases", "slow"),
    [
        pytest.param(ANSWERED_AT_ONCE, SLOW, id="at once"),
        pytest.param(ANSWERED_BY_THE_STREAM, ["torch", "tensordict", "torchrl", "pyarrow"], id="by the stream"),
    ],
)
def test_a_wrong_word_is_answered_before_anything_slow_is_imported(cases: str, slow: list[str], tmp_path: Path) -> None:
    parts = [line.partition("|") for line in cases.splitlines() if line]
    found = answers([before.split() for before, _, _ in parts], slow, tmp_path)
    for (words, _, reason), (code, _, said, imported) in zip(parts, found, strict=True):
        assert (code, imported) == (2, []), words
        assert reason.strip() in said
        assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
