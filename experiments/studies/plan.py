"""Plan of a study: of every arm what is trained, made equal in bytes of state and parameters, and what that costs.

*State* is made equal by the memory's own dials (slots of a cache, units, key and value dims, heads): the first of
`DIALS` that the memory has is turned until the bytes fit; if the other dials as they are leave no size within the
tolerance, or shapes are tuned, they are turned too, on a grid. *Parameters* are made equal by the channels of the MLPs
behind the memories (`expansion`).
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import torch

from lifelong.agents.actor_critic import ActorCritic
from lifelong.envs import TaskStream
from lifelong.experiments.associative_recall.equal_size import DIALS, memory_settings
from lifelong.experiments.interference import InterferenceConfig, check_stream, something_else
from lifelong.experiments.metrics.rows import bin_edges
from lifelong.experiments.retention import RetentionConfig
from lifelong.experiments.runs.build import make_agent, one_memory
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig, options
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.plug_ins import plug_in_memories
from lifelong.experiments.runs.probes import check_probe
from lifelong.experiments.runs.told import check_told
from lifelong.experiments.studies.formula import TRAINING, Measure
from lifelong.experiments.studies.search import Range
from lifelong.experiments.studies.settings import check_test, test_config, train_config
from lifelong.experiments.studies.study_file import EVALUATION, Arm, Place, Size, StudyFile, Test
from lifelong.memory import make_memory
from lifelong.memory.memory import nothing_allocated

__all__ = [
    "Plan",
    "Shape",
    "equal_parameters",
    "plan_arms",
    "shapes_near",
    "spread",
    "unequal",
    "with_settings",
    "with_shape",
    "with_sizes",
]

_GRID = {"num_heads": (1, 2, 4, 8), "value_dim": (8, 16, 32, 64), "key_dim": (8, 16, 32, 64)}
"""Values of dials that are turned beside the first."""
_SHAPES = 4  # that are tried by tuning
_LARGEST = 2**14  # value of a dial
_MOST_EXPANSION = 1024  # as `TrainConfig` has it
_PROBES = 4  # values tried where one is none for this memory


@dataclass(frozen=True)
class Shape:
    """Options of a memory and the bytes of its state.

    Args:
        options: for `make_memory`.
        state_bytes: of one layer and life.
    """

    options: dict[str, Any]
    state_bytes: int


@dataclass(frozen=True)
class Plan:
    """What an arm trains, and what it costs.

    Args:
        arm: of the study file.
        config: of its trainings, resolved; seed and name are open.
        state_bytes: of all layers, per life.
        parameters: of the agent.
        memory_flops: operations of a step in its memories.
        agent_flops: operations of a step, with two for each parameter outside of the memories.
        shapes: options of equal bytes that tuning tries; empty if shapes are not tuned.
        plug_ins: hashes of memories that are not this package's.
    """

    arm: Arm
    config: TrainConfig
    state_bytes: int
    parameters: int
    memory_flops: int
    agent_flops: int
    shapes: tuple[dict[str, Any], ...] = ()
    plug_ins: Mapping[str, Any] | None = None


def plan_arms(file: StudyFile) -> list[Plan]:
    """Return the plans of all arms; nothing is written.

    Raises:
        UserError: if a setting is wrong, or no size of a memory fits; with the line, in one sentence.
    """
    for arm in file.arms:  # what is misspelt comes before what takes longer
        config = train_config(file, arm)
        for test in file.tests:
            check_test(file, test, config.stream)
    for changes in _tuned(file):
        for arm in file.arms:
            if both := set(changes) & _said(arm):
                name = both.pop()
                raise file.error(
                    arm.place, f"arm {arm.name!r} sets {name}, which tune tries in every arm: one of the two", name
                )
            train_config(file, arm, changes)
    _check_ranges(file)
    plans = [_plan(file, arm) for arm in file.arms]
    _check_tuned_sizes(file, plans)
    return plans


def _said(arm: Arm) -> set[str]:
    """Return the names that an arm sets, those within its tables of options too."""
    return {name for key, value in arm.settings.items() for name in (value if isinstance(value, dict) else (key,))}


def _tuned(file: StudyFile) -> Iterator[dict[str, Any]]:
    """Yield values of tuning, one at a time: all of a list, the ends of a range."""
    for name, values in (file.tune.settings if file.tune else {}).items():
        yield from ({name: value} for value in ((values.low, values.high) if isinstance(values, Range) else values))


def _check_ranges(file: StudyFile) -> None:
    """Refuse a range of numbers for a setting that takes integers alone, which its ends may be.

    Raises:
        UserError: with the line.
    """
    for name, values in (file.tune.settings if file.tune else {}).items():
        if isinstance(values, Range) and not values.whole:
            try:
                train_config(file, file.arms[0], {name: values.at(0.37)})
            except UserError as error:
                message = (
                    f"{name} has no values between {values.low} and {values.high}: two integers make a range of such"
                )
                raise file.error(("tune", name), message, name) from error


def _check_tuned_sizes(file: StudyFile, plans: Sequence[Plan]) -> None:
    """Refuse settings of tuning that change the sizes which the study makes equal.

    Raises:
        UserError: with the line.
    """
    if file.size is None:
        return
    for changes in _tuned(file):
        (name,) = changes
        for plan in plans:
            config = with_settings(file, plan, changes)
            if plan.arm.size == "any" or _shaped(config) == _shaped(plan.config):
                continue
            sized, size = with_sizes(replace(plan, config=config)), file.size
            wrong = [("parameters", sized.parameters, size.parameters)]
            wrong += [("bytes of state", sized.state_bytes, size.state_bytes)] if plan.arm.size == "equal" else []
            for what, has, wanted in wrong:
                if wanted is not None and abs(has - wanted) > size.tolerance * wanted:
                    raise file.error(
                        ("tune", name),
                        f"with {name}={changes[name]} arm {plan.arm.name!r} has {has:,} {what}, where `size` asks for "
                        f'{wanted:,}: shape = "grid" tries shapes of equal bytes, size = "any" in the arm leaves them',
                        name,
                    )


def _shaped(config: TrainConfig) -> tuple[Any, ...]:
    """Return the settings that sizes follow from."""
    names = ("memory", "memory_options", "width", "layers", "expansion", "working_memory", "residual", "heads",
             "stream_options", "env_kwargs", "boundary", "action_std")  # fmt: skip
    return tuple(getattr(config, name) for name in names)


def with_settings(file: StudyFile, plan: Plan, changes: Mapping[str, Any]) -> TrainConfig:
    """Return the config of a plan with other settings; what made its sizes equal stays, unless it is one of them.

    Args:
        file: of the study.
        plan: of the arm.
        changes: settings, by name.

    Raises:
        UserError: if one is unknown, or has a wrong type or value; with the line.
    """
    tuned = train_config(file, plan.arm, changes).resolved()
    names = {*changes, *options(tuned.memory_options)} if "memory_options" in changes else set(changes)
    chosen = {name: value for name, value in options(tuned.memory_options).items() if name in names}
    expansion = tuned.expansion if "expansion" in changes else plan.config.expansion
    sized = replace(tuned, memory_options=plan.config.memory_options, expansion=expansion)
    return with_shape(sized, chosen) if chosen else sized


def with_sizes(plan: Plan) -> Plan:
    """Return a plan with the sizes that its config has."""
    env = make_env(plan.config, num_envs=1)
    try:
        return _measured(plan.arm, plan.config, env, plan.shapes)
    finally:
        env.close()


def _plan(file: StudyFile, arm: Arm) -> Plan:
    try:
        config = train_config(file, arm).resolved()
        env = make_env(config, num_envs=1)
    except UserError as error:
        raise _placed(file, arm, error) from error
    try:
        check_told(config, env)
        if not config.evaluation_lives:
            raise UserError("evaluation_lives must be positive: every trial ends with the test `evaluation`, got 0")
        _check_streams(file, config)
        _check_training(file, config)
        return _sized(file, arm, config, env)
    except UserError as error:
        raise _placed(file, arm, error) from error
    finally:
        env.close()


def _check_streams(file: StudyFile, config: TrainConfig) -> None:
    """Make the stream of every test, so that what does not fit is found before anything is trained.

    Raises:
        UserError: with the line of the test.
    """
    for test in file.tests:
        if test.by == TRAINING:
            continue
        asked = test_config(test, Path("run"), 0, config.stream)
        probe = asked if isinstance(asked, RetentionConfig) and asked.probe else None
        schedule = asked.schedule or (config.schedule if probe is None else f"once:meetings={probe.meetings}")
        words = (*config.stream_options, *asked.stream_options)
        try:
            env = make_env(replace(config, schedule=schedule, stream_options=words), num_envs=1, life_episodes=None)
            try:
                if probe is not None:
                    check_probe(env, config.stream, probe.lags, probe.meetings)
                if isinstance(asked, InterferenceConfig):
                    check_stream(config.stream, env)
                    something_else(replace(asked, lives=1), config, env).close()
            finally:
                env.close()
        except UserError as error:
            raise file.error(test.place, f"test {test.name!r}: {error}", test.name) from error
        if isinstance(asked, RetentionConfig):
            _check_lags(file, test, asked, config.life_episodes or 0)
        if isinstance(asked, InterferenceConfig):
            _check_most(file, test, asked.most)


def _check_most(file: StudyFile, test: Test, most: int) -> None:
    """Validate that a test by interference goes on for the steps that hypotheses ask of it.

    Raises:
        UserError: if it has none of them; with the line.
    """
    for place, measure in _measures(file):
        for term in measure.terms:
            if term.test == test.name and term.lags is not None and term.lags[0] > most:
                first, last = term.lags
                raise file.error(
                    place, f"test {test.name!r} ends after {most:,} steps, before {first}:{last}: most = ..."
                )


def _check_training(file: StudyFile, config: TrainConfig) -> None:
    """Validate that a training leaves what hypotheses ask of it: evaluations on every task.

    Raises:
        UserError: with the line.
    """
    matrix = ("final_average", "forgetting", "backward", "forward")
    trained = {test.name for test in file.tests if test.by == TRAINING}
    for place, measure in _measures(file):
        for term in measure.terms:
            if term.test in trained and term.quantity in matrix and config.evaluate_every == "off":
                raise file.error(place, f"{term.quantity}({term.test}) needs evaluations: evaluate_every is off")


def _measures(file: StudyFile) -> Iterator[tuple[Place, Measure]]:
    """Yield every measure of a study and where it stands."""
    if file.tune is not None:
        yield ("tune", "by"), file.tune.by
    for number, hypothesis in enumerate(file.hypotheses):
        yield ("hypothesis", number, "measure"), hypothesis.measure


def _check_lags(file: StudyFile, test: Test, asked: RetentionConfig, life_episodes: int) -> None:
    """Validate that a test by retention has the lags that hypotheses ask of it.

    Raises:
        UserError: if it has none of them, or its lives are too short for some; with the line.
    """
    times = 1.0 if test.name == EVALUATION else asked.times
    longest = life_episodes * times - 1 if life_episodes and not asked.probe and asked.steps is None else math.inf
    bins = [(2**k, 2**k) if asked.probe else bin_edges(k) for k in range(31)]
    bins = [(lag, lag) for lag in asked.lags] or bins
    for place, measure in _measures(file):
        for term in measure.terms:
            if term.test != test.name or term.lags is None:
                continue
            first, last = term.lags
            inside = [edges for edges in bins if first <= edges[0] and edges[1] <= last]
            wrong = ""
            if not inside:
                has = ", ".join(map(str, asked.lags)) or ("1, 2, 4, ..." if asked.probe else "1, 2-3, 4-7, ...")
                wrong = f"test {test.name!r} has no lags within {first}:{last}: it has {has}"
            elif inside[-1][0] > longest:
                wrong = f"lives of test {test.name!r} have {longest + 1:.0f} episodes, too few for lags {first}:{last}"
            if wrong:
                raise file.error(place, wrong)


def _placed(file: StudyFile, arm: Arm, error: UserError) -> UserError:
    """Return an error with the arm's line before it, unless it has one."""
    if str(error).startswith(f"{file.path}:"):
        return error
    return file.error(arm.place, f"arm {arm.name!r}: {error}", arm.settings.get("memory", arm.name))


