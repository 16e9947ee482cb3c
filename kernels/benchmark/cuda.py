"""GPU tables of the benchmark: single steps at large and small sizes, training over short and long segments."""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lifelong.kernels.in_place import in_place
from lifelong.kernels.posterior import posterior

from .accuracy import Comparison, examine
from .acting import examine_layer, living, make_layer
from .clock import Call, Clock, CudaClock
from .config import BenchConfig, Guests
from .cpu import lstm, others
from .operations import DELTA, OPERATIONS, Draw, Operation, Trial, draw, trial
from .race import Rival, ours, race, theirs
from .report import Goal, Row, Table, quotient
from .shape import Shape

__all__ = ["Place", "tables"]

Comparisons = Mapping[tuple[str, str], Comparison]
LARGE = 128e6  # bytes of state from which a step is bound by bandwidth
MANY = 16  # steps in one graph, to amortise the launch


@dataclass(frozen=True)
class Place:
    """Device and back end of the tables."""

    device: str = "cuda"
    form: str = "triton"
    """Measured back end."""

    def clock(self, flush: bool = False) -> Clock:
        """Return its clock; see `CudaClock`."""
        return CudaClock(flush) if self.device == "cuda" else Clock()


def tables(
    config: BenchConfig, guests: Guests, comparisons: Comparisons, place: Place | None = None
) -> dict[str, Callable[[], Table]]:
    """Return a function for each table, by title.

    Args:
        config: settings.
        guests: layer.
        comparisons: of every operation and back end; what failed is not timed.
        place: device and back end.
    """
    at = place or Place()
    sizes = config.sizes
    return {
        "single steps": lambda: _steps(config, comparisons, at),
        "a layer's step": lambda: _layer(config, guests, at),
        "training": lambda: _training(config, comparisons, at),
        "posterior": lambda: _posterior(config, comparisons, at),
        "the other operations": lambda: others(config, comparisons, [sizes.train], at.device, at.form, at.clock(True)),
    }


def _steps(config: BenchConfig, comparisons: Comparisons, place: Place) -> Table:
    clock, operation = place.clock(), OPERATIONS[DELTA]
    rows, peak = _copy(config, place)
    share: dict[str, float | None] = {}
    cost: dict[str, float | None] = {}
    with torch.no_grad(), in_place():
        for shape in config.sizes.step:
            rivals = {}
            for name, starts in (("none", 0.0), ("some", config.starts)):
                inputs = operation.inputs(draw(place.device), shape, starts)
                one = trial(operation, place.form, inputs)
                moved = _traffic(inputs)
                rivals[name] = Rival(
                    f"{DELTA}, one step in place",
                    f"{place.form}, starts at {starts:.0%}",
                    one.run,
                    None,
                    moved,
                    "GB/s",
                    comparisons[DELTA, place.form].error,
                    peak,
                    captured=True,
                )
            lines, took = race(rivals, "none", shape, config.repeats, clock)
            rows += lines
            if 4 * shape.B * shape.H * shape.d**2 >= LARGE:
                rate = None if took["none"] is None or peak is None else moved / took["none"] / 1e9 / peak
                share[f"B={shape.B}"] = None if rate is None else 100 * rate
                cost[f"B={shape.B}"] = quotient(took["some"], took["none"])
    goals = [
        Goal("a step moves at least 75 % of what a copy moves, from 128 MB of state", share, 75, stretch=85, unit=" %"),
        Goal(f"starts at {config.starts:.0%} cost at most 2 %", cost, 1.02, most=True),
    ]
    note = "Bytes are those of the state, read and written, and of all inputs and outputs, once. CUDA graphs."
    return Table("One step, many lives", rows, goals, [note])


def _copy(config: BenchConfig, place: Place) -> tuple[list[Row], float | None]:
    """Return the row of a plain copy, and its rate in GB/s."""
    source = torch.zeros(config.sizes.copy, dtype=torch.int8, device=place.device)
    to, moved = torch.empty_like(source), 2.0 * config.sizes.copy
    copy = Rival("copy", "torch", lambda: to.copy_(source), None, moved, "GB/s", captured=True)
    rows, took = race({"copy": copy}, "copy", f"{moved / 1e9:.3g} GB", config.repeats, place.clock())
    return rows, None if took["copy"] is None else moved / took["copy"] / 1e9


