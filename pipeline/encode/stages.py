"""What happens to a piece, stage by stage: plain functions on Python objects.

Ray appears only in `pipeline.encode.dataflow` and `pipeline.encode.ray_tasks`.

    objects  --load-->  Loaded: source bytes and decoded picture        CPU tasks, keys fetched concurrently
             --analyse-->  Analysed: whole numbers instead of pixels    actors, one model each, on GPUs if any
             --press-->  Pressed: rows of the archive                   CPU tasks, entropy coding
             --write-->  Receipt: one shard for each unit               CPU tasks

No object is ever lost on the way: one that cannot go on becomes a `Rejection` in its place and travels with the others
to the receipt.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from model.bitstream.entropy_coder import EntropyCoder, Latents
from model.core.picture import Picture
from model.core.target import Target
from pipeline.archive.archive import Archive
from pipeline.archive.schema import IMAGES, JXL, LARGER, LATENT, MISSED, ORIGINAL, OUTAGE
from pipeline.archive.shards import Receipt, Rejection, write_shard
from pipeline.images.image_reader import Reading
from pipeline.images.jpeg_xl import JPEG_START
from pipeline.images.sandbox import Sandbox
from pipeline.storage.base import Entry, FetchFailed, Store, too_large

if TYPE_CHECKING:  # it brings torch, which only encoders need
    from model.codec import Codec

_COUNTED = ("status", "source_bytes", "payload_bytes", "width", "height", "kept")
"""The columns that a receipt sums up."""
_TRANSCODE_FROM = 0.7
"""A JPEG is transcoded, too, where the payload is at least this share of it: few transcodes save more than 30 %."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An object that was read.

    `etag` is that of the bytes in `source`, which the listing may have been too early to know.
    """

    key: str
    etag: str
    source: bytes
    reading: Reading


@dataclass(frozen=True, slots=True)
class Analysed:
    """A loaded object without its pixels: `latents` instead, or None where the source is kept as it is.

    Attributes:
        key: the object.
        etag: of `source`.
        source: the object's bytes; still needed, as they are kept where pressing does not make them smaller.
        source_format: "jpeg", "png" ...
        width: pixels in a row.
        height: rows.
        latents: what the networks made of the picture.
        keep: why there are no latents.
        icc: ICC profile, empty for none; for originals too, as their bytes hold it.
        exif: EXIF block.
        xmp: XMP packet.
    """

    key: str
    etag: str
    source: bytes
    source_format: str
    width: int
    height: int
    latents: Latents | None = None
    keep: str | None = None
    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""


@dataclass(frozen=True, slots=True)
class Pressed:
    """A piece's rows in the schema IMAGES, and what could not become one."""

    rows: pa.Table
    rejections: tuple[Rejection, ...]


def load(
    objects: Sequence[Entry], source: Store, sandbox: Sandbox, max_pixels: int, max_bytes: int
) -> list[Loaded | Rejection]:
    """Fetch and decode.

    Args:
        objects: from the source's listing.
        source: where they are.
        sandbox: where they are decoded, one at a time: what stops one does not stop its neighbours.
        max_pixels: larger images are not decoded (they become originals).
        max_bytes: larger objects are not even fetched.
    """
    small = [o for o in objects if o.size <= max_bytes]
    results: list[Loaded | Rejection] = [
        Rejection(o.key, o.etag, "fetch", reason) for o in objects if (reason := too_large(o.size, max_bytes))
    ]
    for entry, got in zip(small, source.fetch([o.key for o in small], max_bytes) if small else [], strict=True):
        if isinstance(got, FetchFailed):
            results.append(Rejection(entry.key, entry.etag, OUTAGE if got.transient else "fetch", got.reason))
            continue
        reading = sandbox.read(got.data, max_pixels=max_pixels)
        if isinstance(reading, Reading):
            results.append(Loaded(entry.key, got.etag, got.data, reading))
        else:
            results.append(Rejection(entry.key, got.etag, reading.stage, reading.reason))
    return results


def analyse(items: Sequence[Loaded | Rejection], codec: "Codec", target: Target) -> list[Analysed | Rejection]:
    """Run the networks over the pictures of a piece; the codec puts equal sizes together by itself."""
    pictures = [item.reading.picture for item in items if isinstance(item, Loaded) and item.reading.picture is not None]
    latents = iter(_analyse_all(pictures, codec, target))
    results: list[Analysed | Rejection] = []
    for item in items:
        if isinstance(item, Rejection):
            results.append(item)
            continue
        reading, picture = item.reading, item.reading.picture
        facts = (item.key, item.etag, item.source, reading.source_format, reading.width, reading.height)
        if picture is None:
            results.append(Analysed(*facts, keep=reading.keep))
        elif isinstance(made := next(latents), Latents):
            results.append(Analysed(*facts, made, None, picture.icc, picture.exif, picture.xmp))
        else:
            results.append(Rejection(item.key, item.etag, "encode", made))
    return results


