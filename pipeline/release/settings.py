"""The settings of a release."""

import re
from typing import Annotated

from pydantic import ConfigDict, Field

from pipeline.archive.key_choice import DESCRIPTION as KEYS
from pipeline.execution.executors import DESCRIPTION, Executor
from pipeline.execution.setting_types import ActorRange, checked_by
from pipeline.sources.settings import SidecarChoice

EVERY_KEY = "*"
_AGE = re.compile(r"(\d{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_age(text: str) -> int:
    """Seconds in a text such as "30d", "12h" or "0".

    Raises:
        ValueError: for anything else.
    """
    if text == "0":
        return 0
    found = _AGE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no age, such as 30d, 12h or 45m")
    return int(found[1]) * _SECONDS[found[2]]


class ReleaseSettings(SidecarChoice):
    """Source, archive and conditions of a release, and its resources."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str = Field(description="where the originals are (a folder or bucket prefix)")
    archive: str = Field(description="the archive that holds their images")
    keys: str = Field(EVERY_KEY, min_length=1, description=f"only these keys: {KEYS}")
    delete: bool = Field(False, description="delete the originals that pass; without it nothing is deleted")
    yes: bool = Field(False, description="delete, or withdraw, without asking")
    minimum_age: Annotated[str, checked_by(parse_age)] = Field(
        "0", description="only images that were encoded at least so long ago: 30d, 12h, 0 for all"
    )
    second_copy: str | None = Field(
        None, description="another copy of the archive, in which each row must be intact, too"
    )
    withdraw: bool = Field(
        False,
        description="end the release of these keys: from then on the source decides about them again, so that rows "
        "whose original is deleted may be retired, and changed objects take the place of their rows",
    )
    executor: Executor = Field("auto", description=DESCRIPTION)
    actors: ActorRange = Field("", description="decoders at least and at most, as MIN:MAX; empty: one per GPU or core")
    gpus_per_actor: float | None = Field(
        None, ge=0, description="GPUs a decoder holds; empty: 1 where there are GPUs, else 0"
    )
