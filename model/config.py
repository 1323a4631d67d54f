"""The shape of a codec: what its checkpoint's JSON says."""

from dataclasses import asdict, dataclass
from typing import Any

QUALITIES = 64
"""Number of quality rows; a quality is an integer 0 (smallest file) .. 63 (highest fidelity)."""
PATCH = 8
"""Side in pixels of the patch that the first layer transforms."""
LATENT_STRIDE = 16
"""Pixels between neighbouring latents."""
HYPER_STRIDE = 4
"""Latents between neighbouring hyper-latents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecConfig:
    """Widths and depths of the networks.

    Attributes:
        patch_channels: channels at 1/8 of the image's sides, at most 192 (= 8 x 8 x 3).
        latent_channels: channels of the latent y at 1/16, even, at most 4 x `patch_channels`.
        hyper_channels: channels of the hyper-latent z at 1/64.
        analysis_blocks: blocks at 1/8 and at 1/16 in the analysis transform.
        synthesis_blocks: blocks at 1/16 and at 1/8 in the synthesis transform.
        hyper_width: channels inside the hyper-analysis and hyper-synthesis.
        context_width: channels of the network that predicts the second pass's means from the first pass.
        scale_width: channels of the integer path that predicts the scales.
    """

    patch_channels: int = 128
    latent_channels: int = 320
    hyper_channels: int = 48
    analysis_blocks: tuple[int, int] = (4, 2)
    synthesis_blocks: tuple[int, int] = (2, 4)
    hyper_width: int = 160
    context_width: int = 224
    scale_width: int = 96

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CodecConfig":
        """The configuration that `to_json` wrote."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)
