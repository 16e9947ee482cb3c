"""Memories: x, state, start -> y, state; one file each, one table of names (`registry.py`).

Memories, and torch with them, are imported lazily, so that listing the names is fast. Every class that the table
names is an attribute too: `lifelong.memory.GatedDelta`.
"""

from typing import TYPE_CHECKING, Any

from lifelong.memory.registry import MEMORIES, known_memories, make_memory
from lifelong.registry import Entry, lazy_attribute

if TYPE_CHECKING:
    from lifelong.memory.additive.base import Additive, Parts
    from lifelong.memory.attribution import Attribution
    from lifelong.memory.carry_memory import CarryMemory
    from lifelong.memory.check import MemoryContractError, check_memory
    from lifelong.memory.delta.base import DeltaRule
    from lifelong.memory.delta.correction import Correction
    from lifelong.memory.exported_step import export_step
    from lifelong.memory.memory import Memory
    from lifelong.memory.metaplasticity import Metaplastic, metaplastic
    from lifelong.memory.torchrl_module import MemoryModule

__all__ = [
    "MEMORIES",
    "Additive",
    "Attribution",
    "CarryMemory",
    "Correction",
    "DeltaRule",
    "Entry",
    "Memory",
    "MemoryContractError",
    "MemoryModule",
    "Metaplastic",
    "Parts",
    "check_memory",
    "export_step",
    "known_memories",
    "make_memory",
    "metaplastic",
]

_EXPORTS = {
    "Additive": "additive.base",
    "Attribution": "attribution",
    "CarryMemory": "carry_memory",
    "Correction": "delta.correction",
    "DeltaRule": "delta.base",
    "Memory": "memory",
    "MemoryContractError": "check",
    "MemoryModule": "torchrl_module",
    "Metaplastic": "metaplasticity",
    "Parts": "additive.base",
    "check_memory": "check",
    "export_step": "exported_step",
    "metaplastic": "metaplasticity",
}
_CLASSES = {
    entry.target.partition(":")[2]: entry.target.partition(":")[0].removeprefix(f"{__name__}.")
    for entry in MEMORIES.values()
}


def __getattr__(name: str) -> Any:
    """Import a public class at its first access."""
    return lazy_attribute(__name__, _CLASSES | _EXPORTS, name)
