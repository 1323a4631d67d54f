"""What an estimate can be told."""

from pydantic import Field

from pipeline.encode.target_settings import TargetSettings


class EstimateSettings(TargetSettings):
    """Which source, pressed how; how large a sample; at whose prices."""

    source: str = Field(description="folder or bucket of images that might be pressed")
    model: str = Field("base", description="base (the shipped model) or a model's folder")
    sample: int = Field(
        300, ge=20, le=100_000, description="objects to press at most; more make the intervals narrower"
    )
    compare: int = Field(20, ge=0, description="of these, how many to press as WebP and AVIF at the same PSNR; 0: none")
    seed: int = Field(0, ge=0, description="another seed draws another sample")
    prices: str = Field("", description="a price table (YAML); empty: the shipped one")
    storage: str = Field(
        "", description="where source and archive are kept, by its name in the price table; empty: the first"
    )
    machine: str = Field("", description="what would press, by its name in the price table; empty: the first")
    machines: int = Field(1, ge=1, le=10_000, description="how many of these")
