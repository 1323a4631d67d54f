"""How many actors a job may use, as MIN:MAX."""

from typing import Annotated

from pipeline.texts import checked_by


def parse_range(text: str) -> tuple[int, int] | None:
    """Least and most actors of "MIN:MAX"; None for an empty text (as many as fit).

    Raises:
        ValueError: for anything else.
    """
    if not text:
        return None
    least, colon, most = text.partition(":")
    if not (colon and least.isdecimal() and most.isdecimal() and 1 <= int(least) <= int(most)):
        raise ValueError(f"{text!r} is not MIN:MAX with 1 <= MIN <= MAX, such as 1:8")
    return int(least), int(most)


ActorRange = Annotated[str, checked_by(parse_range)]
"""The type of a settings field that holds such a range."""
