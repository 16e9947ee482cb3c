"""Memories: x, state, start -> y, state; one file each, one table of names.

Nothing here imports torch until a memory is asked for, so that listing the names is instant.
"""

import difflib
import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from lifelong.memory.check import MemoryContractError, check_memory
    from lifelong.memory.delta_net import DeltaNet
    from lifelong.memory.delta_product import DeltaProduct
    from lifelong.memory.gated_delta import GatedDelta
    from lifelong.memory.kalman_delta import KalmanDelta
    from lifelong.memory.kda import KDA
    from lifelong.memory.linear_attention import LinearAttention
    from lifelong.memory.lms import LMS
    from lifelong.memory.memory import Memory
    from lifelong.memory.mesa import Mesa
    from lifelong.memory.none import NoMemory
    from lifelong.memory.palimpsa import Palimpsa
    from lifelong.memory.preconditioned_delta import PreconditionedDelta
    from lifelong.memory.recurrent_delta import RecurrentDelta
    from lifelong.memory.rnn import GRU, LSTM
    from lifelong.memory.rwkv7 import RWKV7
    from lifelong.memory.srwm import SRWM
    from lifelong.memory.torchrl_module import MemoryModule
    from lifelong.memory.window import Window

__all__ = [
    "GRU",
    "KDA",
    "LMS",
    "LSTM",
    "MEMORIES",
    "RWKV7",
    "SRWM",
    "DeltaNet",
    "DeltaProduct",
    "Entry",
    "GatedDelta",
    "KalmanDelta",
    "LinearAttention",
    "Memory",
    "MemoryContractError",
    "MemoryModule",
    "Mesa",
    "NoMemory",
    "Palimpsa",
    "PreconditionedDelta",
    "RecurrentDelta",
    "Window",
    "check_memory",
    "known_memories",
    "make_memory",
]


class Entry(NamedTuple):
    """Where a memory is found and what it is in one line."""

    target: str
    """`module:factory`; called as `factory(width, **options)`."""
    summary: str
    options: dict[str, Any] = {}  # noqa: RUF012  a NamedTuple default, never written to


MEMORIES: dict[str, Entry] = {
    "none": Entry("lifelong.memory.none:NoMemory", "forgets everything at once: the control"),
    "gru": Entry("lifelong.memory.rnn:GRU", "gated recurrent unit, a vector of state"),
    "lstm": Entry("lifelong.memory.rnn:LSTM", "long short-term memory, two vectors of state"),
    "window": Entry("lifelong.memory.window:Window", "softmax attention over the last steps only: a bounded cache"),
    "linear_attention": Entry(
        "lifelong.memory.linear_attention:LinearAttention", "sum of outer products, nothing is ever taken away"
    ),
    "gated_delta": Entry("lifelong.memory.gated_delta:GatedDelta", "decay, then correct the error at the key"),
    "palimpsa": Entry(
        "lifelong.memory.palimpsa:Palimpsa", "Bayesian metaplasticity: an importance for every fast weight"
    ),
    "palimpsa_scalar": Entry(
        "lifelong.memory.palimpsa:Palimpsa",
        "Palimpsa with one importance per key channel, at the cost of GLA",
        {"beta": "scalar"},
    ),
    # error-correcting and second-order
    "kalman_delta": Entry(
        "lifelong.memory.kalman_delta:KalmanDelta", "decay, then correct the error, each key channel by its uncertainty"
    ),
    "lms": Entry("lifelong.memory.lms:LMS", "correct the error at the key at one constant learned rate"),
    "delta_net": Entry("lifelong.memory.delta_net:DeltaNet", "correct the error at the key; nothing fades"),
    "delta_product": Entry(
        "lifelong.memory.delta_product:DeltaProduct",
        "decay once, then several corrections per step, reflections among them",
    ),
    "kda": Entry("lifelong.memory.kda:KDA", "Kimi delta attention: a decay per key channel, then the delta rule"),
    "preconditioned_delta": Entry(
        "lifelong.memory.preconditioned_delta:PreconditionedDelta",
        "gated delta rule whose writes are rescaled by a key channel's past use",
    ),
    "mesa": Entry("lifelong.memory.mesa:Mesa", "the ridge regression over everything seen, solved for every query"),
    "rwkv7": Entry("lifelong.memory.rwkv7:RWKV7", "decay per key channel, removal at a key of its own, token shift"),
    "recurrent_delta": Entry(
        "lifelong.memory.recurrent_delta:RecurrentDelta", "delta rule whose keys hear what was read a step before"
    ),
    "srwm": Entry("lifelong.memory.srwm:SRWM", "self-referential weight matrix: one that rewrites itself"),
}

_EXPORTS = {
    "DeltaNet": "delta_net",
    "DeltaProduct": "delta_product",
    "GRU": "rnn",
    "GatedDelta": "gated_delta",
    "KDA": "kda",
    "KalmanDelta": "kalman_delta",
    "LMS": "lms",
    "LSTM": "rnn",
    "LinearAttention": "linear_attention",
    "Memory": "memory",
    "MemoryContractError": "check",
    "MemoryModule": "torchrl_module",
    "Mesa": "mesa",
    "NoMemory": "none",
    "Palimpsa": "palimpsa",
    "PreconditionedDelta": "preconditioned_delta",
    "RWKV7": "rwkv7",
    "RecurrentDelta": "recurrent_delta",
    "SRWM": "srwm",
    "Window": "window",
    "check_memory": "check",
}


def __getattr__(name: str) -> Any:
    """Import a public class when it is first asked for."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def known_memories() -> dict[str, Entry]:
    """Return the built-in memories and those of installed plug-ins (entry-point group `lifelong.memories`)."""
    plugins = {e.name: Entry(e.value, f"plug-in {e.value}") for e in entry_points(group="lifelong.memories")}
    return plugins | MEMORIES


def make_memory(name: str, width: int, **options: Any) -> "Memory":
    """Return a new memory.

    Args:
        name: a key of `known_memories()` (`-` and `_` are the same), or `package.module:Class`.
        width: D, width of its inputs and outputs.
        **options: passed to its constructor.

    Raises:
        KeyError: if no memory has that name.
        ImportError: if `package.module:Class` cannot be found.
        TypeError: if it does not take these options, or is no `Memory`.
    """
    known = known_memories()
    if ":" in name:
        entry = Entry(name, "")
    elif (key := name.replace("-", "_")) in known:
        entry = known[key]
    else:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        raise KeyError(f"no memory {name!r}{hint} known: {', '.join(sorted(known))}, or package.module:Class")
    module_name, _, attribute = entry.target.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ImportError(f"cannot load memory {entry.target!r}: {error}") from error
    try:
        memory = factory(width, **(entry.options | options))
    except TypeError as error:
        raise TypeError(f"memory {name!r} cannot be made with width={width}, {options}: {error}") from error
    from lifelong.memory.memory import Memory

    if not isinstance(memory, Memory):
        raise TypeError(f"memory {name!r} must be a lifelong.memory.Memory, got {type(memory).__name__}")
    return memory
