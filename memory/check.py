"""Conformance test of memories, as gymnasium's `check_env` is for environments.

Every clause is one part of the contract of `Memory`. They run in the order of `CLAUSES`; the first violation raises
under the clause's name, an exception of the memory's own code under the call that raised it.
Results that must be equal are compared in float64 to 1e-9, or in float32 to 1e-4 where a module cannot be float64.

Shapes: B = 3 lives, T = `steps`, D the memory's width.
"""

import traceback
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final, NamedTuple

import safetensors.torch
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from lifelong.memory.memory import Memory
from lifelong.memory.state_paths import by_path

__all__ = ["CLAUSES", "MemoryContractError", "check_memory"]

B: Final = 3
STRETCH: Final = 1000
"""Steps of a long life that go through `forward` at once."""
LATE: Final = 512
"""Steps within which all of the state must show in the output."""

CALLS: Final = ("initial_state", "step", "forward", "restart")
"""Methods of a memory whose own exceptions are filed under the call."""


class MemoryContractError(AssertionError):
    """A memory breaks the contract; the message is one line: the clause, or the call that raised, and the reason."""


class Broken(Exception):  # noqa: N818  never leaves this file
    """Message of a violated clause, without its name."""


class Trial(NamedTuple):
    """Inputs of every clause."""

    memory: Memory
    """A copy of the memory."""
    wide: Memory
    """Another one, in float64 if it can be."""
    tolerance: float
    """Tolerance of equal results, relative to 1 + their size."""
    steps: int
    long_life: int


def check_memory(memory: Memory, *, steps: int = 20, long_life: int = 10_000, seed: int = 0) -> tuple[str, ...]:
    """Check that a memory keeps the contract of `Memory`.

    It works on copies and in one thread: the memory, torch's random state and its number of threads are left as they
    are.

    Args:
        memory: any memory, on any device.
        steps: T of the sequences; at least 4.
        long_life: steps of the lives with extreme inputs. The default takes about a second; 1_000_000 is the full test.
        seed: of the inputs.

    Returns:
        The names of the clauses that were checked, in order; `CLAUSES` explains each.

    Raises:
        MemoryContractError: if a clause is violated, or the memory's own code raises, which is then the cause.
        TypeError: if it is no memory.
        ValueError: if `steps` is below 4, or `long_life` below 1.
    """
    if not isinstance(memory, Memory):
        raise TypeError(f"memory must be a lifelong.memory.Memory, got {type(memory).__name__}")
    if steps < 4:
        raise ValueError(f"steps must be at least 4: steps={steps}")
    if long_life < 1:
        raise ValueError(f"long_life must be positive: long_life={long_life}")
    devices = {p.device for p in memory.parameters() if p.device.type == "cuda"}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are too small for more threads
    try:
        with torch.random.fork_rng(list(devices)):
            torch.manual_seed(seed)
            wide = _widened(memory)
            tolerance = 1e-4 if wide is None else 1e-9
            trial = Trial(deepcopy(memory), wide or deepcopy(memory), tolerance, steps, long_life)
            for name, clause in CLAUSES.items():
                _check_clause(name, clause, trial)
    finally:
        torch.set_num_threads(threads)
    return tuple(CLAUSES)


def _check_clause(name: str, clause: Callable[[Trial], None], trial: Trial) -> None:
    try:
        clause(trial)
    except Broken as broken:
        raise MemoryContractError(f"{name}: {broken}") from None
    except Exception as error:
        raised = f"{type(error).__name__}: {' '.join(str(error).split())}"
        call = _failed_call(error)
        message = f"{call} raised {raised} (while checking: {name})" if call else f"{name}: {raised}"
        raise MemoryContractError(message) from error


