"""The bytes of kept sources: as they are, packed with zstd, or a JPEG as JPEG XL.

Packing is for what nobody has compressed yet: BMP, uncompressed TIFF, raw images, sidecars.
"""

import pyarrow as pa

from model.core.errors import DamagedPayload
from pipeline.archive.schema import JXL, PIXELS, ZSTD
from pipeline.images.limits import TRANSCODING

LARGEST_PACKED = 1 << 30
"""Bytes of the largest source that is packed; what claims to be larger is not unpacked."""

_LEAST_GAIN = 0.1
"""Share of its bytes that packing must save, as it costs time each time the file is read."""
_SAMPLE = 1 << 18
_LEVEL = 9
_LEAST_BYTES = 4096
"""Of smaller files, such as sidecars, the tenth is nothing."""


def packed(source: bytes) -> bytes | None:
    """A zstd frame of a source; None when that saves less than a tenth."""
    if not _LEAST_BYTES <= len(source) <= LARGEST_PACKED:
        return None
    middle = len(source) // 2
    sample = source if len(source) <= 2 * _SAMPLE else source[:_SAMPLE] + source[middle : middle + _SAMPLE]
    # Most files are compressed already: a sample tells in a millisecond.
    if len(pa.compress(sample, codec="zstd", asbytes=True)) > (1 - _LEAST_GAIN / 2) * len(sample):
        return None
    made: bytes = pa.Codec("zstd", _LEVEL).compress(source, asbytes=True)
    return made if len(made) <= (1 - _LEAST_GAIN) * len(source) else None


def kept_source(status: object, payload: bytes) -> bytes:
    """A kept row's source.

    Args:
        status: of the row: ORIGINAL, ZSTD, JXL or PIXELS, whose file is written anew.
        payload: of the row.

    Raises:
        DamagedPayload: when the payload is not what its status says.
        MissingPackage: when imagecodecs is not installed.
    """
    if status in (JXL, PIXELS):
        from pipeline.images.sandbox.sandbox import shared  # imports readers of images, which plans do without

        sandbox = shared(TRANSCODING)
        return sandbox.to_jpeg(payload) if status == JXL else sandbox.from_pixels(payload)
    return unpacked(payload) if status == ZSTD else payload


def unpacked(frame: bytes) -> bytes:
    """The source in a frame that `packed` made.

    Raises:
        DamagedPayload: for other bytes, and for more than `LARGEST_PACKED`.
    """
    try:
        with pa.CompressedInputStream(pa.BufferReader(frame), "zstd") as stream:
            source = stream.read(LARGEST_PACKED + 1)
    except (OSError, ValueError):  # pyarrow's errors are these
        raise DamagedPayload("the payload is no zstd frame") from None
    if len(source) > LARGEST_PACKED:
        raise DamagedPayload(f"the payload unpacks to more than {LARGEST_PACKED} bytes")
    return bytes(source)
