"""What images are pressed to: the settings that encode and compress share."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.core.config import QUALITIES
from model.core.target import Target

DEFAULT_QUALITY = 40


class TargetSettings(BaseModel):
    """A row of the model, a floor of fidelity or a limit of size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quality: int | None = Field(
        None,
        ge=0,
        lt=QUALITIES,
        description=f"0 is smallest, 63 closest to the source; {DEFAULT_QUALITY} where nothing else is asked for",
    )
    min_psnr: float | None = Field(
        None, gt=0, le=100, description="instead: dB that each image must reach at least, as small as that allows"
    )
    min_ms_ssim: float | None = Field(
        None, gt=0, lt=1, description="instead: MS-SSIM that each image must reach at least (161 pixels or more a side)"
    )
    max_bpp: float | None = Field(
        None, gt=0, le=1000, description="instead: bits a pixel that each image may take at most"
    )

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if len(self._given()) > 1:
            flags = [f"--{name.replace('_', '-')}" for name in self._given()]
            raise ValueError(f"{' and '.join(flags)} exclude each other: give one of them")
        return self

    def _given(self) -> dict[str, float]:
        fields = {name: getattr(self, name) for name in TargetSettings.model_fields}
        return {name: value for name, value in fields.items() if value is not None}

    def target(self) -> Target:
        """What the codec is asked for."""
        return Target(**self._given()) if self._given() else Target(quality=DEFAULT_QUALITY)  # type: ignore[arg-type]


def named(target: Target) -> str:
    """A target in a few words, as rows carry it: "quality 40", "min_psnr 38"."""
    values = {name: getattr(target, name) for name in TargetSettings.model_fields}
    return next(f"{name} {value:g}" for name, value in values.items() if value is not None)