def _sized(file: StudyFile, arm: Arm, config: TrainConfig, env: TaskStream) -> Plan:
    size = file.size or Size()
    shapes: tuple[dict[str, Any], ...] = ()
    if arm.size == "equal" and size.state_bytes is not None:
        found = _shapes(config, env, size, several=file.tune is not None and file.tune.shape)
        config = with_shape(config, found[0].options)
        shapes = tuple(shape.options for shape in found) if file.tune is not None and file.tune.shape else ()
    if arm.size != "any" and size.parameters is not None:
        config = _with_parameters(config, env, size)
    return _measured(arm, config, env, shapes)


def _measured(arm: Arm, config: TrainConfig, env: TaskStream, shapes: tuple[dict[str, Any], ...]) -> Plan:
    """Return the plan of a config, with its sizes."""
    agent = _agent(config, env)
    memories = sum(p.numel() for memory in agent.backbone.memories for p in memory.parameters())
    parameters = sum(p.numel() for p in agent.parameters())
    flops = config.layers * one_memory(config).step_flops
    plug_ins = plug_in_memories(agent)
    state_bytes = agent.backbone.state_bytes
    return Plan(arm, config, state_bytes, parameters, flops, flops + 2 * (parameters - memories), shapes, plug_ins)


def with_shape(config: TrainConfig, shape: Mapping[str, Any]) -> TrainConfig:
    """Return a config with other options of its memory."""
    given = options(config.memory_options) | dict(shape)
    return replace(
        config, memory_options=tuple(f"{n}={v if isinstance(v, str) else json.dumps(v)}" for n, v in given.items())
    )


