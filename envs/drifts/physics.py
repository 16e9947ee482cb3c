"""Drifts of physics: gravity, mass, length, friction, damping and actuators, each times a factor.

| environment | quantities |
| --- | --- |
| CartPole | gravity, mass (cart and pole), length (of the pole), actuators (the push) |
| Pendulum | gravity, mass, length, actuators (the largest torque: larger actions are clipped) |
| Acrobot | mass (moments of inertia with it), length (moments with its square), actuators (the torques) |
| MountainCar | gravity, actuators (the push) |
| MountainCarContinuous | actuators (the power) |
| MuJoCo, v5 | gravity, mass (inertia with it), friction, damping, actuators (gears, of all or one) |

Quantities derived from an edited one are recomputed: the total mass and the moment of CartPole's pole, the inverse
weights of MuJoCo (`mj_setConst`). MuJoCo's links keep their lengths: their shapes would have to be recompiled.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lifelong.envs.drifts.base import Change, Drift

__all__ = ["Actuators", "Damping", "Friction", "Gravity", "Length", "Mass", "Physics"]


@dataclass(frozen=True, slots=True)
class Physics(Drift):
    """Multiply a physical quantity by a factor; subclasses name it.

    Args:
        factor: what the quantity is multiplied by.

    Raises:
        ValueError: if `factor` is not finite, or 0 or negative where the quantity cannot be.
    """

    quantity: ClassVar[str]
    may_vanish: ClassVar[bool] = True
    may_turn: ClassVar[bool] = False
    factor: float

    def __post_init__(self) -> None:
        """Validate the factor."""
        vanishes, turns = self.factor == 0 and not self.may_vanish, self.factor < 0 and not self.may_turn
        if not math.isfinite(self.factor) or vanishes or turns:
            sign = "" if self.may_turn else " and not negative" if self.may_vanish else " and positive"
            raise ValueError(f"factor must be finite{sign}: factor={self.factor}")

    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Edit the environment for the coming episode."""
        base: Any = env.unwrapped
        if hasattr(base, "model") and hasattr(base, "data"):
            return self._edit_mujoco(base)
        names = [kind.__name__ for kind in type(base).__mro__ if kind.__module__.startswith(_CLASSIC_CONTROL)]
        made = next((name for name in names if name in _CLASSIC), "")
        known = _CLASSIC.get(made, {})
        if self.quantity not in known:
            raise ValueError(f"it has no {self.quantity} to change, but {', '.join(known) or 'nothing that is known'}")
        change = _Attributes(base)
        for name, power in known[self.quantity].items():
            change.put(name, _times(getattr(base, name), self.factor**power))
        for name, derived in _DERIVED.get(made, {}).items():
            change.put(name, derived(base))
        return change

    def _edit_mujoco(self, env: Any) -> Change:
        if self.quantity not in _MUJOCO:
            raise ValueError(f"MuJoCo has no {self.quantity} to change, but {', '.join(_MUJOCO)}")
        return _Numbers(env, self._numbers(env.model), self.factor)

    def _numbers(self, model: Any) -> list[NDArray[np.float64]]:
        """Return the arrays of a MuJoCo model to multiply."""
        return _MUJOCO[self.quantity](model)


@dataclass(frozen=True, slots=True)
class Gravity(Physics):
    """Multiply gravity by a factor; see `Physics`."""

    quantity: ClassVar[str] = "gravity"


@dataclass(frozen=True, slots=True)
class Mass(Physics):
    """Multiply all masses by a factor; see `Physics`."""

    quantity: ClassVar[str] = "mass"
    may_vanish: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Length(Physics):
    """Multiply all lengths by a factor; see `Physics`."""

    quantity: ClassVar[str] = "length"
    may_vanish: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Friction(Physics):
    """Multiply the friction of all surfaces by a factor; see `Physics`."""

    quantity: ClassVar[str] = "friction"


@dataclass(frozen=True, slots=True)
class Damping(Physics):
    """Multiply the damping of all joints by a factor; see `Physics`."""

    quantity: ClassVar[str] = "damping"


