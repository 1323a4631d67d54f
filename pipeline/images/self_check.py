"""Whether a decode will write a file that holds what its source holds.

It is tried on one pixel, when a source is read: what the writers and parsers of each format do with
a file's contents does not depend on its pixels.
"""

from dataclasses import replace

from model.core.picture import Picture
from pipeline.containers.contents import Contents
from pipeline.containers.read import read_contents
from pipeline.containers.skeleton_bytes import pack
from pipeline.images.image_writer import format_for, format_of_decoded, write_picture

UNWRITABLE = "metadata that cannot be written back"
"""The value of `keep` for images whose decode would fail, or would write other metadata."""
DIFFERENT = "pixels of another kind than its header says"


def problem_with(picture: Picture, contents: Contents, source_format: str) -> str | None:
    """Why the source must be kept; None when its decode holds what it holds."""
    bands = picture.pixels.shape[2] + (picture.alpha is not None)
    if (picture.width, picture.height, bands) != (contents.width, contents.height, contents.bands):
        return DIFFERENT
    wanted = format_for(picture, format_of_decoded(source_format))
    if wanted != contents.skeleton.form:
        return UNWRITABLE
    alpha = None if picture.alpha is None else picture.alpha[:1, :1]
    try:
        written = write_picture(replace(picture, pixels=picture.pixels[:1, :1], alpha=alpha), wanted)
        again = read_contents(wanted, written, exif=picture.exif, places=False)
    except Exception:  # no parser of metadata tells what another program's writer refuses
        return UNWRITABLE
    same = pack(again.skeleton) == picture.skeleton and again.columns == contents.columns
    return None if same and again.bands == bands else UNWRITABLE
