"""Replace the memory of a trained agent and keep all weights that fit.

    lifelong swap runs/NAME --memory palimpsa                the new run is runs/NAME-palimpsa
    lifelong train --resume runs/NAME-palimpsa               goes on from there
    lifelong swap runs/NAME --memory metaplastic:mamba2      its own memory, with an importance for every fast weight

A weight fits if the new agent has one of the same name and shape; under `metaplastic` a memory's weights go to its
host. The optimiser's state of a weight is kept with it, and so is what L2 Init and online EWC know of it. Lives begin
anew, as one memory's state means nothing to another. The old run stays unchanged.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from rich.console import Console
from torch import Tensor, nn

from lifelong.agents import PPO, load_checkpoint
from lifelong.agents.checkpoint import restore_optimizer, with_names
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.config import PPOOverrides, TrainConfig, with_horizons
from lifelong.experiments.runs.directory import check_parts, load_policy_tensors, parameter_names
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.facts import check_facts
from lifelong.experiments.runs.new_run import add_entries
from lifelong.experiments.runs.open_run import LAST, on_device, open_run
from lifelong.experiments.runs.presets import preset
from lifelong.experiments.runs.trainer import Trainer
from lifelong.experiments.runs.trusted import with_trust
from lifelong.experiments.settings.swap import SwapConfig

__all__ = ["SwapConfig", "Transplant", "command", "main", "transplant"]


@dataclass(frozen=True)
class Transplant:
    """Report of a swap: kept, re-initialised and dropped weights.

    Args:
        kept: in both, with the same shape: new name -> old name.
        fresh: in the new agent only, or of another shape there.
        dropped: in the old agent only, or of another shape there.
    """

    kept: dict[str, str]
    fresh: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        """Return three paragraphs, a weight in each line."""
        groups = {
            "kept": [new if new == old else f"{new}, from {old}" for new, old in self.kept.items()],
            "re-initialised": self.fresh,
            "dropped": self.dropped,
        }
        return "\n".join(
            "\n".join([f"{title}: {len(lines)}", *(f"  {line}" for line in lines)]) for title, lines in groups.items()
        )


def command(config: SwapConfig) -> None:
    """Run the verb."""
    main(config, Console(stderr=True))


def main(config: SwapConfig, console: Console | None = None) -> Transplant:
    """Write a new run whose agent is a trained one with another memory.

    Args:
        config: settings.
        console: for the list of weights; None for silence.

    Raises:
        UserError: if there is no such run or memory, or the new run exists.
        CheckpointError: if the checkpoint cannot be read.
    """
    console = console or Console(quiet=True)
    trained = on_device(open_run(config.run, config.trust).resolved(), config.device)
    parts, facts = load_checkpoint(config.run / LAST)
    check_facts(facts, config.run)
    check_parts(parts, ("policy", "optimizer"), config.run)
    horizons = preset(trained.preset)["horizons"]
    changed = replace(
        trained,
        memory=config.memory,
        memory_options=with_horizons(config.memory_options, horizons, config.memory, trained.width),
        name=config.name or _plain(f"{config.run.resolve().name}-{config.memory}"),
        runs=config.run.resolve().parent,
        steps=config.steps or trained.steps,
        threads=config.threads or trained.threads,
        env_workers=trained.env_workers if config.env_workers is None else config.env_workers,
        ppo=PPOOverrides(lr=config.lr).over(trained.learning),
        overwrite=config.overwrite,
    )
    if changed.run == config.run.resolve():
        raise UserError(f"the new run would replace the old one, {config.run}: give it another --name")
    with Trainer(changed, resumed=False, console=Console(quiet=True), waits=True) as training:
        report = transplant(training.agent, parts["policy"])
        before = _like(trained, training)
        load_policy_tensors(before, parts["policy"], config.run)
        names, moved = parameter_names(training.agent), dict[str, Tensor]()
        for key, value in with_names(parts["optimizer"], parameter_names(before)).items():
            old, _, entry = key.rpartition(".")
            moved |= {f"{name}.{entry}": value for name in names if report.kept.get(name) == old}
        restore_optimizer(training.learner.optimizer, moved, names)
        _carry_over(training.learner, parts, report.kept)
        training.checkpoint()
    was = {"run": str(config.run), "step": facts["steps"], "memory": trained.memory}
    add_entries(changed.run, swapped=was)
    console.print(str(report), markup=False, highlight=False)
    console.print(f"wrote {changed.run}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"go on with: lifelong train --resume {changed.run}{with_trust(changed)}", soft_wrap=True)
    return report


def transplant(agent: nn.Module, weights: Mapping[str, Tensor]) -> Transplant:
    """Copy weights into an agent where name and shape agree, and report kept, fresh and dropped ones.

    Args:
        agent: a new one; its other weights stay as they are.
        weights: the state dict of a trained one.
    """
    kept: dict[str, str] = {}
    own = agent.state_dict()
    bare = {name.replace(".host.", "."): name for name in weights}  # of a memory that may be the host of another
    for name, tensor in own.items():
        source = name if name in weights else bare.get(name.replace(".host.", "."))
        if source is not None and weights[source].shape == tensor.shape:
            kept[name] = source
    with torch.no_grad():
        for name, source in kept.items():
            own[name].copy_(weights[source])
    used = set(kept.values())
    return Transplant(kept, _without(own, kept), _without(weights, used))


def _carry_over(learner: PPO, parts: Mapping[str, Mapping[str, Tensor]], kept: Mapping[str, str]) -> None:
    """Give a learner what another knew of the weights that are kept: their beginnings, importances, and rewards' scale.

    Args:
        learner: of the new agent.
        parts: of the trained one's checkpoint.
        kept: new names of weights -> old ones.
    """
    if learner.return_scale is not None and "return_scale" in parts:  # the value head is kept, in units of this scale
        own = learner.return_scale.state_dict()
        learner.return_scale.load_state_dict(own | {"moments": parts["return_scale"]["moments"]})
    if learner.regeneration is not None:
        own = learner.regeneration.state_dict()
        learner.regeneration.load_state_dict(own | _of_kept(own, parts.get("initial", {}), kept))
    if learner.consolidation is not None:
        own = learner.consolidation.state_dict()
        learner.consolidation.load_state_dict(own | _of_kept(own, parts.get("consolidation", {}), kept))


def _of_kept(own: Iterable[str], saved: Mapping[str, Tensor], kept: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the saved tensors of weights that are kept, by their new names; `fisher.` or the like may come first."""
    found = {}
    for key in own:
        for name in (key, key.partition(".")[2]):
            source = f"{key.removesuffix(name)}{kept[name]}" if name in kept else ""
            if source in saved:
                found[key] = saved[source]
    return found


def _without(names: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in set(known))


def _like(config: TrainConfig, training: Trainer) -> nn.Module:
    """Return an untrained agent of a config."""
    with torch.random.fork_rng():
        return make_agent(config, training.env)


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
