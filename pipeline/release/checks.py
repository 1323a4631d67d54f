"""The checks of one image before its original may be deleted: each returns the problem in one line, or None.

That the row has its hash, and its payload is sound, is checked before (`pipeline.verify`). Here the row is compared
with the original's bytes as they are now, and with the file that `decode` would write.
"""

import hashlib

import numpy as np

from model.bitstream.container import METADATA
from model.core.picture import Picture
from pipeline.archive.kept_source import kept_source
from pipeline.archive.reader import Row
from pipeline.archive.schema import COMPRESSED, PIXELS
from pipeline.images.image_writer import format_for, format_of_decoded, write_picture
from pipeline.images.limits import READING, TRANSCODING
from pipeline.images.reading import Reading
from pipeline.images.sandbox.sandbox import shared
from pipeline.verify.row_checks import problem_with_fidelity, problem_with_picture

_FLOORS = {"min_psnr": "psnr", "min_ssimulacra2": "ssimulacra2", "min_ms_ssim": "ms_ssim"}
"""Columns with the fidelity that a target of this name asks for."""

ANOTHER = "the object is not the one that was encoded: encode the source again"
"""Why an original that changed does not pass."""

_ROUNDING = 5e-6
"""A target is recorded with six digits."""


def problem_with_original(row: Row, original: bytes) -> str | None:
    """Whether the object is the one that was encoded, and, of a kept file, whether it comes back."""
    if len(original) != row["source_bytes"] or hashlib.sha256(original).hexdigest() != row["source_sha256"]:
        return ANOTHER
    if row["status"] in COMPRESSED:
        return None
    restored = kept_source(row["status"], row["payload"])
    if row["status"] == PIXELS:
        sandbox = shared(TRANSCODING)
        digest = sandbox.digest_of(original)
        return None if digest and digest == sandbox.digest_of(restored) else "its samples or facts do not come back"
    return None if restored == original else "its bytes do not come back"


def problem_with_decoded(row: Row, picture: Picture, original: bytes) -> str | None:
    """Compare a decoded picture, and the file that is written of it, with the original.

    Size, alpha and everything beside the pixels must be equal, the fidelity the recorded one, and not below the floor
    that was asked for.

    Args:
        row: all columns of IMAGES.
        picture: the row's, decoded.
        original: the source's bytes, which are those that were encoded.
    """
    problem = problem_with_picture(row, picture) or problem_with_fidelity(row, picture, original)
    return problem or _problem_with_floor(row) or _problem_with_file(row, picture, original)


def _problem_with_floor(row: Row) -> str | None:
    name, _, value = str(row["target"] or "").partition(" ")
    if name not in _FLOORS:
        return None
    measured = row[_FLOORS[name]]
    if measured is None or measured < float(value) * (1 - _ROUNDING):
        return f"its fidelity ({measured}) is below its floor ({row['target']})"
    return None


def _problem_with_file(row: Row, picture: Picture, original: bytes) -> str | None:
    """Whether the file that `decode` writes can be read, and holds beside its pixels what the original holds."""
    most = row["width"] * row["height"]
    wanted = format_for(picture, format_of_decoded(row["source_format"]))
    sandbox = shared(READING)
    readings = [sandbox.read(data, max_pixels=most) for data in (original, write_picture(picture, wanted))]
    pictures = [reading.picture if isinstance(reading, Reading) else None for reading in readings]
    before, after = pictures
    if before is None or after is None:
        return "the file that a decode writes cannot be read" if after is None else "its original cannot be read"
    if before.pixels.shape != after.pixels.shape:
        return f"a decode writes the shape {after.pixels.shape}, its original has {before.pixels.shape}"
    for name in METADATA:
        if getattr(before, name) != getattr(after, name):
            return f"a decode writes another {name} than its original has"
    if (before.alpha is None) != (after.alpha is None):
        return "a decode writes other bands than its original has"
    if before.alpha is not None and after.alpha is not None and not np.array_equal(before.alpha, after.alpha):
        return "a decode writes another alpha plane than its original has"
    return None
