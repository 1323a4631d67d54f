"""The standard codecs that an archive may use in place of ours: JPEG XL, AVIF and WebP, pixels only.

    data = STANDARD["avif"].encode(pixels, 60)      # a whole AVIF file without metadata and alpha
    pixels = decode("avif", data, width, height)    # what every decoder gives, as uint8 [H, W, 3 or 1]

`encode` and the trials of a search may run anywhere, on our own pixels and bytes. Bytes of an
archive may come from anyone: they go through `pipeline.images.sandbox.sandbox`.

Each codec's quality is its own scale from 0 to 100, as its tools have it. The settings are those
that were smallest at equal fidelity in `python -m bench.auto` (decision 0091).
"""

import io
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.core.errors import DamagedPayload
from pipeline.images.formats import jxl_file
from pipeline.images.formats.jpeg_xl import library
from pipeline.images.image_reader import pillow_settings

Pixels = NDArray[np.uint8]
"""uint8 `[H, W, 3]` (RGB) or `[H, W, 1]` (grey)."""

EFFORT_JXL, METHOD_WEBP, SPEED_AVIF = 7, 6, 6
"""Effort of each encoder, on its own scale."""

_LEAST_DISTANCE = 0.1
"""Of JPEG XL: below, the encoder changes its method, and 0 is lossless."""
_PLAIN_PIXELS = 80_000_000
"""More make Pillow warn or refuse; the caller has checked the size."""
_AVIF_LEVELS = 64
"""Quantisers of AV1 that qualities are mapped to: `libavif` rounds (100 - quality) * 63 / 100."""


@dataclass(frozen=True, slots=True)
class StandardCodec:
    """One of the codecs.

    Attributes:
        name: as in the column `codec`.
        qualities: all qualities that differ, rising; a search takes one of them.
        encode: pixels and a quality to a whole file.
        longest: longest side in pixels that its files can have.
    """

    name: str
    qualities: tuple[float, ...]
    encode: Callable[[Pixels, float], bytes]
    longest: int


def jxl_distance(quality: float) -> float:
    """Butteraugli distance of a quality, as libjxl's `JxlEncoderDistanceFromQuality` maps it, at least 0.1."""
    if quality >= 30:
        return max(_LEAST_DISTANCE, 0.1 + (100 - quality) * 0.09)
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def _jxl(pixels: Pixels, quality: float) -> bytes:
    plain = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    return bytes(library().jpegxl_encode(plain, distance=jxl_distance(quality), effort=EFFORT_JXL, numthreads=1))


def _avif(pixels: Pixels, quality: float) -> bytes:
    # At 4:4:4 from the quality on where coarser colour costs more fidelity than it saves.
    grey = pixels.shape[2] == 1
    sampling = "4:0:0" if grey else "4:4:4" if quality >= FULL_COLOUR_AVIF else "4:2:0"
    image = Image.fromarray(pixels[:, :, 0] if grey else pixels)
    return _saved(image, "AVIF", quality=round(quality), subsampling=sampling, speed=SPEED_AVIF, max_threads=1)


def _webp(pixels: Pixels, quality: float) -> bytes:
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels.repeat(3, 2))  # it has no grey
    return _saved(image, "WEBP", quality=round(quality), method=METHOD_WEBP)


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _avif_qualities() -> tuple[float, ...]:
    """The lowest quality of each quantiser."""
    found: dict[int, float] = {}
    for quality in range(101):
        found.setdefault(math.floor((100 - quality) * (_AVIF_LEVELS - 1) / 100 + 0.5), float(quality))
    return tuple(sorted(found.values()))


FULL_COLOUR_AVIF = 70
"""Quality from which AVIF's colour is coded at full resolution."""
_QUARTERS = tuple(quality / 4 for quality in range(20, 401))

STANDARD: dict[str, StandardCodec] = {
    "jxl": StandardCodec("jxl", _QUARTERS, _jxl, 1 << 24),
    "avif": StandardCodec("avif", _avif_qualities(), _avif, 16_384),
    "webp": StandardCodec("webp", tuple(map(float, range(1, 101))), _webp, 16_383),
}
"""By the name in the column `codec`."""


def decode(codec: str, data: bytes, width: int, height: int, *, grey: bool = False) -> Pixels:
    """The pixels of a file, which must be of this codec and of this size; its metadata and alpha are left out.

    Nothing is decoded before its header has the size.

    Args:
        codec: one of STANDARD.
        data: the file.
        width: in pixels.
        height: in pixels.
        grey: make one plane of it.

    Raises:
        DamagedPayload: for other bytes. Decoders raise anything else on damaged files.
        MissingPackage: when imagecodecs is not installed.
    """
    with pillow_settings() if width * height > _PLAIN_PIXELS else nullcontext():
        return _decoded(codec, data, (width, height), grey)


def _decoded(codec: str, data: bytes, size: tuple[int, int], grey: bool) -> Pixels:
    if codec == "jxl":
        image: Image.Image | None = jxl_file.opened(data)
        if image is None:
            raise DamagedPayload("the payload is no JPEG XL file")
    else:
        try:
            image = Image.open(io.BytesIO(data), formats=[codec.upper()])
        except Exception:  # whatever Pillow's parser raises
            raise DamagedPayload(f"the payload is no {codec.upper()} file") from None
    with image:
        if image.size != size:
            raise DamagedPayload(f"the payload has the size {image.width} x {image.height}, not {size[0]} x {size[1]}")
        if getattr(image, "n_frames", 1) != 1:
            raise DamagedPayload("the payload has several frames")
        plain = image.convert("L" if grey else "RGB")
        if plain.size != size:  # of a file that holds another image than its header says
            raise DamagedPayload("the payload holds an image of another size than its header says")
        pixels = np.asarray(plain)
    return pixels[:, :, None] if grey else pixels
