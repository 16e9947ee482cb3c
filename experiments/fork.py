"""Copy lives of a run, with their memory, into a new run that goes on by itself, or into a file.

    lifelong fork runs/NAME other                       runs/other goes on where runs/NAME is
    lifelong fork runs/NAME other --slots 3 5           with two of its lives, in slots 0 and 1
    lifelong fork runs/NAME life.safetensors --slots 3  the memory of a life, for `load_state` in any process
    lifelong train --resume runs/other --device cuda    goes on, here elsewhere

A life comes with everything: its memory, its unfinished episode, what is hidden in it, and how often it met what. The
new run has the old one's weights, optimiser, normalisers, learning rate and random numbers too, and with all lives goes
on to the same bits as the old one would. Its rows and curves begin where it does, and its steps are those of its own
lives. The old run stays unchanged.
"""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from lifelong.agents import save_state
from lifelong.agents.durable import writing
from lifelong.experiments.runs.api import load_agent, load_life
from lifelong.experiments.runs.config import TrainConfig, options
from lifelong.experiments.runs.directory import restore
from lifelong.experiments.runs.errors import UserError, as_user_error, check_output
from lifelong.experiments.runs.lives import last_empty_memory
from lifelong.experiments.runs.new_run import add_entries
from lifelong.experiments.runs.open_run import on_device, open_run, read_config
from lifelong.experiments.runs.trainer import Trainer
from lifelong.experiments.runs.trusted import with_trust
from lifelong.experiments.settings.fork import ForkConfig

__all__ = ["ForkConfig", "command", "main"]

_FILE = ".safetensors"


def command(config: ForkConfig) -> None:
    """Run the verb."""
    main(config, Console(stderr=True))


def main(config: ForkConfig, console: Console | None = None) -> Path:
    """Write the new run, or the file, and return where.

    Args:
        config: settings.
        console: for what was written; None for silence.

    Raises:
        UserError: if there is no such run or life, or the new run exists.
        CheckpointError: if the checkpoint cannot be read.
        StreamError: if an environment does not reproduce its episode.
    """
    console = console or Console(quiet=True)
    trained = on_device(open_run(config.run, config.trust).resolved(), config.device)
    lives = trained.num_envs or 1
    if outside := [slot for slot in config.slots if slot >= lives]:
        raise UserError(f"slots must lie in 0 to {lives - 1}, the lives of {config.run}, got {outside[0]}")
    if config.to.suffix == _FILE:
        return _write_file(config, lives, console)
    changed = _of_new_run(config, trained, lives)
    with Trainer(changed, resumed=False, console=Console(quiet=True), waits=True) as training:
        live = training.rollout, training.env, training.learner
        facts = restore(config.run, *live, env_kwargs=options(trained.env_kwargs), slots=config.slots)
        steps, chosen = training.rollout.steps, training.env.num_envs
        training.mean_length = facts["mean_length"]
        training.last_empty_memory = last_empty_memory(trained, facts) * chosen // lives
        training.reported = {"steps": steps, "rows": 0}
        _write_down(config, training.folder, facts["steps"], chosen, lives)
        training.checkpoint()
    said = f"wrote {changed.run}: {chosen} of {lives} lives, after {steps:,} of {changed.steps:,} steps"
    console.print(said, soft_wrap=True, markup=False, highlight=False)
    more = "" if steps < (changed.steps or 0) else " --steps MORE"
    console.print(f"go on with: lifelong train --resume {changed.run}{more}{with_trust(changed)}", soft_wrap=True)
    return changed.run


def _of_new_run(config: ForkConfig, trained: TrainConfig, lives: int) -> TrainConfig:
    """Return the config of the new run."""
    if twice := [slot for n, slot in enumerate(config.slots) if slot in config.slots[:n]]:
        raise UserError(
            f"slots must differ, got {twice[0]} twice: a life's number tells what it meets, and its rows from others'; "
            "another fork is another future of it"
        )
    chosen = len(config.slots) or lives
    changed = replace(
        trained,
        num_envs=chosen,
        steps=(trained.steps or 0) * chosen // lives,
        name=config.to.name,
        runs=(config.run.resolve() if config.to.parent == Path() else config.to).parent,
        overwrite=config.overwrite,
    )
    if changed.run == config.run.resolve():
        raise UserError(f"the new run would replace the old one, {config.run}: give it another name")
    return changed


def _write_down(config: ForkConfig, folder: Path, steps: int, chosen: int, lives: int) -> None:
    """Write into `config.json` of the new run where its lives come from, and the schedule of its learning rate."""
    entries: dict[str, Any] = {"forked": {"run": str(config.run), "step": steps, "slots": list(config.slots)}}
    if pieces := read_config(config.run).get("learning_rate"):
        own = [[start * chosen // lives, share, end * chosen // lives] for start, share, end in pieces]
        entries["learning_rate"] = own
    add_entries(folder, **entries)


def _write_file(config: ForkConfig, lives: int, console: Console) -> Path:
    """Write the lives' states into a file."""
    check_output(config.to, overwrite=config.overwrite)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty memories: these are not
        agent = load_agent(config.run, config.device or "cpu", trust=config.trust)
    slots = config.slots or tuple(range(lives))
    with as_user_error():
        state = load_life(config.run, agent, slots, trust=config.trust)
    with writing(config.to):
        config.to.parent.mkdir(parents=True, exist_ok=True)
    save_state(config.to, state)
    console.print(f"wrote {config.to}: {len(slots)} of {lives} lives", soft_wrap=True, markup=False, highlight=False)
    console.print(f"go on with: state = load_state({str(config.to)!r}, agent)", soft_wrap=True, markup=False)
    return config.to
