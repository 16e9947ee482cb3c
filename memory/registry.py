"""Registry of memories: built-in table, plug-ins, and `make_memory`.

Torch is imported only when a memory is made, so that listing the names is fast.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lifelong.memory.options import check_options
from lifelong.registry import Entry, check_settings, closest, find, known, load, table
from lifelong.trust import foreign, is_foreign

if TYPE_CHECKING:
    from lifelong.memory.memory import Memory

__all__ = [
    "MEMORIES",
    "WRAPPERS",
    "find_memory",
    "foreign_memories",
    "known_memories",
    "load_memory",
    "make_memory",
]

RENAMED = {"heads": "num_heads", "key_width": "key_dim", "value_width": "value_dim", "taps": "conv_size"}
"""Options of version 0.1 and their present names; old run directories and scripts use the old ones."""

WIDE = 2**12
"""Width above which a memory's bytes are estimated before it is made, as they are with options of any size."""

MEMORIES = table(
    "lifelong.memory",
    {
        "none": Entry("controls.none:NoMemory", "no memory: the control"),
        "gru": Entry("controls.rnn:GRU", "gated recurrent unit, a vector of state", source="1406.1078"),
        "lstm": Entry(
            "controls.rnn:LSTM",
            "long short-term memory, two vectors of state",
            source="doi.org/10.1162/neco.1997.9.8.1735",
        ),
        "table": Entry(
            "controls.table:Table",
            "an exact dictionary with keys read from the input: the control with perfect addressing",
        ),
        "window": Entry(
            "attention.window:Window",
            "softmax attention over the last steps only: a bounded cache",
            source="2004.05150",
        ),
        "softmax": Entry(
            "attention.window:Window",
            "softmax attention over the whole life; after 1024 steps (cache=) the oldest are dropped",
            {"cache": 1024},
            source="1706.03762",
        ),
        "sink_window": Entry(
            "attention.sink_window:SinkWindow",
            "softmax attention over a life's first few steps and its last",
            source="2309.17453",
        ),
        "heavy_hitter": Entry(
            "attention.heavy_hitter:HeavyHitter",
            "a bounded cache that drops the least attended",
            source="2306.14048",
        ),
        "transformer_xl": Entry(
            "attention.transformer_xl:TransformerXL",
            "attention over the layer's own last inputs, relative positions",
            source="1901.02860",
        ),
        "gtrxl": Entry(
            "attention.gtrxl:GTrXL",
            "Transformer-XL behind a norm and a GRU gate that begins nearly closed",
            source="1910.06764",
        ),
        "elmur": Entry(
            "attention.elmur:ELMUR",
            "attention over a segment and over slots: every segment rewrites the slot written longest ago",
            source="2510.07151",
        ),
        "fox": Entry(
            "attention.fox:FoX",
            "forgetting attention: a window whose scores fade as data say",
            source="2503.02130",
        ),
        "linear_attention": Entry(
            "additive.linear_attention:LinearAttention",
            "sum of outer products without decay",
            source="2006.16236",
        ),
        "based": Entry(
            "additive.linear_attention:LinearAttention",
            "linear attention with Taylor features of exp to second order; no window",
            {"feature_map": "taylor"},
            source="2402.18668",
        ),
        "dpfp": Entry(
            "additive.linear_attention:LinearAttention",
            "linear attention over products of neighbouring key channels",
            {"feature_map": "dpfp"},
            source="2102.11174",
        ),
        "rebased": Entry(
            "additive.linear_attention:LinearAttention",
            "linear attention with the squared scalar product of learned affine maps",
            {"feature_map": "rebased"},
            source="2402.10644",
        ),
        "hedgehog": Entry(
            "additive.linear_attention:LinearAttention",
            "linear attention over a learned softmax of the key's channels",
            {"feature_map": "hedgehog"},
            source="2402.04347",
        ),
        "hebbian": Entry(
            "additive.hebbian:Hebbian",
            "outer products at one learned rate, with a learned leak",
            source="doi.org/10.1109/TC.1972.5008975",
        ),
        "retnet": Entry("additive.retnet:RetNet", "fixed decay, rotary keys", source="2307.08621"),
        "gla": Entry("additive.gla:GLA", "a data-dependent decay for every key channel", source="2312.06635"),
        "agalite": Entry(
            "additive.agalite:AGaLiTe",
            "gated linear attention whose matrix is a few vectors under cosines",
            source="2310.15719",
        ),
        "mamba2": Entry(
            "additive.mamba2:Mamba2", "one data-dependent step size per head for write and decay", source="2405.21060"
        ),
        "mamba3": Entry(
            "additive.mamba3:Mamba3",
            "Mamba-2 by the trapezoid rule, with keys that turn as data say",
            source="2603.15569",
        ),
        "mlstm": Entry("additive.mlstm:MLSTM", "exponential input gate, normalised reading", source="2405.04517"),
        "slstm": Entry("additive.slstm:SLSTM", "LSTM with exponential gates and a normaliser", source="2405.04517"),
        "mingru": Entry(
            "additive.minimal_rnn:MinGRU", "GRU whose gate does not see the state: a linear scan", source="2410.01201"
        ),
        "minlstm": Entry(
            "additive.minimal_rnn:MinLSTM",
            "LSTM whose two gates do not see the state and share a sum of one",
            source="2410.01201",
        ),
        "bmru": Entry(
            "additive.bmru:BMRU", "units that hold one of two states until the input leaves a band", source="2605.15216"
        ),
        "s4d": Entry("additive.s4d:S4D", "diagonal linear state space, independent of the input", source="2206.11893"),
        "s5": Entry(
            "additive.s5:S5", "one linear state space for all channels, in modes of HiPPO", source="2208.04933"
        ),
        "lru": Entry(
            "additive.lru:LRU", "linear recurrent unit: complex modes that keep their size", source="2303.06349"
        ),
        "rtu": Entry("additive.rtu:RTU", "trace units: turning, fading pairs behind a ReLU", source="2409.01449"),
        "ffm": Entry(
            "additive.ffm:FFM",
            "fast and forgetful: fading traces, each seen through several oscillations",
            source="2310.04128",
        ),
        "shm": Entry(
            "additive.shm:SHM", "stable Hadamard memory: a factor of its own for every fast weight", source="2410.10132"
        ),
        "mamba": Entry(
            "additive.mamba:Mamba", "a selective state space, S6: a step size per channel", source="2312.00752"
        ),
        "longhorn": Entry(
            "additive.longhorn:Longhorn", "a state space that regresses every channel on its keys", source="2407.14207"
        ),
        "lms": Entry(
            "delta.lms:LMS",
            "delta rule at one constant learned rate",
            source="doi.org/10.21236/AD0241531",
        ),
        "delta_net": Entry(
            "delta.delta_net:DeltaNet", "delta rule: correct the error at the key, no decay", source="2406.06484"
        ),
        "gated_delta": Entry("delta.gated_delta:GatedDelta", "decay, then the delta rule", source="2412.06464"),
        "delta_product": Entry(
            "delta.delta_product:DeltaProduct",
            "decay once, then several corrections per step, reflections among them",
            source="2502.10297",
        ),
        "kda": Entry(
            "delta.kda:KDA", "Kimi delta attention: a decay per key channel, then the delta rule", source="2510.26692"
        ),
        "efla": Entry(
            "delta.efla:EFLA", "the delta rule's flow, solved exactly: no key overshoots", source="2512.12602"
        ),
        "gdn2": Entry(
            "delta.gdn2:GatedDelta2",
            "delta rule with an erase gate per key channel and a write gate per value channel",
            source="2605.22791",
        ),
        "comba": Entry(
            "delta.comba:Comba",
            "gated delta rule that erases less than it writes, and a query corrected by the key",
            source="2506.02475",
        ),
        "mom": Entry(
            "delta.mom:MixtureOfMemories",
            "gated delta rule on several matrices: a router says which are written",
            source="2502.13685",
        ),
        "rwkv7": Entry(
            "delta.rwkv7:RWKV7", "decay per key channel, removal at a key of its own, token shift", source="2503.14456"
        ),
        "preconditioned_delta": Entry(
            "delta.preconditioned_delta:PreconditionedDelta",
            "gated delta rule whose writes are rescaled by a key channel's recent use",
            source="2604.21100",
        ),
        "recurrent_delta": Entry(
            "delta.recurrent_delta:RecurrentDelta",
            "delta rule with keys that depend on the previous reading",
            source="2106.06295",
        ),
        "srwm": Entry(
            "delta.srwm:SRWM", "self-referential weight matrix: it computes its own updates", source="2202.05780"
        ),
        "mesa": Entry(
            "bayesian.mesa:Mesa",
            "ridge regression over the whole life, solved for every query",
            source="2506.05233",
        ),
        "palimpsa": Entry(
            "bayesian.palimpsa:Palimpsa",
            "Bayesian metaplasticity: an importance for every fast weight",
            source="2602.09075",
        ),
        "palimpsa_scalar": Entry(
            "bayesian.palimpsa:Palimpsa",
            "Palimpsa with one importance per key channel, at the cost of GLA; not in its repository",
            {"beta": "scalar"},
            source="2602.09075",
        ),
        "palimpsa_key": Entry(
            "bayesian.palimpsa:Palimpsa",
            "Palimpsa with an importance gate per key channel, at the cost of GLA; not in its repository",
            {"beta": "key"},
            source="2602.09075",
        ),
        "not_palimpsa": Entry(
            "bayesian.palimpsa:Palimpsa",
            "Palimpsa's twin without metaplasticity",
            {"beta": "none"},
            source="2602.09075",
        ),
        "meta_mamba2": Entry(
            "metaplasticity:make_metaplastic",
            "Mamba-2 with an importance for every fast weight; `metaplastic:NAME` for any additive memory",
            {"host": "mamba2"},
            source="2602.09075",
        ),
        "metaplastic_linear_attention": Entry(
            "metaplasticity:make_metaplastic",
            "linear attention with an importance for every fast weight; not in Palimpsa's repository",
            {"host": "linear_attention"},
            source="2602.09075",
        ),
        "kalman_delta": Entry(
            "bayesian.kalman_delta:KalmanDelta",
            "delta rule with a diagonal Kalman gain, akin to Kalman delta networks",
            source="2609.07816",
        ),
        "ttt_linear": Entry(
            "networks.ttt:TTTLinear", "test-time training of a linear model, in mini-batches", source="2407.04620"
        ),
        "ttt_mlp": Entry(
            "networks.ttt:TTTMLP", "test-time training of a network of two layers, in mini-batches", source="2407.04620"
        ),
        "titans": Entry(
            "networks.titans:Titans",
            "a network trained by surprise, with momentum and weight decay",
            source="2501.00663",
        ),
        "moneta": Entry(
            "networks.miras:Moneta",
            "a network trained on a cubic loss, its weights held at a norm",
            source="2504.13173",
        ),
        "yaad": Entry(
            "networks.miras:Yaad", "a network trained on Huber's loss, robust to outliers", source="2504.13173"
        ),
        "memora": Entry(
            "networks.miras:Memora", "a network whose weights are distributions, by mirror descent", source="2504.13173"
        ),
        "atlas": Entry(
            "networks.atlas:Atlas",
            "a network trained on the last pairs together, at polynomial keys",
            source="2505.23735",
        ),
        "lact": Entry(
            "networks.lact:LaCT",
            "a network updated once per chunk, beside attention over the chunk",
            source="2505.23884",
        ),
        "hope": Entry(
            "networks.hope:Hope",
            "a self-modifying matrix, then networks with ever longer update periods",
            source="2512.24695",
        ),
        "hybrid": Entry("hybrids.hybrid:Hybrid", "two memories (a=, b=) side by side, mixed by a gate per channel"),
        "series": Entry("hybrids.series:Series", "two memories (a=, b=), the second behind the first"),
        "memory_as_context": Entry(
            "hybrids.memory_as_context:MemoryAsContext",
            "attention over a window and the output of a long memory (inner=)",
            source="2501.00663",
        ),
        "titans_mag": Entry(
            "hybrids.hybrid:Hybrid",
            "Titans beside a window, mixed by a gate per channel",
            {"a": "titans"},
            source="2501.00663",
        ),
        "titans_mal": Entry(
            "hybrids.series:Series", "Titans as a layer before a window", {"a": "titans"}, source="2501.00663"
        ),
        "titans_mac": Entry(
            "hybrids.memory_as_context:MemoryAsContext",
            "Titans as the context of a window, with learned tokens",
            {"inner": "titans"},
            source="2501.00663",
        ),
        "cached": Entry(
            "hybrids.memory_caching:MemoryCaching",
            "a memory (host=) and its states at the ends of the last segments; `cached:NAME` for any memory",
            {"host": "gated_delta"},
            source="2602.24281",
        ),
        "hola": Entry(
            "hybrids.hola:HOLA",
            "the gated delta rule, and an exact cache of the pairs that changed it most",
            source="2607.02303",
        ),
        "lola": Entry(
            "hybrids.lola:LoLA",
            "a window, linear attention, and a cache of the pairs that it recalls worst",
            source="2505.23666",
        ),
        "log_linear": Entry(
            "hybrids.log_linear:LogLinear",
            "the gated delta rule on levels that hold 1, 1, 2, 4, 8, ... steps",
            source="2506.04761",
        ),
    },
)


