"""What docstrings say of each argument, for `--help` and `lifelong list NAME`."""

import inspect
from typing import Any

__all__ = ["documented_arguments"]


def documented_arguments(made_by: Any) -> dict[str, str]:
    """Return what the `Args:` sections of a class and its bases, or of a function, say: one line of text by argument.

    Args:
        made_by: class or function with docstrings in Google's style.
    """
    found: dict[str, str] = {}
    for source in reversed(inspect.getmro(made_by) if inspect.isclass(made_by) else (made_by,)):
        found |= _of_docstring(inspect.cleandoc(source.__doc__ or ""))
    return found


def _of_docstring(docstring: str) -> dict[str, str]:
    _, _, below = docstring.partition("Args:\n")
    found: dict[str, str] = {}
    name = ""
    for line in below.split("\n"):
        indent = len(line) - len(line.lstrip())
        if not line.strip() or indent == 0:
            break
        if indent == 4 and ":" in line:
            name, _, text = line.strip().partition(": ")
            found[name] = text
        elif name:
            found[name] += f" {line.strip()}"
    return found
