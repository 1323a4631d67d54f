"""The checks of single rows: each returns the problem in one line, or None."""

import hashlib
from collections.abc import Collection

import numpy as np

from model.bitstream import container
from model.bitstream.container import METADATA, Colour
from model.core.errors import MaepressError
from model.core.picture import Picture
from model.metrics.psnr import psnr
from model.metrics.ssimulacra2 import ssimulacra2
from pipeline.archive import standard_payload
from pipeline.archive.kept_source import kept_source
from pipeline.archive.reader import Row, row_fault
from pipeline.archive.schema import COMPRESSED, IMAGES, KEPT, KEPT_ANYHOW, LATENT, PIXELS, STANDARD
from pipeline.archive.shards.shared_payloads import key_of
from pipeline.containers.contents import Columns
from pipeline.containers.skeleton_bytes import unpack
from pipeline.images.limits import READING
from pipeline.images.reading import Reading
from pipeline.images.sandbox.sandbox import shared

PSNR_TOLERANCE = 0.05
"""dB by which a repeated measurement may differ: another device rounds a few pixels the other
way."""
SSIMULACRA2_TOLERANCE = 0.1
"""The same for SSIMULACRA2, in points."""


def problem_with(row: Row, models: Collection[str]) -> str | None:
    """Check a row's sizes, checksums and header, and a transcode's bytes; decode no picture.

    Args:
        row: all columns of IMAGES.
        models: fingerprints of the models that the archive holds.
    """
    if missing := [column.name for column in IMAGES if not column.nullable and row[column.name] is None]:
        return f"its row has no {missing[0]}"
    payload = row["payload"]
    if row["same_as"] and not payload:
        return f"its payload, which rows share, is missing or damaged: images/{key_of(str(row['same_as'])[:150])}"
    if len(payload) != row["payload_bytes"]:
        return f"its payload has {len(payload)} bytes, its row says {row['payload_bytes']}"
    match row["status"]:
        case status if status in KEPT:
            try:
                return _problem_with_source(row, kept_source(status, payload))
            except MaepressError as e:
                return str(e)
        case status if status == PIXELS:
            try:
                kept_source(status, payload)  # checks its samples' checksum
            except MaepressError as e:
                return str(e)
            return None
        case status if status == LATENT:
            return _problem_with_latent(row, models)
        case status if status == STANDARD:
            return _problem_with_standard(row)
        case status:
            return f"its status is {status!r}, not one of {', '.join((*COMPRESSED, *KEPT_ANYHOW))}"


def _problem_with_source(row: Row, source: bytes) -> str | None:
    if len(source) != row["source_bytes"] or hashlib.sha256(source).hexdigest() != row["source_sha256"]:
        return "its bytes are not the source's: the SHA-256 differs"
    return None


def _problem_with_latent(row: Row, models: Collection[str]) -> str | None:
    try:
        container.check(row["payload"])
        header = container.read_header(row["payload"])
    except MaepressError as e:
        return str(e)
    for name, said, found in (
        ("model", row["model"], header.fingerprint),
        ("quality", row["quality"], header.fine_quality),
        ("size", f"{row['width']}x{row['height']}", f"{header.width}x{header.height}"),
    ):
        if said != found:
            return f"its row says {name} {said}, its payload {found}"
    try:
        check_skeleton(row)
    except ValueError as e:
        return str(e)
    if header.fingerprint not in models:
        return f"the archive lacks its model: copy its folder to models/{header.fingerprint}"
    return None


def _problem_with_standard(row: Row) -> str | None:
    """Of a standard codec's payload the checksum tells; its file is parsed in the sandbox alone, as it is decoded."""
    try:
        payload = standard_payload.read(row["payload"])
        check_skeleton(row)
        fault = row_fault(row)
        if fault is None:
            payload.alpha_plane(row["height"], row["width"])
    except (MaepressError, ValueError) as e:
        return str(e)
    return fault


def check_skeleton(row: Row) -> None:
    """Check that what else a row's file held can be written.

    Raises:
        ValueError: when the skeleton is damaged, or refers to bytes that the row does not have.
    """
    if row["skeleton"]:
        skeleton = unpack(row["skeleton"])
        columns = Columns(*(row[name] or b"" for name in ("icc", "exif", "xmp")))
        for part in (*skeleton.before, *skeleton.after):
            part.data(columns)


def problem_with_picture(row: Row, picture: Picture) -> str | None:
    """Check size and colour of a row's decoded picture."""
    if (picture.width, picture.height) != (row["width"], row["height"]):
        return f"it decodes to {picture.width}x{picture.height}, its row says {row['width']}x{row['height']}"
    if row["status"] == STANDARD:
        colour = standard_payload.read(row["payload"]).colour
    else:
        colour = container.read_header(row["payload"]).colour
    grey = colour == Colour.GREY
    if (picture.pixels.shape[2] == 1) != grey:
        return "it decodes to another colour kind than its header says"
    return None


def problem_with_fidelity(row: Row, picture: Picture, source: bytes) -> str | None:
    """Compare a decoded picture with its source.

    PSNR and SSIMULACRA2 must be the row's, the alpha plane and everything beside the pixels equal.

    Args:
        row: with key, width, height, psnr, ssimulacra2 and source_sha256.
        picture: the row's, decoded.
        source: the source's bytes.
    """
    if hashlib.sha256(source).hexdigest() != row["source_sha256"]:
        return "its source's bytes are not those that were compressed, although the etag is the same"
    reading = shared(READING).read(source, max_pixels=row["width"] * row["height"])
    if not isinstance(reading, Reading):
        return "its source can no longer be read"
    if reading.picture is None:
        return f"its source holds what only a kept file does ({reading.keep}): an earlier version compressed it"
    if reading.picture.pixels.shape != picture.pixels.shape:
        return f"its source has the shape {reading.picture.pixels.shape}, the decoded image {picture.pixels.shape}"
    different = [name for name in METADATA if getattr(picture, name) != getattr(reading.picture, name)]
    if picture.skeleton and different:
        return f"its {different[0]} is not the source's"
    measured, said = psnr(reading.picture.pixels, picture.pixels), row["psnr"]
    if said is None or not (measured == said or abs(measured - said) <= PSNR_TOLERANCE):
        return f"its PSNR is {measured:.2f} dB, its row says {'nothing' if said is None else f'{said:.2f} dB'}"
    if (claimed := row["ssimulacra2"]) is not None:
        score = ssimulacra2(reading.picture.pixels, picture.pixels)
        if not abs(score - claimed) <= SSIMULACRA2_TOLERANCE:
            return f"its SSIMULACRA2 is {score:.2f}, its row says {claimed:.2f}"
    alpha, decoded = reading.picture.alpha, picture.alpha
    if alpha is None and decoded is None:
        return None
    if alpha is None or decoded is None or not np.array_equal(alpha, decoded):
        return "its alpha plane is not the source's"
    return None
