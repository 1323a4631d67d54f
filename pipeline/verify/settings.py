"""What a verification can be told."""

from pydantic import BaseModel, ConfigDict, Field

from pipeline.execution.setting_types import ActorRange


class VerifySettings(BaseModel):
    """Which archive, how much of it to decode, and what to compare it with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    archive: str = Field(description="the archive (a folder or bucket prefix)")
    sample: str = Field("32", pattern=r"^(all|\d{1,9})$", description="pressed images to decode, a number or all")
    source: str | None = Field(
        None, description="where the images came from; the sample's PSNR is measured against it again"
    )
    actors: ActorRange = Field("", description="decoders at least and at most, as MIN:MAX; empty: one a GPU or core")
    gpus_per_actor: float | None = Field(
        None, ge=0, description="GPUs a decoder holds; empty: 1 where there are GPUs, else 0"
    )