def equal_parameters(config: TrainConfig, size: Size | None) -> TrainConfig:
    """Return a config whose agent has the parameters that a study asks for; as it is if it asks for none.

    Raises:
        UserError: if that cannot be; names the nearest.
    """
    if size is None or size.parameters is None:
        return config
    env = make_env(config, num_envs=1)
    try:
        return _with_parameters(config, env, size)
    finally:
        env.close()


def unequal(plans: Sequence[Plan], tolerance: float) -> list[str]:
    """Return in which sizes the arms differ by more than twice the tolerance, a sentence each."""
    said = []
    names = {"state_bytes": "bytes of state", "parameters": "parameters", "agent_flops": "FLOPs of a step"}
    for name, words in names.items():
        of = {plan.arm.name: int(getattr(plan, name)) for plan in plans}
        least, most = min(of, key=lambda arm: of[arm]), max(of, key=lambda arm: of[arm])
        if of[most] > of[least] * (1 + 2 * tolerance):
            said.append(f"unequal in {words}: {of[least]:,} ({least}) to {of[most]:,} ({most})")
    steps = {plan.arm.name: plan.config.steps for plan in plans}
    if len(set(steps.values())) > 1:
        said.append("unequal in steps: " + ", ".join(f"{count:,} ({arm})" for arm, count in steps.items()))
    lives = (
        "stream",
        "stream_options",
        "env_kwargs",
        "schedule",
        "feedback",
        "num_envs",
        "life_episodes",
        "life_hazard",
    )
    if others := [name for name in lives if len({getattr(plan.config, name) for plan in plans}) > 1]:
        said.append(f"arms differ in {', '.join(others)}: their lives are not paired")
    if len({(plan.config.expansion, plan.config.width, plan.config.layers) for plan in plans}) > 1:
        said.append("MLPs have different widths: only encoder and heads begin with the same weights")
    return said


