"""WebP and AVIF at a given PSNR: what a picture would take without maepress, for comparison."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.fidelity import psnr


@dataclass(frozen=True, slots=True)
class Rival:
    """A codec of Pillow's, at the settings people use for archives."""

    name: str
    format: str
    options: dict[str, Any]


RIVALS = (Rival("WebP m4", "WEBP", {"method": 4}), Rival("AVIF s6", "AVIF", {"speed": 6, "max_threads": 1}))


def bytes_at(rival: Rival, pixels: NDArray[np.uint8], floor: float) -> int | None:
    """Bytes of the smallest file that reaches a PSNR, to one step of quality; None where quality 100 does not.

    Args:
        rival: the codec.
        pixels: uint8 `[H, W, 3]` or `[H, W, 1]`.
        floor: dB, on 8-bit samples.
    """
    rgb = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    low, high, found = 0, 101, None
    while high - low > 1:  # quality and PSNR rise together, but for noise
        quality = (low + high) // 2
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, rival.format, quality=quality, **rival.options)
        decoded = np.asarray(Image.open(file).convert("RGB"))
        if psnr(rgb, decoded) >= floor:
            high, found = quality, len(file.getvalue())
        else:
            low = quality
    return found
