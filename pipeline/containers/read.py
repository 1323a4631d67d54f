"""What a file of any format holds beside its pixels."""

from pipeline.containers import avif, bmp, gif, jpeg2000, jxl, plain, webp
from pipeline.containers.contents import Contents, Unexpected
from pipeline.containers.jpeg import jpeg
from pipeline.containers.png import png
from pipeline.containers.tiff import tiff


def read_contents(
    form: str, source: bytes, *, exif: bytes = b"", xmp: bytes = b"", bands: int = 0, places: bool = True
) -> Contents:
    """A file without its pixels.

    Args:
        form: its format, by Pillow's name in lower case.
        source: the file.
        exif: the decoder's EXIF block, for formats whose metadata it finds (AVIF, HEIC, TIFF).
        xmp: the decoder's XMP packet (AVIF, HEIC).
        bands: that the decoder gives (BMP, GIF).
        places: look for places in the file that are given where they cannot be put right; False for
            a file of one pixel, where small numbers are taken for places.

    Raises:
        Unexpected: when it holds something that is not carried: the file is kept.
    """
    try:
        return _contents(form, source, exif, xmp, bands, places)
    except (Unexpected, MemoryError):
        raise
    except Exception:  # a damaged header makes a parser read beyond it, or compute nonsense
        raise Unexpected("container: damaged") from None


def _contents(form: str, source: bytes, exif: bytes, xmp: bytes, bands: int, places: bool) -> Contents:
    match form:
        case "jpeg":
            return jpeg.read(source, places)
        case "png":
            return png.read(source, places)
        case "webp":
            return webp.read(source, places)
        case "tiff":
            return tiff.read(source, exif)
        case "avif":
            return avif.read(source, exif, xmp)
        case "heif":
            return avif.read(source, exif, xmp, avif.HEVC)
        case "jxl":
            return jxl.read(source)
        case "gif":
            return gif.read(source, bands)
        case "bmp":
            return bmp.read(source, bands)
        case "jpeg2000":
            return jpeg2000.read(source)
        case "ppm":
            return plain.read_netpbm(source)
        case "qoi":
            return plain.read_qoi(source)
        case _:
            raise Unexpected(f"format {form}")
