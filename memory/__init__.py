"""Memories: x, state, start -> y, state; one file each, one table of names.

Nothing here imports torch until a memory is asked for, so that listing the names is instant.
"""

import difflib
import importlib
import inspect
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from lifelong.memory.additive import Additive, Parts
    from lifelong.memory.atlas import Atlas
    from lifelong.memory.check import MemoryContractError, check_memory
    from lifelong.memory.delta_net import DeltaNet
    from lifelong.memory.delta_product import DeltaProduct
    from lifelong.memory.gated_delta import GatedDelta
    from lifelong.memory.gla import GLA
    from lifelong.memory.heavy_hitter import HeavyHitter
    from lifelong.memory.hebbian import Hebbian
    from lifelong.memory.hope import Hope
    from lifelong.memory.hybrid import Hybrid, Series
    from lifelong.memory.kalman_delta import KalmanDelta
    from lifelong.memory.kda import KDA
    from lifelong.memory.lact import LaCT
    from lifelong.memory.linear_attention import LinearAttention
    from lifelong.memory.lms import LMS
    from lifelong.memory.log_linear import LogLinear
    from lifelong.memory.lola import LoLA
    from lifelong.memory.longhorn import Longhorn
    from lifelong.memory.mamba import Mamba
    from lifelong.memory.mamba2 import Mamba2
    from lifelong.memory.memory import Memory
    from lifelong.memory.memory_as_context import MemoryAsContext
    from lifelong.memory.mesa import Mesa
    from lifelong.memory.metaplasticity import Metaplastic, metaplastic
    from lifelong.memory.miras import Memora, Moneta, Yaad
    from lifelong.memory.mlstm import MLSTM
    from lifelong.memory.none import NoMemory
    from lifelong.memory.palimpsa import Palimpsa
    from lifelong.memory.preconditioned_delta import PreconditionedDelta
    from lifelong.memory.recurrent_delta import RecurrentDelta
    from lifelong.memory.retnet import RetNet
    from lifelong.memory.rnn import GRU, LSTM
    from lifelong.memory.rwkv7 import RWKV7
    from lifelong.memory.s4d import S4D
    from lifelong.memory.selective import Selective
    from lifelong.memory.sink_window import SinkWindow
    from lifelong.memory.slstm import SLSTM
    from lifelong.memory.srwm import SRWM
    from lifelong.memory.table import Table
    from lifelong.memory.titans import Titans
    from lifelong.memory.torchrl_module import MemoryModule
    from lifelong.memory.transformer_xl import TransformerXL
    from lifelong.memory.ttt import TTTMLP, TTTLinear
    from lifelong.memory.window import Window

