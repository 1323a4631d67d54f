"""How a source that is kept is held: the smallest of its bytes, a frame of them, and its samples."""

from pipeline.archive.kept_source import packed
from pipeline.archive.schema import ORIGINAL, PIXELS, ZSTD
from pipeline.images.sandbox.sandbox import Sandbox

_FORMATS = ("png", "tiff")
"""Of sources whose samples are tried: `pipeline.images.formats.lossless_pixels`."""


def kept_payload(source: bytes, source_format: str, sandbox: Sandbox, keep: str) -> tuple[str, bytes]:
    """Status and payload of a kept source.

    Args:
        source: its bytes.
        source_format: its format.
        sandbox: converts it.
        keep: "exact", or "pixels": also try a lossless JPEG XL of its samples.
    """
    frame = packed(source)
    status, payload = (ORIGINAL, source) if frame is None else (ZSTD, frame)
    if keep == "pixels" and source_format in _FORMATS:
        pixels = sandbox.to_pixels(source)
        if pixels is not None and len(pixels) < len(payload):
            return PIXELS, pixels
    return status, payload
