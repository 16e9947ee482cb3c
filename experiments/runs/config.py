"""Settings of a training run: a frozen dataclass behind the command line and `config.json`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tyro

from lifelong.agents.ppo import PPOConfig
from lifelong.envs.stream_file import StreamFileError, is_stream_file, read_stream_file
from lifelong.experiments.runs.errors import UserError, check_sizes
from lifelong.experiments.runs.loggers import logger_names
from lifelong.experiments.runs.presets import preset
from lifelong.registry import nearest

__all__ = ["ALIASES", "FORMAT", "PPOOverrides", "TrainConfig", "options"]

FORMAT = 2
"""Version of `config.json`; a newer one is refused. 1 was flat and had the names of `ALIASES`."""

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

_BEFORE: dict[str, Any] = {"advantage_floor": 1e-6}
"""Settings that older runs do not name, as they were in them."""

_SHOWN = preset("cued-recall", None)


def _hint(name: str) -> Any:
    """Return how `--help` shows a setting that the preset gives."""
    value = _SHOWN[name] if name in _SHOWN else getattr(_SHOWN["ppo"], name)
    return tyro.conf.arg(help_behavior_hint=f"(default: the stream's preset; {value:,} for cued-recall)")


@dataclass(frozen=True)
class PPOOverrides:
    """PPO settings in place of the stream's preset; None keeps the preset's."""

    lr: Annotated[float | None, _hint("lr")] = None
    """Learning rate; falls linearly, as the entropy bonus does."""
    epochs: Annotated[int | None, _hint("epochs")] = None
    """Passes over every segment."""
    minibatches: Annotated[int | None, _hint("minibatches")] = None
    """Parts into which the lives of a segment are split."""
    gamma: Annotated[float | None, _hint("gamma")] = None
    """Discount of the next step of the same episode."""
    life_gamma: Annotated[float | None, _hint("life_gamma")] = None
    """Discount of the next episode of the same life; through it an episode counts for later ones."""
    gae_lambda: Annotated[float | None, _hint("gae_lambda")] = None
    """Lambda of generalised advantage estimation."""
    entropy_coef: Annotated[float | None, _hint("entropy_coef")] = None
    """Weight of the entropy bonus."""
    value_coef: Annotated[float | None, _hint("value_coef")] = None
    """Weight of the value loss."""
    clip_epsilon: Annotated[float | None, _hint("clip_epsilon")] = None
    """Clipping range of the probability ratio."""
    max_grad_norm: Annotated[float | None, _hint("max_grad_norm")] = None
    """Gradient norm that is clipped to."""
    advantage_floor: Annotated[float | None, _hint("advantage_floor")] = None
    """Least standard deviation that advantages are divided by; larger where rewards are rare."""
    tbptt: Annotated[int | None, _hint("tbptt")] = None
    """Steps over which gradients flow back through a carried memory; 0 is the whole segment."""

    def __post_init__(self) -> None:
        """Validate what is set."""
        self.over(PPOConfig())

    def set(self) -> dict[str, Any]:
        """Return what is not None."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def over(self, defaults: PPOConfig) -> PPOConfig:
        """Return a preset's settings with these in their place.

        Raises:
            UserError: if a number cannot be meant.
        """
        try:
            return replace(defaults, **self.set())
        except ValueError as error:
            raise UserError(str(error)) from error


_PPO = tuple(f.name for f in fields(PPOConfig))


