"""One trial of a campaign, and where it was."""

from dataclasses import dataclass

__all__ = ["Trial"]


@dataclass(frozen=True, slots=True)
class Trial:
    """Outcome of one trial.

    Args:
        campaign: such as `kills`.
        kind: of the environment, the file or the verb.
        number: from 0, by which it is made again with the same seed.
        outcome: in a few words; the table counts them.
        good: whether nothing was lost, hidden, or answered by a traceback.
        said: more about a bad one.
    """

    campaign: str
    kind: str
    number: int
    outcome: str
    good: bool
    said: str = ""
