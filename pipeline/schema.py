"""The columns of the archive's two tables."""

from typing import Any

import pyarrow as pa

LATENT, ORIGINAL = "latent", "original"
"""The two values of `status`: the payload is a `.mae` payload, or the source's own bytes."""
OUTAGE = "outage"
"""Stage of a rejection for which the store was to blame, not the object: the next run tries the key again."""

_IMAGES: "list[pa.Field[Any]]" = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("etag", pa.string(), nullable=False),
    pa.field("source_bytes", pa.int64(), nullable=False),
    pa.field("source_format", pa.string(), nullable=False),  # "jpeg", "png", "webp" ...: Pillow's name in lower case
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("status", pa.string(), nullable=False),
    pa.field("model", pa.string()),  # fingerprint, 16 hex digits; null for originals
    pa.field("quality", pa.int32()),  # 0..63; null for originals
    pa.field("payload", pa.binary(), nullable=False),
    pa.field("payload_bytes", pa.int64(), nullable=False),
    pa.field("psnr", pa.float64()),  # dB on 8-bit RGB of what the decoder gives; null for originals
    pa.field("ms_ssim", pa.float64()),
    pa.field("source_sha256", pa.string(), nullable=False),  # 64 hex digits
    pa.field("icc", pa.binary()),  # null where there is none
    pa.field("exif", pa.binary()),
    pa.field("xmp", pa.binary()),
    pa.field("encoded_at", pa.timestamp("us", "UTC"), nullable=False),
    pa.field("run", pa.string(), nullable=False),
]

IMAGES = pa.schema(_IMAGES)
"""One row a source key, always."""

_REJECTIONS: "list[pa.Field[Any]]" = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("etag", pa.string(), nullable=False),
    pa.field("stage", pa.string(), nullable=False),  # "fetch", "read", "encode", "outage"
    pa.field("reason", pa.string(), nullable=False),
    pa.field("rejected_at", pa.timestamp("us", "UTC"), nullable=False),
    pa.field("run", pa.string(), nullable=False),
]

REJECTIONS = pa.schema(_REJECTIONS)
"""One row a (key, etag) that could not become a row of IMAGES."""
