"""Settings of `lifelong retention`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lifelong.agents.carry import Carry
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_fields
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.sizes import Count, Lives, Seed, Threads, Workers
from lifelong.schema import Within

__all__ = ["RetentionConfig", "read"]


@dataclass(frozen=True)
class RetentionConfig:
    """Freeze a trained agent, let it live on, and measure what it still knows after how long.

    Args:
        run: directory of the run.
        steps: environment steps of every life; if not given, `times` the life of training.
        times: how many times longer the lives are than in training.
        lives: number of lives in parallel; if not given, as in the evaluation of training.
        carry: what ends the memory; if not given, as in training.
        actions: how the agent acts: by actions drawn from its policy, as in training, or greedily, by the most probable
            ones.
        schedule: which task comes next; if not given, as in training, and with `probe` every task once.
        stream_options: settings of the stream in place of training's, such as cues=64.
        probe: ask copies of the lives at exact lags, and throw them away; the lives are as long as the lags need.
        lags: of `probe`, in episodes; if not given, powers of two until every task was met.
        meetings: of `probe`: how often a task is met before it is asked for.
        sources: also tell which episodes wrote what the memory reads when a task is met again: the shares of its last
            episode, its earlier ones, other tasks' and the present one, by lag, over the first 512 steps.
        seed: random seed of the lives; they are never those of training.
        threads: threads of torch.
        env_workers: processes in which environments of gymnasium live; if not given, as in training.
        device: where the agent computes; if not given, as in training.
        trust: import the code that the run names: a memory or an environment that is neither registered nor of an
            installed package.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    steps: Count | None = None
    times: Annotated[float, Within(above=0, most=1_000_000)] = 16.0
    lives: Lives | None = None
    carry: Carry | None = None
    actions: Actions = "drawn"
    schedule: str | None = None
    stream_options: tuple[str, ...] = ()
    probe: bool = False
    lags: tuple[int, ...] = ()
    meetings: Count = 1
    sources: bool = False
    seed: Seed = 0
    threads: Threads = 1
    env_workers: Workers | None = None
    device: str | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        if min(self.lags, default=1) < 1:
            raise UserError(f"lags must be positive: lags={min(self.lags)}")
        if self.probe and (self.steps is not None or self.times != 16.0):
            given = f"steps={self.steps}" if self.steps is not None else f"times={self.times}"
            raise UserError(f"--probe lives as long as its longest lag needs; it cannot also be told {given}")
        if self.probe and self.sources:
            raise UserError("--sources are told of whole lives, --probe asks copies of them: one of the two")
        if not self.probe and (self.lags or self.meetings != 1):
            given = f"lags={' '.join(map(str, self.lags))}" if self.lags else f"meetings={self.meetings}"
            raise UserError(f"lags and meetings are those of --probe, which is not given: {given}")


def read(words: list[str]) -> RetentionConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(RetentionConfig, words, "retention")
    open_run(config.run, config.trust)
    return config
