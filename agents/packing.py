"""Share the weights of one network among tasks: each reads those it was given, and those of the tasks before it.

    owner_i = r     weight i was given to the r-th task that was learned;  -1 while it is free
    the r-th task that was learned reads     θ_i where 0 <= owner_i <= r, else 0
    one that is not learned yet reads        all θ_i

Matrices and convolutions are shared so. Each task has heads of its own, and the remaining vectors, biases and gains of
norms, are those of the first task. So what a task learned is not touched by what is learned later: its outputs stay
the same bits, as long as nothing else changes, such as the normaliser of observations.

Source: Mallya and Lazebnik 2018, "PackNet: adding multiple tasks to a single network by iterative pruning",
arXiv 1711.05769.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["Packing"]

_FREE = -1


class Packing(nn.Module):
    """Owners of a network's weights, and the order in which tasks were learned.

    Args:
        shared: the network's parameters by name; those of two axes or more are shared.
        heads: weights [A, K D] of the linear maps with D columns for each task, by name.
        tasks: K.
    """

    def __init__(self, shared: Mapping[str, nn.Parameter], heads: Mapping[str, nn.Parameter], tasks: int) -> None:
        super().__init__()
        self.tasks, self.heads = tasks, frozenset(heads)
        self.rank: Tensor
        """[K] which in the order of learning each task was, from 0; -1 those that are not learned yet."""
        self.register_buffer("rank", torch.full((tasks,), _FREE))
        self._places = {name: name.replace(".", "/") for name, weight in shared.items() if weight.ndim > 1}
        for name, place in self._places.items():
            self.register_buffer(place, torch.full(shared[name].shape, _FREE, dtype=torch.int16))

    @property
    def learned(self) -> int:
        """Tasks that were learned."""
        return int((self.rank >= 0).sum())

    def owner(self, name: str) -> Tensor:
        """Return the owners of a shared weight, of its shape.

        Args:
            name: of the parameter.
        """
        return self.get_buffer(self._places[name])

    def read_by(self, rank: int, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        """Return the shared weights as a task reads them, by name.

        Args:
            rank: of the task in the order of learning; -1 if it is not learned yet.
            parameters: of the network, by name.
        """
        if rank == _FREE:
            return {name: parameters[name] for name in self._places}
        found = {}
        for name in self._places:
            owner = self.owner(name)
            found[name] = parameters[name] * ((owner >= 0) & (owner <= rank))
        return found

    def may_learn(self, name: str, parameter: Tensor, rank: int) -> Tensor:
        """Return which of a parameter's numbers a task may change, as a mask that broadcasts to its shape.

        Args:
            name: of the parameter, also one that is not shared.
            parameter: itself.
            rank: of the task in the order of learning; -1 if it is not learned yet.
        """
        if name in self._places:
            return self.owner(name) == rank
        if name in self.heads:
            return (self.rank == rank).repeat_interleave(parameter.shape[1] // self.tasks)
        of_the_first = rank == 0 or not self.learned
        return torch.tensor(of_the_first, device=parameter.device)

    @torch.no_grad()
    def give(self, task: int, parameters: Mapping[str, nn.Parameter]) -> int:
        """Give a task its share of the free weights, the largest of each tensor, and set the others to 0.

        With K tasks, of which r were learned before, the share is 1 / (K - r): the last takes what is left.

        Args:
            task: number of the task.
            parameters: of the network, by name.

        Returns:
            The rank of the task.

        Raises:
            ValueError: if it has its share.
        """
        if (rank := int(self.rank[task])) >= 0:
            raise ValueError(f"task {task} was given its weights, as number {rank}")
        rank = self.learned
        for name in self._places:
            weight, owner = parameters[name].data, self.owner(name)
            free = owner == _FREE
            kept = weight.abs().masked_fill(~free, -1.0).flatten().topk(round(int(free.sum()) / (self.tasks - rank)))
            given = torch.zeros_like(free).flatten().index_fill(0, kept.indices, value=True).view_as(free)
            owner[given] = rank
            weight.masked_fill_(owner == _FREE, 0.0)
        self.rank[task] = rank
        return rank