def shapes_near(
    name: str,
    width: int,
    state_bytes: float,
    given: Mapping[str, Any],
    *,
    grid: bool,
    most_parameters: int | None = None,
) -> list[Shape]:
    """Return shapes of a memory whose bytes of state are near a number, the nearest of each setting of its dials.

    Args:
        name: of the memory.
        width: D.
        state_bytes: of one layer and life.
        given: options that stay as they are.
        grid: whether the other dials are turned too.
        most_parameters: of the memory; None is any number.

    Returns:
        The largest below and the smallest above of each, in no order; one alone if the memory has no dial.
    """

    def bytes_of(options: Mapping[str, Any]) -> int | None:
        return _bytes(name, width, _hashable(options), most_parameters)

    dials = [dial for dial in DIALS if dial not in given and _takes(name, dial, bytes_of, given)]
    if not dials:
        size = bytes_of(given)
        return [] if size is None else [Shape(dict(given), size)]
    if not grid:
        return list(_around(bytes_of, width, state_bytes, given, dials[0]))
    found: list[Shape] = []
    for dial in dials if dials == ["num_heads"] else [dial for dial in dials if dial != "num_heads"]:
        others = {d: v for d, v in _GRID.items() if d not in (*given, dial) and _takes(name, d, bytes_of, given)}
        for values in product(*others.values()):
            more = dict(zip(others, values, strict=True))
            found += _around(bytes_of, width, state_bytes, {**given, **more}, dial)
        found += _around(bytes_of, width, state_bytes, given, dial) if others else []
    return found


