"""An image file as 8-bit RGB for learning, where metadata and exact bit depth do not matter."""

from PIL import Image

from pipeline.images.limits import READABLE_PIXELS, READING
from pipeline.images.reading import Rejected
from pipeline.images.sandbox.sandbox import shared
from pipeline.images.window import Window


def decode_rgb(data: bytes, window: Window | None = None) -> Image.Image | None:
    """The image as 8-bit RGB, decoded in this process's sandbox.

    Args:
        data: the whole file; nothing about it is trusted.
        window: the part of it that is wanted; None: all of it.

    Returns:
        The image, or None when it cannot be read: training goes on without it.
    """
    pixels = shared(READING).read_rgb(data, max_pixels=READABLE_PIXELS, window=window)
    return None if isinstance(pixels, Rejected) else Image.fromarray(pixels)
