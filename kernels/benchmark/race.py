"""Time several implementations at one shape in turns, and make the rows of a table."""

from collections.abc import Mapping
from dataclasses import dataclass

from .clock import Call, Clock, in_turns
from .operations import OPERATIONS, Draw, Operation, Trial, trial
from .report import Row, middle, quotient
from .shape import Shape

__all__ = ["Rival", "ours", "race", "theirs"]


@dataclass(frozen=True)
class Rival:
    """Implementation to be timed."""

    op: str
    back_end: str
    forward: Call | None = None
    both: Call | None = None
    work: float = 0.0
    """Operations or bytes of `both`, or of `forward` without it."""
    unit: str = "GFLOP/s"
    error: str | None = None
    """Error of the comparison; it is then not timed."""
    peak: float | None = None
    captured: bool = False
    """Whether it runs as a CUDA graph."""
    steps: int = 1
    """Steps in one call; times are of one of them."""


def ours(
    op: str, back_end: str, source: Draw, shape: Shape, starts: float, error: str | None, captured: bool = False
) -> Rival:
    """Return one of our back ends, for training.

    Args:
        op: its name in `OPERATIONS`.
        back_end: the back end.
        source: of its inputs.
        shape: of its inputs.
        starts: share of steps at which a life starts.
        error: of its comparison with the reference.
        captured: whether it runs as a CUDA graph.
    """
    operation: Operation = OPERATIONS[op]
    if error is not None:
        return Rival(op, back_end, error=error)
    return theirs(
        op,
        back_end,
        trial(operation, back_end, operation.inputs(source, shape, starts)),
        operation.flops(shape),
        captured,
    )


def theirs(op: str, back_end: str, one: Trial, flops: float = 0.0, captured: bool = False) -> Rival:
    """Return another implementation, for training; `flops` is the arithmetic of its forward pass."""
    return Rival(op, back_end, one.forward, one.both, 3 * flops, captured=captured)


def race(
    rivals: Mapping[str, Rival], favourite: str, shape: object, repeats: int, clock: Clock
) -> tuple[list[Row], dict[str, float | None]]:
    """Time implementations in turns.

    Args:
        rivals: by name.
        favourite: name of ratio 1.
        shape: of the inputs, for the rows.
        repeats: rounds.
        clock: the clock.

    Returns:
        rows: one for each implementation.
        medians: seconds of forward and backward, or of forward alone; None for one with an error.
    """
    errors = {name: rival.error for name, rival in rivals.items() if rival.error is not None}
    calls: dict[str, Call] = {}
    for name, rival in rivals.items():
        for part, call in (("forward", rival.forward), ("both", rival.both)):
            if call is None or name in errors:
                continue
            try:
                calls[f"{name}: {part}"] = clock.captured(call) if rival.captured else call
            except Exception as error:  # noqa: BLE001  one failing call must not stop the others
                errors[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    times, broken = in_turns({key: call for key, call in calls.items() if _owner(key) not in errors}, repeats, clock)
    errors |= {_owner(key): error for key, error in broken.items()}
    times = {key: [x / rivals[_owner(key)].steps for x in taken] for key, taken in times.items()}
    last = {name: f"{name}: {'forward' if rival.both is None else 'both'}" for name, rival in rivals.items()}
    medians = {name: None if name in errors else middle(times, key) for name, key in last.items()}
    rows = [
        Row(
            rival.op,
            rival.back_end,
            str(shape),
            times.get(f"{name}: forward", ()),
            times.get(f"{name}: both", ()),
            rival.work,
            rival.unit,
            quotient(medians[name], medians.get(favourite)),
            errors.get(name),
            rival.peak,
        )
        for name, rival in rivals.items()
    ]
    return rows, medians


def _owner(key: str) -> str:
    return key.rpartition(": ")[0]
