"""The settings of a verification."""

from pydantic import BaseModel, ConfigDict, Field

from pipeline.execution.executors import DESCRIPTION, Executor
from pipeline.execution.setting_types import ActorRange


class VerifySettings(BaseModel):
    """Archive, size of the sample, and source of a verification, and its resources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    archive: str = Field(description="the archive (a folder or bucket prefix)")
    sample: str = Field("32", pattern=r"^(all|\d{1,9})$", description="compressed images to decode, a number or all")
    source: str | None = Field(
        None,
        description="where the images came from; the sample's fidelity is measured against it again, and objects that "
        "the archive lacks are counted",
    )
    executor: Executor = Field("auto", description=DESCRIPTION)
    actors: ActorRange = Field("", description="decoders at least and at most, as MIN:MAX; empty: one per GPU or core")
    gpus_per_actor: float | None = Field(
        None, ge=0, description="GPUs a decoder holds; empty: 1 where there are GPUs, else 0"
    )