def _takes(name: str, dial: str, bytes_of: Callable[[Mapping[str, Any]], int | None], given: Mapping[str, Any]) -> bool:
    """Return whether a memory has a dial; one that hands its options on is asked by its values."""
    settings = memory_settings(name)
    if "**" not in settings:
        return dial in settings
    return any(bytes_of({**given, dial: value}) is not None for value in (1, 2, 4, 8, 16, 32))


def _around(
    bytes_of: Callable[[Mapping[str, Any]], int | None],
    width: int,
    state_bytes: float,
    given: Mapping[str, Any],
    dial: str,
) -> Iterator[Shape]:
    """Yield the largest shape below a number of bytes and the smallest above, by one dial whose bytes only grow."""

    def at(value: int) -> tuple[int, int] | None:
        """Return the first value from this one on that the memory takes, and its bytes."""
        for probed in range(value, value + _PROBES):
            size = bytes_of({**given, dial: probed})
            if size is not None:
                return probed, size
        return None

    if dial == "num_heads":  # few are valid, and bytes do not grow with them
        found = [(v, size) for v in range(1, width + 1) if (size := bytes_of({**given, dial: v}))]
        below = max((one for one in found if one[1] <= state_bytes), key=lambda one: one[1], default=None)
        above = min((one for one in found if one[1] > state_bytes), key=lambda one: one[1], default=None)
    else:
        low, high, below, above = 1, 2, None, None
        while high <= _LARGEST:
            here = at(high)
            if here is not None and here[1] > state_bytes:
                above = here
                break
            if here is None and below is not None:
                break
            if here is not None:
                low, below = here[0], here
            high *= 2
        first = at(1)
        if below is None and first is not None:
            below, above = (first, None) if first[1] <= state_bytes else (None, first)
        while high - low > 1 and high <= 2 * _LARGEST:
            middle = (low + high) // 2
            here = at(middle)
            if here is not None and here[1] <= state_bytes:
                low, below = max(here[0], middle), here
            else:
                high, above = middle, here or above
        above = above or at(high)
    for one in (below, above):
        if one is not None:
            yield Shape({**given, dial: one[0]}, one[1])


