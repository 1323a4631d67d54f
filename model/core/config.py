"""The configuration of a codec's networks, as a checkpoint's JSON stores it."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from model.core.errors import MaepressError

QUALITIES = 64
"""Number of quality rows; a quality is an integer 0 (smallest file) .. 63 (highest fidelity)."""
DCT_PATCH = 8
"""Side in pixels of the patch that the first layer transforms."""
LATENT_STRIDE = 16
"""Pixels between neighbouring latents."""
BLOCK_VALUES = 3 * LATENT_STRIDE**2
"""Values of the block of 16 x 16 RGB pixels that one position of the latents covers."""
HYPER_STRIDE = 4
"""Latents between neighbouring hyper-latents."""
PLAIN = 16
"""Number of lowest-frequency channels that the hyper-analysis also sees linearly, so that z can carry local means."""
MAX_WIDTH = 4096
"""Largest width and depth that a configuration may have; far beyond what can be trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecConfig:
    """Widths and depths of the networks.

    Attributes:
        patch_channels: channels at 1/8 of the image's sides, at most 192 (= 8 x 8 x 3).
        latent_channels: channels of the latent y at 1/16, even, 16 to 4 x `patch_channels`.
        hyper_channels: channels of the hyper-latent z at 1/64.
        analysis_blocks: blocks at 1/8 and at 1/16 in the analysis transform.
        synthesis_blocks: blocks at 1/16 and at 1/8 in the synthesis transform.
        hyper_width: channels inside the hyper-analysis and hyper-synthesis.
        context_width: channels of the networks that predict a pass's means from the passes before.
        scale_width: channels of the integer path that predicts the scales.

    Raises:
        MaepressError: for values that do not define a codec.
    """

    patch_channels: int = 128
    latent_channels: int = 320
    hyper_channels: int = 48
    analysis_blocks: tuple[int, int] = (4, 2)
    synthesis_blocks: tuple[int, int] = (2, 4)
    hyper_width: int = 160
    context_width: int = 192
    scale_width: int = 96

    def __post_init__(self) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            pair = field.name.endswith("_blocks")
            numbers = values if pair else (values,)
            if not isinstance(numbers, tuple) or len(numbers) != (2 if pair else 1):
                raise MaepressError(
                    f"a codec's {field.name} is {'two numbers' if pair else 'a number'}, not {values!r}"
                )
            if any(type(n) is not int or not (0 if pair else 1) <= n <= MAX_WIDTH for n in numbers):
                raise MaepressError(f"a codec's {field.name} is 1 to {MAX_WIDTH}, not {values!r}")
        most = 4 * self.patch_channels
        if (
            self.patch_channels > 3 * DCT_PATCH**2
            or self.latent_channels % 2
            or not PLAIN <= self.latent_channels <= most
        ):
            raise MaepressError(
                f"a codec has up to {3 * DCT_PATCH**2} patch channels (here {self.patch_channels}) "
                f"and an even number of latent channels, {PLAIN} to 4 times as many (here {self.latent_channels})"
            )

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> "CodecConfig":
        """The configuration that `to_json` wrote.

        Raises:
            MaepressError: when the values do not define a codec.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or values.keys() != names:
            raise MaepressError(f"a codec's configuration has exactly the fields {', '.join(sorted(names))}")
        arguments: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**arguments)
