"""The codecs that a model is compared with: JPEG, WebP, AVIF and JPEG XL, at settings that people use for archives."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFile, __version__, features

from model.metrics.psnr import psnr
from pipeline.evaluate.points import Pixels, Point, compare, to_rgb

Encode = Callable[[Pixels, int], bytes]
Metric = Callable[[Pixels, Pixels], float]
"""Fidelity of a decoded picture (second) to the original (first); rises with the quality."""
BEST = 100
"""The highest quality of all four."""
_MOST_JPEG = 2
"""Bytes of a JPEG per sample that no picture exceeds: noise at the highest quality takes 1.4."""


@dataclass(frozen=True, slots=True)
class BaselineCodec:
    """A codec for comparison. Quality is 0..100 for all of them, as in their own tools.

    Attributes:
        name: name and effort, as reports show it.
        encode: turns RGB pixels into a whole file at a quality.
        decode: turns such a file back into RGB pixels.
        version: version of the library, on which results depend.
        qualities: qualities at which the rate-distortion curve is measured.
        encode_full: the same with colour at full resolution, tried where `encode` misses a floor at every quality;
            None if `encode` has it already.
    """

    name: str
    encode: Encode
    decode: Callable[[bytes], Pixels]
    version: str
    qualities: tuple[int, ...]
    encode_full: Encode | None = None

    def measure(self, pixels: Pixels, quality: int) -> Point:
        """Encode and decode at a quality, and measure size and fidelity."""
        data = self.encode(pixels, quality)
        return compare(quality, len(data), pixels, self.decode(data))


def pillow(kind: str, **options: Any) -> Encode:
    """An encoder that calls Pillow's `save` with a format and options."""

    def encode(pixels: Pixels, quality: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, quality=quality, **options)
        return file.getvalue()

    return encode


def jpeg(subsampling: str) -> Encode:
    """An encoder of JPEGs with optimised codes."""
    encode = pillow("JPEG", subsampling=subsampling, optimize=True)

    def with_room(pixels: Pixels, quality: int) -> bytes:
        # Pillow's buffer has a byte or two per pixel, and this much at least; noise takes more, and would fail.
        before, ImageFile.MAXBLOCK = ImageFile.MAXBLOCK, max(ImageFile.MAXBLOCK, _MOST_JPEG * pixels.size)
        try:
            return encode(pixels, quality)
        finally:
            ImageFile.MAXBLOCK = before

    return with_room


def _opened(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _version(library: str) -> str:
    return f"{library} {features.version(library)} by Pillow {__version__}"


def _jxl_encode(pixels: Pixels, quality: int) -> bytes:
    import imagecodecs  # takes a quarter of a second, so only where it is used

    return bytes(imagecodecs.jpegxl_encode(pixels, distance=jxl_distance(quality), effort=7, numthreads=1))


def _jxl_decode(data: bytes) -> Pixels:
    import imagecodecs

    return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))


def jxl_distance(quality: int) -> float:
    """Butteraugli distance of a quality, as libjxl's `JxlEncoderDistanceFromQuality` maps it.

    At least 0.1: below, the encoder changes its method, and 0 is lossless.
    """
    if quality >= 30:
        return max(0.1, 0.1 + (100 - quality) * 0.09)
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


JPEG = BaselineCodec(
    "JPEG 4:2:0",
    jpeg("4:2:0"),
    _opened,
    _version("libjpeg_turbo"),
    (5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 93, 96, 98),
    jpeg("4:4:4"),
)
WEBP = BaselineCodec(
    "WebP m4", pillow("WEBP", method=4), _opened, _version("webp"), (2, 10, 20, 35, 50, 65, 75, 82, 88, 92, 96, 98)
)
AVIF = BaselineCodec(
    "AVIF s6",
    pillow("AVIF", speed=6, max_threads=1),
    _opened,
    _version("avif"),
    (20, 30, 40, 50, 58, 66, 74, 80, 86, 91, 95),
    pillow("AVIF", speed=6, max_threads=1, subsampling="4:4:4"),
)
JPEG_XL = BaselineCodec(
    "JPEG XL e7", _jxl_encode, _jxl_decode, "libjxl by imagecodecs", (10, 25, 40, 55, 66, 75, 83, 89, 94, 98)
)
BASELINE_CODECS = (JPEG, WEBP, AVIF, JPEG_XL)


class Ladder:
    """One picture encoded by one codec: the sizes and fidelities measured so far serve the searches that follow."""

    def __init__(self, codec: BaselineCodec, pixels: Pixels, metric: Metric = psnr) -> None:
        """Start without measurements.

        Args:
            codec: encodes the picture.
            pixels: uint8 `[H, W, 3]` or `[H, W, 1]`.
            metric: the fidelity to which the floors of `smallest` apply.
        """
        self._codec, self._pixels, self._metric = codec, to_rgb(pixels), metric
        self._known: dict[int, tuple[int, float]] = {}

    def point(self, quality: int) -> Point:
        """Measure a point of the curve."""
        point = self._codec.measure(self._pixels, quality)
        if self._metric is psnr:
            self._known[quality] = (round(point.bpp * self._pixels.shape[0] * self._pixels.shape[1] / 8), point.psnr)
        return point

    def smallest(self, floor: float) -> int | None:
        """Bytes of the smallest file that reaches a floor, to one unit of quality; None if none does."""
        found = self._search(self._codec.encode, self._known, floor)
        if found is None and self._codec.encode_full is not None:
            found = self._search(self._codec.encode_full, {}, floor)
        return found

    def _search(self, encode: Encode, known: dict[int, tuple[int, float]], floor: float) -> int | None:
        """Bisect over quality, with which fidelity rises (up to noise).

        `known` maps quality to bytes and fidelity; it narrows the search, and each new trial is added to it.
        """
        high = min((quality for quality, (_, reached) in known.items() if reached >= floor), default=BEST + 1)
        low = max((quality for quality, (_, reached) in known.items() if reached < floor and quality < high), default=0)
        while high - low > 1:
            quality = (low + high) // 2
            if quality not in known:
                data = encode(self._pixels, quality)
                known[quality] = (len(data), self._metric(self._pixels, self._codec.decode(data)))
            low, high = (low, quality) if known[quality][1] >= floor else (quality, high)
        return known[high][0] if high <= BEST else None


def bytes_at(codec: BaselineCodec, pixels: Pixels, floor: float, metric: Metric = psnr) -> int | None:
    """Bytes of the smallest file that reaches a floor of fidelity, by default a PSNR in dB; None if none does."""
    return Ladder(codec, pixels, metric).smallest(floor)
