"""Option `bound` of networks trained at test time: whether their inner gradient is normalised.

`on` is a normalised-LMS variant of the published rules: to first order no step of rate 1 corrects more than the error,
see `kernels/inner_loop/network.py`. `off` is the raw gradient that they have, which nothing keeps from overshooting.
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
