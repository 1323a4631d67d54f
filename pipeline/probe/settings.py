"""Settings of a probe."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

FOLDER = "folder"


def _checked(rule: str) -> str:
    if rule == FOLDER:
        return rule
    try:
        groups = re.compile(rule).groups
    except re.error as e:
        raise ValueError(f"is no regular expression ({e}), nor the word folder") from None
    if groups != 1:
        raise ValueError("must be the word folder, or a regular expression with one group, which is the label")
    return rule


class ProbeSettings(BaseModel):
    """Which labels to learn from which part of an archive, and how long."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    archive: str = Field(description="the archive (a folder or bucket prefix)")
    label_from_key: Annotated[str, AfterValidator(_checked)] = Field(
        FOLDER, description="an image's label: folder (the one it is in), or a regular expression with one group"
    )
    keys: str = Field("*", min_length=1, description="only keys that match this glob (* crosses /, [ab] and ? work)")
    content: Literal["sketch", "prefix", "latents"] = Field(
        "prefix", description="what to learn from: the hyper-latents, these and the first pass, or all latents"
    )
    held_out: float = Field(
        0.25, gt=0, lt=1, description="share of the images, by hash of key, held out for the report"
    )
    epochs: int = Field(20, ge=1, description="number of passes over the other images")
    pixels: bool = Field(True, description="also learn from decoded pixels, at equal compute, for comparison")
    cache: str = Field("", description="local folder that keeps the latents for the next probe; empty: a temporary one")
    seed: int = Field(0, ge=0, description="seed of the head's weights and of the order of images")
