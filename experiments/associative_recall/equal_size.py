"""Size memories equally: bytes of state by an option of each memory, parameters by the MLPs around it.

Capacity is bounded by the state, and its use by the surrounding parameters; a comparison of update rules keeps both
equal. The option is the first of `DIALS` that the memory's constructor takes.
"""

import inspect
from typing import Any, NamedTuple

from lifelong.agents.backbone import Backbone
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.memory import Memory, make_memory
from lifelong.memory.registry import load_memory

__all__ = ["DIALS", "Size", "equal_backbone", "fit", "memory_settings", "of_shape"]

DIALS = ("cache", "mem_len", "slots", "modes", "states", "hidden", "traces", "vectors", "size", "key_dim", "num_heads")
"""Options that determine the state's size, in order of preference."""

_LARGEST = 4096  # largest value of a dial


class Size(NamedTuple):
    """Sizes and options found for a memory.

    Args:
        options: for `make_memory`.
        state_bytes: of one layer and life.
        parameters: of one layer's memory.
    """

    options: dict[str, Any]
    state_bytes: int
    parameters: int


def fit(name: str, width: int, state_bytes: int, parameters: int, **options: Any) -> Size:
    """Return the largest size of a memory within a number of bytes and of parameters.

    Args:
        name: of the memory, as `make_memory` takes it.
        width: D.
        state_bytes: at most, per layer and life.
        parameters: at most, of one layer's memory; 0 is any number.
        **options: of the memory, left as they are; a dial among them stays fixed.

    Raises:
        UserError: if even its smallest state is larger, or it has no dial and does not fit as it is.
    """
    dial = next((dial for dial in DIALS if dial not in options and _takes(name, width, dial, options)), None)
    best: Size | None = None
    least: Size | None = None
    for value in range(1, _LARGEST) if dial else [None]:
        turned = options if value is None or dial is None else options | {dial: value}
        try:
            memory = make_memory(name, width, **turned)
        except ValueError:  # invalid for this memory, such as a num_heads that does not divide the width
            if dial == "num_heads" and value is not None and value > width:
                break
            continue
        size = Size(turned, memory.state_bytes, _count(memory))
        least = size if least is None or size.state_bytes < least.state_bytes else least
        if size.state_bytes <= state_bytes and size.parameters <= (parameters or size.parameters):
            best = size if best is None or size.state_bytes > best.state_bytes else best
        elif dial != "num_heads":  # larger values only make it larger
            break
    if best is None:
        if least is None:
            raise UserError(f"memory {name!r} cannot be made with width={width}, {options}")
        raise UserError(
            f"memory {name!r} has at least {least.state_bytes} bytes of state and {least.parameters} parameters with "
            f"width={width}; allowed are state_bytes={state_bytes} and {parameters} parameters per layer"
        )
    return best


def equal_backbone(
    name: str, width: int, layers: int, state_bytes: int, parameters: int, **options: Any
) -> tuple[Backbone, Size]:
    """Return a backbone of a given number of parameters whose memories have at most `state_bytes`.

    Args:
        name: of the memory, as `make_memory` takes it.
        width: D.
        layers: blocks.
        state_bytes: at most, per layer and life.
        parameters: of the whole backbone; met as a channel more or less in all MLPs allows. 0: no MLPs, and as many as
            the memories have.
        **options: of the memory.

    Raises:
        UserError: if the memories alone have more.
    """
    most = (parameters - _around(width, layers)) // layers if parameters else 0
    size = fit(name, width, state_bytes, most, **options)
    return of_shape(name, width, layers, parameters, **size.options)


def of_shape(name: str, width: int, layers: int, parameters: int, **options: Any) -> tuple[Backbone, Size]:
    """Return a backbone of a given number of parameters around memories as their options say.

    Args:
        name: of the memory, as `make_memory` takes it.
        width: D.
        layers: blocks.
        parameters: as of `equal_backbone`.
        **options: of the memory.
    """
    memories = [make_memory(name, width, **options) for _ in range(layers)]
    size = Size(options, memories[0].state_bytes, _count(memories[0]))
    if not parameters:
        return Backbone(memories, 0), size
    per_channel = layers * (3 * width + 2)  # two maps in with a bias, one out
    channels = 1 + round((parameters - _around(width, layers) - layers * size.parameters) / per_channel)
    return Backbone(memories, max(1, channels) / width), size


def _around(width: int, layers: int) -> int:
    """Return the parameters of a backbone with MLPs of one channel, without those of its memories."""
    nothing = [make_memory("none", width) for _ in range(layers)]
    return _count(Backbone(nothing, 1 / width)) - layers * _count(nothing[0])


def memory_settings(name: str) -> set[str]:
    """Return the names of a memory's settings; `**` among them if it hands others on.

    Raises:
        UserError: if there is no memory of that name.
    """
    with as_user_error():
        parameters = inspect.signature(load_memory(name)).parameters.values()
    names = {"**" if one.kind is one.VAR_KEYWORD else one.name for one in parameters}
    return names - {"self", "width"}


def _takes(name: str, width: int, dial: str, options: dict[str, Any]) -> bool:
    """Return whether the memory's constructor takes the dial."""
    try:
        make_memory(name, width, **options | {dial: 1})
    except TypeError:
        return False
    except ValueError:  # it takes the dial, but not the value 1
        return True
    return True


def _count(memory: Memory) -> int:
    return sum(p.numel() for p in memory.parameters())
