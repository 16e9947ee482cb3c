"""Multi-query associative recall (MQAR) with any memory: pairs of key and value are shown, then keys are asked for.

    python docs/examples/mqar.py [MEMORY]

`lifelong recall` is the benchmark: many memories at equal bytes, several seeds, keys that are rewritten.
Source: Arora et al. 2023, arXiv:2312.04927.
"""

import sys

import torch
from torch import nn

from lifelong import make_memory

B, PAIRS, KEYS, VALUES, WIDTH = 64, 8, 32, 16, 64


def batch():
    """Return tokens [B, 3 * PAIRS]: key, value, key, value, ..., then all keys in another order; and their values."""
    keys = torch.stack([torch.randperm(KEYS)[:PAIRS] for _ in range(B)])
    values = torch.randint(VALUES, (B, PAIRS))
    order = torch.stack([torch.randperm(PAIRS) for _ in range(B)])
    shown = torch.stack([keys, KEYS + values], -1).flatten(1)
    return torch.cat([shown, keys.gather(1, order)], 1), values.gather(1, order)


class Model(nn.Module):
    """Embedding, memory, and logits of the values."""

    def __init__(self, memory):
        super().__init__()
        self.embed, self.memory = nn.Embedding(KEYS + VALUES, WIDTH), make_memory(memory, WIDTH)
        self.head = nn.Linear(WIDTH, VALUES)

    def forward(self, tokens):
        """Return logits [B, T, VALUES]."""
        start = torch.zeros(tokens.shape, dtype=torch.bool)
        y, _ = self.memory(self.embed(tokens), self.memory.initial_state(len(tokens)), start)
        return self.head(y)


def main(steps=600, memory="gated_delta"):
    """Train, print and return the share of right answers in the last batches; chance is 1/16."""
    torch.manual_seed(0)
    model = Model(memory)
    optimizer, right = torch.optim.Adam(model.parameters(), lr=3e-3), []
    for _ in range(steps):
        tokens, answers = batch()
        logits = model(tokens)[:, -PAIRS:]
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits.flatten(0, 1), answers.flatten()).backward()
        optimizer.step()
        right.append((logits.argmax(-1) == answers).float().mean().item())
    share = sum(right[-20:]) / len(right[-20:])
    print(f"{memory}: {share:.3f} right, chance {1 / VALUES:.3f}")
    return share


if __name__ == "__main__":
    main(memory=sys.argv[1] if len(sys.argv) > 1 else "gated_delta")
