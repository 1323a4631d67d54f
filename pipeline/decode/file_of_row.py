"""The file of one row: a decoded picture in a format, a kept source as it is, or converted if that is asked for."""

import hashlib
from dataclasses import replace
from typing import cast

from model.core.errors import DamagedPayload
from model.core.picture import Picture
from pipeline.archive.kept_source import kept_source
from pipeline.archive.reader import Row
from pipeline.archive.schema import JXL, LATENT, PIXELS
from pipeline.images.formats.jpeg_xl import JPEG_START
from pipeline.images.image_writer import FORMATS, Format, Written, format_of_decoded, write_as
from pipeline.images.limits import READABLE_PIXELS, READING, TRANSCODING
from pipeline.images.reading import Rejected
from pipeline.images.sandbox.sandbox import shared

MAE = "mae"


def file_of_row(row: Row, content: Picture | bytes, wanted: str, *, convert_kept: bool) -> Written:
    """The file of a row, with its format and with what it lacks.

    Args:
        row: with status, source_format and source_sha256.
        content: the decoded picture, or the payload of another row; a complete `.mae` file for
            latents that are not decoded.
        wanted: "same", "mae", or a format. What a standard codec compressed has no `.mae` file, and
            is written in its source's format.
        convert_kept: also write kept sources in the format, where that holds all of the picture.

    Raises:
        DamagedPayload: when a kept source's bytes are not those of the source.
        ValueError: when the picture cannot be written.
    """
    if isinstance(content, Picture) and wanted == MAE:
        made = write_as(content, format_of_decoded(row["source_format"]))
        return replace(made, instead=f"compressed as {row['codec']}, not by the model")
    if isinstance(content, Picture):
        return write_as(content, format_wanted(wanted, row["source_format"]))
    if row["status"] == LATENT:
        return Written(content, MAE)
    source = kept_source(row["status"], content)
    # Pixels have a checksum of their own, as their file is another than the source's.
    if row["status"] != PIXELS and hashlib.sha256(source).hexdigest() != row["source_sha256"]:
        raise DamagedPayload("its bytes are no longer those of the source")
    if convert_kept and wanted in FORMATS and wanted != row["source_format"]:
        return _converted(row, content, source, wanted)
    return Written(source, row["source_format"])


def format_wanted(wanted: str, source_format: str) -> Format:
    """The format of a compressed image's file; "same" is its source's, or PNG as a substitute."""
    if wanted != "same":
        return cast(Format, wanted)
    return format_of_decoded(source_format)


def _converted(row: Row, payload: bytes, source: bytes, wanted: Format) -> Written:
    """A kept source in another format; as it is where that would lose bits, frames or bands."""
    if wanted == "jxl" and source.startswith(JPEG_START):
        jxl = payload if row["status"] == JXL else shared(TRANSCODING).to_jxl(source)
        if jxl is not None:
            return Written(jxl, "jxl")  # the JPEG comes back from it byte for byte
    reading = shared(READING).read(source, max_pixels=READABLE_PIXELS)
    if isinstance(reading, Rejected) or reading.picture is None:
        why = "it cannot be read" if isinstance(reading, Rejected) else reading.keep
        return Written(source, row["source_format"], instead=str(why))
    made = write_as(reading.picture, wanted)
    return Written(source, made.form, made.instead) if made.form == row["source_format"] else made