@dataclass(frozen=True, slots=True)
class Actuators(Physics):
    """Multiply the strength of actuators by a factor: 0.5 weakened, 0 broken, -1 reversed.

    Args:
        factor: what the strength is multiplied by; not negative for Pendulum, where the strength is a bound.
        actuator: index of one actuator; None for all.

    Raises:
        ValueError: if `actuator` is negative, or `factor` not finite.
    """

    quantity: ClassVar[str] = "actuators"
    may_turn: ClassVar[bool] = True
    actuator: int | None = None

    def __post_init__(self) -> None:
        """Validate factor and actuator."""
        Physics.__post_init__(self)
        if self.actuator is not None and self.actuator < 0:
            raise ValueError(f"actuator must not be negative: actuator={self.actuator}")

    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Edit the environment for the coming episode."""
        model = getattr(env.unwrapped, "model", None)
        count = 1 if model is None else int(model.nu)
        if self.actuator is not None and self.actuator >= count:
            raise ValueError(f"actuator must be below {count}: actuator={self.actuator}")
        if self.factor < 0 and hasattr(env.unwrapped, "max_torque"):
            raise ValueError(f"a largest torque cannot be negative: factor={self.factor}; ReversedActions turns it")
        return Physics.begin(self, env, seed)

    def _numbers(self, model: Any) -> list[NDArray[np.float64]]:
        gears = model.actuator_gear
        return [gears if self.actuator is None else gears[self.actuator]]


_CLASSIC_CONTROL = "gymnasium.envs.classic_control"

_CLASSIC: dict[str, dict[str, dict[str, int]]] = {
    "CartPoleEnv": {
        "gravity": {"gravity": 1},
        "mass": {"masscart": 1, "masspole": 1},
        "length": {"length": 1},
        "actuators": {"force_mag": 1},
    },
    "PendulumEnv": {"gravity": {"g": 1}, "mass": {"m": 1}, "length": {"l": 1}, "actuators": {"max_torque": 1}},
    "AcrobotEnv": {
        "mass": {"LINK_MASS_1": 1, "LINK_MASS_2": 1, "LINK_MOI": 1},
        "length": {"LINK_LENGTH_1": 1, "LINK_LENGTH_2": 1, "LINK_COM_POS_1": 1, "LINK_COM_POS_2": 1, "LINK_MOI": 2},
        "actuators": {"AVAIL_TORQUE": 1},
    },
    "MountainCarEnv": {"gravity": {"gravity": 1}, "actuators": {"force": 1}},
    "Continuous_MountainCarEnv": {"actuators": {"power": 1}},
}
"""Attributes of a quantity, with the power of the factor by which each is multiplied."""

_DERIVED: dict[str, dict[str, Callable[[Any], float]]] = {
    "CartPoleEnv": {
        "total_mass": lambda env: env.masspole + env.masscart,
        "polemass_length": lambda env: env.masspole * env.length,
    },
}
"""Attributes that an environment's constructor derives from others."""

_MUJOCO: dict[str, Callable[[Any], list[NDArray[np.float64]]]] = {
    "gravity": lambda model: [model.opt.gravity],
    "mass": lambda model: [model.body_mass, model.body_inertia],
    "friction": lambda model: [model.geom_friction],
    "damping": lambda model: [model.dof_damping],
    "actuators": lambda model: [model.actuator_gear],
}


class _Attributes(Change):
    """Edited attributes of an object; those of its class are left alone."""

    def __init__(self, env: Any) -> None:
        self.env, self.before = env, dict(vars(env))
        self.edited: list[str] = []

    def put(self, name: str, value: Any) -> None:
        setattr(self.env, name, value)
        self.edited.append(name)

    def undo(self) -> None:
        for name in self.edited:
            if name in self.before:
                setattr(self.env, name, self.before[name])
            else:
                delattr(self.env, name)  # the class attribute is visible again


class _Numbers(Change):
    """Edited arrays of a MuJoCo model, and the constants derived from them."""

    def __init__(self, env: Any, numbers: list[NDArray[np.float64]], factor: float) -> None:
        self.env, self.numbers, self.before = env, numbers, [part.copy() for part in numbers]
        for part in numbers:
            part *= factor
        self.settle()

    def undo(self) -> None:
        for part, before in zip(self.numbers, self.before, strict=True):
            part[...] = before
        self.settle()

    def settle(self) -> None:
        importlib.import_module("mujoco").mj_setConst(self.env.model, self.env.data)


def _times(value: Any, factor: float) -> Any:
    return [factor * x for x in value] if isinstance(value, list) else factor * value
