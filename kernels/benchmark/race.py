"""One race: rivals at one shape, in turns, and what a table says of each."""

from collections.abc import Mapping
from dataclasses import dataclass

from .clock import Call, Clock, in_turns
from .operations import OPERATIONS, Draw, Operation, Shape, Trial, trial
from .report import Row, middle, quotient

__all__ = ["Rival", "ours", "race", "theirs"]


@dataclass(frozen=True)
class Rival:
    """One who runs."""

    op: str
    back_end: str
    forward: Call | None = None
    both: Call | None = None
    work: float = 0.0
    """Operations, or bytes, of the last of the two there is."""
    unit: str = "GFLOP/s"
    fault: str | None = None
    """Why it may not run."""
    peak: float | None = None
    captured: bool = False
    """Whether it runs as a CUDA graph."""
    steps: int = 1
    """Steps in one call; times are of one of them."""


def ours(
    op: str, back_end: str, source: Draw, shape: Shape, starts: float, fault: str | None, captured: bool = False
) -> Rival:
    """Return a back end of one of our operations, for training.

    Args:
        op: its name in `OPERATIONS`.
        back_end: its form.
        source: of its inputs.
        shape: of its inputs.
        starts: share of steps at which a life starts.
        fault: what was found wrong with it.
        captured: whether it runs as a CUDA graph.
    """
    operation: Operation = OPERATIONS[op]
    if fault is not None:
        return Rival(op, back_end, fault=fault)
    return theirs(
        op,
        back_end,
        trial(operation, back_end, operation.inputs(source, shape, starts)),
        operation.flops(shape),
        captured,
    )


def theirs(op: str, back_end: str, one: Trial, flops: float = 0.0, captured: bool = False) -> Rival:
    """Return a rival for training; `flops` is the arithmetic of its forward pass."""
    return Rival(op, back_end, one.forward, one.both, 3 * flops, captured=captured)


def race(
    rivals: Mapping[str, Rival], favourite: str, shape: object, repeats: int, clock: Clock
) -> tuple[list[Row], dict[str, float | None]]:
    """Time rivals in turns.

    Args:
        rivals: by a name of their own.
        favourite: the one whom ratios refer to.
        shape: what rows say of their inputs.
        repeats: rounds.
        clock: by which.

    Returns:
        rows: one for each rival.
        medians: seconds of forward and backward, or of forward if that is all; None for one who did not arrive.
    """
    faults = {name: rival.fault for name, rival in rivals.items() if rival.fault is not None}
    calls: dict[str, Call] = {}
    for name, rival in rivals.items():
        for part, call in (("forward", rival.forward), ("both", rival.both)):
            if call is None or name in faults:
                continue
            try:
                calls[f"{name}: {part}"] = clock.captured(call) if rival.captured else call
            except Exception as error:  # noqa: BLE001  a rival that breaks must not end the others' race
                faults[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    times, broken = in_turns({key: call for key, call in calls.items() if _owner(key) not in faults}, repeats, clock)
    faults |= {_owner(key): fault for key, fault in broken.items()}
    times = {key: [x / rivals[_owner(key)].steps for x in taken] for key, taken in times.items()}
    last = {name: f"{name}: {'forward' if rival.both is None else 'both'}" for name, rival in rivals.items()}
    medians = {name: None if name in faults else middle(times, key) for name, key in last.items()}
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
            faults.get(name),
            rival.peak,
        )
        for name, rival in rivals.items()
    ]
    return rows, medians


def _owner(key: str) -> str:
    return key.rpartition(": ")[0]