@dataclass(frozen=True)
class TrainConfig:
    """Train an agent on a stream of tasks, its memory carried over every episode's end."""

    stream: tyro.conf.Positional[str] = "cued-recall"
    """Name of a stream (see `lifelong list`), gym:<id> for anything gymnasium can make, or a stream file."""
    memory: str = "gated_delta"
    """Name of a memory (see `lifelong list`), or package.module:Class."""
    name: str | None = None
    """Name of the run; None makes one of stream, memory and seed."""
    seed: int = 0
    """Random seed of weights, actions and lives."""
    steps: Annotated[int | None, _hint("steps")] = None
    """Environment steps of all lives together."""
    num_envs: Annotated[int | None, _hint("num_envs")] = None
    """Number of lives in parallel."""
    feedback: Literal["reveal", "reward"] | None = None
    """Feedback of streams that know both: the right answer is revealed after an action, or only the reward is given."""
    schedule: str | None = None
    """Which task comes next: interleaved, block:20, cyclic:20, redrawn:20, hazard:0.05, spaced, novelty:0.1, sweep:500,
    walk:0.1; with `every 20` behind it each choice holds for 20 episodes. None: the stream's."""
    boundary: Literal["none", "flag", "task_id"] = "none"
    """What the agent is told of task changes."""
    life_episodes: Annotated[int | None, _hint("life_episodes")] = None
    """Episodes of a life; then its slot begins a new one with new hidden rules. 0 is one endless life."""
    stream_options: tuple[str, ...] = ()
    """More settings of the stream, as name=value."""
    carry: Literal["lifetime", "task", "episode"] = "lifetime"
    """What ends the memory: only the life, a change of task, or every episode's end (the classical recurrent agent)."""
    width: int = 64
    """Width of the backbone."""
    layers: int = 1
    """Blocks of the backbone."""
    residual: Literal["sum", "gated"] = "sum"
    """Residual connection around the memory: `sum`, or a GTrXL gate (`gated`)."""
    memory_options: tuple[str, ...] = ()
    """More settings of the memory, as name=value."""
    segment: Annotated[int | None, _hint("segment")] = None
    """Steps every life takes between two updates of the slow weights."""
    final_lr_fraction: float = 0.05
    """Share of the learning rate and of the entropy bonus that is left at the end."""
    evaluation_lives: Annotated[int | None, _hint("evaluation_lives")] = None
    """Fresh lives in which the frozen agent is evaluated at the end; 0 for none."""
    evaluate_every: str = "auto"
    """When copies of the living agent are evaluated on every task: after so many steps, at each `boundary` between
    tasks, or `off`. `auto`: at boundaries of task sequences in endless lives, at a cost of 5 % of the steps at most."""
    evaluate_mode: Literal["probe", "sandbox"] = "probe"
    """What such a copy's memory keeps from one episode to the next: nothing (`probe`), or all (`sandbox`)."""
    evaluate_episodes: int = 1
    """Episodes of each copy and task."""
    log: str = "tensorboard"
    """Where scalars go, with commas between: tensorboard, csv (scalars.csv in the run's folder), wandb."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0 is one at the end only."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    overwrite: bool = False
    """Replace a run of the same name."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Go on with an interrupted run, to the same bits; takes no other setting."""
    threads: int = 1
    """Threads of torch; with matrices this small one is fastest."""
    ppo: Annotated[PPOConfig | PPOOverrides, tyro.conf.arg(constructor=PPOOverrides)] = PPOOverrides()
    """PPO: a `PPOConfig`, or settings in place of the preset's."""
    device: str = "cpu"
    """Device of the agent: cpu, cuda or cuda:<number>."""
    cuda_graph: Literal["auto", "on", "off"] = "auto"
    """Whether acting is one CUDA graph; auto: on a GPU, if the memory's step can be one."""

    def __post_init__(self) -> None:
        """Validate the settings; write a registered stream's name with hyphens."""
        check_sizes(self, ("steps", "num_envs", "segment", "width", "layers", "threads", "evaluate_episodes"))
        check_sizes(self, ("life_episodes", "evaluation_lives", "checkpoint_every", "seed"), 0)
        if ":" not in self.stream and not is_stream_file(self.stream):
            object.__setattr__(self, "stream", self.stream.replace("_", "-"))
        logger_names(self.log)
        if self.evaluate_every not in ("auto", "boundary", "off") and not _whole(self.evaluate_every):
            raise UserError(
                f"evaluate_every must be auto, boundary, off or a number of steps: evaluate_every={self.evaluate_every}"
            )
        if not 0 <= self.final_lr_fraction <= 1:
            raise UserError(f"final_lr_fraction must lie in [0, 1]: final_lr_fraction={self.final_lr_fraction}")
        if self.name is not None and (self.name != Path(self.name).name or self.name in ("", "..")):
            raise UserError(f"name must be one plain folder name, got {self.name!r}; --runs says where runs are kept")
        if self.cuda_graph == "on" and self.device.partition(":")[0] != "cuda":
            raise UserError(f"cuda_graph must be auto or off without a GPU: cuda_graph=on, device={self.device}")

    @property
    def run(self) -> Path:
        """The run's own directory."""
        carried = "" if self.carry == "lifetime" else f"-{self.carry}"
        feedback = f"-{self.feedback}" if self.feedback else ""
        made = f"{self.stream}{feedback}-{self.memory}{carried}-seed{self.seed}"
        return self.runs / (self.name or "".join(c if c.isalnum() or c in "-_." else "-" for c in made))

    def resolved(self) -> Self:
        """Return the same with every open setting taken from the stream's preset."""
        known = preset(self.stream, self.feedback)
        if is_stream_file(self.stream):
            known |= self._of_file()
        ppo = known.pop("ppo")
        resolved = replace(self, **{name: value for name, value in known.items() if getattr(self, name) is None})
        return replace(resolved, ppo=self.ppo if isinstance(self.ppo, PPOConfig) else self.ppo.over(ppo))

    @property
    def learning(self) -> PPOConfig:
        """The settings of PPO, of a resolved config."""
        assert isinstance(self.ppo, PPOConfig)  # noqa: S101  resolved
        return self.ppo

    def _of_file(self) -> dict[str, Any]:
        """Return the settings that a stream file has."""
        try:
            found = read_stream_file(self.stream)
        except StreamFileError as error:
            raise UserError(str(error)) from error
        said = {ALIASES.get(name, name): value for name, value in found.train.items()}
        open_ = {f.name for f in fields(self) if f.default is None and f.name not in ("name", "resume")} | {*_PPO}
        if unknown := sorted(set(said) - open_):
            hint = nearest(unknown[0], open_)
            raise UserError(
                f"{self.stream}: train has no setting {unknown[0]!r}{hint} known: {', '.join(sorted(open_))}"
            )
        known = preset(found.stream, None)
        learn, rest = _apart(said)
        life = found.options.get("life_episodes", 0) or 0
        return known | {"life_episodes": life} | rest | {"ppo": PPOOverrides(**learn).over(known["ppo"])}

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold of it."""
        return {name: str(v) if isinstance(v, Path) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Return the config that `to_json` gave, in this version or in 0.1.

        Raises:
            UserError: if there are settings this version does not know.
            TypeError: if it is no table of settings.
        """
        if not isinstance(content, Mapping) or not isinstance(content.get("ppo") or {}, Mapping):
            raise TypeError("settings must be a table of names and values")
        nested: dict[str, Any] = content.get("ppo") or {}
        settings: dict[str, Any] = {**content}
        flat = {ALIASES.get(name, name): value for name, value in settings.items() if name != "ppo"} | nested
        learn, rest = _apart(_BEFORE | flat)
        known = {f.name for f in fields(cls)} - {"ppo"}
        if unknown := sorted(set(rest) - known):
            raise UserError(f"unknown settings: {', '.join(unknown)}; known: {', '.join(sorted({*known, *_PPO}))}")
        paths: dict[str, Any] = {n: Path(rest[n]) for n in ("runs", "resume") if rest.get(n) is not None}
        tuples: dict[str, Any] = {n: tuple(rest[n]) for n in ("stream_options", "memory_options") if n in rest}
        ppo = PPOOverrides(**learn)
        whole = len(ppo.set()) == len(_PPO)
        return cls(**(rest | paths | tuples), ppo=ppo.over(PPOConfig()) if whole else ppo)


def _whole(text: str) -> bool:
    """Return whether a text is a positive whole number."""
    return text.isdecimal() and int(text) > 0


def _apart(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of PPO, and the others."""
    return (
        {name: value for name, value in settings.items() if name in _PPO},
        {name: value for name, value in settings.items() if name not in _PPO},
    )


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
            parsed[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            parsed[name.replace("-", "_")] = value
    return parsed
