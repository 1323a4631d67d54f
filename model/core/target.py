"""What a picture is pressed to: a row of the model, a floor of fidelity, or a limit of size."""

import math
from dataclasses import dataclass, fields

from model.core.config import QUALITIES
from model.core.errors import MaepressError


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Exactly one of these.

    Floors hold on the 8-bit picture that the decoder makes; the limit holds for the whole payload without metadata.

    Attributes:
        quality: a row of the model, 0 (smallest) .. 63 (highest fidelity).
        min_psnr: dB over all colour planes.
        min_ms_ssim: 0..1, mean over the colour planes.
        max_bpp: bits a pixel.

    Raises:
        MaepressError: unless exactly one is given, in its range.
    """

    quality: int | None = None
    min_psnr: float | None = None
    min_ms_ssim: float | None = None
    max_bpp: float | None = None

    def __post_init__(self) -> None:
        given = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        if len(given) != 1:
            flags = [f"--{field.name.replace('_', '-')}" for field in fields(self)]
            found = " and ".join(f"--{name.replace('_', '-')}" for name in given) or "none"
            raise MaepressError(f"give exactly one of {', '.join(flags[:-1])} or {flags[-1]}, not {found}")
        if self.quality is not None and not 0 <= self.quality < QUALITIES:
            raise MaepressError(
                f"quality {self.quality} is out of range: choose 0 (smallest) to {QUALITIES - 1} (highest fidelity)"
            )
        if self.min_psnr is not None and not 0 < self.min_psnr <= 100:
            raise MaepressError(f"a floor of {self.min_psnr} dB PSNR is out of range: choose more than 0, at most 100")
        if self.min_ms_ssim is not None and not 0 < self.min_ms_ssim < 1:
            raise MaepressError(
                f"a floor of {self.min_ms_ssim} MS-SSIM is out of range: choose more than 0, less than 1"
            )
        if self.max_bpp is not None and not (self.max_bpp > 0 and math.isfinite(self.max_bpp)):
            raise MaepressError(f"a limit of {self.max_bpp} bits a pixel is out of range: choose more than 0")

    @classmethod
    def of(cls, target: "int | Target") -> "Target":
        """A target as it is; a number is a quality."""
        return target if isinstance(target, cls) else cls(quality=target)  # type: ignore[arg-type]

    def described(self) -> str:
        """The target in words, for tables."""
        (name,) = (field.name for field in fields(self) if getattr(self, field.name) is not None)
        return f"{name} {getattr(self, name):g}"
