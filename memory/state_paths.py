"""Names of the tensors of a state, under which they are in files and exported programs."""

from collections.abc import Mapping

from tensordict import TensorDict
from torch import Tensor

__all__ = ["by_path", "nested", "paths_of"]

Path = tuple[str, ...]


def paths_of(tree: TensorDict) -> dict[str, Path]:
    """Return the paths of the tensors of a TensorDict by their names, as `0/S`; a key may hold a slash itself.

    Raises:
        ValueError: if two paths have the same name.
    """
    paths = dict[str, Path]()
    for key in tree.keys(True, True):
        path = (key,) if isinstance(key, str) else key
        if (other := paths.setdefault("/".join(path), path)) != path:
            raise ValueError(f"entries {other} and {path} have the same name {'/'.join(path)!r}; rename one")
    return paths


def by_path(tree: TensorDict) -> dict[str, Tensor]:
    """Return the tensors of a TensorDict by path, as `0/S`.

    Raises:
        ValueError: if two paths have the same name.
    """
    tensors = list(tree.items(True, True))
    named = {key if isinstance(key, str) else "/".join(key): x for key, x in tensors}
    if len(named) < len(tensors):
        paths_of(tree)  # says which
    return named


def nested(tensors: Mapping[str, Tensor], paths: Mapping[str, Path], batch: int) -> TensorDict:
    """Return tensors by name as a TensorDict [B], with the paths of `paths_of`."""
    return TensorDict({paths[name]: x for name, x in tensors.items()}, [batch])
