"""Option `bound` of networks trained at test time: whether their inner gradient is normalised.

`on` is a normalised-LMS variant of the published rules: to first order no step of rate 1 corrects more than the error
(see `kernels/inner_loop/network.py`). Of the raw gradient of a new memory (width 64, normal inputs) it uses about 10 %
in `hope`, 5 % in `titans` and `atlas`, .5 % in `ttt_linear`, .02 to .05 % in `ttt_mlp`, `moneta`, `yaad` and `memora`.
`off` is the raw gradient, as published. Nothing keeps it from overshooting: inputs of size 10^6 make `titans` and
`atlas` diverge, and ordinary ones `hope`.
"""

from typing import Literal, get_args

__all__ = ["Bound", "is_bound"]

Bound = Literal["on", "off"]


def is_bound(bound: str) -> bool:
    """Return whether the gradient is normalised.

    Args:
        bound: the setting.

    Raises:
        ValueError: if it is neither `on` nor `off`.
    """
    if bound not in get_args(Bound):
        raise ValueError(f"bound must be 'on' or 'off', got {bound!r}")
    return bound == "on"
