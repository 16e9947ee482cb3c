"""What a training run is: one frozen dataclass, which the command line and `config.json` are made from."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tyro

from lifelong.envs.stream_file import StreamFileError, is_stream_file, read_stream_file
from lifelong.experiments.runs.presets import preset

__all__ = ["FORMAT", "ConfigError", "TrainConfig", "options"]

FORMAT = 1
"""Version of `config.json`; a newer one is refused."""


class ConfigError(ValueError):
    """Settings that cannot be meant; says which, what it is and what is allowed."""


_BEFORE: dict[str, Any] = {"advantage_floor": 1e-6}
"""Settings that older runs do not name, as they were in them."""


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
    """Of everything: weights, actions, lives."""
    steps: int | None = None
    """Environment steps of all lives together; None, like every None below, takes the stream's preset."""
    num_envs: int | None = None
    """Lives side by side."""
    feedback: Literal["reveal", "reward"] | None = None
    """Of streams that know both: the right answer is shown afterwards, or only the reward tells."""
    schedule: str | None = None
    """Which task comes next: interleaved, block:20, cyclic:20, redrawn:20, hazard:0.05, spaced, novelty:0.1, sweep:500,
    walk:0.1; with `every 20` behind it each choice holds for 20 episodes. None: the stream's."""
    boundary: Literal["none", "flag", "task_id"] = "none"
    """What the agent is told of task changes."""
    life_episodes: int | None = None
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
    """How what a memory says joins the rest: added, or through a gate that begins nearly shut (GTrXL)."""
    memory_options: tuple[str, ...] = ()
    """More settings of the memory, as name=value."""
    segment: int | None = None
    """Steps every life takes between two updates of the slow weights."""
    tbptt: int = 0
    """Steps over which gradients flow back through a carried memory; 0 is the whole segment."""
    lr: float | None = None
    """Learning rate; falls linearly, as the entropy bonus does."""
    final_lr_fraction: float = 0.05
    """Share of the learning rate and of the entropy bonus that is left at the end."""
    epochs: int | None = None
    """Passes over every segment."""
    minibatches: int | None = None
    """Parts into which the lives of a segment are split."""
    entropy_coef: float | None = None
    """Weight of the entropy bonus."""
    gamma: float | None = None
    """Of the next step of the same episode."""
    life_gamma: float | None = None
    """Of the next episode of the same life; what an episode teaches for later ones counts through it."""
    gae_lambda: float = 0.95
    """GAE's lambda."""
    clip_epsilon: float = 0.2
    """How far PPO's ratio of probabilities may move."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    advantage_floor: float | None = None
    """Least spread that advantages are divided by; larger where rewards are rare, lest noise be blown up."""
    max_grad_norm: float = 0.5
    """Gradient norm that is clipped to."""
    evaluation_lives: int | None = None
    """Fresh lives that the frozen agent leads at the end, to be measured; 0 for none."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0 is one at the end only."""
    runs: Path = Path("runs")
    """Where runs are kept."""
    overwrite: bool = False
    """Replace a run of the same name."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Go on with an interrupted run, to the same bits; takes no other setting."""
    threads: int = 1
    """Threads of torch; with matrices this small one is fastest."""
    device: str = "cpu"
    """Where the agent computes."""
    cuda_graph: Literal["auto", "on", "off"] = "auto"
    """Whether acting is one CUDA graph; auto: on a GPU, if the memory's step can be one."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be meant."""
        for name in ("steps", "num_envs", "segment", "epochs", "minibatches", "width", "layers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be positive: {name}={value}")
        for name in ("life_episodes", "tbptt", "evaluation_lives", "checkpoint_every", "seed"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"{name} must not be negative: {name}={value}")

        if self.name is not None and (self.name != Path(self.name).name or self.name in ("", "..")):
            raise ConfigError(f"name must be one plain folder name, got {self.name!r}; --runs says where runs are kept")
        if self.cuda_graph == "on" and self.device.partition(":")[0] != "cuda":
            raise ConfigError(f"cuda_graph must be auto or off without a GPU: cuda_graph=on, device={self.device}")

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
            known |= self._said_by_file()
        return replace(self, **{name: value for name, value in known.items() if getattr(self, name) is None})

    def _said_by_file(self) -> dict[str, Any]:
        """Return the settings that a stream file has."""
        try:
            found = read_stream_file(self.stream)
        except StreamFileError as error:
            raise ConfigError(str(error)) from error
        open_ = {field.name for field in fields(self) if field.default is None and field.name not in ("name", "resume")}
        if unknown := sorted(set(found.train) - open_):
            raise ConfigError(f"{self.stream}: train has no setting {unknown[0]!r}; known: {', '.join(sorted(open_))}")
        life = found.options.get("life_episodes", 0) or 0
        return preset(found.stream, None) | {"life_episodes": life} | found.train

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold of it."""
        return {name: str(v) if isinstance(v, Path) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return the config that `to_json` gave.

        Raises:
            ConfigError: if there are settings this version does not know.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(content) - known):
            raise ConfigError(f"unknown settings: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        paths: dict[str, Any] = {n: Path(content[n]) for n in ("runs", "resume") if content.get(n) is not None}
        tuples: dict[str, Any] = {n: tuple(content[n]) for n in ("stream_options", "memory_options") if n in content}
        return cls(**(_BEFORE | content | paths | tuples))


def options(words: tuple[str, ...]) -> dict[str, Any]:
    """Return name=value words as a dict; values are JSON where they can be, else text.

    Raises:
        ConfigError: if a word has no `=`.
    """
    parsed = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"options are name=value, got {word!r}")
        try:
            parsed[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            parsed[name.replace("-", "_")] = value
    return parsed
