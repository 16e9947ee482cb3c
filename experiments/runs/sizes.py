"""Ranges of settings: what can be meant, and what would freeze the machine."""

from typing import Annotated

from lifelong.agents.ppo_config import Count, Positive, Share
from lifelong.envs.seeds import SEEDS
from lifelong.schema import Within

__all__ = [
    "Batch",
    "Count",
    "CountOrZero",
    "Hazard",
    "Layers",
    "Length",
    "Lives",
    "Positive",
    "Repeats",
    "Seed",
    "Share",
    "Spread",
    "Threads",
    "Width",
    "Workers",
]

Batch = Annotated[int, Within(1, 2**22)]
CountOrZero = Annotated[int, Within(0)]
Threads = Annotated[int, Within(1, 1024)]
Workers = Annotated[int, Within(0, 1024)]
Layers = Annotated[int, Within(1, 1024)]
Width = Annotated[int, Within(1, 2**16)]
Lives = Annotated[int, Within(1, 2**22)]
Length = Annotated[int, Within(1, 2**24)]
Repeats = Annotated[int, Within(1, 2**20)]
Seed = Annotated[int, Within(0, SEEDS - 1)]
Hazard = Annotated[float, Within(above=0, most=1)]
Spread = Annotated[float, Within(above=0.01, most=100)]
