r"""Lossless JPEG XL of a picture's samples, with all that its PNG or TIFF holds beside them.

    payload = to_pixels(source)       # None where a sample or a fact would not come back, or nothing is saved
    from_pixels(payload)              # a PNG or TIFF with the same samples, and everything beside them

The payload is a JPEG XL file, which other programs open. Its last box is ours, and tells what the
file was:

    "JXL " | "ftyp" | ... | "jxlc": codestream | "mprs": SHA-256 of the samples, 32 bytes, then the skeleton, zlib

Samples are what the file stores: indices of a palette, inks, floats, 16-bit numbers. Before
`to_pixels` answers, it decodes what it has made, writes the file again, and compares samples and
skeleton with the source's.
"""

import hashlib
import io
import struct
import zlib
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.core.errors import DamagedPayload
from pipeline.containers.boxes import boxes
from pipeline.containers.contents import Skeleton, Unexpected
from pipeline.containers.png import png_samples
from pipeline.containers.skeleton_bytes import pack, unpack
from pipeline.containers.tiff import tiff_samples
from pipeline.images.formats.jpeg_xl import library

_BOX = b"mprs"
_EFFORT = 3
"""Of libjxl, 1 to 9; see decision 0080."""
_MOST_SKELETON = 1 << 30

Samples = NDArray[Any]
"""`[H, W, S]`: uint8, uint16, float16 or float32."""


def to_pixels(source: bytes) -> bytes | None:
    """A payload from which `from_pixels` makes a file with the same samples and facts, or None.

    Raises:
        MissingPackage: when imagecodecs is not installed.
    """
    codecs = library()
    try:
        skeleton, samples = _read(codecs, source)
        payload = _encode(codecs, samples) + _box(_digest(samples) + zlib.compress(pack(skeleton), 9))
        if len(payload) >= len(source):
            return None
        again, found = _read(codecs, from_pixels(payload))
    except MemoryError:
        raise
    except Exception:  # of parsers and decoders, on a file that is not what they know: it stays as it is
        return None
    return payload if again == skeleton and _digest(found) == _digest(samples) else None


def from_pixels(payload: bytes) -> bytes:
    """The PNG or TIFF of a payload.

    Raises:
        DamagedPayload: when the bytes are not such a payload.
        MissingPackage: when imagecodecs is not installed.
    """
    codecs = library()
    try:
        head = {box.kind: box.data for box in boxes(payload)}[_BOX]
        skeleton = unpack(_inflated(head[32:]))
        samples = _decoded(codecs, payload)
        if _digest(samples) != head[:32]:
            raise DamagedPayload("the payload decodes to other samples than its checksum says")
        return _written(codecs, skeleton, samples)
    except (DamagedPayload, MemoryError):
        raise
    except Exception as e:  # whatever foreign bytes make a decoder raise
        raise DamagedPayload("the payload is no JPEG XL with the samples of a file") from e


def digest_of(source: bytes) -> bytes | None:
    """SHA-256 over the samples of a PNG or TIFF and everything beside them; None where it cannot be read.

    Raises:
        MissingPackage: when imagecodecs is not installed.
    """
    codecs = library()
    try:
        skeleton, samples = _read(codecs, source)
    except MemoryError:
        raise
    except Exception:  # as in `to_pixels`
        return None
    return hashlib.sha256(_digest(samples) + pack(skeleton)).digest()


def _read(codecs: ModuleType, source: bytes) -> tuple[Skeleton, Samples]:
    """Skeleton and samples of a PNG or TIFF."""
    if source.startswith(b"\x89PNG"):
        skeleton, header, plain = png_samples.split(source)
        if header.packed:
            with Image.open(io.BytesIO(plain)) as image:
                samples = np.asarray(image)
            good = image.mode == "P"
        else:
            samples = codecs.png_decode(plain)
            good = samples.dtype == (np.uint16 if header.depth == 16 else np.uint8)
        height, width, count = header.height, header.width, header.samples
    else:
        skeleton, layout, plain = tiff_samples.split(source)
        height, width, count = layout.height, layout.width, layout.samples
        samples = codecs.tiff_decode(plain)
        if layout.planar and samples.ndim == 3:
            samples = np.moveaxis(samples, 0, 2)
        good = samples.dtype == np.dtype(layout.kind)
    if not good or (*samples.shape, 1)[:3] != (height, width, count):
        raise Unexpected("samples of another kind")
    return skeleton, np.ascontiguousarray(samples.reshape(height, width, count))


def _written(codecs: ModuleType, skeleton: Skeleton, samples: Samples) -> bytes:
    height, width, count = samples.shape
    if skeleton.form == "png":
        header = png_samples.header_of(skeleton)
        kind: Any = np.uint16 if header.depth == 16 else np.uint8
        if (header.height, header.width, header.samples, kind) != (height, width, count, samples.dtype):
            raise DamagedPayload("the payload's header does not fit its samples")
        plain = samples[:, :, 0] if count == 1 else samples
        return png_samples.join(skeleton, codecs.png_encode(png_samples.rows_of(plain, header)))
    layout = tiff_samples.layout_of(skeleton, height, width)
    if (layout.samples, np.dtype(layout.kind)) != (count, samples.dtype):
        raise DamagedPayload("the payload's tags do not fit its samples")
    return tiff_samples.join(skeleton, samples)


def _encode(codecs: ModuleType, samples: Samples) -> bytes:
    options: dict[str, Any] = {"lossless": True, "effort": _EFFORT, "usecontainer": True, "numthreads": 1}
    return bytes(codecs.jpegxl_encode(samples[:, :, 0] if samples.shape[2] == 1 else samples, **options))


def _decoded(codecs: ModuleType, jxl: bytes) -> Samples:
    samples: Samples = codecs.jpegxl_decode(jxl, numthreads=1, keeporientation=True)
    return np.ascontiguousarray(samples[:, :, None] if samples.ndim == 2 else samples)


def _digest(samples: Samples) -> bytes:
    """SHA-256 over type, shape and samples, least significant byte first."""
    little = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
    facts = f"{samples.dtype.kind}{samples.dtype.itemsize} {samples.shape}".encode()
    return hashlib.sha256(facts + little.tobytes()).digest()


def _box(data: bytes) -> bytes:
    return struct.pack(">I4sQ", 1, _BOX, len(data) + 16) + data


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    out = inflater.decompress(data, _MOST_SKELETON)
    if not inflater.eof:
        raise DamagedPayload("the payload's skeleton is damaged")
    return out
