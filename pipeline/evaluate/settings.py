"""Settings of an evaluation."""

from typing import ClassVar

from pydantic import ConfigDict, Field

from model.core.config import QUALITIES
from model.core.model_files import MODEL_SETTING
from pipeline.sources.settings import SourceView
from pipeline.storage.listing.key_globs import SourceChoice


class EvaluateSettings(SourceView, SourceChoice):
    """Which images and which model to measure, how thoroughly, and where the report goes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    place: ClassVar[str] = "images"

    images: str = Field(description="folder or bucket of images to measure on")
    out: str = Field(description="folder or bucket prefix for report.html, report.json and CSV")
    model: str = Field("base", description=MODEL_SETTING)
    qualities: int = Field(
        16, ge=4, le=QUALITIES, description="number of the model's 64 qualities to measure, evenly spaced"
    )
    max_images: int = Field(100, ge=1, le=10_000, description="images to measure at most; of more, a random sample")
    max_megapixels: float = Field(1.0, ge=0.1, le=64, description="of a larger image, only the middle is measured")
    seed: int = Field(0, ge=0, description="seed of the random sample")
    overwrite: bool = Field(False, description="write to `out` although it holds something else under the same names")
    workers: int | None = Field(None, ge=1, le=256, description="processes that measure; one per core if not given")