def _failed_call(error: Exception) -> str:
    """Return the call of a memory's method that raised, such as "initial_state(batch=2)"; empty if there is none."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if code.co_name not in CALLS or code is Memory.forward.__code__ or code is Memory.step.__code__:
            continue
        if isinstance(frame.f_locals.get("self"), Memory):
            names = code.co_varnames[1 : code.co_argcount]
            return f"{code.co_name}({', '.join(f'{n}={_shown(frame.f_locals.get(n))}' for n in names)})"
    return ""


def _shown(value: Any) -> str:
    """Return an argument in short: the size of a tensor or state."""
    if isinstance(value, Tensor):
        return str(list(value.shape))
    return f"state {list(value.batch_size)}" if isinstance(value, TensorDictBase) else repr(value)


# The clauses.


def state_is_a_tensordict(trial: Trial) -> None:
    """Check that the state is a TensorDict of batch [B] with tensors only, before and after steps."""
    memory = trial.memory
    for batch in (1, B):
        x, start = _inputs(memory, 2, batch=batch)
        state = memory.initial_state(batch)
        states = {f"initial_state({batch})": state}
        if isinstance(state, TensorDictBase):
            states["the state after a step"] = memory.step(x[:, 0], state, start[:, 0])[1]
            states["the state after a pass"] = memory(x, state, start)[1]
        for what, state in states.items():
            if not isinstance(state, TensorDictBase):
                raise Broken(f"{what} must be a TensorDict, got {type(state).__name__}")
            if list(state.batch_size) != [batch]:
                raise Broken(f"{what} must have batch size [{batch}], got {list(state.batch_size)}")
            for name, leaf in _leaves(state).items():
                if not isinstance(leaf, Tensor):
                    raise Broken(f"{what} must hold tensors only, got {type(leaf).__name__} under {name!r}")


def shapes_are_kept(trial: Trial) -> None:
    """Check that the output has the input's shape."""
    memory = trial.memory
    x, start = _inputs(memory, trial.steps)
    state = memory.initial_state(B)
    ys = {"step": memory.step(x[:, 0], state, start[:, 0])[0], "forward": memory(x, state, start)[0]}
    for what, y, wanted in (("step", ys["step"], x[:, 0].shape), ("forward", ys["forward"], x.shape)):
        if y.shape != wanted:
            raise Broken(f"y of {what} must be {list(wanted)}, got {list(y.shape)}")


def dtype_is_kept(trial: Trial) -> None:
    """Check dtypes: the state is float32, float64 in a float64 module, or integer; y has the dtype of x."""
    for memory in (trial.memory, trial.wide):
        x, start = _inputs(memory, 2)
        state = memory.initial_state(B)
        y, after = memory(x, state, start)
        if y.dtype != x.dtype:
            raise Broken(f"y must be {x.dtype} as x is, got {y.dtype}")
        for what, some in (("initial_state", state), ("the state after a pass", after)):
            for name, leaf in _leaves(some).items():
                if (leaf.is_floating_point() or leaf.is_complex()) and leaf.dtype != x.dtype:
                    raise Broken(f"{name!r} of {what} must be {x.dtype} or an integer, got {leaf.dtype}")


def size_is_constant(trial: Trial) -> None:
    """Check that entries, shapes and dtypes of the state are constant over a life."""
    memory = trial.memory
    x, start = _inputs(memory, trial.steps)
    begin = memory.initial_state(B)
    one = memory.step(x[:, 0], begin, start[:, 0])[1]
    for steps, state in (
        (1, one),
        (trial.steps, _stepped(memory, x, begin, start)[1]),
        (trial.steps, memory(x, begin, start)[1]),
    ):
        _same_layout(f"the state after {steps} steps", state, begin)


def inputs_are_left_alone(trial: Trial) -> None:
    """Check purity: calls change neither arguments nor module, and repeated calls agree."""
    memory = trial.memory
    x, start = _inputs(memory, trial.steps, starts=0.3)
    state = _lived(memory, trial.steps)
    before = x.clone(), state.clone(), start.clone(), deepcopy(memory.state_dict())
    ways: dict[str, Callable[[], tuple[Tensor, TensorDict]]] = {
        "step": lambda: memory.step(x[:, 0], state, start[:, 0]),
        "forward": lambda: memory(x, state, start),
    }
    for name, call in ways.items():
        y, after = call()
        _same(f"x after {name}", x, before[0], 0.0)
        _same_states(f"the state given to {name}", state, before[1], 0.0)
        _same(f"start after {name}", start, before[2], 0.0)
        for key, value in memory.state_dict().items():
            _same(f"{key!r} of the module after {name}", value, before[3][key], 0.0)
        _same_results(f"a second, equal call of {name}", call(), (y, after), 0.0)


