"""The settings of a verification."""

from typing import Annotated

from pydantic import ConfigDict, Field

from pipeline.execution.executors import DESCRIPTION, Executor
from pipeline.execution.setting_types import ActorRange, checked_by
from pipeline.sources.settings import SidecarChoice
from pipeline.storage.listing.key_globs import SourceChoice
from pipeline.verify.part import parse_part


class VerifySettings(SidecarChoice, SourceChoice):
    """Archive, size of the sample, and source of a verification, and its resources."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    archive: str = Field(description="the archive (a folder or bucket prefix)")
    sample: str = Field("32", pattern=r"^(all|\d{1,9})$", description="compressed images to decode, a number or all")
    part: Annotated[str, checked_by(parse_part)] = Field(
        "",
        description="check only part K of N of the shards, and record that it was checked, as 3/30; 1/1 checks and "
        "records all of them",
    )
    repair_from: str | None = Field(
        None,
        description="a replica of the archive (maepress replicate): what is damaged or missing is taken from there, "
        "where it is intact",
    )
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
