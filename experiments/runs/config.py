"""Settings of a training run: a frozen dataclass behind the command line and `config.json`."""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import tyro

from lifelong.agents.carry import Carry
from lifelong.agents.ppo_config import PPOConfig
from lifelong.envs.gym_task import GymTask
from lifelong.envs.parse import parse_integer
from lifelong.envs.stream_file import StreamFileError, is_stream_file, read_stream_file
from lifelong.experiments.runs.errors import UserError, check_ends_of_lives, check_fields
from lifelong.experiments.runs.help_page import Heading
from lifelong.experiments.runs.horizons import fits
from lifelong.experiments.runs.loggers import logger_names
from lifelong.experiments.runs.presets import preset, preset_name
from lifelong.experiments.runs.sizes import (
    Count,
    CountOrZero,
    Hazard,
    Layers,
    Length,
    Lives,
    Seed,
    Share,
    Spread,
    Threads,
    Width,
    Workers,
)
from lifelong.experiments.runs.torchrun import ranks
from lifelong.memory.registry import foreign_memories
from lifelong.registry import unknown
from lifelong.schema import SchemaError, Within, read_fields, shown
from lifelong.tables import parse_json
from lifelong.trust import refusal

__all__ = [
    "ALIASES",
    "FORMAT",
    "PPOOverrides",
    "TrainConfig",
    "every",
    "in_front",
    "lives_of_minibatch",
    "options",
    "with_horizons",
    "without_newer",
]

FORMAT = 3
"""Version of `config.json`; a newer one is refused. 1 was flat and had the names of `ALIASES`; up to 2 no `cued-recall`
and no `colour-rule` was sealed."""

ALIASES = {
    "discount": "gamma",
    "life_discount": "life_gamma",
    "trace": "gae_lambda",
    "entropy": "entropy_coef",
    "critic": "value_coef",
    "clip": "clip_epsilon",
    "max_norm": "max_grad_norm",
    "pace_final": "final_lr_fraction",
    "graph": "cuda_graph",
}
"""Names of 0.1 -> names since: flags, fields of `config.json` and of a stream file's `[train]`."""

_BEFORE: dict[str, Any] = {
    "advantage_floor": 1e-6,
    "normalize_reward": "off",
    "target_kl": 0.0,
    "l2_init": 0.0,
    "shrink_perturb": 0.0,
    "redo_every": 0,
    "redo_tau": 0.025,
    "continual_backprop": 0.0,
    "maturity": 50,
    "ewc": 0.0,
    "ewc_decay": 1.0,
    "reset_at_boundary": "off",
    "clear": 0,
    "cloning": 0.01,
    "packnet": 0,
    "optimizer": "adam",
    "vtrace": "off",
    "precision": "float32",
    "normalize_observation": "off",
    "working_memory": "off",
    "action_std": "state",
    "initial_std": 1.0,
    "actions": "drawn",
    "heads": "one",
    "processes": 1,
}
"""Settings that older runs do not name, as they were in them."""


