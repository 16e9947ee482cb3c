# What triton.jit compiles is not Python to a type checker: its names count as Any.
from typing import Any

def __getattr__(name: str) -> Any: ...
