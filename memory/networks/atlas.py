r"""Atlas: a network per head trained at test time on the last c pairs at polynomial keys, optionally by Muon.

    G_t = 1/c sum_{t - c < i <= t} gamma_i gradient at F of 1/2 |f(phi(k_i); W) - v_i|^2
    M_t = eta_t M_{t-1} + (1 - eta_t) G_t                               M_0 = 0
    W_t = A + alpha_t (W_{t-1} - A) - theta_t M_t                       W_0 = A, learned
    y_t = f(phi(q_t); W_t)                                              f: a matrix, or layers with SiLU between them
    phi(x) = (a_1 x, a_2 x x^T) / |(a_1, a_2)|                          of x x^T, symmetric, each entry once

F: W at the start of the mini-batch.
q, k, v = SiLU(conv(W x)), q and k of unit length, and so is phi; theta = sigmoid / C, eta, gamma = sigmoid,
log alpha = -softplus of linear maps of x, per head; a starts at 1 and 1/2. With `muon`, orthogonal(M_t) takes the place
of M_t (see `kernels/inner_loop/muon.py`): every direction moves by theta, whatever its error.
A window reaches over the edge of a mini-batch, not over a start. All gradients of a mini-batch of C steps are taken
where it began; theta <= 1 / C, the mean over the window and the normalised gradient (see
`kernels/inner_loop/network.py`) keep equal observations in a row from overshooting.
The decay is initialised for lives, not sentences: `horizons` of many thousand environment steps.

Shapes: B lives, T steps, D width, H heads, K key dim, E = K + K (K + 1) / 2 features, V value dim, N hidden units,
P weights of a head, V E or N (E + V); state frozen, fast (offsets from A) and momentum [B, H, P], phase [B, 1] int64,
the last pairs k [B, c - 1, H, K] and v [B, c - 1, H, V] with gamma [B, c - 1, H], 0 where there is none, and the
convolution's window. A pass gathers for each mini-batch its S = c - 1 + C pairs.
Cost per step: (8 + 4 c) H P floating-point operations, and 2 c H V N with two layers, besides the projections;
12 H P + 4 (c - 1) H (K + V + 1) + 8 bytes of state.
Source: arXiv:2505.23735, from a transcription of its equations. Without Muon it is OmegaNet with momentum. Mean in
place of the sum over the window, bounds for the rate, which comes after the momentum; weights fade to A, not to zero;
the last layer of A begins at zero; our convolution and output layer.
"""

from itertools import pairwise

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.inner_loop import MUON_STEPS, Schedule, descent, orthogonal, products, schedule, size, split
from lifelong.memory.layer import Output, Projection, count_heads, decay_parameters
from lifelong.memory.memory import Memory

__all__ = ["Atlas"]

STATE = ("frozen", "fast", "momentum")


