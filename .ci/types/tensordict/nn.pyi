from typing import Any

from torch import nn

class TensorDictModuleBase(nn.Module):
    in_keys: Any
    out_keys: Any

def __getattr__(name: str) -> Any: ...
