"""Uniform sample of all that came so far, in bounded memory.

The n-th piece takes a place with probability min(1, C / n), a random one once all C are taken. So every piece so far
is kept with the same probability, however long ago it came.

Source: Vitter 1985, "Random sampling with a reservoir", doi:10.1145/3147.3165, algorithm R.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["Reservoir"]


class Reservoir:
    """Keep C pieces, a uniform sample of all that were offered.

    Tensors are replaced, never written over: who holds those of `pieces` keeps what they were.

    Args:
        capacity: C.
        generator: of what is kept and drawn; None for torch's own.
    """

    def __init__(self, capacity: int, generator: torch.Generator | None = None) -> None:
        self.capacity, self.generator = capacity, generator
        self.seen = 0
        """Pieces that were offered so far."""
        self.pieces: dict[str, Tensor] = {}
        """Those that are kept, [n, ...] each, by name."""

    def __len__(self) -> int:
        """Return n, how many are kept."""
        return min(self.seen, self.capacity)

    def add(self, pieces: Mapping[str, Tensor]) -> None:
        """Offer pieces.

        Args:
            pieces: [B, ...] each, by name; the same names, shapes and dtypes every time.
        """
        count = len(next(iter(pieces.values())))
        room = min(self.capacity - len(self), count)
        if room:
            fresh = {name: x[:room] for name, x in pieces.items()}
            kept = self.pieces or {name: x[:0] for name, x in fresh.items()}
            self.pieces = {name: torch.cat([kept[name], x]) for name, x in fresh.items()}
        self.seen += room
        places, taken = dict[int, int](), range(room, count)
        for i in taken:
            self.seen += 1
            place = int(torch.randint(self.seen, (), generator=self.generator))
            if place < self.capacity:
                places[place] = i  # of two pieces for one place the later one stays
        if places:
            to, of = list(places), list(places.values())
            kept = {name: x.clone() for name, x in self.pieces.items()}
            for name, x in kept.items():
                x[to] = pieces[name][of]
            self.pieces = kept

    def draw(self, count: int) -> dict[str, Tensor]:
        """Return pieces drawn uniformly from those that are kept, [count, ...] each, by name.

        Args:
            count: how many; one may come several times.
        """
        some = torch.randint(len(self), (count,), generator=self.generator)
        return {name: x[some.to(x.device)] for name, x in self.pieces.items()}
