"""How much work an encode may spend on making files smaller."""

from typing import Annotated

from annotated_types import Ge, Le

from model.core.errors import MaepressError

MOST = 3
Effort = Annotated[int, Ge(0), Le(MOST)]
"""0 is the fastest; each of 1, 2 and 3 takes longer and gives smaller files at the same fidelity."""
EFFORT_SETTING = (
    "0 is fastest; 1, 2 and 3 take longer and give smaller files at the same fidelity; standard codecs have none"
)
"""Help text of the setting `effort`."""


def checked_effort(effort: int) -> int:
    """The effort, unchanged.

    Raises:
        MaepressError: when it is none.
    """
    if type(effort) is not int or not 0 <= effort <= MOST:
        raise MaepressError(f"effort {effort!r} is out of range: choose 0 to {MOST}")
    return effort