class Atlas(Memory):
    """A network per head, trained on a window of pairs at polynomial keys.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        recent: c, pairs of the window, the present one among them.
        depth: layers of the network; 1 is a matrix.
        hidden: N, units of a hidden layer; None for twice the value dim.
        key_dim: K; None for width / num_heads, but 8 at most.
        value_dim: V; None for width / num_heads.
        batch: C, steps of a mini-batch.
        muon: whether the momentum is made orthogonal before it is added.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `recent`, `depth`, `hidden` or `batch` is not positive.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        recent: int = 4,
        depth: int = 2,
        hidden: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        batch: int = 8,
        muon: bool = False,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
    ) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        K, V = key_dim or min(width // num_heads, 8), value_dim or width // num_heads
        hidden = 2 * V if hidden is None else hidden
        for name, number in (("recent", recent), ("depth", depth), ("hidden", hidden), ("batch", batch)):
            if number < 1:
                raise ValueError(f"{name} must be positive: {name}={number}")
        self.shape, self.recent, self.batch, self.muon = (num_heads, V, K), recent, batch, muon
        widths = [K + K * (K + 1) // 2, *[hidden] * (depth - 1), V]
        self.layers = tuple((rows, columns) for columns, rows in pairwise(widths))
        self.project = Projection(width, num_heads, K, V, conv_size)
        first = [torch.randn(num_heads, *shape) / (shape[1] ** 0.5 if n else 1) for n, shape in enumerate(self.layers)]
        first[-1].zero_()  # the output is 0 before any write
        self.weights = nn.Parameter(torch.cat([layer.flatten(1) for layer in first], 1))
        self.powers = nn.Parameter(torch.tensor([1.0, 0.5]).expand(num_heads, 2).clone())
        self.gates = nn.Linear(width, 4 * num_heads)
        self.gates.weight.data[num_heads : 2 * num_heads] *= 0.1  # decays begin near their horizons
        self.gates.bias.data[:] = 0.0  # eta = 1/2
        self.gates.bias.data[:num_heads] = 2.0  # writes begin near their bound
        self.gates.bias.data[num_heads : 2 * num_heads] = decay_parameters(num_heads, horizons)
        self.gates.bias.data[3 * num_heads :] = 2.0
        self.output = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return zero offsets from the slow weights, no pairs and an empty window."""
        num_heads, V, K = self.shape
        state = TensorDict({n: self.zeros(batch, num_heads, size(self.layers)) for n in STATE}, [batch])
        state["phase"] = torch.zeros(batch, 1, dtype=torch.int64, device=self.weights.device)
        for name, shape in (("k", (num_heads, K)), ("v", (num_heads, V)), ("gamma", (num_heads,))):
            state[name] = self.zeros(batch, self.recent - 1, *shape)
        state["window"] = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        return state

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, window = self.project(x, state["window"], start)
        rate, fade, drag, gamma = self.gates(x).split(self.shape[0], -1)  # [B, T, H] each
        pairs = [torch.cat([state[n], z], 1) for n, z in (("k", k), ("v", v), ("gamma", gamma.sigmoid()))]
        plan = schedule(state["phase"], start, self.batch)
        rates = (rate.sigmoid() / self.batch, -functional.softplus(fade), drag.sigmoid())
        Q, theta, kept, eta = (plan.lay_out_heads(z) for z in (q, *rates))  # [B, N, H, C, ...]
        Q, kept = self._features(Q), kept.exp()
        X, target, weight = self._windows(pairs, plan, start)
        eta = torch.where(plan.there[:, :, None], eta, 1.0)
        lasting, running = products(eta), eta.cumprod(-1)  # of a gradient, and of the incoming momentum, in M_t
        moved, own = products(kept) * theta[..., None, :], kept.cumprod(-1)  # of M_s, and of the weights, in W_t
        gathered = lasting @ ((1 - eta)[..., None] * weight)  # [B, N, H, C, S]

        frozen, fast, momentum = (state[name] for name in STATE)
        fresh, full = plan.fresh[..., None, None], plan.full[..., None, None]
        ys = []
        for n in range(plan.batches):
            frozen, fast, momentum = (z.masked_fill(fresh[:, n], 0.0) for z in (frozen, fast, momentum))
            A, D, M = (split(z, self.layers) for z in (self.weights, fast, momentum))
            trained = descent(split(self.weights + frozen, self.layers), X[:, n], target[:, n], None, "l2", None, None)
            shares = (gathered[:, n], moved[:, n], running[:, n, ..., None], own[:, n, ..., None])
            y, fast, momentum = self._mini_batch(Q[:, n], trained, A, D, M, *shares)
            ys.append(y)
            frozen = torch.where(full[:, n], fast, frozen)
        y = plan.gather(torch.stack(ys, 1).movedim(2, 3).flatten(1, 2))  # [B, T, H, V]

        after = {"frozen": frozen, "fast": fast, "momentum": momentum, "phase": plan.phase, "window": window}
        T, past = x.shape[1], self.recent - 1
        life = functional.pad(start.cumsum(1), (past, 0))
        same = life[:, T:] == life[:, -1:]  # [B, c - 1] pairs of the life that goes on
        for name, z in zip(("k", "v", "gamma"), pairs, strict=True):
            after[name] = torch.where(same.view(len(x), past, *[1] * (z.ndim - 2)), z[:, T:], 0.0)
        return self.output(y, x), TensorDict(after, [x.shape[0]])

    def _windows(self, pairs: list[Tensor], plan: Schedule, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gather the pairs that the steps of every mini-batch are trained on, those kept from before among them.

        Args:
            pairs: keys, values and gamma [B, c - 1 + T, H, ...].
            plan: the mini-batches.
            start: [B, T] bool, true where a step is the first of a life.

        Returns:
            features [B, N, H, S, E], values [B, N, H, S, V], and their weight [B, N, H, C, S] in a step's gradient.
        """
        (B, T), past, device = start.shape, self.recent - 1, start.device
        slot, window = torch.arange(plan.slots, device=device), torch.arange(past + plan.slots, device=device)
        steps = torch.arange(T, device=device).expand(B, T)
        begin = torch.where(plan.there, plan.lay_out(steps) - slot, -(2**31)).amax(2)  # [B, N] when slot 0 is, or was
        pair = begin[..., None] + window  # [B, N, S] place among the pairs
        known = (pair >= 0) & (pair < past + T)
        at = torch.arange(B, device=device)[:, None, None], pair.clamp(0, past + T - 1)
        life = functional.pad(start.cumsum(1), (past, 0))  # [B, c - 1 + T]
        age = slot[:, None] + past - window  # [C, S]
        same = plan.lay_out(start.cumsum(1))[..., None] == life[at][:, :, None]  # [B, N, C, S]
        seen = same & known[:, :, None] & plan.there[..., None] & (age >= 0) & (age <= past)
        X, target, trust = (z[at].movedim(3, 2) for z in pairs)  # [B, N, H, S, ...]
        return self._features(X), target, seen[:, :, None] * trust[..., None, :] / self.recent

    def _mini_batch(
        self,
        z: Tensor,
        trained: list[tuple[Tensor, Tensor]],
        A: list[Tensor],
        D: list[Tensor],
        M: list[Tensor],
        by: Tensor,
        pull: Tensor,
        run: Tensor,
        left: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read a mini-batch and apply its steps.

        Args:
            z: [B, H, C, E] features of the queries.
            trained: gradients of every layer, as `descent` returns them.
            A: slow weights of every layer.
            D: offsets from them of every layer, [B, H, rows, columns], before the mini-batch.
            M: momentum of every layer before the mini-batch.
            by: [B, H, C, S] share of every gradient in M_t.
            pull: [B, H, C, C] share of every M_s in W_t.
            run: [B, H, C, 1] share of the incoming momentum in M_t.
            left: [B, H, C, 1] share of the incoming offsets in W_t.

        Returns:
            the readings [B, H, C, V], and the offsets and the momentum [B, H, P] after the mini-batch.
        """
        after, push = [], []
        for i, (delta, inputs) in enumerate(trained):
            z = functional.silu(z) if i else z
            if self.muon:  # the momentum and the weights of every step, [B, H, C, rows, columns]
                M_t = run[..., None] * M[i][:, :, None] + torch.einsum("bhts,bhsr,bhsc->bhtrc", by, delta, inputs)
                D_t = left[..., None] * D[i][:, :, None] - torch.einsum("bhts,bhsrc->bhtrc", pull, orthogonal(M_t))
                z = ((A[i][:, None] + D_t) @ z[..., None])[..., 0]
                after.append(D_t[:, :, -1])
                push.append(M_t[:, :, -1])
                continue
            both, pulled = pull @ by, pull @ run
            z = z @ A[i].mT + left * (z @ D[i].mT) - pulled * (z @ M[i].mT) - (both * (z @ inputs.mT)) @ delta
            after.append(left[..., -1:, :] * D[i] - pulled[..., -1:, :] * M[i] - _sum(both, delta, inputs))
            push.append(run[..., -1:, :] * M[i] + _sum(by, delta, inputs))
        fast, momentum = (torch.cat([part.flatten(-2) for part in parts], -1) for parts in (after, push))
        return z, fast, momentum

    def _features(self, x: Tensor) -> Tensor:
        """Return [..., H, S, E] of length 1 for x [..., H, S, K] of length 1."""
        K = x.shape[-1]
        row, column = torch.triu_indices(K, K, device=x.device)
        squares = x[..., row] * x[..., column] * torch.where(row == column, 1.0, 2**0.5).to(x.dtype)
        first, second = functional.normalize(self.powers, dim=-1)[:, None].unbind(-1)  # [H, 1]
        return torch.cat([first[..., None] * x, second[..., None] * squares], -1)

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, V, _ = self.shape
        P = size(self.layers)
        projected = self.project.channels + 4 * num_heads + 2 * num_heads * V
        recurrence = (8 + 4 * self.recent) * P + 2 * self.recent * size(self.layers[1:])
        if self.muon:
            small, large = (tuple(f(shape) for shape in self.layers) for f in (min, max))
            recurrence += sum(len(MUON_STEPS) * (4 * r * r * s + 2 * r**3) for r, s in zip(small, large, strict=True))
        return 2 * self.width * projected + num_heads * recurrence


def _sum(by: Tensor, delta: Tensor, inputs: Tensor) -> Tensor:
    """Return the sum over the pairs of the changes at the last step [B, H, rows, columns], by [B, H, C, S]."""
    total: Tensor = (by[..., -1, :, None] * delta).mT @ inputs
    return total
