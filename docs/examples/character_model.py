"""A character language model with any memory in forty lines; it reads this repository's page of decisions.

python docs/examples/character_model.py [MEMORY]
"""

import sys
from pathlib import Path

import torch
from torch import nn

from lifelong import make_memory

TEXT = (Path(__file__).parents[1] / "decisions.md").read_text()
B, T, WIDTH = 16, 128, 64


class Model(nn.Module):
    """Embedding, memory, and logits of the next character."""

    def __init__(self, characters, memory):
        super().__init__()
        self.embed, self.memory = nn.Embedding(characters, WIDTH), make_memory(memory, WIDTH)
        self.head = nn.Sequential(nn.LayerNorm(2 * WIDTH), nn.Linear(2 * WIDTH, characters))

    def forward(self, text, state):
        """Return logits [B, T, characters] and the state after the text."""
        x = self.embed(text)
        y, state = self.memory(x, state, torch.zeros(text.shape, dtype=torch.bool))
        return self.head(torch.cat([x, y], -1)), state


def main(steps=600, memory="gated_delta"):
    """Train, write a sample, and return the loss of every step, in nats per character."""
    torch.manual_seed(0)
    characters = sorted(set(TEXT))
    text = torch.tensor([characters.index(c) for c in TEXT])
    streams = text[: len(text) // B * B].view(B, -1)  # 16 places, read on from batch to batch with the state carried
    model = Model(len(characters), memory)
    optimizer, losses, state = torch.optim.Adam(model.parameters(), lr=3e-3), [], model.memory.initial_state(B)
    for step in range(steps):
        at = step * T % (streams.shape[1] - T)
        logits, state = model(streams[:, at : at + T], state.detach())
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), streams[:, at + 1 : at + T + 1].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    sample, state = [characters.index("T")], model.memory.initial_state(1)
    for _ in range(200):
        logits, state = model(torch.tensor([sample[-1:]]), state)
        sample.append(int(torch.distributions.Categorical(logits=logits[0, -1]).sample()))
    print(
        f"{memory}: {sum(losses[-20:]) / len(losses[-20:]):.2f} nats a character\n",
        "".join(characters[i] for i in sample),
    )
    return losses


if __name__ == "__main__":
    main(memory=sys.argv[1] if len(sys.argv) > 1 else "gated_delta")
