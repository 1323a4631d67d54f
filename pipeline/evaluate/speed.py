"""How fast each codec is: whole files in memory to whole files in memory, one thread, one codec after the other.

Megapixels a second are this machine's at this moment; quotients within one run are what can be compared.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.codec import Codec
from model.core.picture import Picture
from pipeline.evaluate.baseline_codecs import RIVALS
from pipeline.evaluate.measurement import OURS
from pipeline.evaluate.points import Pixels

TYPICAL = {"JPEG 4:2:0": 85, "WebP m4": 80, "AVIF s6": 70, "JPEG XL e7": 85}
"""Qualities of much the same fidelity."""
_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Speed:
    """Megapixels a second.

    Attributes:
        codec: its name.
        quality: at which it was timed.
        encode: MP/s.
        decode: MP/s.
        bpp: of these files.
    """

    codec: str
    quality: int
    encode: float
    decode: float
    bpp: float


def speeds(images: Sequence[Pixels], quality: int, codec: Codec) -> list[Speed]:
    """Time every codec on the same images, the model at `quality` first."""

    def press(pixels: Pixels, quality: int) -> bytes:
        return codec.compress([Picture(pixels)], quality)[0]

    def unpress(payload: bytes) -> Pixels:
        return codec.decompress([payload])[0].pixels

    found = [_time(OURS, quality, images, press, unpress)]
    found += [_time(rival.name, TYPICAL[rival.name], images, rival.encode, rival.decode) for rival in RIVALS]
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
    decode(files[0])  # warm
    encoded = min(_seconds(lambda: [encode(image, quality) for image in images]) for _ in range(_REPEATS))
    decoded = min(_seconds(lambda: [decode(file) for file in files]) for _ in range(_REPEATS))
    bits = 8 * sum(map(len, files)) / (megapixels * 1e6)
    return Speed(name, quality, megapixels / encoded, megapixels / decoded, bits)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
