"""Measure how many key-value pairs each update rule recalls without training.

    lifelong capacity                                  every rule and kind of key, 64, 128 and 256 pairs
    lifelong capacity --keys relu --pairs 16 32 64     some of them

Random pairs of a key and one of 1,024 code vectors are written once each. Every key is then queried, and counts as
recalled if the output's nearest code vector (largest inner product) is its own. This measures the update rule alone,
without learned keys. All rules but the last two hold one matrix of width x width (Palimpsa and Mesa two); those that
say so hold more.
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from lifelong.agents.durable import writing
from lifelong.experiments.settings.capacity import CODES, LOAD, CapacityConfig, Keys
from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.linear_scan import linear_scan
from lifelong.kernels.posterior import posterior

__all__ = ["RULES", "CapacityConfig", "Keys", "command", "draw_keys", "main", "recall"]


def command(config: CapacityConfig) -> None:
    """Run the verb."""
    sys.stdout.write(main(config))


def main(config: CapacityConfig) -> str:
    """Return the table of recall as Markdown, and write it to `output` if given.

    Args:
        config: settings.
    """
    rules = config.rules or tuple(RULES)
    lines = [
        f"Recall of {', '.join(map(str, config.pairs))} pairs, each stored once; width {config.width}, {CODES} codes, "
        f"{config.repeats} draws, seed {config.seed}; mean and half a 95 % interval",
        "",
        f"| rule | {' | '.join(config.keys)} |",
        f"| --- |{' --- |' * len(config.keys)}",
    ]
    measured = {kind: [recall(kind, n, config, rules) for n in config.pairs] for kind in config.keys}
    for rule in rules:
        cells = [", ".join(_mean(at_n[rule]) for at_n in measured[kind]) for kind in config.keys]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    table = "\n".join(lines) + "\n"
    if config.output:
        with writing(config.output):
            config.output.parent.mkdir(parents=True, exist_ok=True)
            config.output.write_text(table, encoding="utf-8")
        sys.stderr.write(f"wrote {config.output}\n")
    return table


def recall(kind: Keys, pairs: int, config: CapacityConfig, rules: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the share of keys recalled by each rule in each draw, [repeats].

    Args:
        kind: of keys.
        pairs: number of stored pairs.
        config: widths, repeats and seed.
        rules: names in `RULES`.
    """
    random = torch.Generator().manual_seed(config.seed)
    codes = torch.randn(config.repeats, CODES, config.width, generator=random, dtype=torch.float64)
    chosen = torch.rand(config.repeats, CODES, generator=random).argsort(1)[:, :pairs]
    k = draw_keys(kind, (config.repeats, pairs, config.width), random)
    v = codes.gather(1, chosen[..., None].expand(-1, -1, config.width))
    return {rule: ((RULES[rule](k, v) @ codes.mT).argmax(-1) == chosen).double().mean(1) for rule in rules}


def draw_keys(kind: Keys, shape: tuple[int, int, int], random: torch.Generator) -> Tensor:
    """Return keys of unit length, [R, n, d].

    Args:
        kind: `dense`, normal; `relu`, their positive part; `sparse`, four positive axes; `offset`, dense plus one
            normal vector for all keys of a draw; `correlated`, each half made of the one before.
        shape: R draws, n keys, d width.
        random: where they come from.
    """
    R, n, d = shape
    k = torch.randn(shape, generator=random, dtype=torch.float64)
    if kind == "relu":
        k = k.relu()
    elif kind == "sparse":
        axes = torch.rand(shape, generator=random).argsort(-1)[..., :LOAD]
        k = torch.zeros_like(k).scatter(-1, axes, k.gather(-1, axes).abs() + 0.3)
    elif kind == "offset":
        k = k + torch.randn(R, 1, d, generator=random, dtype=torch.float64)
    elif kind == "correlated":
        for i in range(1, n):
            k[:, i] = 0.5**0.5 * (k[:, i - 1] + k[:, i])
    return functional.normalize(k, dim=-1)


# The rules: each takes keys and values [R, n, d], stores them in their order, and returns what it reads at each key.


def hebbian(k: Tensor, v: Tensor) -> Tensor:
    """Sum v k^T."""
    return k @ _stored(k, v).mT


