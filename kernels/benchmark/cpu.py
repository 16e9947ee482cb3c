"""CPU tables of the benchmark: training beside common recurrent networks, the other operations, and acting."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from lifelong.kernels.in_place import in_place

from .accuracy import Comparison
from .acting import examine_layer, living, make_layer
from .clock import Clock
from .config import BenchConfig, Guests
from .operations import DELTA, OPERATIONS, Draw, Trial, back_ends, draw
from .race import Rival, ours, race, theirs
from .report import Goal, Row, Table, quotient
from .shape import Shape

__all__ = ["lstm", "others", "tables"]

Comparisons = Mapping[tuple[str, str], Comparison]
Found = dict[str, float | None]


def tables(config: BenchConfig, guests: Guests, comparisons: Comparisons) -> dict[str, Callable[[], Table]]:
    """Return a function for each table, by title.

    Args:
        config: settings.
        guests: layer and peers.
        comparisons: of every operation and back end; what failed is not timed.
    """
    return {
        "training": lambda: _training(config, guests, comparisons),
        "the other operations": lambda: others(config, comparisons, _segments(config), "cpu", "cpu", Clock()),
        "acting": lambda: _acting(config, guests),
    }


def _training(config: BenchConfig, guests: Guests, comparisons: Comparisons) -> Table:
    rows: list[Row] = []
    loop, eager, recurrent, attended, started, rival, posterior = (Found() for _ in range(7))
    for shape in _segments(config):
        source = draw("cpu")
        rivals = {
            form: ours(DELTA, form, source, shape, config.starts, comparisons[DELTA, form].error)
            for form in ("cpu", "chunk", "reference")
        }
        without = ours(DELTA, "cpu", source, shape, 0.0, rivals["cpu"].error)
        rivals["no starts"] = replace(without, back_end="cpu, no starts")
        error = comparisons["posterior", "cpu"].error
        rivals["posterior"] = ours("posterior", "cpu", source, shape, config.starts, error)
        rivals["SDPA"] = theirs("causal attention", "torch SDPA, no starts", *_attention(source, shape))
        rivals["LSTM"] = theirs(f"LSTM, width {shape.H * shape.d}", "torch nn.LSTM, no starts", *lstm(source, shape))
        for name, make in guests.peers.items():
            flops = _lstm_flops(shape)
            rivals[name] = theirs(f"LSTM, width {shape.H * shape.d}", name, make(shape, config.starts), flops)
        lines, took = race(rivals, "cpu", shape, config.repeats, Clock())
        rows += lines
        at, own = f"B={shape.B} d={shape.d}", took["cpu"]
        loop[at], eager[at] = quotient(took["reference"], own), quotient(took["chunk"], own)
        recurrent[at], attended[at] = quotient(took["LSTM"], own), quotient(own, took["SDPA"])
        started[at], posterior[at] = quotient(own, took["no starts"]), quotient(took["posterior"], own)
        best = min((x for name in guests.peers if (x := took[name]) is not None), default=None)
        rival[at] = quotient(best, own)
    goals = [
        Goal("the autograd loop takes at least 20 × the time of fast_weight (delta rule)", loop, 20, stretch=40),
        Goal("the chunks of torch take at least 3 × its time", eager, 3),
        Goal("nn.LSTM of the same width takes more than its time", recurrent, 1),
        Goal("it takes at most 2 × the time of causal attention (SDPA)", attended, 2, most=True, stretch=1),
        Goal(f"starts at {config.starts:.0%} cost at most 5 %", started, 1.05, most=True),
        Goal("TorchRL's LSTMModule with as many starts, in its fastest mode, takes at least 10 × its time", rival, 10),
        Goal("posterior takes at most 2.5 × its time", posterior, 2.5, most=True),
    ]
    notes = [f"Ours and TorchRL's with starts at {config.starts:.0%} of the steps, unless a row says otherwise."]
    return Table("Training on the CPU", rows, goals, [*notes, *guests.missing])


def others(
    config: BenchConfig, comparisons: Comparisons, shapes: Sequence[Shape], device: str, favourite: str, clock: Clock
) -> Table:
    """Return the table of all operations and back ends, for training.

    Args:
        config: settings.
        comparisons: of every operation and back end; what failed is not timed.
        shapes: of the inputs.
        device: torch device.
        favourite: back end of ratio 1; the last one of an operation without it.
        clock: the device's.
    """
    rows: list[Row] = []
    on_gpu = torch.device(device).type == "cuda"
    for shape in shapes:
        source = draw(device)
        for op in (op for op in OPERATIONS if op != DELTA):
            forms = back_ends(OPERATIONS[op], device)
            rivals = {
                form: ours(op, form, source, shape, config.starts, comparisons[op, form].error, captured=on_gpu)
                for form in forms
            }
            rows += race(rivals, favourite if favourite in forms else forms[-1], shape, config.repeats, clock)[0]
    notes = ["All are CUDA graphs."] if on_gpu else []
    return Table(f"The other operations on the {device.upper().replace('CUDA', 'GPU')}", rows, [], notes)


def _acting(config: BenchConfig, guests: Guests) -> Table:
    num_envs, width = config.acting
    layer, cell = make_layer(guests, width), nn.LSTMCell(width, width)
    steps = {"in place": layer.step}
    if config.compile:
        steps["torch.compile"] = torch.compile(layer.step)
    state = torch.zeros(num_envs, width), torch.zeros(num_envs, width)
    x = torch.randn(num_envs, width)

    def recur() -> None:
        nonlocal state
        state = cell(x, state)

    rivals = {}
    for name, step in steps.items():
        error = examine_layer(step, layer, width, "cpu")
        call = None if error else living(step, layer, num_envs, width, "cpu")
        moved = 2 * num_envs * layer.state_bytes
        rivals[name] = Rival(type(layer).__name__, name, call, None, moved, "GB/s", error)
    rivals["LSTMCell"] = Rival("LSTM", "torch nn.LSTMCell", recur, None, 2 * num_envs * 8 * width, "GB/s")
    with torch.no_grad(), in_place():
        rows, took = race(rivals, "in place", f"B={num_envs} D={width}", config.repeats, Clock())
    found = {f"{num_envs} lives, width {width}": quotient(took["in place"], took["LSTMCell"])}
    text = "a whole layer's step takes at most 1.5 × the time of nn.LSTMCell of the same width"
    goals = [Goal(text, found, 1.5, most=True, stretch=1)]
    notes = ["One step of a whole layer, projections included; the rate is state read and written."]
    if guests.layer is None:
        notes.append("The layer is that of kernels alone; `lifelong bench kernels` measures lifelong.memory's.")
    return Table("Acting on the CPU", rows, goals, notes)


def _segments(config: BenchConfig) -> list[Shape]:
    return [Shape(B, config.length, config.num_heads, d) for B, d in config.shapes]


def lstm(source: Draw, shape: Shape) -> tuple[Trial, float]:
    """Return torch's LSTM of the width of all heads together, and its arithmetic."""
    W = shape.H * shape.d
    torch.manual_seed(0)
    network = nn.LSTM(W, W, batch_first=True).to(source.device)
    x = source.normal(shape.B, shape.T, W).requires_grad_()
    state = tuple(source.normal(1, shape.B, W).requires_grad_() for _ in range(2))

    def run() -> tuple[torch.Tensor, ...]:
        y, (h, c) = network(x, state)
        return y, h, c

    return Trial(run, [x, *state, *network.parameters()]), _lstm_flops(shape)


def _lstm_flops(shape: Shape) -> float:
    """Return the arithmetic of an LSTM's forward pass."""
    return 16 * shape.B * shape.T * (shape.H * shape.d) ** 2


def _attention(source: Draw, shape: Shape) -> tuple[Trial, float]:
    """Return torch's causal attention, and its arithmetic."""
    B, T, H, d = shape
    q, k, v = (source.normal(B, H, T, d).requires_grad_() for _ in range(3))
    return Trial(lambda: (scaled_dot_product_attention(q, k, v, is_causal=True),), [q, k, v]), 2 * B * H * T * T * d
