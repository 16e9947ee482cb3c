"""Messages of the command line: one line that a terminal shows whole."""

__all__ = ["one_line"]

_LONGEST = 290  # characters of an error's line, after the command's name


def one_line(message: str) -> str:
    """Return a message in one line of at most 300 characters: what is wrong stands in front, the remedy at the end.

    Args:
        message: clauses with semicolons between.
    """
    message = " ".join(message.split())
    first, *clauses = message.split("; ")
    while len(message) > _LONGEST:
        room = _LONGEST - len("; ".join(["", *clauses]))
        if room >= _LONGEST // 3:
            return "; ".join([_cut(first, room), *clauses])
        if len(clauses) < 2:
            return _cut(message, _LONGEST)
        clauses.remove(max(clauses[:-1], key=len))
        message = "; ".join([first, *clauses])
    return message


def _cut(text: str, most: int) -> str:
    """Return a text without its middle, where it is longer than `most`."""
    return text if len(text) <= most else f"{text[: most // 2 - 3]} ... {text[3 + most // 2 - most :]}"
