"""A TIFF's descriptive tags as an EXIF block: for queries, and for files of other formats."""

import io

from PIL import ExifTags, Image, TiffImagePlugin

_DESCRIPTIVE_TAGS = (270, 271, 272, 274, 305, 306, 315, 33432)
"""Tags that describe the photograph: description, make, model, orientation, software, date, artist,
copyright. The others describe the layout of the file."""

_EXIF_DIRECTORIES = (0x8769, 0x8825)
"""The EXIF and GPS directories of a TIFF file."""

_ORIENTATION = ExifTags.Base.Orientation
_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""By orientation, what undoes turning a picture upright."""


def tiff_exif(image: Image.Image) -> bytes:
    """An EXIF block of a TIFF's descriptive tags; empty when there are none."""
    tags, block = image.getexif(), Image.Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if tag in tags:
            block[tag] = tags[tag]
    for directory in _EXIF_DIRECTORIES:
        if entries := tags.get_ifd(directory):
            block._ifds[directory] = entries  # Pillow has no public way to set a directory
            block[directory] = 0
    return block.tobytes() if len(block) else b""


def orientation_of(image: Image.Image) -> int:
    """The orientation by which Pillow will turn a TIFF when it loads it: of its tag, or else of its XMP."""
    found = image.getexif().get(_ORIENTATION)
    return found if isinstance(found, int) and found in _BACK else 1


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened image as they are in the file: of a TIFF, Pillow gives the upright picture's."""
    width, height = image.size
    sideways = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_ORIENTATION) in (5, 6, 7, 8)
    return (height, width) if sideways else (width, height)


def as_stored(image: Image.Image, orientation: int) -> Image.Image:
    """A loaded TIFF's pixels as they are in the file.

    Args:
        image: which Pillow has turned upright.
        orientation: what `orientation_of` gave before it was loaded.
    """
    back = _BACK.get(orientation)
    return image if back is None else image.transpose(back)


def has_tiff_pixels(source: bytes) -> bool:
    """Whether a TIFF's pixels can be read, whatever its tags are."""
    with Image.open(io.BytesIO(source)) as image:
        image.load_end = lambda: None  # type: ignore[method-assign]  # the method that reads further tags
        try:
            image.load()
        except Exception:
            return False
    return True
