"""Attention of queries to entries at distances in time, each distance with a bias of its own.

    p_qn = softmax over the entries seen of  q_q^T k_n / sqrt(K) + b[distance of q and n],   y_q = W_o sum_n p_qn v_n

Shapes: B lives, Q queries, N entries, D width, H heads, K = D / H.
Source: a bias per distance, arXiv:1910.10683 (here one for each, without buckets).
"""

import torch
from torch import Tensor, nn

__all__ = ["EntryAttention"]


class EntryAttention(nn.Module):
    """Attention of queries to entries, with a bias for every distance.

    Args:
        width: D, width of queries, entries and outputs.
        num_heads: H; divides `width`.
        distances: distances with a bias of their own; longer ones have that of the last.
    """

    def __init__(self, width: int, num_heads: int, distances: int) -> None:
        super().__init__()
        self.num_heads, self.query, self.pair = num_heads, nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.bias, self.output = nn.Parameter(torch.zeros(num_heads, distances)), nn.Linear(width, width)

    def forward(self, x: Tensor, entries: Tensor, distance: Tensor) -> Tensor:
        """Return [B, Q, D], for x [B, Q, D], entries [B, N, D] and distances [B, Q, N]; negative ones are not seen."""
        q = self.query(x).unflatten(-1, (self.num_heads, -1))
        k, v = self.pair(entries).unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        bias = self.bias[:, distance.clamp(0, self.bias.shape[1] - 1)].transpose(0, 1)  # [B, H, Q, N]
        scores = torch.einsum("bqhk,bnhk->bhqn", q, k) / q.shape[-1] ** 0.5 + bias
        weight = scores.masked_fill((distance < 0)[:, None], -torch.inf).softmax(-1)
        y: Tensor = self.output(torch.einsum("bhqn,bnhv->bqhv", weight, v).flatten(2))
        return y
