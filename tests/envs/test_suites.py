"""Suites of environments are imported when one of their ids is asked for, or it is said how to install them."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from lifelong.envs import make_stream, suites
from lifelong.envs.extras import extra_hint
from lifelong.envs.suites import SUITES, Suite

OURS = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class Pole(CartPoleEnv):
    def __init__(self, seed=None):
        super().__init__()
        self.given = seed

def register_envs():
    gymnasium.register("Suited/Pole-v0", Pole)
"""


class Wrapped(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Stands for what a suite needs around its environments."""


@pytest.fixture
def suited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a suite whose ids are registered by a function of its module."""
    (tmp_path / "suited_package.py").write_text(OURS)
    monkeypatch.syspath_prepend(str(tmp_path))
    suite = Suite(("Suited/",), "suited_package", "pip install suited", 7, f"{__name__}:Wrapped")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Wrapped.__module__])
    monkeypatch.setattr(suites, "SUITES", (suite, Suite(("Absent-",), "absent_package.gym", "pip install absent")))
    yield
    gymnasium.registry.pop("Suited/Pole-v0", None)
    sys.modules.pop("suited_package", None)


@pytest.mark.usefixtures("suited")
def test_a_suite_is_registered_seeded_and_wrapped_when_an_id_of_it_is_made() -> None:
    assert "Suited/Pole-v0" not in gymnasium.registry
    for kwargs, seed in (({}, 7), ({"seed": 3}, 3)):
        stream = make_stream("gym:Suited/Pole-v0", env_kwargs=kwargs)
        env: Any = stream.environment(0, 0)  # type: ignore[attr-defined]
        assert env.unwrapped.given == seed
        assert isinstance(env.env, Wrapped)
        stream.close()


@pytest.mark.usefixtures("suited")
def test_a_suite_that_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    message = (
        "cannot make environment 'Absent-v0': it is not registered, and absent_package.gym, which has ids like it, is "
        "not installed: pip install absent"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        make_stream("gym:Absent-v0")
    with pytest.raises(ValueError, match=r"'Other-v0': .*Other.* doesn't exist"):
        make_stream("gym:Other-v0")


def test_no_two_suites_share_an_id() -> None:
    prefixes = [prefix for suite in SUITES for prefix in suite.prefixes]
    assert not [one for one in prefixes for other in prefixes if one is not other and one.startswith(other)]


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (OSError("libmujoco.so.4.0.0: cannot open shared object file"), "; this MuJoCo does not fit, .*<4' helps"),
        (AttributeError("'MjModel' object has no attribute 'flex_vertedge'"), "; this MuJoCo does not fit"),
        (ValueError("mujoco: no such body"), "$"),
        (gymnasium.error.NameNotFound("no metaworld: pip install x"), "$"),
    ],
)
def test_a_mujoco_of_another_version_is_told_with_the_remedy(
    error: Exception, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifelong.envs.extras.find_spec", lambda name: object())
    assert re.match(hint, extra_hint(error))


def test_what_is_not_installed_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.envs.extras.find_spec", lambda name: None)
    error = gymnasium.error.DependencyNotInstalled("MuJoCo is not installed")
    assert extra_hint(error) == "; pip install 'lifelong-rl[mujoco]' installs what it needs"
