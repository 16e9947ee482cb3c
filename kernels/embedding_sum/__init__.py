"""Embedding sum: one row of a table for each categorical entry."""

from collections.abc import Callable

from torch import Tensor

from lifelong.kernels.backends import Backend, pick

from .reference import check, embedding_sum as reference

__all__ = ["bind_embedding_sum", "embedding_sum"]


def embedding_sum(values: Tensor, table: Tensor, begin: Tensor, *, backend: Backend = "auto") -> Tensor:
    """Compute `reference.embedding_sum` by the fastest back end for these tensors; arguments as there.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument, or `backend` does not fit the tensors.
        IndexError: if a value is outside the table.
    """
    check(values, table, begin)
    if pick(backend, table) == "cpu" and not values.is_cuda:
        from .cpu import embedding_sum as compiled  # numba is imported at the first use

        return compiled(values, table, begin)
    return reference(values, table, begin)


def bind_embedding_sum(values: Tensor, table: Tensor, begin: Tensor, y: Tensor) -> Callable[[], None]:
    """Return a call that writes `embedding_sum` of int64 values, as they then are, into y: on the CPU, no gradients.

    The call raises an `IndexError` if a value is outside the table.
    """
    from .cpu import bind

    return bind(values, table, begin, y)
