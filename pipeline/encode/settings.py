"""The settings of an encode."""

from typing import Literal

from pydantic import Field

from model.core.model_files import MODEL_SETTING
from pipeline.encode.codec_settings import CodecSettings, needs_model
from pipeline.encode.target_settings import TargetSettings
from pipeline.execution.executors import DESCRIPTION, Executor
from pipeline.execution.setting_types import ActorRange
from pipeline.images.limits import MAX_PIXELS, Limits
from pipeline.sources.settings import SidecarChoice
from pipeline.storage.listing.key_globs import SourceChoice


class EncodeSettings(CodecSettings, TargetSettings, SidecarChoice, SourceChoice):
    """Source, archive, model and target of an encode, its resources and its limits."""

    source: str = Field(description="folder or bucket of images to compress")
    archive: str = Field(description="where the archive is or will be (a folder or bucket prefix)")
    model: str = Field("base", description=MODEL_SETTING)
    repress: bool = Field(
        False,
        description="also compress again what was compressed by another model, with another effort, or to another "
        "target",
    )
    retry_rejected: bool = Field(False, description="try again what was rejected before and has not changed since")
    executor: Executor = Field("auto", description=DESCRIPTION)
    actors: ActorRange = Field(
        "", description="encoders at least and at most, as MIN:MAX; empty: one per GPU, or one per CPU core"
    )
    gpus_per_actor: float | None = Field(
        None, ge=0, description="GPUs an encoder holds; empty: 1 where there are GPUs, else 0"
    )
    shard_mib: int = Field(
        64,
        ge=1,
        le=4096,
        description="MiB of source per shard; a crash loses at most the unfinished shards",
    )
    commit_seconds: float = Field(30.0, ge=0, description="seconds after which finished shards are committed")
    max_megapixels: float = Field(
        MAX_PIXELS / 1e6,
        gt=0,
        le=1_000_000,
        description="larger images are kept as their original bytes (to decode more than 178, set this by variable)",
    )
    max_object_mib: int = Field(
        512, ge=1, description="larger objects are rejected without being fetched, and the exit status is 1"
    )
    read_seconds: float = Field(
        60.0,
        gt=0,
        le=86400,
        description="seconds after which an image that is still being decoded is unreadable",
    )
    unreadable: Literal["keep", "reject"] = Field(
        "keep", description="what becomes of files that are no image that can be read: kept byte for byte, or rejected"
    )

    keep: Literal["exact", "pixels"] = Field(
        "exact",
        description="how kept images are held: exact, byte for byte; pixels: PNG and TIFF as lossless JPEG XL of the "
        "same samples and metadata, where that is smaller",
    )

    store_once: bool = Field(
        False,
        description="afterwards, store the payloads of sources with the same bytes once, for the whole archive",
    )

    @property
    def needs_model(self) -> bool:
        """Whether pictures pass the model."""
        return needs_model(self.target(), self.codecs)

    @property
    def max_pixels(self) -> int:
        """Images with more pixels are kept as their original bytes."""
        return int(self.max_megapixels * 1e6)

    @property
    def max_bytes(self) -> int:
        """Larger objects are not fetched."""
        return self.max_object_mib << 20

    @property
    def keeps_unreadable(self) -> bool:
        """Whether files that no reader understands are kept."""
        return self.unreadable == "keep"

    def limits(self) -> Limits:
        """The limits of time and memory for decoding one image."""
        return Limits.for_images(self.read_seconds, self.max_pixels, self.max_bytes)
