"""The image type that the codec encodes: 8-bit planes and metadata."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.core.errors import UnsupportedImage

MAX_SIDE = 1 << 24
"""Longest side in pixels that the container can store."""


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """One 8-bit image with alpha and metadata.

    Attributes:
        pixels: uint8 `[H, W, 3]` (RGB) or `[H, W, 1]` (grey), H and W at least 1.
        alpha: uint8 `[H, W]`, coded losslessly, or None.
        icc: the ICC profile as stored in the source, empty when there is none.
        exif: the EXIF block as stored, empty when there is none. Its orientation is not applied to
            the pixels.
        xmp: the XMP packet, empty when there is none.
        skeleton: what else its file held, for who writes it again; empty when that is unknown.

    Raises:
        UnsupportedImage: for other dtypes, shapes or channel counts.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    skeleton: bytes = b""

    def __post_init__(self) -> None:
        p = self.pixels
        if p.dtype != np.uint8 or p.ndim != 3 or p.shape[2] not in (1, 3):
            raise UnsupportedImage(
                f"a picture is uint8 [H, W, 1 or 3], not {p.dtype} {list(p.shape)}: convert it first"
            )
        if not (1 <= p.shape[0] <= MAX_SIDE and 1 <= p.shape[1] <= MAX_SIDE):
            raise UnsupportedImage(f"a picture has sides of 1 to {MAX_SIDE} pixels, not {p.shape[1]}x{p.shape[0]}")
        a = self.alpha
        if a is not None and (a.dtype != np.uint8 or a.shape != p.shape[:2]):
            raise UnsupportedImage(f"alpha is uint8 {list(p.shape[:2])}, not {a.dtype} {list(a.shape)}")

    @property
    def width(self) -> int:
        """Number of columns."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self.pixels.shape[0])
