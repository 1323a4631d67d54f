"""Speed of each codec: from pixels to whole files and back in memory, on one thread, one codec after the other.

Megapixels per second depend on the machine and its load; only ratios within one run can be compared.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.codec import Codec
from model.core.picture import Picture
from pipeline.evaluate.baseline_codecs import BASELINE_CODECS
from pipeline.evaluate.measurement import OURS
from pipeline.evaluate.points import Pixels

TYPICAL = {"JPEG 4:2:0": 85, "WebP m4": 80, "AVIF s6": 70, "JPEG XL e7": 85}
"""Codec name to the quality at which it is timed; the fidelities are similar."""
_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Speed:
    """Speed of one codec.

    Attributes:
        codec: name of the codec.
        quality: quality at which it was timed.
        encode: megapixels per second.
        decode: megapixels per second.
        bpp: bits per pixel of the files.
    """

    codec: str
    quality: int
    encode: float
    decode: float
    bpp: float


def speeds(images: Sequence[Pixels], quality: int, codec: Codec) -> list[Speed]:
    """Time every codec on the same images; the model comes first, at `quality`."""

    def encode(pixels: Pixels, quality: int) -> bytes:
        return codec.compress([Picture(pixels)], quality)[0]

    def decode(payload: bytes) -> Pixels:
        return codec.decompress([payload])[0].pixels

    found = [_time(OURS, quality, images, encode, decode)]
    found += [_time(other.name, TYPICAL[other.name], images, other.encode, other.decode) for other in BASELINE_CODECS]
    return found


def _time(
    name: str,
    quality: int,
    images: Sequence[Pixels],
    encode: Callable[[Pixels, int], bytes],
    decode: Callable[[bytes], Pixels],
) -> Speed:
    megapixels = sum(image.shape[0] * image.shape[1] for image in images) / 1e6
    files = [encode(image, quality) for image in images]
    decode(files[0])  # warm up
    encoded = min(_seconds(lambda: [encode(image, quality) for image in images]) for _ in range(_REPEATS))
    decoded = min(_seconds(lambda: [decode(file) for file in files]) for _ in range(_REPEATS))
    bits = 8 * sum(map(len, files)) / (megapixels * 1e6)
    return Speed(name, quality, megapixels / encoded, megapixels / decoded, bits)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
