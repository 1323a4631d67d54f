"""An image file as 8-bit RGB for learning, where metadata and exact bands do not matter."""

import io

from PIL import Image, UnidentifiedImageError


def decode_rgb(data: bytes) -> Image.Image | None:
    """The image as 8-bit RGB, or None when it cannot be read (training goes on without it)."""
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
