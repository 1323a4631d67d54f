"""Settings of an estimate."""

from pydantic import Field

from model.core.model_files import MODEL_SETTING
from pipeline.encode.codec_settings import CodecSettings, needs_model
from pipeline.encode.target_settings import TargetSettings
from pipeline.sources.settings import SourceView
from pipeline.storage.listing.key_globs import SourceChoice


class EstimateSettings(CodecSettings, TargetSettings, SourceView, SourceChoice):
    """Which source, encoded how; sample size; prices."""

    source: str = Field(description="folder or bucket of images that might be encoded")
    model: str = Field("base", description=MODEL_SETTING)
    sample: int = Field(
        300, ge=20, le=100_000, description="largest number of objects to encode; more make the intervals narrower"
    )
    compare: int = Field(20, ge=0, description="how many of these to compare with WebP and AVIF at equal PSNR; 0: none")
    seed: int = Field(0, ge=0, description="seed of the random sample")
    prices: str = Field("", description="a price table (YAML); empty: the shipped one")
    storage: str = Field(
        "", description="kind of storage of source and archive, a name in the price table; empty: the first"
    )
    machine: str = Field("", description="kind of machine that encodes, a name in the price table; empty: the first")
    machines: int = Field(1, ge=1, le=10_000, description="number of machines")

    @property
    def needs_model(self) -> bool:
        """Whether pictures pass the model."""
        return needs_model(self.target(), self.codecs)