def _traffic(inputs: Mapping[str, Any]) -> float:
    """Return bytes of a step: everything read once, the state and the reading written once."""
    read = sum(x.numel() * x.element_size() for x in inputs.values())
    return float(read + sum(inputs[name].numel() * inputs[name].element_size() for name in ("state", "v")))


def _layer(config: BenchConfig, guests: Guests, place: Place) -> Table:
    B, _, H, d = shape = config.sizes.layer
    layer = make_layer(guests, H * d, H, d).to(place.device)
    name, error = type(layer).__name__, examine_layer(layer.step, layer, H * d, place.device)
    moved = 2.0 * B * layer.state_bytes

    def rival(back_end: str, steps: int, captured: bool) -> Rival:
        call = None if error else living(layer.step, layer, B, H * d, place.device, steps)
        return Rival(name, back_end, call, None, moved, "GB/s", error, captured=captured, steps=steps)

    rivals = {
        "graph": rival("graph of one step", 1, True),
        "many": rival(f"graph of {MANY} steps", MANY, True),
        "eager": rival("eager", 1, False),
    }
    notes = ["The state stays in the L2 cache, as it does between the steps of so few lives; so it is not swept."]
    if guests.layer is None:
        notes.append("The layer is that of kernels alone; `lifelong bench kernels` measures lifelong.memory's.")
    if _has_fla():
        other = _fla_layer(shape, place.device)
        rivals |= {
            "fla graph": Rival("GatedDeltaNet", "fla, graph of one step", other, captured=True),
            "fla": Rival("GatedDeltaNet", "fla, eager", other),
        }
    with torch.no_grad(), in_place():
        rows, took = race(rivals, "graph", f"B={B} D={H * d} H={H}", config.repeats, place.clock())
    at, own = f"B={B}", took["graph"]
    goals = [
        Goal("a graphed step takes at most 12 µs", {at: _micro(own)}, 12, most=True, stretch=8, unit=" µs"),
        Goal("fla's graphed layer takes at least 1.5 × its time", {at: quotient(took.get("fla graph"), own)}, 1.5),
        Goal("fla's eager layer takes at least 5 × its time", {at: quotient(took.get("fla"), own)}, 5),
    ]
    return Table("One step of a whole layer, few lives", rows, goals, [*notes, *_no_fla()])


def _training(config: BenchConfig, comparisons: Comparisons, place: Place) -> Table:
    rows: list[Row] = []
    took: list[dict[str, float | None]] = []
    short, long = config.sizes.train, config.sizes.long
    for shape in (short, long):
        source, flops = draw(place.device), OPERATIONS[DELTA].flops(shape)

        def own(form: str, captured: bool, source: Draw = source, shape: Shape = shape) -> Rival:
            error = comparisons[DELTA, form].error
            made = ours(DELTA, form, source, shape, config.starts, error, captured)
            return replace(made, back_end=f"{form}, {'graph' if captured else 'eager'}")

        rivals = {"graph": own(place.form, True), "eager": own(place.form, False), "chunk": own("chunk", True)}
        if _has_fla():
            rivals["fla"] = theirs(
                DELTA, "fla chunk in bfloat16, no starts, graph", _fla_chunk(source, shape), flops, True
            )
        if shape == short:
            rivals["LSTM"] = theirs(f"LSTM, width {shape.H * shape.d}", "cuDNN, no starts", *lstm(source, shape))
        lines, medians = race(rivals, "graph", shape, config.repeats, place.clock(flush=True))
        rows += lines
        took.append(medians)
    few, many = took
    ratio = quotient(many.get("fla"), many["graph"])
    goals = [
        Goal(f"{short} takes at most 150 µs", {"graph": _micro(few["graph"])}, 150, most=True, stretch=75, unit=" µs"),
        Goal("fla's chunk kernel takes at least 0.9 × its time", {str(long): ratio}, 0.9, stretch=1.2),
    ]
    notes = [f"Starts at {config.starts:.0%} of the steps; the L2 cache is swept before every call.", *_no_fla()]
    return Table("Training on the GPU", rows, goals, notes)


