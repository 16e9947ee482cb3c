"""Certificates of streams: mean returns of the reference policies over many lives.

Four policies have roles: `random`; `within`, the best known policy without memory across episodes; `cross`, the best
known with it; `oracle`, which observes the hidden parameters. A stream where `cross` is not clearly better than
`within` needs no memory across episodes: it is a control. Of third-party environments often only the first and the last
are known. `PLANS` lists the certified settings of each stream. Their certificates are files in `envs/certificates`,
written by `lifelong certify --store`; `lifelong certify --check` compares new lives with them.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.stream import TaskStream

__all__ = [
    "FIRST",
    "FIXED",
    "FORMAT",
    "MEMORYLESS",
    "PLANS",
    "ROLES",
    "Certificate",
    "Plan",
    "Score",
    "certify",
    "load",
    "store",
]

FORMAT = 1
"""Version of the files; others are an error."""

ROLES = ("random", "within", "cross", "oracle")
_NEEDED = ("random", "oracle")

FIXED = "only"
"""Prefix of the names of policies that ignore the task."""

NEGLIGIBLE = 0.02
"""Gaps below this share of oracle - random count as none."""

FIRST = "first observation"
"""Name of the policy that remembers only what an episode's first observation shows of the previous episode."""

MEMORYLESS = "memoryless"
"""Name of the best known policy of the present observation alone, without a memory even within an episode."""

_STORED = Path(str(resources.files("lifelong.envs").joinpath("certificates")))


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings to be certified.

    Args:
        settings: of the stream, where they are not its defaults.
        lives: number of lives of each policy.
        episodes: of each life; None is `life_episodes` of the stream.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    lives: int = 10_000
    episodes: int | None = None


PLANS: dict[str, tuple[Plan, ...]] = {
    "cued-recall": (Plan(), Plan({"feedback": "reward"})),
    "colour-rule": (Plan(lives=250, episodes=40), Plan({"colours": 4}, lives=250, episodes=40)),
    "reversal": (
        Plan(),
        Plan({"hazard": 0.02, "reward_probability": 1.0}),
        Plan({"hazard": 0.02, "reward_probability": 0.8}),
        Plan({"contexts": 8}),
    ),
    "dark-room": (Plan(), Plan({"schedule": "cyclic:1"})),
    "foraging": (Plan(lives=300),),
    "map-change": (Plan(lives=1000), Plan({"schedule": "cyclic:1"}, lives=1000)),
    "doors": (Plan(), Plan({"doors": 8})),
    "cartpole-sign": (Plan(lives=20),),
    "cartpole-length": (Plan(lives=20),),
    "cartpole-physics": (Plan(lives=6),),
    "pendulum-sign": (Plan(lives=100),),
    "inverted-pendulum-gear": (Plan(lives=10),),
    "reacher-sign": (Plan(lives=60),),
    "colour-cubes": (Plan(lives=500), Plan({"teleport": 0.0}, lives=500)),
    "early-choice": (Plan(lives=1000), Plan({"rule": "life"}, lives=1000)),
    "endless-cues": (Plan(lives=400),),
    "endless-t-maze": (Plan(lives=500), Plan({"lengths": "fixed"}, lives=500)),
    "t-maze": (Plan(lives=1000), Plan({"variant": "active"}, lives=1000)),
}
"""Certified settings by stream, the defaults first."""


@dataclass(frozen=True, slots=True)
class Score:
    """Mean return of a policy.

    Args:
        mean: return of an episode, averaged over lives.
        half: half its 95 % interval over lives.
        closed_form: expected return in the same episodes in closed form, or None.
        tasks: mean return of an episode of each task, by name, where tasks are scored separately.
        given_up: episodes for which the planner found no solution and the policy did nothing.
    """

    mean: float
    half: float
    closed_form: float | None = None
    tasks: Mapping[str, float] | None = None
    given_up: int = 0


