"""A training as one of the ranks of `torchrun`: rank 0 trains, the others compute gradients for it.

torchrun --nproc-per-node 2 --no-python lifelong train rooms --steps 5e6
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import torch
from torch import distributed

from lifelong.agents.distributed_ppo import receive, serve, tell_all
from lifelong.agents.ppo import PPO
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.torchrun import helped, ranks

__all__ = ["joined"]

_PATIENCE = timedelta(days=30)
"""For the next message: rank 0 may be collecting, evaluating or compiling."""


@contextmanager
def joined() -> Iterator[bool]:
    """Join the group that `torchrun` began, if it did, and leave it afterwards.

    Yields:
        Whether this process trains. If not, it has computed the gradients of all that rank 0 trained.

    Raises:
        UserError: if rank 0 ended without a word.
    """
    rank, size = ranks()
    if size == 1:
        yield True
        return
    distributed.init_process_group("gloo", timeout=_PATIENCE)
    before = helped.set(True)
    try:
        if rank:
            try:
                _serve_all()
            except RuntimeError as error:
                raise UserError(f"rank {rank}: rank 0 has ended: {error}") from error
        yield not rank
    finally:
        helped.reset(before)
        if not rank:
            tell_all(None)
        distributed.destroy_process_group()


def _serve_all() -> None:
    """Compute gradients for one training of rank 0 after another."""
    for name in ("SIGINT", "SIGTERM"):  # rank 0 answers them: it finishes its segment and writes a checkpoint
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    while (message := receive(0)) is not None:
        settings, trust = message
        config = replace(TrainConfig.from_json(settings), trust=trust)
        torch.set_num_threads(config.threads or 1)
        env = make_env(config, num_envs=1)
        try:
            serve(PPO(make_agent(config, env), config.learning))
        finally:
            env.close()