def _analyse_all(pictures: Sequence[Picture], codec: "Codec", target: Target) -> list[Latents | str]:
    """Latents of each, or why there are none: one picture too large for the memory must not take others with it."""
    try:
        return list(codec.analyse(pictures, target))
    except (RuntimeError, MemoryError) as e:  # memory is short; a mistake in the settings is a MaepressError and passes
        if len(pictures) == 1:
            return [" ".join(str(e).split())[:200]]
        return [result for picture in pictures for result in _analyse_all([picture], codec, target)]


def press(
    items: Sequence[Analysed | Rejection], coder: EntropyCoder, target: Target, sandbox: Sandbox, run: str
) -> Pressed:
    """Entropy-code, and choose for each image what its row holds.

    Args:
        items: of one piece.
        coder: the model's.
        target: what the items were analysed for.
        sandbox: where JPEG files are transcoded.
        run: the run's name.
    """
    rows = [_row(item, coder, target, sandbox, run) for item in items if isinstance(item, Analysed)]
    return Pressed(pa.Table.from_pylist(rows, IMAGES), tuple(item for item in items if isinstance(item, Rejection)))


def _row(item: Analysed, coder: EntropyCoder, target: Target, sandbox: Sandbox, run: str) -> dict[str, Any]:
    """The smallest of what keeps the promise: the payload with what travels beside it, a transcode, the source."""
    size = len(item.source)
    row = {
        "key": item.key,
        "etag": item.etag,
        "source_bytes": size,
        "source_format": item.source_format,
        "width": item.width,
        "height": item.height,
        "source_sha256": hashlib.sha256(item.source).hexdigest(),
        "encoded_at": datetime.now(UTC),
        "run": run,
    }
    kept, pressed = item.keep, size
    if item.latents is not None:
        row["target"] = target.described()
        payload = coder.encode(item.latents) if item.latents.met else b""
        kept = LARGER if item.latents.met else MISSED
        if item.latents.met:
            pressed = min(size, len(payload) + len(item.icc) + len(item.exif) + len(item.xmp))
    jxl = None
    if pressed >= _TRANSCODE_FROM * size and item.source.startswith(JPEG_START):
        jxl = sandbox.to_jxl(item.source)
    if jxl is not None and len(jxl) < pressed:
        return row | {"status": JXL, "kept": kept, "payload": jxl, "payload_bytes": len(jxl)}
    if item.latents is None or pressed >= size:
        return row | {"status": ORIGINAL, "kept": kept, "payload": item.source, "payload_bytes": size}
    return row | {
        "status": LATENT,
        "model": coder.fingerprint,
        "quality": item.latents.header.fine_quality,
        "payload": payload,
        "payload_bytes": len(payload),
        "psnr": item.latents.psnr,
        "ms_ssim": item.latents.ms_ssim,
        "icc": item.icc or None,
        "exif": item.exif or None,
        "xmp": item.xmp or None,
    }


def write(
    unit: int, base: str | None, pieces: Iterable[Pressed], archive: Archive, drop: Collection[str] = ()
) -> Receipt:
    """Write a whole unit as one shard.

    Args:
        unit: its number.
        base: the shard that it replaces, or None.
        pieces: all of the unit's pieces, in order.
        archive: where to.
        drop: keys that leave `base`.
    """
    parts = list(pieces)
    rows = pa.concat_tables([IMAGES.empty_table(), *(p.rows for p in parts)])
    rejections = tuple(r for p in parts for r in p.rejections)
    if rows.num_rows == 0 and not drop:  # nothing to write; an older version of a refused key stays where it is
        return Receipt(unit, rejections=rejections)
    facts: list[tuple[Any, ...]] = list(zip(*(rows[name].to_pylist() for name in _COUNTED), strict=True))
    shard = write_shard(archive.images, [p.rows for p in parts], base=base, drop=drop)
    return Receipt(
        unit,
        add=shard,
        remove=base,
        rejections=rejections,
        retired=len(drop),
        rows=len(facts),
        latents=sum(status == LATENT for status, *_ in facts),
        transcoded=sum(status == JXL for status, *_ in facts),
        kept=tuple(Counter(kept for *_, kept in facts if kept is not None).items()),
        source_bytes=sum(size for _, size, *_ in facts),
        payload_bytes=sum(size for _, _, size, *_ in facts),
        pixels=sum(width * height for *_, width, height, _ in facts),
    )
