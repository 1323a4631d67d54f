"""Types of settings that are texts with a grammar, such as "1:8": checked, and stored as text."""

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator


def checked_by(parse: Callable[[str], object]) -> AfterValidator:
    """A validator that refuses each text for which `parse` raises a ValueError."""

    def checked(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(checked)


def parse_range(text: str) -> tuple[int, int] | None:
    """The smallest and largest number of actors in "MIN:MAX"; None for an empty text (as many as fit).

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
"""The type of a settings field that holds such a range, as text."""