def _shapes(config: TrainConfig, env: TaskStream, size: Size, *, several: bool) -> list[Shape]:
    """Return shapes of an arm's memory with the bytes asked for: the nearest by the first dial, and others of a grid.

    Raises:
        UserError: if there is none; names the nearest sizes possible.
    """
    wanted, tolerance = size.state_bytes or 0, size.tolerance
    given = options(config.memory_options)
    backbone = _agent(config, env).backbone
    beside = backbone.state_bytes - config.layers * one_memory(config).state_bytes  # of a working memory
    budget = (wanted - beside) / config.layers
    most = None if size.parameters is None else round(size.parameters * (1 + tolerance)) // config.layers

    def total(shape: Shape) -> int:
        return config.layers * shape.state_bytes + beside

    def fitting(shapes: Sequence[Shape]) -> list[Shape]:
        near = sorted(shapes, key=lambda shape: abs(total(shape) - wanted))
        return [shape for shape in near if abs(total(shape) - wanted) <= tolerance * wanted]

    first = shapes_near(config.memory, config.width, budget, given, grid=False, most_parameters=most)
    found = fitting(first)[:1]
    if found and not several:
        return found
    every = shapes_near(config.memory, config.width, budget, given, grid=True, most_parameters=most)
    found = found or fitting(every)[:1]
    if not found:
        sizes = sorted({total(shape) for shape in every}, key=lambda bytes_: abs(bytes_ - wanted))
        nearest = [
            max((s for s in sizes if s <= wanted), default=None),
            min((s for s in sizes if s > wanted), default=None),
        ]
        said = " and ".join(f"{one:,}" for one in nearest if one is not None)
        raise UserError(
            f"no shape of {config.memory!r} has {wanted:,} bytes of state within {tolerance:.3g}: the nearest have "
            f"{said}; "
            'size = "parameters" or size = "any" in the arm leaves its bytes as they are'
        )
    return found if not several else spread(found[0], fitting(every), _SHAPES)


def spread(first: Shape, found: Sequence[Shape], most: int) -> list[Shape]:
    """Return the first shape and others that differ most in their options.

    Args:
        first: of all.
        found: the others; the first may be among them.
        most: shapes together.
    """
    others = [shape for shape in found if shape.options != first.options]
    others.sort(
        key=lambda shape: sorted((name, value) for name, value in shape.options.items() if isinstance(value, int))
    )
    wanted = min(most - 1, len(others))
    chosen = [others[(2 * k + 1) * len(others) // (2 * wanted)] for k in range(wanted)]
    return [first, *chosen]


def _with_parameters(config: TrainConfig, env: TaskStream, size: Size) -> TrainConfig:
    """Return the config with the channels of MLPs that give the agent its number of parameters."""
    assert size.parameters is not None  # noqa: S101  the caller's business
    least = _count(_agent(replace(config, expansion=1 / config.width), env))
    step = _count(_agent(replace(config, expansion=2 / config.width), env)) - least
    channels = max(1, 1 + round((size.parameters - least) / step))
    widest = _MOST_EXPANSION * config.width
    channels = min(channels, widest)
    met = least + (channels - 1) * step
    if abs(met - size.parameters) > size.tolerance * size.parameters:
        what = "at least" if met > size.parameters else "at most" if channels == widest else "nearest"
        raise UserError(
            f"the agent cannot have {size.parameters:,} parameters within {size.tolerance:.3g}: it has {what} {met:,} "
            f'(with {config.memory} {" ".join(config.memory_options)}); size = "any" in the arm leaves them as they are'
        )
    return replace(config, expansion=channels / config.width)


def _agent(config: TrainConfig, env: TaskStream) -> ActorCritic:
    with torch.random.fork_rng(devices=[]):  # `make_agent` seeds torch
        return make_agent(replace(config, device="cpu", cuda_graph="auto"), env)


def _count(agent: ActorCritic) -> int:
    return sum(p.numel() for p in agent.parameters())


def _hashable(given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in sorted(given.items()))


@lru_cache(4096)
def _bytes(name: str, width: int, given: tuple[tuple[str, Any], ...], most_parameters: int | None) -> int | None:
    """Return the bytes of state of a memory; None if it cannot be made so, or has more parameters than allowed."""
    try:
        with torch.random.fork_rng(devices=[]), nothing_allocated(), torch.no_grad():
            memory = make_memory(name, width, **dict(given))
            parameters = sum(p.numel() for p in memory.parameters())
            return None if most_parameters is not None and parameters > most_parameters else memory.state_bytes
    except (TypeError, ValueError):
        return None
