"""A tensor of a checkpoint that is wrong is refused, or does no harm; nothing ends in a segmentation fault."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("harm_tensors.py")
LIVING = "memory,env,random,return_scale"


def harmed(parts: str, *pairs: str) -> list[tuple[int, int]]:
    """Return how many checkpoints of each pair were refused and accepted."""
    told = subprocess.run([sys.executable, "-P", PROGRAM, parts, *pairs], capture_output=True, text=True, check=False)
    assert told.returncode == 0, f"{told.stdout[-300:]} {told.stderr[-1500:]}"
    found = re.findall(r"^done .*: (\d+) refused, (\d+) accepted$", told.stdout, re.MULTILINE)
    return [(int(refused), int(accepted)) for refused, accepted in found]


def test_every_tensor_of_lives_and_memories() -> None:
    counts = harmed(LIVING, "table:rooms")
    assert len(counts) == 1
    assert all(refused > 150 and accepted > 20 for refused, accepted in counts)


@pytest.mark.slow
def test_every_tensor_of_weights_and_optimiser() -> None:
    ((refused, accepted),) = harmed("policy,optimizer", "gru:cued-recall")
    assert refused > 400
    assert accepted > 100


@pytest.mark.slow
def test_more_memories_and_streams() -> None:
    pairs = [
        "lola:gym:CartPole-v1",
        "heavy_hitter:doors",
        "window:cued-recall",
        "log_linear:endless-t-maze",
        "titans_mag:t-maze",
        "lact:reversal",
        "hope:foraging",
    ]
    pairs += ["transformer_xl:gym:Pendulum-v1", "hola:colour-cubes", "cached:map-change", "srwm:early-choice"]
    assert len(harmed("all", *pairs)) == len(pairs)
