"""The settings that choose a target, shared by encode, estimate and compress."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.core.errors import MaepressError
from model.core.target import MaxBpp, MinMsSsim, MinPsnr, MinSsimulacra2, Quality, Target

DEFAULT_QUALITY = 40


class TargetSettings(BaseModel):
    """At most one target; without any, quality 40."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    quality: Quality = Field(
        None, description=f"0 is smallest, 63 closest to the source; {DEFAULT_QUALITY} where nothing else is asked for"
    )
    min_psnr: MinPsnr = Field(
        None, description="instead: dB that each image must reach at least, as small as that allows"
    )
    min_ms_ssim: MinMsSsim = Field(
        None, description="instead: MS-SSIM that each image must reach at least (161 pixels or more per side)"
    )
    min_ssimulacra2: MinSsimulacra2 = Field(
        None,
        description="instead: SSIMULACRA2 that each image must reach at least (90 is hard to tell from the source)",
    )
    max_bpp: MaxBpp = Field(None, description="instead: bits per pixel that each image may take at most")

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        try:
            self.target()
        except MaepressError as e:
            raise ValueError(str(e)) from None
        return self

    def target(self) -> Target:
        """The target for the codec."""
        fields = {name: getattr(self, name) for name in TargetSettings.model_fields}
        given = {name: value for name, value in fields.items() if value is not None}
        return Target(**given) if given else Target(quality=DEFAULT_QUALITY)