def _posterior(config: BenchConfig, comparisons: Comparisons, place: Place) -> Table:
    shape, source, name = config.sizes.train, draw(place.device), "posterior"

    def run(backend: str, **inputs: Any) -> Any:
        return _associative(**inputs) if backend == "scan" else posterior(**inputs, backend="reference")

    scan = Operation(run, OPERATIONS[name].inputs, OPERATIONS[name].flops, name)
    comparison = examine(scan, "scan", place.device)
    rivals = {
        form: ours(name, form, source, shape, config.starts, comparisons[name, form].error, captured=True)
        for form in dict.fromkeys((place.form, "chunk"))
    }
    rivals["scan"] = Rival(name, "associative scan in torch", error=comparison.error)
    if comparison.error is None:
        one = trial(scan, "scan", scan.inputs(source, shape, config.starts))
        rivals["scan"] = theirs(name, "associative scan in torch", one, scan.flops(shape), captured=True)
    rows, took = race(rivals, place.form, shape, config.repeats, place.clock(flush=True))
    found = {str(shape): quotient(took["scan"], took[place.form])}
    goals = [Goal("an associative scan takes at least 3 × the time of posterior, exact, b a vector", found, 3)]
    difference = f"{comparison.difference:.1e}"
    notes = [f"Largest error of the scan at the shapes of the table above: {difference}. All are CUDA graphs."]
    return Table("Posterior on the GPU", rows, goals, notes)


def _associative(
    q: Tensor, k: Tensor, w: Tensor, b: Tensor, evidence: Tensor, importance: Tensor, start: Tensor, *,
    prior: Tensor, decay: Tensor, chunk: int = 16,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Compute `posterior` like the published kernel: an associative scan over the matrices of each chunk."""
    ys = []
    both = torch.stack([evidence, importance])  # [2, B, H, V, K]
    for part in zip(*(x.split(chunk, 1) for x in (q, k, w, b, decay, start)), strict=True):
        y, both = checkpoint(_scan, *part, both, prior, use_reentrant=False, preserve_rng_state=False)
        ys.append(y)
    return torch.cat(ys, 1), both[0], both[1]


def _scan(
    q: Tensor, k: Tensor, w: Tensor, b: Tensor, decay: Tensor, start: Tensor, before: Tensor, prior: Tensor
) -> tuple[Tensor, Tensor]:
    left = decay.exp().masked_fill(start[..., None], 0.0)[..., None, None]  # [B, C, H, 1, 1]
    key = k[..., None, :]
    sums = torch.stack([w[..., None] * key, b[..., None] * (key * key)])  # [2, B, C, H, V, K]
    step = 1
    while step < q.shape[1]:
        sums = torch.cat([sums[:, :, :step], sums[:, :, step:] + left[:, step:] * sums[:, :, :-step]], 2)
        left = torch.cat([left[:, :step], left[:, step:] * left[:, :-step]], 1)
        step *= 2
    sums = sums + left * before[:, :, None]
    mean = sums[0] / (sums[1] + prior[:, None, None])
    return (mean @ q[..., None])[..., 0], sums[:, :, -1]


def _has_fla() -> bool:
    return importlib.util.find_spec("fla") is not None


def _no_fla() -> Sequence[str]:
    return () if _has_fla() else ("flash-linear-attention is not here.",)


def _fla_layer(shape: Shape, device: str) -> Call:
    """Return a step of fla's layer from its own cache."""
    B, _, H, d = shape
    layer = importlib.import_module("fla.layers").GatedDeltaNet(
        hidden_size=H * d, head_dim=d, num_heads=H, expand_v=1.0, layer_idx=0
    )
    layer, cache = layer.to(device).eval(), importlib.import_module("fla.models.utils").Cache()
    x = torch.randn(B, 1, H * d, device=device)
    return lambda: layer(x, past_key_values=cache, use_cache=True)


def _fla_chunk(source: Draw, shape: Shape) -> Trial:
    """Return fla's chunk kernel for the gated delta rule; it does not support float32."""
    function = importlib.import_module("fla.ops.gated_delta_rule").chunk_gated_delta_rule
    inputs = OPERATIONS[DELTA].inputs(source, shape, 0.0)
    q, k, v, beta = (inputs[name].bfloat16().requires_grad_() for name in ("q", "k", "v", "rate"))
    g, state = (inputs[name].requires_grad_() for name in ("decay", "state"))

    def run() -> Sequence[Tensor]:
        y: Sequence[Tensor] = function(q, k, v, g, beta, scale=1.0, initial_state=state, output_final_state=True)
        return y

    return Trial(run, [q, k, v, g, beta, state])


def _micro(seconds: float | None) -> float | None:
    return None if seconds is None else 1e6 * seconds
