"""Controls: the linear map, and the exact dictionary as a list of slots."""

import torch

from lifelong.memory import NoMemory, Table


def test_none(agrees):
    torch.manual_seed(0)
    memory = NoMemory(5)
    agrees(memory, lambda: None, lambda x, _: (memory.linear.weight @ x + memory.linear.bias, None))


def test_table(agrees):
    torch.manual_seed(0)
    K, N = 2, 3
    memory = Table(5, key_dim=K, slots=N, quantum=1.0)

    def step(x, carried):
        last, known, slots = carried  # slots: pairs of key and value
        slots, key = list(slots), tuple(round(z) for z in x[:K].tolist())
        if last is not None:
            if any(last == other for other, _ in slots):
                slots = [(other, x[K:] if other == last else value) for other, value in slots]
            else:
                slots[known % N : known % N + 1] = [(last, x[K:])]
                known += 1
        found, exact = torch.zeros(5 - K).double(), 0.0
        if slots:  # of equally near ones the first
            nearest, found = min(slots, key=lambda slot: sum((a - b) ** 2 for a, b in zip(key, slot[0], strict=True)))
            exact = float(nearest == key)
        return memory.output.weight @ torch.cat([found, torch.tensor([exact]).double()]), (key, known, slots)

    agrees(memory, lambda: (None, 0, []), step)
