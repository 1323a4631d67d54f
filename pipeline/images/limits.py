"""Limits on time and memory for decoding untrusted bytes."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one request.

    Attributes:
        seconds: from the request to its answer, once the child is ready.
        memory: bytes by which the child's address space may grow.
    """

    seconds: float
    memory: int

    @classmethod
    def for_images(cls, seconds: float, max_pixels: int, max_bytes: int) -> "Limits":
        """Limits that no valid image reaches: memory for several copies of its planes and file."""
        return cls(seconds, (1 << 30) + 32 * max_pixels + 2 * max_bytes)


MAX_PIXELS = 64_000_000
"""Images with more pixels are kept as their original bytes instead of being decoded."""

READABLE_PIXELS = 178_000_000
"""Images with more pixels are not read outside an encode, which has its own limit."""


def decodable_pixels() -> int:
    """The most pixels of an archive's picture that are decoded.

    `READABLE_PIXELS`, or more for who has encoded larger images and so set MAEPRESS_MAX_MEGAPIXELS,
    the variable of encode's `--max-megapixels`.
    """
    try:
        own = int(float(os.environ.get("MAEPRESS_MAX_MEGAPIXELS") or 0) * 1e6)
    except (ValueError, OverflowError):
        own = 0
    return max(READABLE_PIXELS, own)


READABLE_BYTES = 512 << 20
"""Larger files are not read outside an encode."""

READING = Limits.for_images(seconds=60.0, max_pixels=READABLE_PIXELS, max_bytes=READABLE_BYTES)
"""Limits for reading an image outside an encode."""

TRANSCODING = Limits(seconds=600, memory=8 << 30)
"""Limits for restoring a JPEG from its transcode; the JPEG was within the limits of the run that
made it."""

VIDEOS = Limits(seconds=4 * 3600, memory=16 << 30)
"""Limits for listing a video's frames, which may mean decoding all of it, and for decoding some of them."""