def one_pass_equals_steps(trial: Trial) -> None:
    """Check that `forward` equals T calls of `step`, with starts anywhere."""
    memory = trial.wide
    for starts in (0.0, 0.3, 1.0):
        x, start = _inputs(memory, trial.steps, starts=starts)
        state = _lived(memory, trial.steps)
        what = f"one pass (starts at {starts:.0%} of the steps) against steps"
        _same_results(what, memory(x, state, start), _stepped(memory, x, state, start), trial.tolerance)


def bound_steps_equal_steps(trial: Trial) -> None:
    """Check that steps bound to fixed tensors equal T calls of `step`, with starts anywhere."""
    for memory, tolerance in ((trial.memory, 1e-5), (trial.wide, trial.tolerance)):
        x, start = _inputs(memory, trial.steps, starts=0.3)
        state = _lived(memory, trial.steps)
        now, begins, y, ys, after = x[:, 0].clone(), start[:, 0].clone(), torch.empty_like(x[:, 0]), [], state
        run = memory.bind(now, y, state.clone(), begins)
        for t in range(trial.steps):
            now.copy_(x[:, t])
            begins.copy_(start[:, t])
            after = run()
            ys.append(y.clone())
        with torch.no_grad():
            want = _stepped(memory, x, state, start)
        _same_results("bound steps against steps", (torch.stack(ys, 1), after), want, tolerance)


