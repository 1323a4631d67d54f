"""What a decode can be told."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.execution.setting_types import ActorRange


class DecodeSettings(BaseModel):
    """Which images of an archive go where, in which format."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    archive: str = Field(description="the archive (a folder or bucket prefix)")
    dest: str = Field(description="folder or bucket prefix that the images are written to")
    keys: str = Field("*", min_length=1, description="only keys that match this glob (* crosses /, [ab] and ? work)")
    format: Literal["same", "png", "jpeg", "webp", "mae", "mp4"] = Field(
        "same",
        description="of images that were pressed; the others come back as their own bytes; mp4: frames of videos, "
        "put together, and nothing else",
    )
    actors: ActorRange = Field("", description="decoders at least and at most, as MIN:MAX; empty: one a GPU or core")
    gpus_per_actor: float | None = Field(
        None, ge=0, description="GPUs a decoder holds; empty: 1 where there are GPUs, else 0"
    )
