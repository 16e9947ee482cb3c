r"""Embedding sum: a linear map of one-hot categories, computed by lookup.

    y = sum_p table[begin_p + value_p]

Shapes: P places, R rows of all places together, D width.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["check", "embedding_sum"]

_MANY = 4096  # minimal table rows for a lookup instead of a product


def embedding_sum(values: Tensor, table: Tensor, begin: Tensor) -> Tensor:
    """Return the sum of the chosen rows.

    Args:
        values: [..., P] integers; which row of each place, counted from its first.
        table: [R, D].
        begin: [P] int64, where the rows of each place begin.

    Returns:
        [..., D].
    """
    index = values.long() + begin
    if len(table) > _MANY:
        return functional.embedding(index, table).sum(-2)
    chosen = table.new_zeros(*values.shape[:-1], len(table)).scatter_(-1, index, 1.0)
    return chosen @ table  # its backward is several times faster than an embedding's


def check(values: Tensor, table: Tensor, begin: Tensor) -> None:
    """Validate shapes and dtypes.

    Raises:
        ValueError: naming the argument, its shape and the shape wanted.
    """
    if table.ndim != 2:
        raise ValueError(f"table must be [R, D], got {list(table.shape)}")
    if values.is_floating_point() or values.dtype == torch.bool:
        raise ValueError(f"values must be integers, got {values.dtype}")
    if list(begin.shape) != [values.shape[-1]]:
        raise ValueError(f"begin must be {[values.shape[-1]]}, got {list(begin.shape)}")