@dataclass(frozen=True)
class PPOOverrides:
    """PPO settings in place of the stream's preset, each as in `PPOConfig`; None, or `auto`, keeps the preset's."""

    lr: float | None = None
    epochs: int | None = None
    minibatches: int | None = None
    clip_epsilon: float | None = None
    gamma: float | None = None
    life_gamma: float | None = None
    gae_lambda: float | None = None
    entropy_coef: float | None = None
    value_coef: float | None = None
    advantage_floor: float | None = None
    normalize_reward: Literal["auto", "on", "off"] | None = None
    max_grad_norm: float | None = None
    tbptt: int | None = None
    target_kl: float | None = None
    l2_init: float | None = None
    shrink_perturb: float | None = None
    redo_every: int | None = None
    redo_tau: float | None = None
    continual_backprop: float | None = None
    maturity: int | None = None
    ewc: float | None = None
    ewc_decay: float | None = None
    reset_at_boundary: Literal["on", "off"] | None = None
    clear: int | None = None
    cloning: float | None = None
    packnet: int | None = None
    optimizer: Literal["adam", "muon"] | None = None
    vtrace: Literal["on", "off"] | None = None
    precision: Literal["float32", "bf16"] | None = None

    def __post_init__(self) -> None:
        """Validate what is set."""
        self.over(PPOConfig())

    def set(self) -> dict[str, Any]:
        """Return what is neither None nor `auto`."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in (None, "auto")}

    def over(self, defaults: PPOConfig) -> PPOConfig:
        """Return a preset's settings with these in their place.

        Raises:
            UserError: if a number cannot be meant.
        """
        try:
            return replace(defaults, **self.set())
        except ValueError as error:
            raise UserError(str(error)) from error


_OTHER_LIVES = {"tasks", "drifts", "life_episodes", "life_hazard"}
"""Settings of a `gym:` stream that make several tasks of one, or say how long its lives are."""

_OF_THE_COMMAND = ("name", "resume", "only_task", "device", "threads", "processes", "env_workers")
"""Settings without a default that no stream file can give."""

_SINCE_0_1 = {"steps", "num_envs", "segment", "evaluation_lives"}
"""Settings that are open until a config is resolved, and that every `config.json` has."""

_LONG = 1_000_000
"""Steps from which on several processes are worth their start."""
_MOST_PROCESSES = 8

_PPO = tuple(f.name for f in fields(PPOConfig))


class _Stream(NamedTuple):
    """What is known of a stream before it is made: name, feedback, tasks of gymnasium, settings of training."""

    name: str
    feedback: str | None
    tasks: tuple[GymTask, ...]
    train: dict[str, Any]


@dataclass(frozen=True)
class TrainConfig:
    """Train an agent on a stream of tasks, its memory carried over every episode's end.

    What is None is taken from the stream's preset, unless it says otherwise.

    Args:
        stream: name of a stream (see `lifelong list`), gym:<id> for anything gymnasium can make, or a stream file.
        memory: name of a memory (see `lifelong list`), or package.module:Class.
        steps: environment steps of all lives together.
        num_envs: number of lives in parallel.
        seed: random seed of weights, actions and lives.
        feedback: whether the right answer is revealed after an action or only the reward is given, in streams that know
            both.
        schedule: which task comes next (see `lifelong list`), such as interleaved, cyclic:20 or hazard:0.05; with
            `every 20` behind it each choice holds for 20 episodes, with `steps` (block:50000 steps) it counts steps of
            all lives; order:A,B,A every 500 lists tasks. If not given, the stream's.
        only_task: name of the only task that comes, whatever the schedule; all else of the stream stays as it is. It is
            the single-task reference of forward transfer.
        boundary: what the agent, and what it learns by, is told of task changes.
        life_episodes: episodes of a life; then its slot begins a new one with new hidden rules. 0 is one endless life.
        life_hazard: in place of life_episodes, the probability that a life ends at an episode's end: 0.02 for lives of
            50 episodes on average, which do not end all at once.
        stream_options: more settings of the stream.
        env_kwargs: settings of the environment of gym:<id>, for `gymnasium.make`: name=value, with values as JSON, or
            else as text.
        carry: what ends the memory: only the life, a change of task, or every episode's end (the classical recurrent
            agent).
        width: width of the backbone.
        layers: blocks of the backbone.
        expansion: hidden width of the MLPs behind the memories, as a multiple of the width: it makes the parameters of
            agents with different memories equal.
        residual: residual connection around the memory: `sum`, or a GTrXL gate (`gated`).
        memory_options: more settings of the memory. A family's preset gives `horizons`, where they fit the memory and
            are not given.
        working_memory: name of a second memory in front of the first that starts anew with every episode, for what
            counts within one; or `off`. A preset's is left out before `none`, and before a memory of the same name.
        normalize_observation: whether numbers of observations are normalised by what was observed so far: floats whose
            bounds are not within [-1, 1] (auto), all (on), none (off).
        action_std: what the standard deviation of continuous actions depends on: the `state`, or nothing (`free`).
        initial_std: what that deviation is at first, before tanh: small ones explore close to what is done already.
        heads: policy and value head: `one` of each for all tasks, or weights of its own in each per `task` (multi-head;
            biases, and deviations that depend on nothing, are those of all tasks), which boundary=task_id tells.
        paired_weights: whether each part of the agent (encoder, memory, MLPs, heads) draws its initial weights from
            random numbers of its own, so that agents of one seed that differ in one part begin alike in the others.
        preset: name of the preset that gives what is not said: a stream's, or a family's of environments, such as
            classic-control or mujoco. If not given, the stream's own, or the family that the environment is from.
        segment: steps of every life between two updates of the slow weights.
        final_lr_fraction: share of the learning rate and of the entropy bonus that is left at the end.
        ppo: PPO's settings: a `PPOConfig`, or `PPOOverrides` in place of the preset's.
        evaluation_lives: fresh lives in which the frozen agent is evaluated at the end; 0 for none.
        actions: how that agent acts: by actions drawn from its policy, as in training; greedily, by the most probable
            ones; or `both`, in two passes through the same lives: retention is then that of drawn actions, and greedy
            ones are left out where a pass takes more than 30 % of the steps.
        evaluate_every: when copies of the living agent are evaluated on every task: after so many steps, at each
            `boundary` between tasks, or `off`; `auto`: at boundaries of task sequences in endless lives, at a cost of
            at most 5 % of the steps.
        evaluate_mode: what such a copy's memory keeps from one episode to the next: nothing (`probe`), or all
            (`sandbox`); `empty`: it begins each one empty, which tells what the slow weights know alone.
        evaluate_episodes: episodes of each copy and task.
        name: name of the run; if not given, made of stream, memory and seed.
        runs: folder of all runs.
        log: where scalars go, with commas between: tensorboard, csv (scalars.csv in the run's folder), wandb.
        on_log_error: what a logger that cannot write does: it stops the training, or the training goes on without it.
        checkpoint_every: seconds (60s) or steps (20000) between checkpoints, which are written while training goes on;
            0 is one at the end only. A run that is interrupted, or that fails, writes one in any case.
        keep: checkpoints to keep; if the last is damaged, the one before it is used.
        overwrite: replace a run of the same name, once the new one has lived for two segments.
        resume: go on with an interrupted run, to the same bits, or with a finished one for more steps; takes device,
            threads, processes, env_workers, steps and new_episodes, and no other setting. With other steps the learning
            rate goes on from where it is, linearly down to its last share at the new end; that of a finished run stays
            there.
        trust: import the code that files name, a stream file or the run that is resumed: a memory or an environment
            that is neither registered nor of an installed package. What the command line names needs no trust.
        new_episodes: with resume, for environments that cannot be brought back to where they were, since they ignore
            their seed or keep state over episodes: weights, optimiser, memory and normalisers stay, unfinished episodes
            are dropped and the next ones begin. The bits are not those of an uninterrupted run.
        device: device of the agent: cpu, cuda or cuda:<number>; if not given, cpu, or that of the run that is resumed.
        threads: threads of torch; if not given, one, which is fastest with matrices this small, or as many as the run
            that is resumed has.
        processes: processes that compute gradients, each of a part of every minibatch's lives; weights are the same in
            all. If not given, those of the run that is resumed; of a new one on the CPU as many as there are cores, 8
            at most, from 1,000,000 steps on, else one.
        env_workers: processes in which environments of gymnasium live, one for each life at most: one that exits or
            crashes ends the training in one line then, like any other that breaks, with a checkpoint from just before;
            cheap ones are slower so, and results are the same bits. If not given, those of the run that is resumed, or
            none: they live in this process.
        cuda_graph: whether acting is one CUDA graph; auto: on a GPU, if the memory's step can be one.
    """

    stream: Annotated[tyro.conf.Positional[str], Heading("most used")] = "cued-recall"
    memory: str = "gated_delta"
    steps: Count | None = None
    num_envs: Lives | None = None
    seed: Seed = 0

    feedback: Annotated[Literal["reveal", "reward"] | None, Heading("the stream")] = None
    schedule: str | None = None
    only_task: str | None = None
    boundary: Literal["none", "flag", "task_id"] = "none"
    life_episodes: CountOrZero | None = None
    life_hazard: Hazard | None = None
    stream_options: tuple[str, ...] = ()
    env_kwargs: tuple[str, ...] = ()

    carry: Annotated[Carry, Heading("the memory and the agent")] = "lifetime"
    width: Width = 64
    layers: Layers = 1
    expansion: Annotated[float, Within(above=0, most=1024)] = 1.0
    residual: Literal["sum", "gated"] = "sum"
    memory_options: tuple[str, ...] = ()
    working_memory: str | None = None
    normalize_observation: Literal["auto", "on", "off"] | None = None
    action_std: Literal["state", "free"] | None = None
    initial_std: Spread | None = None
    heads: Literal["one", "task"] = "one"
    paired_weights: bool = False

    preset: Annotated[str | None, Heading("learning (PPO)")] = None
    segment: Length | None = None
    final_lr_fraction: Share = 0.05
    ppo: Annotated[PPOConfig | PPOOverrides, tyro.conf.arg(constructor=PPOOverrides)] = PPOOverrides()

    evaluation_lives: Annotated[CountOrZero | None, Heading("evaluation")] = None
    actions: Literal["drawn", "greedy", "both"] = "both"
    evaluate_every: str = "auto"
    evaluate_mode: Literal["probe", "sandbox", "empty"] = "probe"
    evaluate_episodes: Count = 1

    name: Annotated[str | None, Heading("the run and its files")] = None
    runs: Path = Path("runs")
    log: str = "tensorboard"
    on_log_error: Literal["stop", "continue"] = "stop"
    checkpoint_every: str = "60s"
    keep: Count = 2
    overwrite: bool = False
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    new_episodes: bool = False
    trust: bool = False

    device: Annotated[str | None, Heading("the machine")] = None
    threads: Threads | None = None
    processes: Threads | None = None
    env_workers: Workers | None = None
    cuda_graph: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        """Validate the settings; write a registered stream's name with hyphens."""
        for name in ("evaluate_every", "checkpoint_every"):
            if type(steps := getattr(self, name)) is int:  # a number in runs of before 0.3, and in programs
                object.__setattr__(self, name, str(steps))
        check_fields(self)
        check_ends_of_lives(self)
        logger_names(self.log)
        if ":" not in self.stream and not is_stream_file(self.stream):
            object.__setattr__(self, "stream", self.stream.replace("_", "-"))
        if self.evaluate_every not in ("auto", "boundary", "off"):
            object.__setattr__(self, "evaluate_every", str(_steps("evaluate_every", self.evaluate_every)))
        every(self.checkpoint_every)
        if self.name is not None and (self.name != Path(self.name).name or self.name in ("", "..")):
            raise UserError(f"name must be one plain folder name, got {self.name!r}; --runs says where runs are kept")
        if self.new_episodes and self.resume is None:
            raise UserError("new_episodes is for a run that goes on: pass --resume RUN too")
        if self.cuda_graph == "on" and (self.device or "cpu").partition(":")[0] != "cuda":
            raise UserError(
                f"cuda_graph must be auto or off without a GPU: cuda_graph=on, device={self.device or 'cpu'}"
            )

    @property
    def run(self) -> Path:
        """The run's own directory."""
        carried = "" if self.carry == "lifetime" else f"-{self.carry}"
        feedback = f"-{self.feedback}" if self.feedback else ""
        only = f"-only-{self.only_task}" if self.only_task else ""
        made = f"{self.stream}{feedback}-{self.memory}{carried}{only}-seed{self.seed}"
        return self.runs / (self.name or "".join(c if c.isalnum() or c in "-_." else "-" for c in made))

    def resolved(self) -> Self:
        """Return the same with every open setting taken from the stream's preset.

        Raises:
            UserError: if there is no such preset, or the stream's file cannot be read.
        """
        stream = self._of_file() if is_stream_file(self.stream) else self._of_name()
        learn, rest = _apart(stream.train)
        name = (
            self.preset
            or rest.pop("preset", None)
            or preset_name(stream.name, stream.feedback, stream.tasks, apart=bool(self.env_workers))
        )
        known: dict[str, Any] = (
            {"device": "cpu", "threads": 1, "env_workers": 0} | preset(name) | rest | {"preset": name}
        )
        if self.life_episodes is not None or self.life_hazard is not None:  # one says both
            known |= {"life_episodes": 0, "life_hazard": None}
        ppo, horizons = PPOOverrides(**learn).over(known.pop("ppo")), known.pop("horizons")
        open_ = {name: value for name, value in known.items() if getattr(self, name) is None}
        new = isinstance(self.ppo, PPOOverrides) or open_.keys() & _SINCE_0_1  # not one that was resolved and saved
        if new:
            open_["memory_options"] = with_horizons(self.memory_options, horizons, self.memory, self.width)
        if "working_memory" in open_ and "working_memory" not in rest:  # of the preset, not of a stream file
            open_["working_memory"] = in_front(open_["working_memory"], self.memory)
        resolved = replace(self, **open_)
        resolved = replace(resolved, ppo=self.ppo if isinstance(self.ppo, PPOConfig) else self.ppo.over(ppo))
        return resolved if self.processes else replace(resolved, processes=default_processes(resolved))

    @property
    def endless(self) -> bool:
        """Whether no life ends, of a resolved config."""
        return not self.life_episodes and self.life_hazard is None

    @property
    def learning(self) -> PPOConfig:
        """The settings of PPO, of a resolved config."""
        assert isinstance(self.ppo, PPOConfig)  # noqa: S101  resolved
        return self.ppo

    def _of_name(self) -> _Stream:
        """Return what a stream's name says of it."""
        if not self.stream.startswith("gym:"):
            return _Stream(self.stream, self.feedback, (), {})
        lives = {"life_hazard": None} if _OTHER_LIVES & options(self.stream_options).keys() else {}
        task = GymTask(self.stream.removeprefix("gym:"), kwargs=options(self.env_kwargs))
        return _Stream(self.stream, self.feedback, (task,), lives)

    def _of_file(self) -> _Stream:
        """Return what a stream file says, its settings of training among it."""
        try:
            found = read_stream_file(self.stream, trust=self.trust)
        except StreamFileError as error:
            raise UserError(str(error)) from error
        open_ = {f.name for f in fields(self) if f.default is None and f.name not in _OF_THE_COMMAND} | {*_PPO}
        said: dict[str, Any] = {}
        for name, value in found.train.items():
            new = ALIASES.get(name, name)
            kind = PPOOverrides if new in _PPO else type(self)
            line = found.lines.get(("train", name), found.lines.get(("train",)))
            where = f"{self.stream}{f':{line}' if line else ''}: train"
            if new not in open_:
                raise UserError(f"{where} has no setting {shown(name)}{unknown(new, open_)}")
            try:
                said |= read_fields(kind, {new: value}, names=open_, needed=False)
            except SchemaError as error:
                raise UserError(f"{where}: {error}") from error
        for name in () if self.trust else foreign_memories(said.get("working_memory") or "off", {}):
            raise UserError(f"{self.stream}: {refusal('working memory', name)}")
        lives = {"life_episodes": found.options.get("life_episodes") or 0}
        lives["life_hazard"] = found.options.get("life_hazard")
        return _Stream(found.stream, None, tuple(found.options.get("tasks", ())), lives | said)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold of it; a file does not say that it is to be trusted."""
        said = {name: value for name, value in asdict(self).items() if name != "trust"}
        return {name: str(value) if isinstance(value, Path) else value for name, value in said.items()}

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Return the config that `to_json` gave, in this version or in 0.1.

        Raises:
            UserError: if it is no table of settings, or one is unknown, of another type or out of range.
        """
        if not isinstance(content, Mapping):
            raise UserError(f"settings must be a table of names and values, got {shown(content)}")
        nested: Any = content.get("ppo") or {}
        try:
            read_fields(PPOOverrides, nested, what="setting of ppo")
            settings = {ALIASES.get(name, name): value for name, value in content.items() if name != "ppo"}
            learn, rest = _apart(_BEFORE | settings | nested)
            for name in ("evaluate_every", "checkpoint_every"):
                rest |= {name: str(rest[name])} if type(rest.get(name)) is int else {}
            ppo = PPOOverrides(**read_fields(PPOOverrides, learn))
            read = read_fields(cls, rest, names={f.name for f in fields(cls)} - {"ppo", "trust"}, what="setting")
        except SchemaError as error:
            raise UserError(str(error)) from error
        whole = len(ppo.set()) == len(_PPO)
        return cls(**read, ppo=ppo.over(PPOConfig()) if whole else ppo)


def without_newer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, as JSON, without those that older runs do not name where they are as in these.

    So what was trained before there was a setting is the same as what is trained without using it.

    Args:
        settings: as `TrainConfig.to_json` gave them.
    """
    kept = {name: value for name, value in settings.items() if name not in _BEFORE or value != _BEFORE[name]}
    return kept | {"ppo": without_newer(kept["ppo"])} if isinstance(kept.get("ppo"), Mapping) else kept


def default_processes(config: TrainConfig) -> int:
    """Return how many processes learn where nothing is said: as many as there are cores, in a long training on the CPU.

    Where `torchrun` began several ranks, it is as many as there are of them.

    Args:
        config: otherwise resolved.
    """
    if (size := ranks().size) > 1:
        return size
    if (config.steps or 0) < _LONG or config.device != "cpu" or not hasattr(os, "sched_getaffinity"):
        return 1
    if config.learning.vtrace == "on":  # no process sees the lives whose advantages are normalised together
        return 1
    return min(len(os.sched_getaffinity(0)), _MOST_PROCESSES, lives_of_minibatch(config))


def lives_of_minibatch(config: TrainConfig) -> int:
    """Return the lives of a minibatch of a resolved config, rounded up: no more processes than that have work."""
    return -(-(config.num_envs or 1) // min(config.learning.minibatches, config.num_envs or 1))


def every(text: str) -> tuple[float, int]:
    """Return seconds and steps between checkpoints: one of them, the other is 0; both are 0 where there are none.

    Args:
        text: such as `60s` or `20000`.

    Raises:
        UserError: if it is neither.
    """
    try:
        if not text.endswith("s"):
            steps = parse_integer(text)
            seconds = 0.0
        else:
            steps, seconds = 0, float(text.removesuffix("s"))
    except ValueError:
        steps, seconds = -1, 0.0
    if steps < 0 or (not steps and text.endswith("s") and not 0 < seconds < math.inf):
        raise UserError(f"checkpoint_every must be seconds, as 60s, or steps, as 20000: checkpoint_every={text}")
    return seconds, steps


def _steps(name: str, text: str) -> int:
    """Return the steps of a setting that could also be a word."""
    try:
        steps = parse_integer(text)
    except ValueError:
        steps = 0
    if steps < 1:
        raise UserError(f"{name} must be auto, boundary, off or a number of steps above 0, as 1e5: {name}={text}")
    return steps


def _apart(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of PPO, and the others."""
    return (
        {name: value for name, value in settings.items() if name in _PPO},
        {name: value for name, value in settings.items() if name not in _PPO},
    )


def with_horizons(
    words: tuple[str, ...], horizons: tuple[float, float] | None, memory: str, width: int
) -> tuple[str, ...]:
    """Return the settings of a memory with a preset's horizons before them, where it has some and they fit.

    Args:
        words: settings of the memory, as for `options`.
        horizons: of the preset.
        memory: its name.
        width: D.
    """
    if horizons is None or not fits(memory, width, options(words)):
        return words
    return (f"horizons=[{horizons[0]:g},{horizons[1]:g}]", *words)


def in_front(working_memory: str, memory: str) -> str:
    """Return a preset's working memory for a memory: `off` before `none`, whose agent is to have none, and its like.

    Args:
        working_memory: of the preset.
        memory: name of the memory that it stands in front of.
    """
    return "off" if memory in ("none", working_memory) else working_memory


def options(words: tuple[str, ...]) -> dict[str, Any]:
    """Return name=value words as a dict; values are JSON where they can be, else text.

    Raises:
        UserError: if a word has no `=`.
    """
    parsed = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"options are name=value, got {word!r}")
        try:
            parsed[name.replace("-", "_")] = parse_json(value)
        except ValueError:
            parsed[name.replace("-", "_")] = value
    return parsed