_PLUG_INS = "lifelong.memories"
"""Entry-point group."""

WRAPPERS = {"cached": "cached", "metaplastic": "meta_mamba2"}
"""Words before a colon and another memory's name, and the entry that takes that one as its `host`."""


def known_memories() -> dict[str, Entry]:
    """Return the built-in memories and those of installed plug-ins (entry-point group `lifelong.memories`)."""
    return known(MEMORIES, _PLUG_INS)


def find_memory(name: str) -> Entry:
    """Return the entry of a memory.

    Args:
        name: a key of `known_memories()` (`-` and `_` are the same), or `package.module:Class`; after `cached:` any of
            these with a cache of its states, after `metaplastic:` an additive one with an importance for every fast
            weight.

    Raises:
        KeyError: if no memory has that name; names the nearest.
    """
    word, colon, host = name.partition(":")
    if not colon:
        return find("memory", name, MEMORIES, ", or package.module:Class", group=_PLUG_INS)
    if word in WRAPPERS:
        entry, wrapped = MEMORIES[WRAPPERS[word]], find_memory(host)
        return entry._replace(summary=f"{word}: {wrapped.summary or host}", options={"host": host})
    if (near := closest(word, WRAPPERS)) and "." not in word and find_spec(word) is None:
        raise KeyError(f"no memory {name!r}; did you mean '{near}:{host}'?")
    return Entry(name, "")


