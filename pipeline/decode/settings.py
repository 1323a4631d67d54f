"""The settings of a decode and of an export."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.execution.executors import DESCRIPTION, Executor
from pipeline.execution.setting_types import ActorRange


class DecodeSettings(BaseModel):
    """Archive, destination, keys and format of a decode, and its resources."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    archive: str = Field(description="the archive (a folder or bucket prefix)")
    dest: str = Field(description="folder or bucket prefix that the images are written to")
    keys: str = Field("*", min_length=1, description="only keys that match this glob (* crosses /, [ab] and ? work)")
    format: Literal["same", "png", "jpeg", "webp", "tiff", "avif", "jxl", "mae", "mp4"] = Field(
        "same",
        description="of compressed images; others are written as their source's bytes; mp4: videos joined from their "
        "frames, and nothing else",
    )
    convert_kept: bool = Field(
        False, description="write kept images in the format, too, unless that would lose bits, bands or frames"
    )
    overwrite: bool = Field(False, description="replace files in DEST that differ; without it they stay and are listed")
    portable_names: bool = Field(
        False,
        description="change names so that Windows and macOS can hold them, and where two would be the same; without it "
        "such keys are listed and not written",
    )
    sidecars: bool = Field(
        False, description="write what the archive's column meta holds, too: sidecar files beside the images"
    )
    executor: Executor = Field("auto", description=DESCRIPTION)
    actors: ActorRange = Field("", description="decoders at least and at most, as MIN:MAX; empty: one per GPU or core")
    gpus_per_actor: float | None = Field(
        None, ge=0, description="GPUs a decoder holds; empty: 1 where there are GPUs, else 0"
    )


class ExportSettings(DecodeSettings):
    """Archive, destination, layout and format of an export, and its resources."""

    layout: Literal["files", "imagefolder", "webdataset", "parquet"] = Field(
        "files",
        description="files under their keys; imagefolder: LABEL/NAME, the label being a key's last folder; webdataset: "
        "tar shards; parquet: tables that Hugging Face's datasets opens as images",
    )
    shard_mib: int = Field(256, ge=1, le=4096, description="MiB of images per shard of webdataset and parquet")

    format: Literal["same", "png", "jpeg", "webp", "tiff", "avif", "jxl"] = Field(
        "same", description="of compressed images; same: each source's own, or PNG"
    )
