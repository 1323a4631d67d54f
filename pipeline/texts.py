"""Settings that are texts with a grammar of their own, such as "1:8": kept as texts, refused if they do not parse."""

from collections.abc import Callable

from pydantic import AfterValidator


def checked_by(parse: Callable[[str], object]) -> AfterValidator:
    """What makes a settings field refuse what `parse` refuses by a ValueError."""

    def checked(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(checked)