def foreign_memories(name: str, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of memories that are `package.module:Class` of another package.

    Args:
        name: of a memory, as for `find_memory`.
        options: its settings; those of some memories name others.
    """
    for one in (name, *foreign(options)):
        while one.partition(":")[0] in WRAPPERS and ":" in one:
            one = one.partition(":")[2]
        if is_foreign(one):
            yield one


def load_memory(name: str) -> Callable[..., "Memory"]:
    """Return what makes a memory of a name: its class, or a function of this package's table.

    Args:
        name: as for `find_memory`.

    Raises:
        KeyError: if no memory has that name.
        ImportError: if `package.module:Class` cannot be found.
        TypeError: if it is no class of memories.
    """
    import torch

    target = find_memory(name).target
    with torch.device("cpu"):  # packages that are imported now read tensors of their own, which cannot be on `meta`
        made: Callable[..., Memory] = load("memory", target)
    if not any(target == entry.target for entry in MEMORIES.values()):
        base: type[Memory] = load("memory", "lifelong.memory.memory:Memory")
        if not (inspect.isclass(made) and issubclass(made, base)):
            shown = made.__name__ if inspect.isclass(made) else f"a {type(made).__name__}"
            raise TypeError(f"memory {name!r} must be a class that extends lifelong.memory.Memory, got {shown}")
    return made


def make_memory(name: str, width: int, **options: Any) -> "Memory":
    """Return a new memory.

    Args:
        name: as for `find_memory`.
        width: D, width of its inputs and outputs.
        **options: passed to its constructor.

    Raises:
        KeyError: if no memory has that name.
        ImportError: if `package.module:Class` cannot be found.
        TypeError: if it does not take these options, one has the wrong type, or it is no `Memory`.
        ValueError: if an option is out of range, or this machine has not the bytes that it would take.
    """
    entry, factory = find_memory(name), load_memory(name)
    options = _current_options(factory, options)
    check_settings("memory", name, factory, options, hidden="width")
    ours = getattr(factory, "__module__", "").partition(".")[0] == __name__.partition(".")[0]
    check_options(name, factory, {"width": width} | options, sizes=ours)
    if ours and (options or width > WIDE):
        load("memory", "lifelong.memory.footprint:check_footprint")(name, factory, width, entry.options | options)
    try:
        memory = factory(width, **(entry.options | options))
    except TypeError as error:
        raise TypeError(f"memory {name!r} cannot be made with width={width}, {options}: {error}") from error
    if options and any(not p.isfinite().all() for p in memory.parameters() if not p.is_meta):
        raise ValueError(f"memory {name!r} would begin with weights that are not finite: width={width}, {options}")
    return memory


def _current_options(factory: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Rename options of version 0.1 where the factory has the new name, and not the old, and the new is not given."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return dict(options)
    renamed = {
        old: new for old, new in RENAMED.items() if new in parameters and old not in parameters and new not in options
    }
    return {renamed.get(name, name): value for name, value in options.items()}