@dataclass(frozen=True)
class Certificate:
    """Scores of the reference policies of a stream.

    Args:
        stream: its name.
        settings: where they are not its defaults.
        lives: of each policy.
        episodes: of each life.
        seed: of the lives.
        version: of this package.
        scores: by policy.
    """

    stream: str
    settings: dict[str, Any]
    lives: int
    episodes: int
    seed: int
    version: str
    scores: dict[str, Score]

    @property
    def control(self) -> bool | None:
        """True if memory across episodes gains nothing (no gap between cross and within); None where unknown."""
        if "within" not in self.scores or "cross" not in self.scores:
            return None
        within, cross = self.scores["within"], self.scores["cross"]
        gap = cross.mean - within.mean
        return bool(gap <= 2 * np.hypot(cross.half, within.half) or gap <= NEGLIGIBLE * self.scope)

    @property
    def scope(self) -> float:
        """The oracle's score minus that of random actions."""
        return self.scores["oracle"].mean - self.scores["random"].mean

    @property
    def fixed(self) -> tuple[str, float] | None:
        """Name and score of the best policy that ignores the task; None if there is none."""
        scores = [(name, score.mean) for name, score in self.scores.items() if name.startswith(f"{FIXED} ")]
        return max(scores, key=lambda pair: pair[1], default=None)

    @property
    def conflict(self) -> bool | None:
        """True if no known fixed policy solves all tasks; None where none is known."""
        return None if self.fixed is None else self.scores["oracle"].mean - self.fixed[1] > NEGLIGIBLE * self.scope

    @property
    def within_episode(self) -> float | None:
        """What memory within an episode is worth: within less memoryless; None where that is not known."""
        if MEMORYLESS not in self.scores:
            return None
        return self.scores["within"].mean - self.scores[MEMORYLESS].mean

    @property
    def leaks(self) -> bool:
        """True if an episode's first observation is known to leak useful information about the previous one."""
        if FIRST not in self.scores:
            return False
        within, first = self.scores["within"], self.scores[FIRST]
        return bool(first.mean - within.mean > 2 * np.hypot(first.half, within.half))

    def differences(self, fresh: Self) -> dict[str, tuple[float, float]]:
        """Return, for every policy, the difference of its scores in other lives and the tolerance.

        The tolerance is three standard errors: one correct comparison in 370 exceeds it.

        Args:
            fresh: of the same stream and settings, other lives.
        """
        pairs = {name: (score, fresh.scores[name]) for name, score in self.scores.items()}
        return {
            name: (other.mean - score.mean, 3 / 1.96 * float(np.hypot(score.half, other.half)))
            for name, (score, other) in pairs.items()
        }


def certify(name: str, stream: TaskStream, episodes: int, settings: Mapping[str, Any], version: str) -> Certificate:
    """Run every reference policy for `num_envs` lives of a stream, and return their scores.

    Args:
        name: of the stream.
        stream: a stream that has reference policies.
        episodes: of each life.
        settings: of the stream, for the record.
        version: of this package.

    Raises:
        ValueError: if the stream has no reference policies.
    """
    policies = reference_policies(stream)
    if not policies:
        raise ValueError(f"stream {name!r} has no reference policies, so it cannot be certified")
    if missing := [role for role in _NEEDED if role not in policies]:
        raise ValueError(f"stream {name!r} has no reference policy {missing[0]!r}; needed are {', '.join(_NEEDED)}")
    by_task = any(role.startswith(f"{FIXED} ") for role in policies)
    scores = {}
    for role, make in policies.items():
        policy = make()
        score = _score(stream, role, play(stream, policy, episodes), by_task=by_task)
        scores[role] = replace(score, given_up=getattr(policy, "given_up", 0))
    return Certificate(name, dict(settings), stream.num_envs, episodes, stream.seed, version, scores)


def load(name: str) -> list[Certificate]:
    """Return the stored certificates of a stream, one for each of its plans.

    Args:
        name: of the stream, a key of `PLANS`.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if another version wrote them.
    """
    content = json.loads((_STORED / f"{name}.json").read_text(encoding="utf-8"))
    if content["format"] != FORMAT:
        raise ValueError(f"certificate of {name!r} has format {content['format']}, this version reads {FORMAT}")
    return [
        Certificate(**(kept | {"scores": {policy: Score(**score) for policy, score in kept["scores"].items()}}))
        for kept in content["certificates"]
    ]


def store(certificates: list[Certificate], folder: Path | None = None) -> Path:
    """Write the certificates of one stream and return where.

    Args:
        certificates: one for each of its plans.
        folder: where to; None is where `load` looks.
    """
    path = (folder or _STORED) / f"{certificates[0].stream}.json"
    content = {"format": FORMAT, "certificates": [asdict(certificate) for certificate in certificates]}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def _score(stream: TaskStream, policy: str, rows: dict[str, NDArray[Any]], *, by_task: bool) -> Score:
    """Return mean and interval over lives, with the closed form of a role from the rows or the tasks' references."""
    lives = _life_means(rows["life"], rows["return"])
    half = 1.96 * float(lives.std(ddof=1)) / lives.size**0.5 if lives.size > 1 else float("nan")
    closed_form = None
    if policy in ROLES:
        of_tasks = np.array([getattr(task.references, policy) for task in stream.tasks])
        expected = rows[policy] if policy in rows else of_tasks[rows["task"]]
        theory = float(_life_means(rows["life"], expected).mean())
        closed_form = None if np.isnan(theory) else round(theory, 6)
    tasks = None
    if by_task:
        returns = {task.name: rows["return"][rows["task"] == number] for number, task in enumerate(stream.tasks)}
        tasks = {name: round(float(gained.mean()), 6) for name, gained in returns.items() if gained.size}
    return Score(round(float(lives.mean()), 6), round(half, 6), closed_form, tasks)


def _life_means(life: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    _, index = np.unique(life, return_inverse=True)
    return np.bincount(index, values) / np.bincount(index)
