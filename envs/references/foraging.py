"""Reference policies of Foraging, from uniform actions to the oracle; all but the oracle see observations only.

| policy | knows |
| --- | --- |
| random | nothing |
| memoryless | what is in view; it eats things of the first kind |
| within | which kind paid last, what it saw and what it ate in this episode |
| cross | the same, in its life |
| oracle | which kind pays, and all things |

All but the first make the same plan: walk to what can be eaten soonest, or to where nothing was seen yet, and around
what costs. It is none of the best, as it looks at one thing at a time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.certificate import MEMORYLESS
from lifelong.envs.references.policies import LearningPolicy, OraclePolicy, Policy, UniformPolicy
from lifelong.envs.streams.foraging import VIEW, Foraging
from lifelong.envs.streams.grid_moves import EAST, MOVES

__all__ = ["Forager", "foraging_policies"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LOOK = 2.0  # steps for which a look at a new cell is put off
_COST = 2.0  # detour in steps that is made around a thing that costs


def foraging_policies(stream: Foraging) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""

    def knowing() -> Ints:
        wait = np.maximum(stream.ripe_at - stream.life_step[:, None, None], 0)
        pays = stream.kinds == stream.paying()[:, None, None]
        return _plan(stream.place, np.where(pays, wait, np.inf), (stream.kinds > 0) & ~pays & (wait == 0))

    return {
        "random": lambda: UniformPolicy(4, stream.seed),
        MEMORYLESS: lambda: Forager(stream, remembers=False),
        "within": lambda: Forager(stream, wiped=True),
        "cross": lambda: Forager(stream),
        "oracle": lambda: OraclePolicy(knowing),
    }


class Forager(LearningPolicy):
    """Walk to the nearest thing of the kind that paid last, by a map of what was seen.

    Where the agent is follows from its moves. While no kind is known to pay, it eats the first kind.

    Args:
        stream: whose numbers are looked at, and nothing else.
        wiped: whether all is forgotten at every episode's end.
        remembers: whether anything is remembered at all.
    """

    def __init__(self, stream: Foraging, *, wiped: bool = False, remembers: bool = True) -> None:
        super().__init__(wiped=wiped)
        self.size, self.regrow, self.remembers = stream.size, stream.regrow, remembers
        shape = stream.num_envs, stream.size, stream.size
        self.seen, self.kinds = np.zeros(shape, np.bool_), np.zeros(shape, np.int64)
        self.ripe_at = np.zeros(shape, np.int64)
        self.pays = np.ones(stream.num_envs, np.int64)
        self.place, self.now = np.zeros((stream.num_envs, 2), np.int64), 0

    def act(self, obs: dict[str, Any], life_start: Bools) -> Ints:
        """Return the next moves."""
        everyone, new = np.arange(life_start.size), self.resets(obs, life_start)
        if not self.remembers:
            new = np.ones_like(life_start)
        self.now += 1
        for known, value in ((self.seen, False), (self.kinds, 0), (self.ripe_at, 0), (self.pays, 1), (self.place, 0)):
            known[new] = value
        walked = ~new
        moved = MOVES[np.where(walked, obs["previous_action"], 0)] * walked[:, None]
        self.place = (self.place + moved) % self.size
        here = everyone, self.place[:, 1], self.place[:, 0]
        reward, kind = obs["previous_reward"][:, 0], self.kinds[here]
        ate = (reward != 0) & (kind > 0) & walked
        self.pays = np.where(ate, np.where(reward > 0, kind, 3 - kind), self.pays)
        self.ripe_at[here] = np.where(ate, self.now + self.regrow, self.ripe_at[here])
        self._look(obs["observation"]["view"])
        pays = self.kinds == self.pays[:, None, None]
        wait = np.maximum(self.ripe_at - self.now, 0)
        soonest = np.where(pays, wait, np.where(self.seen, np.inf, _LOOK))
        return _plan(self.place, soonest, (self.kinds > 0) & ~pays & (wait == 0), look=~self.seen)

    def _look(self, view: Ints) -> None:
        """Note what is in view; what is not there now but was before grows again."""
        x, y = ((self.place[:, None] + VIEW[:, None]) % self.size).transpose(2, 0, 1)
        cells = np.arange(len(view))[:, None, None], y[:, :, None], x[:, None]
        there = view > 0
        self.seen[cells] = True
        self.kinds[cells] = np.where(there, view, self.kinds[cells])
        self.ripe_at[cells] = np.where(there, self.now, np.maximum(self.ripe_at[cells], self.now + 1))


def _plan(place: Ints, wait: Floats, costly: Bools, look: Bools | None = None) -> Ints:
    """Return the moves [B] after which a cell's thing can be eaten soonest.

    Args:
        place: [B, 2] where the agents are.
        wait: [B, n, n] steps until something there can be eaten; infinite where nothing can.
        costly: [B, n, n] where a step costs.
        look: [B, n, n] where `wait` is not waited for but walked in vain; None for nowhere.
    """
    size, everyone = wait.shape[-1], np.arange(len(place))
    along = np.arange(size)
    delay = np.zeros_like(wait) if look is None else np.where(look, wait, 0.0)
    waits = wait - np.where(np.isfinite(wait), delay, 0.0)
    soonest = np.empty((len(MOVES), len(place)))
    for move, step in enumerate(MOVES):
        x, y = ((place + step) % size).T
        dx, dy = (np.minimum((along - at[:, None]) % size, (at[:, None] - along) % size) for at in (x, y))
        away = dy[:, :, None] + dx[:, None]
        soonest[move] = (np.maximum(away, waits) + delay).min((1, 2)) + _COST * costly[everyone, y, x]
    best: Ints = soonest.argmin(0)
    return np.where(np.isfinite(soonest.min(0)), best, EAST)