def two_halves_equal_a_whole(trial: Trial) -> None:
    """Check that two halves equal a whole."""
    memory = trial.wide
    x, start = _inputs(memory, trial.steps, starts=0.1)
    state = _lived(memory, trial.steps)
    whole = memory(x, state, start)
    for cut in (1, trial.steps // 2, trial.steps - 1):
        y1, between = memory(x[:, :cut], state, start[:, :cut])
        y2, end = memory(x[:, cut:], between, start[:, cut:])
        _same_results(f"two parts cut at step {cut}", (torch.cat([y1, y2], 1), end), whole, trial.tolerance)


def rows_are_independent(trial: Trial) -> None:
    """Check that lives are independent of each other."""
    memory = trial.wide
    x, start = _inputs(memory, trial.steps, starts=0.1)
    state = _lived(memory, trial.steps)
    y, end = memory(x, state, start)
    other_x, other_start = _inputs(memory, trial.steps, starts=0.5)
    first = torch.arange(B, device=x.device) == 0
    x, start = torch.where(first[:, None, None], other_x, x), torch.where(first[:, None], other_start, start)
    state = _lived(memory, trial.steps).where(first, state)
    y2, end2 = memory(x, state, start)
    _same_results("the other lives, when life 0 is changed", (y2[1:], end2[1:]), (y[1:], end[1:]), trial.tolerance)


def nothing_crosses_a_start(trial: Trial) -> None:
    """Check that nothing crosses a start."""
    memory = trial.wide
    x, start = _inputs(memory, trial.steps)
    firsts = [0, 1, trial.steps // 2]
    start[range(B), firsts] = True
    y, end = memory(x, _lived(memory, trial.steps), start)
    for life, first in enumerate(firsts):
        never = torch.zeros_like(start[:1, first:])
        alone = memory(x[life : life + 1, first:], memory.initial_state(1), never)
        mixed = y[life : life + 1, first:], end[life : life + 1]
        _same_results(
            f"a life that starts at step {first} after another, against one alone", mixed, alone, trial.tolerance
        )


def gradients_reach_everything(trial: Trial) -> None:
    """Check that gradients flow from y to x, parameters and initial state, and from the next state to x.

    What waits in the state for the end of a period may show in y as late as after `LATE` steps.
    """
    memory = deepcopy(trial.wide)
    with torch.no_grad():
        for p in memory.parameters():  # zero parameters would block gradients of those behind them
            p.add_(torch.randn_like(p), alpha=0.01)
    begin, lived = memory.initial_state(B), _lived(memory, trial.steps)
    initial = _leaves(begin)
    moving = {n for n, leaf in _leaves(lived).items() if leaf.is_floating_point() and not leaf.equal(initial[n])}
    state = lived.apply(lambda leaf: leaf.clone().requires_grad_(leaf.is_floating_point()))
    x, start = _inputs(memory, trial.steps)
    x.requires_grad_()
    states = {f"the state's {name!r}": leaf for name, leaf in _leaves(state).items() if name in moving}
    y, waiting = memory(x, state, start)[0], {}
    if states and y.requires_grad:
        grads = torch.autograd.grad(y.square().sum(), list(states.values()), materialize_grads=True)
        waiting = {name: leaf for (name, leaf), grad in zip(states.items(), grads, strict=True) if not grad.any()}
    if waiting:
        later, never = _inputs(memory, LATE)
        _reached("y of forward", memory(later, state, never)[0], waiting)
    sources = {"x": x} | {name: leaf for name, leaf in states.items() if name not in waiting}
    sources |= {f"parameter {name!r}": p for name, p in memory.named_parameters() if p.requires_grad}
    for way, live in (("forward", memory.forward), ("step", lambda *given: _stepped(memory, *given))):
        y, after = live(x, state, start)
        _reached(f"y of {way}", y, sources)
        for name in moving:
            _reached(f"the state {name!r} after {way}", _leaves(after)[name], {"x": x})


def a_saved_state_continues(trial: Trial) -> None:
    """Check that a saved and restored state continues in another copy of the module to the same bits."""
    memory, other = trial.memory, deepcopy(trial.memory)
    state = _lived(memory, trial.steps)
    x, start = _inputs(memory, trial.steps)
    stored = safetensors.torch.save({name: leaf.contiguous().clone() for name, leaf in _leaves(state).items()})
    loaded = safetensors.torch.load(stored)
    restored = TensorDict({}, state.batch_size)
    for key in state.keys(include_nested=True, leaves_only=True):
        restored.set(key, loaded[_name(key)].to(x.device))
    _same_results("a life continued from bytes", other(x, restored, start), memory(x, state, start), 0.0)


def a_long_life_stays_finite(trial: Trial) -> None:
    """Check that outputs and state stay finite, and in `state_bounds`, for hostile inputs and mixtures of them."""
    memory = trial.memory
    anchor = memory.zeros(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=anchor.dtype, device=anchor.device)

    once = normal(1, memory.width)
    state = memory.initial_state(len(HOSTILE) + 1)
    with torch.no_grad():
        for first in range(0, trial.long_life, STRETCH):
            steps = min(STRETCH, trial.long_life - first)
            noise = normal(steps, memory.width)
            kinds = torch.stack(
                [torch.ones_like(noise), once.expand_as(noise), 1e6 * noise, 1e-30 * noise, 0.0 * noise]
            )
            turn = torch.randint(len(HOSTILE), (steps,), device=anchor.device)
            x = torch.cat([kinds, kinds[turn, torch.arange(steps, device=anchor.device)][None]])
            y, state = memory(x, state, torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device))
            for life, kind in enumerate((*HOSTILE, "changing")):
                for name, value in {"y": y, **_leaves(state)}.items():
                    if not value[life].isfinite().all():
                        raise Broken(f"{name!r} is not finite after {first + steps} steps of {kind} inputs")
            for path, (least, most) in memory.state_bounds.items():
                value = by_path(state)[path]
                if not bool(((value >= least) & (value <= most)).all()):
                    raise Broken(f"{path!r} leaves its state_bounds, {least} to {most}, after {first + steps} steps")


def half_precision_and_autocast_run(trial: Trial) -> None:
    """Check that autocast changes nothing, and that x in half precision gives y in its dtype and a full state."""
    memory = trial.memory
    full, start = _inputs(memory, trial.steps, starts=0.1)
    state = _lived(memory, trial.steps)
    kind = full.device.type
    for dtype in (torch.bfloat16, torch.float16):
        x = full.to(dtype)
        for what, given in ((f"x in {dtype}", x), (f"autocast to {dtype}", full)):
            cast = "autocast" in what and torch.amp.is_autocast_available(kind)
            want, want_state = memory(given.to(full.dtype), state, start)
            with torch.autocast(kind, dtype=dtype, enabled=cast):
                begin = memory.initial_state(B)
                results = memory(given, state, start), _stepped(memory, given, state, start)
            _same_states(f"initial_state under {what}", begin, memory.initial_state(B), 0.0)
            _same_results(f"one pass with {what}", results[0], (want.to(given.dtype), want_state), 0.0)
            _same(f"y of steps with {what} (its dtype)", results[1][0][:0], want.to(given.dtype)[:0], 0.0)
            _same_layout(f"the state after steps with {what}", results[1][1], want_state)


def half_parameters_are_refused(trial: Trial) -> None:
    """Check that a conversion of the parameters to half precision raises TypeError, naming the dtype."""
    for dtype in (torch.bfloat16, torch.float16):
        memory = deepcopy(trial.memory)
        try:
            memory.to(dtype)
        except TypeError as error:
            if str(dtype) not in str(error):
                raise Broken(f"the error for parameters in {dtype} must name the dtype, got {error}") from None
        else:
            raise Broken(f"to({dtype}) must raise TypeError")


def no_lives_and_no_steps_run(trial: Trial) -> None:
    """Check B = 0, T = 0 and T = 1: y is as long as x, and no step leaves the state as it is."""
    memory = trial.memory
    for batch, steps in ((0, 0), (0, 1), (0, trial.steps), (B, 0), (B, 1)):
        x, start = _inputs(memory, steps, batch=batch)
        state = memory.initial_state(batch)
        ways = {"forward": memory(x, state, start)}
        if steps:
            ways["step"] = memory.step(x[:, 0], state, start[:, 0])
            _same_layout(f"the state after restart with B = {batch}", memory.restart(state, start[:, 0]), state)
        for way, (y, after) in ways.items():
            what = f"{way} with B = {batch} and T = {steps}"
            wanted = x.shape if way == "forward" else x[:, 0].shape
            if list(after.batch_size) != [batch] or y.shape != wanted:
                got = f"{list(y.shape)} and {list(after.batch_size)}"
                raise Broken(f"{what} must give y {list(wanted)} and state [{batch}], got {got}")
            _same_layout(f"the state after {what}", after, state)
            if not steps:
                _same_states(f"the state after {what}", after, state, 0.0)


def any_nonzero_start_is_a_start(trial: Trial) -> None:
    """Check that numbers in `start` count as true where they are not zero."""
    memory = trial.memory
    x, start = _inputs(memory, trial.steps, starts=0.3)
    start[0, 0] = True
    state = _lived(memory, trial.steps)
    for number in (torch.tensor(2, dtype=torch.uint8), torch.tensor(0.5)):
        numbers = start * number.to(start.device)
        what = f"with {numbers.dtype} starts of {number}"
        _same_results(f"one pass {what}", memory(x, state, numbers), memory(x, state, start), 0.0)
        _same_results(f"steps {what}", _stepped(memory, x, state, numbers), _stepped(memory, x, state, start), 0.0)
        _same_states(f"restart {what}", memory.restart(state, numbers[:, 0]), memory.restart(state, start[:, 0]), 0.0)


def default_dtype_does_not_matter(trial: Trial) -> None:
    """Check that results do not depend on torch's default dtype."""
    before = torch.get_default_dtype()
    memory = trial.memory
    x, start = _inputs(memory, trial.steps, starts=0.1)
    want = memory(x, memory.initial_state(B), start)
    try:
        torch.set_default_dtype(torch.float64)
        got = memory(x, memory.initial_state(B), start)
    finally:
        torch.set_default_dtype(before)
    _same_results("a life under default dtype float64", got, want, 0.0)


def meta_device_is_supported(trial: Trial) -> None:
    """Check that a copy moved to the meta device computes the same once it is emptied and loaded."""
    memory = trial.memory
    x, start = _inputs(memory, trial.steps, starts=0.1)
    copied = deepcopy(memory).to("meta").to_empty(device=x.device)
    with torch.no_grad():
        for value in copied.state_dict().values():
            value.zero_()
    copied.load_state_dict(memory.state_dict())
    want = memory(x, memory.initial_state(B), start)
    _same_results("a life of a copy from the meta device", copied(x, copied.initial_state(B), start), want, 0.0)


def torch_func_agrees_or_refuses(trial: Trial) -> None:
    """Check that torch.func's gradients and ensembles equal the ordinary ones, where they raise no error."""
    memory = trial.wide
    x, start = _inputs(memory, trial.steps, starts=0.1)
    state = _lived(memory, trial.steps)
    weights: dict[str, Tensor] = dict(memory.named_parameters())
    fixed = dict(memory.named_buffers())
    others = {name: p.detach() + 0.01 * torch.randn_like(p) for name, p in weights.items()}
    if not weights:
        return

    def live(weights: dict[str, Tensor], x: Tensor, start: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(memory, (weights, fixed), (x, state, start))[0]
        return y

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return live(weights, x, start).sin().sum()

    wanted = torch.autograd.grad(loss(weights), list(weights.values()), materialize_grads=True)
    try:
        grads = torch.func.grad(loss)(weights)
        both = {name: torch.stack([p.detach(), others[name]]) for name, p in weights.items()}
        ys = torch.vmap(live, (0, None, None))(both, x, start)
    except (RuntimeError, NotImplementedError):
        return
    for name, want in zip(weights, wanted, strict=True):
        _same(f"the gradient of {name!r} by torch.func.grad", grads[name], want, max(trial.tolerance, 1e-6))
    for i, one in enumerate((weights, others)):
        _same("y of an ensemble by torch.vmap", ys[i], live(one, x, start), max(trial.tolerance, 1e-6))


def second_derivatives_are_right_or_refused(trial: Trial) -> None:
    """Check second derivatives by x against differences of the first, where they raise no error."""
    memory = trial.wide
    x, start = _inputs(memory, trial.steps, starts=0.1)
    state = _lived(memory, trial.steps)
    if x.dtype != torch.float64:
        return

    def slope(x: Tensor, *, again: bool) -> Tensor:
        return torch.autograd.grad(memory(x, state, start)[0].sin().sum(), x, create_graph=again)[0]

    way, size = torch.randn_like(x), 1e-5
    try:
        second = torch.autograd.grad(slope(x.requires_grad_(), again=True), x, way)[0]
    except RuntimeError:
        return
    ahead, back = (slope((x + sign * size * way).detach().requires_grad_(), again=False) for sign in (1, -1))
    _same("the second derivative", second, (ahead - back) / (2 * size), 1e-4)


HOSTILE: Final = ("constant", "repeated", "huge (1e6)", "tiny (1e-30)", "zero")

CLAUSES: Final[dict[str, Callable[[Trial], None]]] = {
    clause.__name__.replace("_", " "): clause
    for clause in (
        state_is_a_tensordict,
        shapes_are_kept,
        dtype_is_kept,
        size_is_constant,
        inputs_are_left_alone,
        one_pass_equals_steps,
        bound_steps_equal_steps,
        two_halves_equal_a_whole,
        rows_are_independent,
        nothing_crosses_a_start,
        gradients_reach_everything,
        a_saved_state_continues,
        a_long_life_stays_finite,
        half_precision_and_autocast_run,
        half_parameters_are_refused,
        no_lives_and_no_steps_run,
        any_nonzero_start_is_a_start,
        default_dtype_does_not_matter,
        meta_device_is_supported,
        torch_func_agrees_or_refuses,
        second_derivatives_are_right_or_refused,
    )
}
"""All clauses, in the order in which they are checked."""


# Helpers of the clauses.


def _widened(memory: Memory) -> Memory | None:
    """Return a float64 copy, or None if the module cannot be float64."""
    try:
        wide = deepcopy(memory).double()
        x, start = _inputs(wide, 1)
        y, _ = wide.step(x[:, 0], wide.initial_state(B), start[:, 0])
    except Exception:  # noqa: BLE001  if the error is the memory's, a clause will find it
        return None
    return wide if y.dtype == torch.float64 else None


def _inputs(memory: Memory, steps: int, *, starts: float = 0.0, batch: int = B) -> tuple[Tensor, Tensor]:
    """Return random x [batch, steps, D], and start [batch, steps] true with that probability."""
    like = memory.zeros(batch, steps, memory.width)
    return torch.randn_like(like), torch.rand(batch, steps, device=like.device) < starts


def _stepped(memory: Memory, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
    """Compute `forward` by its definition, the loop over steps."""
    return Memory.forward(memory, x, state, start)


def _lived(memory: Memory, steps: int) -> TensorDict:
    """Return the state after some random steps."""
    x, start = _inputs(memory, steps)
    with torch.no_grad():
        return memory(x, memory.initial_state(B), start)[1]


def _name(key: str | tuple[str, ...]) -> str:
    return key if isinstance(key, str) else ".".join(key)


def _leaves(state: TensorDict) -> dict[str, Tensor]:
    return {_name(key): leaf for key, leaf in state.items(include_nested=True, leaves_only=True)}


def _same(what: str, got: Tensor, want: Tensor, tolerance: float) -> None:
    """Raise if two results differ by more than `tolerance` (1 + size); 0 means the same bits."""
    if got.shape != want.shape or got.dtype != want.dtype:
        raise Broken(f"{what} is {got.dtype} {list(got.shape)}, expected {want.dtype} {list(want.shape)}")
    if got.equal(want):
        return
    apart = (got.double() - want.double()).abs() / (1 + want.double().abs())
    worst = apart.nan_to_num(torch.inf).max().item()
    if tolerance == 0 or worst > tolerance:
        raise Broken(f"{what} differs by {worst:.2g}, allowed {tolerance:g}")


def _same_states(what: str, got: TensorDict, want: TensorDict, tolerance: float) -> None:
    _same_layout(what, got, want)
    for name, leaf in _leaves(want).items():
        _same(f"{what}: state {name!r}", _leaves(got)[name], leaf, tolerance)


def _same_results(what: str, got: tuple[Tensor, TensorDict], want: tuple[Tensor, TensorDict], tolerance: float) -> None:
    _same(f"{what}: y", got[0], want[0], tolerance)
    _same_states(what, got[1], want[1], tolerance)


def _same_layout(what: str, got: TensorDict, want: TensorDict) -> None:
    layouts = [{n: f"{v.dtype} {list(v.shape)}" for n, v in _leaves(state).items()} for state in (got, want)]
    if layouts[0] != layouts[1]:
        raise Broken(f"{what} is {layouts[0]}, expected {layouts[1]}")


def _reached(what: str, target: Tensor, sources: dict[str, Tensor]) -> None:
    """Raise if a source gets no finite, non-zero gradient from the target."""
    if not target.requires_grad:
        raise Broken(f"{what} has no gradient at all")
    loss = (target * torch.randn_like(target)).sum()
    grads = torch.autograd.grad(loss, list(sources.values()), retain_graph=True, materialize_grads=True)
    for name, grad in zip(sources, grads, strict=True):
        if not grad.any():
            raise Broken(f"{name} gets no gradient from {what}")
        if not grad.isfinite().all():
            raise Broken(f"the gradient of {name} from {what} is not finite")
