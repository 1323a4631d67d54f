"""Lossless JPEG XL transcodes of JPEG files: smaller, and the same bytes come back.

    jxl = to_jxl(jpeg)          # None where JPEG XL cannot carry the file
    to_jpeg(jxl) == jpeg        # checked each time before `to_jxl` answers

JPEG XL codes a JPEG's quantised coefficients with a better entropy coder, and stores the rest of
the file (order of markers, metadata, padding bits) beside them. Files that it cannot carry
(truncated ones, four colours, arithmetic coding) are not transcoded.

imagecodecs is imported when it is first needed, so that other processes start without it.
"""

from types import ModuleType

from model.core.errors import DamagedPayload, MissingPackage

JPEG_START = b"\xff\xd8\xff"
"""How every JPEG file begins."""


def to_jxl(jpeg: bytes) -> bytes | None:
    """A JPEG XL file that `to_jpeg` converts back to exactly these bytes, or None.

    Raises:
        MissingPackage: when imagecodecs is not installed.
    """
    codecs = library()
    try:
        jxl = bytes(codecs.jpegxl_encode_jpeg(jpeg, numthreads=1))
        same = codecs.jpegxl_decode_jpeg(jxl, numthreads=1) == jpeg
    except (codecs.JpegxlError, ValueError):  # not strictly a JPEG: it stays as it is, which loses nothing
        return None
    return jxl if same else None


def to_jpeg(jxl: bytes) -> bytes:
    """The JPEG from which a transcode was made.

    Raises:
        DamagedPayload: when the bytes are not such a transcode.
        MissingPackage: when imagecodecs is not installed.
    """
    codecs = library()
    try:
        return bytes(codecs.jpegxl_decode_jpeg(jxl, numthreads=1))
    except (codecs.JpegxlError, ValueError):
        raise DamagedPayload("the payload is no JPEG XL transcode of a JPEG") from None


def library() -> ModuleType:
    """The package imagecodecs.

    Raises:
        MissingPackage: when it is not installed.
    """
    try:
        import imagecodecs
    except ImportError:
        raise MissingPackage("JPEG XL transcodes need the imagecodecs package: pip install imagecodecs") from None
    return imagecodecs