__all__ = [
    "GLA",
    "GRU",
    "KDA",
    "LMS",
    "LSTM",
    "MEMORIES",
    "MLSTM",
    "RWKV7",
    "S4D",
    "SLSTM",
    "SRWM",
    "TTTMLP",
    "Additive",
    "Atlas",
    "DeltaNet",
    "DeltaProduct",
    "Entry",
    "GatedDelta",
    "HeavyHitter",
    "Hebbian",
    "Hope",
    "Hybrid",
    "KalmanDelta",
    "LaCT",
    "LinearAttention",
    "LoLA",
    "LogLinear",
    "Longhorn",
    "Mamba",
    "Mamba2",
    "Memora",
    "Memory",
    "MemoryAsContext",
    "MemoryContractError",
    "MemoryModule",
    "Mesa",
    "Metaplastic",
    "Moneta",
    "NoMemory",
    "Palimpsa",
    "Parts",
    "PreconditionedDelta",
    "RecurrentDelta",
    "RetNet",
    "Selective",
    "Series",
    "SinkWindow",
    "TTTLinear",
    "Table",
    "Titans",
    "TransformerXL",
    "Window",
    "Yaad",
    "check_memory",
    "known_memories",
    "make_memory",
    "metaplastic",
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
    "table": Entry(
        "lifelong.memory.table:Table", "a dictionary with keys read off the input: the control of perfect addressing"
    ),
    "window": Entry("lifelong.memory.window:Window", "softmax attention over the last steps only: a bounded cache"),
    "softmax": Entry(
        "lifelong.memory.window:Window",
        "softmax attention over the whole life; after 1024 steps (cache=) the oldest are dropped",
        {"cache": 1024},
    ),
    "sink_window": Entry(
        "lifelong.memory.sink_window:SinkWindow", "softmax attention over a life's first few steps and its last"
    ),
    "heavy_hitter": Entry(
        "lifelong.memory.heavy_hitter:HeavyHitter", "a bounded cache that drops what has been looked at least"
    ),
    "transformer_xl": Entry(
        "lifelong.memory.transformer_xl:TransformerXL", "attention over the layer's own last inputs, relative positions"
    ),
    "linear_attention": Entry(
        "lifelong.memory.linear_attention:LinearAttention", "sum of outer products, nothing is ever taken away"
    ),
    "based": Entry(
        "lifelong.memory.linear_attention:LinearAttention",
        "linear attention whose keys meet as exp to second order",
        {"feature_map": "taylor"},
    ),
    "dpfp": Entry(
        "lifelong.memory.linear_attention:LinearAttention",
        "linear attention over products of neighbouring key channels",
        {"feature_map": "dpfp"},
    ),
    "rebased": Entry(
        "lifelong.memory.linear_attention:LinearAttention",
        "linear attention over a learned parabola of every key channel",
        {"feature_map": "rebased"},
    ),
    "hedgehog": Entry(
        "lifelong.memory.linear_attention:LinearAttention",
        "linear attention over a learned softmax of the key's channels",
        {"feature_map": "hedgehog"},
    ),
    "hebbian": Entry("lifelong.memory.hebbian:Hebbian", "outer products at one learned rate, with a learned leak"),
    "retnet": Entry("lifelong.memory.retnet:RetNet", "fixed decay, keys turned by their age"),
    "gla": Entry("lifelong.memory.gla:GLA", "a decay for every key channel, chosen at every step"),
    "mamba2": Entry("lifelong.memory.mamba2:Mamba2", "one step size per head writes and fades"),
    "mlstm": Entry("lifelong.memory.mlstm:MLSTM", "exponential input gate, normalised reading"),
    "slstm": Entry("lifelong.memory.slstm:SLSTM", "LSTM with exponential gates and a normaliser"),
    "s4d": Entry("lifelong.memory.s4d:S4D", "fading waves behind every channel, whatever the input"),
    "mamba": Entry("lifelong.memory.mamba:Mamba", "a selective state space, S6: a step size per channel"),
    "longhorn": Entry("lifelong.memory.longhorn:Longhorn", "a state space that regresses every channel on its keys"),
    "lms": Entry("lifelong.memory.lms:LMS", "correct the error at the key at one constant learned rate"),
    "delta_net": Entry("lifelong.memory.delta_net:DeltaNet", "correct the error at the key; nothing fades"),
    "gated_delta": Entry("lifelong.memory.gated_delta:GatedDelta", "decay, then correct the error at the key"),
    "delta_product": Entry(
        "lifelong.memory.delta_product:DeltaProduct",
        "decay once, then several corrections per step, reflections among them",
    ),
    "kda": Entry("lifelong.memory.kda:KDA", "Kimi delta attention: a decay per key channel, then the delta rule"),
    "rwkv7": Entry("lifelong.memory.rwkv7:RWKV7", "decay per key channel, removal at a key of its own, token shift"),
    "preconditioned_delta": Entry(
        "lifelong.memory.preconditioned_delta:PreconditionedDelta",
        "gated delta rule whose writes are rescaled by a key channel's past use",
    ),
    "recurrent_delta": Entry(
        "lifelong.memory.recurrent_delta:RecurrentDelta", "delta rule whose keys hear what was read a step before"
    ),
    "srwm": Entry("lifelong.memory.srwm:SRWM", "self-referential weight matrix: one that rewrites itself"),
    "mesa": Entry("lifelong.memory.mesa:Mesa", "the ridge regression over everything seen, solved for every query"),
    "palimpsa": Entry(
        "lifelong.memory.palimpsa:Palimpsa", "Bayesian metaplasticity: an importance for every fast weight"
    ),
    "palimpsa_scalar": Entry(
        "lifelong.memory.palimpsa:Palimpsa",
        "Palimpsa with one importance per key channel, at the cost of GLA",
        {"beta": "scalar"},
    ),
    "palimpsa_key": Entry(
        "lifelong.memory.palimpsa:Palimpsa",
        "Palimpsa with an importance gate per key channel, at the cost of GLA",
        {"beta": "key"},
    ),
    "not_palimpsa": Entry(
        "lifelong.memory.palimpsa:Palimpsa", "Palimpsa's twin without metaplasticity", {"beta": "none"}
    ),
    "meta_mamba2": Entry(
        "lifelong.memory.metaplasticity:make_metaplastic",
        "Mamba-2 with an importance for every fast weight; `metaplastic:NAME` does it to any additive memory",
        {"host": "mamba2"},
    ),
    "metaplastic_linear_attention": Entry(
        "lifelong.memory.metaplasticity:make_metaplastic",
        "linear attention with an importance for every fast weight",
        {"host": "linear_attention"},
    ),
    "kalman_delta": Entry(
        "lifelong.memory.kalman_delta:KalmanDelta", "correct the error at the key, each axis as far as it is uncertain"
    ),
    "ttt_linear": Entry("lifelong.memory.ttt:TTTLinear", "test-time training of a linear model, in mini-batches"),
    "ttt_mlp": Entry("lifelong.memory.ttt:TTTMLP", "test-time training of a network of two layers, in mini-batches"),
    "titans": Entry("lifelong.memory.titans:Titans", "a network trained by surprise, with momentum and weight decay"),
    "moneta": Entry("lifelong.memory.miras:Moneta", "a network trained on a cubic loss, its weights held at a norm"),
    "yaad": Entry("lifelong.memory.miras:Yaad", "a network trained on Huber's loss: no single error rewrites it"),
    "memora": Entry("lifelong.memory.miras:Memora", "a network whose weights are distributions, by mirror descent"),
    "atlas": Entry("lifelong.memory.atlas:Atlas", "a network trained on the last pairs together, at polynomial keys"),
    "lact": Entry("lifelong.memory.lact:LaCT", "a network rewritten once a chunk, beside attention over the chunk"),
    "hope": Entry(
        "lifelong.memory.hope:Hope", "a matrix that writes its own keys, then networks of ever longer periods"
    ),
    "hybrid": Entry("lifelong.memory.hybrid:Hybrid", "two memories (a=, b=) side by side, mixed by a gate per channel"),
    "series": Entry("lifelong.memory.hybrid:Series", "two memories (a=, b=), the second behind the first"),
    "memory_as_context": Entry(
        "lifelong.memory.memory_as_context:MemoryAsContext",
        "a window that also sees what a long memory (inner=) recalls",
    ),
    "titans_mag": Entry(
        "lifelong.memory.hybrid:Hybrid", "Titans beside a window, mixed by a gate per channel", {"a": "titans"}
    ),
    "titans_mal": Entry("lifelong.memory.hybrid:Series", "Titans as a layer before a window", {"a": "titans"}),
    "titans_mac": Entry(
        "lifelong.memory.memory_as_context:MemoryAsContext",
        "Titans as the context of a window, with learned tokens",
        {"inner": "titans"},
    ),
    "lola": Entry(
        "lifelong.memory.lola:LoLA", "a window, linear attention, and a cache of what that would recall worst"
    ),
    "log_linear": Entry(
        "lifelong.memory.log_linear:LogLinear", "the gated delta rule on levels that hold 1, 1, 2, 4, 8, ... steps"
    ),
}

