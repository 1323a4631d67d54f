"""JPEG, WebP, AVIF and JPEG XL, at the settings people use for archives: what a picture would take without maepress."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, __version__, features

from model.metrics.psnr import psnr
from pipeline.evaluate.points import Pixels, Point, compare, to_rgb

Encode = Callable[[Pixels, int], bytes]
BEST = 100
"""The highest quality of all four."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A codec for comparison; qualities are 0..100 for all of them, as their own tools count.

    Attributes:
        name: with the effort it is given.
        encode: RGB pixels to a whole file.
        decode: and back.
        version: what its results depend on, beside the picture and the quality.
        qualities: that draw its curve.
        encode_full: with colour at full resolution, for where `encode` cannot come near enough at any quality; None
            where the codec has nothing better to offer.
    """

    name: str
    encode: Encode
    decode: Callable[[bytes], Pixels]
    version: str
    qualities: tuple[int, ...]
    encode_full: Encode | None = None

    def measure(self, pixels: Pixels, quality: int) -> Point:
        """Real bytes, and fidelity of what they decode to."""
        data = self.encode(pixels, quality)
        return compare(quality, len(data), pixels, self.decode(data))


def pillow(kind: str, **options: Any) -> Encode:
    """How Pillow encodes in a format, with these options of its `save`."""

    def encode(pixels: Pixels, quality: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, quality=quality, **options)
        return file.getvalue()

    return encode


def _opened(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _version(library: str) -> str:
    return f"{library} {features.version(library)} by Pillow {__version__}"


def _jxl_encode(pixels: Pixels, quality: int) -> bytes:
    import imagecodecs  # a quarter of a second, which the jobs that compare nothing should not pay

    return bytes(imagecodecs.jpegxl_encode(pixels, distance=jxl_distance(quality), effort=7, numthreads=1))


def _jxl_decode(data: bytes) -> Pixels:
    import imagecodecs

    return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))


def jxl_distance(quality: int) -> float:
    """Butteraugli distance of a quality as libjxl has it (`JxlEncoderDistanceFromQuality`); never 0, which is lossless.

    0.1 and more, as below the encoder changes its way of working.
    """
    if quality >= 30:
        return max(0.1, 0.1 + (100 - quality) * 0.09)
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


JPEG = Rival(
    "JPEG 4:2:0",
    pillow("JPEG", subsampling="4:2:0", optimize=True),
    _opened,
    _version("libjpeg_turbo"),
    (5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 93, 96, 98),
    pillow("JPEG", subsampling="4:4:4", optimize=True),
)
WEBP = Rival(
    "WebP m4", pillow("WEBP", method=4), _opened, _version("webp"), (2, 10, 20, 35, 50, 65, 75, 82, 88, 92, 96, 98)
)
AVIF = Rival(
    "AVIF s6",
    pillow("AVIF", speed=6, max_threads=1),
    _opened,
    _version("avif"),
    (20, 30, 40, 50, 58, 66, 74, 80, 86, 91, 95),
    pillow("AVIF", speed=6, max_threads=1, subsampling="4:4:4"),
)
JPEG_XL = Rival(
    "JPEG XL e7", _jxl_encode, _jxl_decode, "libjxl by imagecodecs", (10, 25, 40, 55, 66, 75, 83, 89, 94, 98)
)
RIVALS = (JPEG, WEBP, AVIF, JPEG_XL)


class Ladder:
    """One picture's files of one rival: each quality is coded once, whatever is asked of it."""

    def __init__(self, rival: Rival, pixels: Pixels) -> None:
        """Args: pixels: uint8 `[H, W, 3]` or `[H, W, 1]`."""
        self._rival, self._pixels = rival, to_rgb(pixels)
        self._steps: dict[int, tuple[int, float]] = {}

    def point(self, quality: int) -> Point:
        """A point of the curve; its bytes and PSNR serve `smallest`, too."""
        point = self._rival.measure(self._pixels, quality)
        self._steps[quality] = (round(point.bpp * self._pixels.shape[0] * self._pixels.shape[1] / 8), point.psnr)
        return point

    def smallest(self, floor: float) -> int | None:
        """Bytes of the smallest file that reaches a PSNR, to one step of quality; None where none does."""
        found = _search(self._rival.encode, self._rival, self._pixels, self._steps, floor)
        if found is None and self._rival.encode_full is not None:
            found = _search(self._rival.encode_full, self._rival, self._pixels, {}, floor)
        return found


def bytes_at(rival: Rival, pixels: Pixels, floor: float) -> int | None:
    """Bytes of the smallest file that reaches a PSNR; see `Ladder.smallest`."""
    return Ladder(rival, pixels).smallest(floor)


def _search(
    encode: Encode, rival: Rival, pixels: Pixels, steps: dict[int, tuple[int, float]], floor: float
) -> int | None:
    """Bisection over quality, which PSNR rises with but for noise, from what `steps` knows; adds to `steps`."""
    high = min((quality for quality, (_, reached) in steps.items() if reached >= floor), default=BEST + 1)
    low = max((quality for quality, (_, reached) in steps.items() if reached < floor and quality < high), default=0)
    while high - low > 1:
        quality = (low + high) // 2
        if quality not in steps:
            data = encode(pixels, quality)
            steps[quality] = (len(data), psnr(pixels, rival.decode(data)))
        low, high = (low, quality) if steps[quality][1] >= floor else (quality, high)
    return steps[high][0] if high <= BEST else None