def palimpsa(k: Tensor, v: Tensor, prior: float = 1.0) -> Tensor:
    """Divide the sum by what each weight has been used, and a prior."""
    zero = k.new_zeros(k.shape[0], 1, v.shape[-1], k.shape[-1])
    q, w = k[:, :, None], v[:, :, None]
    _, M, J = posterior(q, q, w, torch.ones_like(w), zero, zero, _never(k), prior=k.new_full((1,), prior))
    return k @ (M / (J + prior))[:, 0].mT


def delta(k: Tensor, v: Tensor, rate: float = 1.0) -> Tensor:
    """Correct what is read at the key towards the value."""
    return k @ _stored(k, v, rate=k.new_full((*k.shape[:2], 1), rate)).mT


def longhorn(k: Tensor, v: Tensor) -> Tensor:
    """Take an implicit step on the squared error, the diagonal of it."""
    share = 1 / (1 + k.square().sum(-1, keepdim=True))
    return k @ _stored(k, share * v, decay=torch.log1p(-share * k * k)[:, :, None]).mT


def preconditioned_delta(k: Tensor, v: Tensor) -> Tensor:
    """Correct, and write less on axes that are used much: by a factor between 2/3 and 3/2."""
    used = linear_scan(k * k, k.new_zeros(1, 1), torch.zeros_like(k[:, 0]), _never(k))[0]
    x = torch.log(used + 1e-6) + 0.2
    return k @ _corrected(k, k * torch.exp(-torch.log(k.new_tensor(1.5)) * x / (1 + x.abs())), v).mT


def kalman_delta(k: Tensor, v: Tensor, precision: float = 10.0) -> Tensor:
    """Correct by the gain of a Kalman filter whose covariance is kept diagonal."""
    used = linear_scan(precision * k * k, k.new_zeros(1, 1), torch.zeros_like(k[:, 0]), _never(k))[0]
    before = 1 + used - precision * k * k
    gain = (k / before) / (1 / precision + (k * k / before).sum(-1, keepdim=True))
    return k @ _corrected(k, gain, v).mT


def mesa(k: Tensor, v: Tensor, ridge: float = 0.25) -> Tensor:
    """Solve the ridge regression of all values on all keys."""
    gram = k.mT @ k + ridge * torch.eye(k.shape[-1], dtype=k.dtype)
    weights: Tensor = torch.linalg.solve(gram, k.mT @ v)
    return k @ weights


def quadratic(k: Tensor, v: Tensor) -> Tensor:
    """Sum v phi(k)^T with all products of two axes; phi(q)^T phi(k) = (q^T k)^2."""
    return (k @ k.mT).square() @ v


def softmax(k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention over all pairs: their mean weighted by exp(8 q^T k)."""
    return (8 * k @ k.mT).softmax(-1) @ v


RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hebbian": hebbian,
    "palimpsa, Ip = 1": palimpsa,
    "palimpsa, Ip = 0.01": lambda k, v: palimpsa(k, v, 0.01),
    "delta, beta = 1": delta,
    "delta, beta = 0.5": lambda k, v: delta(k, v, 0.5),
    "longhorn": longhorn,
    "preconditioned delta": preconditioned_delta,
    "kalman delta, beta / Ip = 10": kalman_delta,
    "mesa": mesa,
    "hebbian, degree 2 (state x 32)": quadratic,
    "softmax (keeps all pairs)": softmax,
}


def _stored(k: Tensor, v: Tensor, *, rate: Tensor | None = None, decay: Tensor | None = None) -> Tensor:
    """Return the matrix [R, V, K] after all pairs."""
    q, zero = k[:, :, None], k.new_zeros(k.shape[0], 1, v.shape[-1], k.shape[-1])
    return fast_weight(q, q, v[:, :, None], zero, _never(k), rate=rate, decay=decay)[1][:, 0]


def _corrected(k: Tensor, gain: Tensor, v: Tensor) -> Tensor:
    """Return the matrix after S <- S + (v - S k) gain^T at every pair."""
    q, to, zero = k[:, :, None], gain[:, :, None], k.new_zeros(k.shape[0], 1, v.shape[-1], k.shape[-1])
    return fast_weight(q, to, v[:, :, None], zero, _never(k), erase=q, erase_key=to)[1][:, 0]


def _never(k: Tensor) -> Tensor:
    return torch.zeros(k.shape[:2], dtype=torch.bool)


def _mean(shares: Tensor) -> str:
    half = 1.96 * shares.std().item() / len(shares) ** 0.5
    return f"{shares.mean().item():.2f} ± {half:.2f}"
