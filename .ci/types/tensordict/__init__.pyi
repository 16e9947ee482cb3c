# tensordict ships no types, and those guessed from its source are wrong (an entry is said to be a Tensor, never a
# TensorDict). For the checkers all its names are Any; what is listed by name is what our classes extend.
from typing import Any

def __getattr__(name: str) -> Any: ...