_EXPORTS = {
    "Additive": "additive",
    "Atlas": "atlas",
    "DeltaNet": "delta_net",
    "DeltaProduct": "delta_product",
    "GLA": "gla",
    "GRU": "rnn",
    "GatedDelta": "gated_delta",
    "HeavyHitter": "heavy_hitter",
    "Hebbian": "hebbian",
    "Hope": "hope",
    "Hybrid": "hybrid",
    "KDA": "kda",
    "KalmanDelta": "kalman_delta",
    "LMS": "lms",
    "LSTM": "rnn",
    "LaCT": "lact",
    "LinearAttention": "linear_attention",
    "LoLA": "lola",
    "LogLinear": "log_linear",
    "Longhorn": "longhorn",
    "MLSTM": "mlstm",
    "Mamba": "mamba",
    "Mamba2": "mamba2",
    "Memora": "miras",
    "Memory": "memory",
    "MemoryAsContext": "memory_as_context",
    "MemoryContractError": "check",
    "MemoryModule": "torchrl_module",
    "Mesa": "mesa",
    "Metaplastic": "metaplasticity",
    "Moneta": "miras",
    "NoMemory": "none",
    "Palimpsa": "palimpsa",
    "Parts": "additive",
    "PreconditionedDelta": "preconditioned_delta",
    "RWKV7": "rwkv7",
    "RecurrentDelta": "recurrent_delta",
    "RetNet": "retnet",
    "S4D": "s4d",
    "SLSTM": "slstm",
    "SRWM": "srwm",
    "Selective": "selective",
    "Series": "hybrid",
    "SinkWindow": "sink_window",
    "TTTLinear": "ttt",
    "TTTMLP": "ttt",
    "Table": "table",
    "Titans": "titans",
    "TransformerXL": "transformer_xl",
    "Window": "window",
    "Yaad": "miras",
    "check_memory": "check",
    "metaplastic": "metaplasticity",
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
        name: a key of `known_memories()` (`-` and `_` are the same), or `package.module:Class`; after `metaplastic:`,
            the additive memory of that name with an importance for every fast weight.
        width: D, width of its inputs and outputs.
        **options: passed to its constructor.

    Raises:
        KeyError: if no memory has that name.
        ImportError: if `package.module:Class` cannot be found.
        TypeError: if it does not take these options, or is no `Memory`.
    """
    known = known_memories()
    if name.startswith("metaplastic:"):
        host = name.removeprefix("metaplastic:")
        entry = Entry("lifelong.memory.metaplasticity:make_metaplastic", "", {"host": host})
    elif ":" in name:
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
    _refuse_unknown(name, factory, options)
    try:
        memory = factory(width, **(entry.options | options))
    except TypeError as error:
        raise TypeError(f"memory {name!r} cannot be made with width={width}, {options}: {error}") from error
    from lifelong.memory.memory import Memory

    if not isinstance(memory, Memory):
        raise TypeError(f"memory {name!r} must be a lifelong.memory.Memory, got {type(memory).__name__}")
    return memory


def _refuse_unknown(name: str, factory: Any, options: dict[str, Any]) -> None:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return  # it tells no parameters; what cannot be called says so itself
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return  # it hands on what it does not know
    for unknown in options.keys() - parameters.keys():
        known = ", ".join(parameter for parameter in parameters if parameter != "width") or "none"
        raise TypeError(f"memory {name!r} has no setting {unknown!r}; known: {known}")
