"""Limits on time and memory for decoding untrusted bytes."""

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


READABLE_PIXELS = 178_000_000
"""Images with more pixels are not read outside an encode, which has its own limit."""

READING = Limits.for_images(seconds=60.0, max_pixels=READABLE_PIXELS, max_bytes=512 << 20)
"""Limits for reading an image outside an encode."""

TRANSCODING = Limits(seconds=600, memory=8 << 30)
"""Limits for restoring a JPEG from its transcode; the JPEG was within the limits of the run that
made it."""
