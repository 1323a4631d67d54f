"""The columns of the archive's tables, and the values of their text columns."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.images.formats.codec_names import MAE

LATENT, STANDARD, ORIGINAL, ZSTD, JXL, PIXELS = "latent", "standard", "original", "zstd", "jxl", "pixels"
"""The values of `status`: the payload is a `.mae` payload, a file of a standard codec
(`pipeline.archive.standard_payload`), the source's own bytes, these bytes as a zstd frame, a JPEG XL
transcode that converts back to them, or a lossless JPEG XL of the source's samples with all that its
file held beside them."""
LOG = "_delta_log/"
"""Beginning of the names of a table's log, which Delta sets."""
COMPRESSED = (LATENT, STANDARD)
"""Those of rows that hold an image with loss, as near to its source as the target demands."""
KEPT = (ORIGINAL, ZSTD, JXL)
"""Those of rows from which the source comes back byte for byte: `pipeline.archive.kept_source`."""
KEPT_ANYHOW = (*KEPT, PIXELS)
"""And of those from which a file of the source's format comes back, with the same samples and facts."""
MISSED, LARGER, UNLIKE = "misses its target", "not smaller", "far below what its quality gives"
"""Values of `kept` for images that the codec could have coded.

For other values see `pipeline.images.reading.Reading.keep`.
"""
AFTER_ANALYSIS = (MISSED, LARGER, UNLIKE)
"""These three."""
UNCODED = "cannot be compressed"
"""Value of `kept` for images on which the codec failed."""
OUTAGE = "outage"
"""Stage of a rejection caused by the store or the machine, not by the object: the next run tries the
key again."""

ROW_SHA256 = "row_sha256"
"""The column of both tables with the row's hash; see `pipeline.archive.shards.row_hash`."""

_IMAGES: "list[pa.Field[Any]]" = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("etag", pa.string(), nullable=False),
    pa.field("source_bytes", pa.int64(), nullable=False),
    pa.field("source_format", pa.string(), nullable=False),  # "jpeg", "png", "webp" ...: Pillow's name in lower case
    pa.field("width", pa.int32(), nullable=False),  # 0, as the height is, for files that no reader understands
    pa.field("height", pa.int32(), nullable=False),
    pa.field("status", pa.string(), nullable=False),
    pa.field("kept", pa.string()),  # why the source is kept without loss; null for compressed images
    pa.field("model", pa.string()),  # fingerprint, 16 hex digits; null unless latent
    pa.field("target", pa.string()),  # "quality 40", "min_psnr 38" ...; null where it had no part in keeping the source
    pa.field("quality", pa.float64()),  # that was used: 0..63.75 in steps of 0.25; of a standard codec its own 0..100
    pa.field("payload", pa.binary(), nullable=False),
    pa.field("payload_bytes", pa.int64(), nullable=False),
    pa.field("psnr", pa.float64()),  # dB, 8-bit RGB, of the decoder's output; null where the source is kept
    pa.field("ms_ssim", pa.float64()),  # 0..1, of the decoder's output; null where not measured or a side is too short
    pa.field("ssimulacra2", pa.float64()),  # at most 100, of the decoder's output; null where not measured
    pa.field("source_sha256", pa.string(), nullable=False),  # 64 hex digits
    pa.field("source_modified_ns", pa.int64()),  # since 1970: a file's own time, an object's of upload; null: unknown
    pa.field("icc", pa.binary()),  # null where there is none
    pa.field("exif", pa.binary()),
    pa.field("xmp", pa.binary()),
    pa.field("skeleton", pa.binary()),  # what else the file held: pipeline/containers; null where it is kept
    pa.field("encoded_at", pa.timestamp("us", "UTC"), nullable=False),
    pa.field("run", pa.string(), nullable=False),
    pa.field("row_sha256", pa.string(), nullable=False),  # 64 hex digits over the other columns: `row_hash`
    pa.field("phash", pa.int64()),  # 64 bits: `pipeline.images.perceptual_hash`; null where pixels were not read
    pa.field("codec", pa.string()),  # "mae", "jxl", "avif", "webp"; null where the source is kept: `codec_of`
    pa.field("candidates", pa.string()),  # the codecs that were allowed, as "mae,avif"; null: mae alone
    pa.field("meta", pa.string()),  # labels and sidecars, JSON (`pipeline.sources.sidecars.meta`); null: none were read
    pa.field("same_as", pa.string()),  # where the payload is, which is empty here: `shared_payloads`; null: in the row
    pa.field("effort", pa.int32()),  # 1..3, of the model's encode; null: 0, or the model had no part in the row
]

IMAGES = pa.schema(_IMAGES)
"""Exactly one row per source key."""

ADDED = frozenset({"phash", "codec", "candidates", "meta", "same_as", "effort"})
"""Columns that archives of earlier versions lack; there they are null (`pipeline.archive.log.added_columns`)."""

_REJECTIONS: "list[pa.Field[Any]]" = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("etag", pa.string(), nullable=False),
    pa.field("stage", pa.string(), nullable=False),  # "fetch", "read", "encode", "write", "outage"
    pa.field("reason", pa.string(), nullable=False),
    pa.field("rejected_at", pa.timestamp("us", "UTC"), nullable=False),
    pa.field("run", pa.string(), nullable=False),
    pa.field("row_sha256", pa.string(), nullable=False),
]

REJECTIONS = pa.schema(_REJECTIONS)
"""One row per (key, etag) that could not become a row of IMAGES."""

CHECKED, FAILED, INTENDED, LEFT, RELEASED, WITHDRAWN = "checked", "failed", "intended", "left", "released", "withdrawn"
"""The values of `state` in RELEASES: the image passed the checks of a release, or it did not; its original is about
to be deleted, was left because it had changed or could not be deleted, or is deleted; the release counts no more.

In the order of the alphabet, the first two come before those that say anything about an original."""

_RELEASES: "list[pa.Field[Any]]" = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("sequence", pa.int64(), nullable=False),  # version of the table; the latest entry of a key counts
    pa.field("state", pa.string(), nullable=False),
    pa.field("etag", pa.string(), nullable=False),  # of the object as it was compared; empty where there was none
    pa.field("source_bytes", pa.int64(), nullable=False),  # of the row
    pa.field("source_sha256", pa.string(), nullable=False),  # of the row, and, if it passed, of the object
    pa.field("facts", pa.string(), nullable=False),  # what was compared, or what is wrong: one line
    pa.field("recorded_at", pa.timestamp("us", "UTC"), nullable=False),
    pa.field("run", pa.string(), nullable=False),
    pa.field("row_sha256", pa.string(), nullable=False),
]

RELEASES = pa.schema(_RELEASES)
"""What releases found and did: entries are added, none is changed."""

ROW_COLUMNS = ("key", "etag", "source_bytes")
"""The columns of IMAGES that planning always reads; deciding which rows are stale needs some
more."""

REJECTION_COLUMNS = ("key", "etag", "stage")
"""The columns of REJECTIONS that planning reads."""

READER_COLUMNS = ("key", "status", "codec", "model", "width", "height", "payload", "icc", "exif", "xmp", "skeleton")
"""The columns of IMAGES that turn a row back into an image."""


def codec_of(row: Mapping[str, Any]) -> str | None:
    """The codec that compressed a row; None for a kept source. Rows of archives without the column are of the model."""
    if row["status"] not in COMPRESSED:
        return None
    return row.get("codec") or (MAE if row["status"] == LATENT else None)
