"""Suites of environments: the module that registers the ids of each, imported when one of them is asked for.

gymnasium knows the ids of a package once that is imported, and by itself says only that a name was not found.
"""

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

import gymnasium

from lifelong.registry import load
from lifelong.trust import make_importable

__all__ = [
    "SUITES",
    "Suite",
    "check_registered",
    "default_settings",
    "import_suite",
    "make_registered",
    "register_suite",
]


class Suite(NamedTuple):
    """Environments of one package.

    Args:
        prefixes: with which their ids begin.
        module: that registers them when it is imported, or by its function `register_envs`.
        install: command that installs it.
        seed: setting `seed` of their constructors, where none is given; None where these draw nothing.
        wrapper: `module:Class` around its environments, where they do not keep gymnasium's contract by themselves.
    """

    prefixes: tuple[str, ...]
    module: str
    install: str
    seed: int | None = None
    wrapper: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether its package is there."""
        return find_spec(self.module.partition(".")[0]) is not None


_ROBOTICS = "pip install gymnasium-robotics 'mujoco<3.4'"  # it compares joints in a way that newer ones do not know

SUITES: tuple[Suite, ...] = (
    Suite(("MiniGrid-", "BabyAI-"), "minigrid", "pip install minigrid"),
    Suite(("popgym-",), "popgym", "pip install popgym"),
    Suite(
        ("MortarMayhem", "MysteryPath", "SearingSpotlights", "Endless-"),
        "memory_gym",
        "pip install pygame, and pip install --no-deps memory-gym",  # it pins gymnasium 0.29
    ),
    Suite(("ALE/",), "ale_py", "pip install ale-py"),
    Suite(("MinAtar/",), "minatar.gym", "pip install minatar"),
    Suite(("dm_control/",), "shimmy", "pip install 'shimmy[dm-control]' 'mujoco<4'"),
    Suite(
        ("Meta-World/",),
        "metaworld",
        "pip install 'lifelong-rl[metaworld]'",
        0,  # else each life has fifty goals of its own, and no other process the same
        "lifelong.envs.streams.meta_world:GymArm",
    ),
    Suite(("HandManipulate",), "gymnasium_robotics", _ROBOTICS, wrapper="lifelong.envs.cold_start:ColdStart"),
    Suite(
        ("Fetch", "HandReach", "AntMaze_", "PointMaze_", "AdroitHand", "FrankaKitchen"),
        "gymnasium_robotics",
        _ROBOTICS,
    ),
)


def register_suite(env_id: str) -> None:
    """Import the package that an id is from, if it is not registered yet.

    Args:
        env_id: as `gymnasium.make` takes it; gymnasium imports the module of `module:id`.

    Raises:
        ImportError: if that module lies inside the folder of a run.
        gymnasium.error.NameNotFound: if the package is not installed.
    """
    if ":" in env_id:
        make_importable(env_id.partition(":")[0])
        return
    if env_id in gymnasium.registry:
        return
    suite = _suite_of(env_id)
    if suite is None:
        return
    if not suite.is_installed:
        raise gymnasium.error.NameNotFound(
            f"it is not registered, and {suite.module}, which has ids like it, is not installed: {suite.install}"
        )
    import_suite(suite)


def import_suite(suite: Suite) -> None:
    """Register the ids of a suite that is installed.

    Args:
        suite: one of `SUITES`.
    """
    module = importlib.import_module(suite.module)
    register = getattr(module, "register_envs", None)
    if callable(register) and not any(known.startswith(suite.prefixes) for known in gymnasium.registry):
        register()


def check_registered(env_id: str) -> None:
    """Validate that gymnasium knows an id, without making the environment.

    Args:
        env_id: as `gymnasium.make` takes it; one with a module before it, `module:id`, is left to gymnasium.

    Raises:
        ValueError: if it does not; names the nearest.
    """
    if ":" in env_id:
        return
    try:
        register_suite(env_id)
        gymnasium.spec(env_id)
    except gymnasium.error.UnregisteredEnv as error:
        raise ValueError(f"cannot make environment {env_id!r}: {' '.join(str(error).split())}") from error
    except gymnasium.error.Error:  # an id without a version, which `gymnasium.make` completes
        return


def default_settings(env_id: str) -> dict[str, Any]:
    """Return the settings that an environment gets where none are given.

    Args:
        env_id: as `gymnasium.make` takes it.
    """
    suite = _suite_of(env_id)
    return {} if suite is None or suite.seed is None else {"seed": suite.seed}


def _suite_of(env_id: str) -> Suite | None:
    own = env_id.rpartition(":")[2]
    return next((suite for suite in SUITES if own.startswith(suite.prefixes)), None)


def make_registered(env_id: str, kwargs: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """Return a new environment, as `gymnasium.make` makes it; its suite is imported first, and its wrapper applied.

    Args:
        env_id: as `gymnasium.make` takes it.
        kwargs: for `gymnasium.make`.

    Raises:
        Exception: whatever the environment raises; `gymnasium.error.NameNotFound` if its package is not installed.
    """
    register_suite(env_id)
    suite = _suite_of(env_id)
    env: gymnasium.Env[Any, Any] = gymnasium.make(
        env_id, disable_env_checker=True, **{**default_settings(env_id), **kwargs}
    )
    return load("wrapper", suite.wrapper)(env) if suite is not None and suite.wrapper else env
