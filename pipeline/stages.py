"""What happens to a piece, stage by stage. Plain functions on Python objects: Ray appears only in `pipeline.encoding`.

    objects  --load-->  Loaded: source bytes and decoded picture        CPU tasks, keys fetched concurrently
             --analyse-->  Analysed: whole numbers instead of pixels    actors, one model each, on a GPU where there is
             one --press-->  Pressed: rows of the archive                   CPU tasks, entropy coding --write-->
             Receipt: one shard for each unit               CPU tasks

No object is ever lost on the way: one that cannot go on becomes a `Rejection` in its place and travels with the others
to the receipt.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from model.codec import Codec, Latents
from model.coder import EntropyCoder
from model.picture import Picture
from pipeline.archive import Archive
from pipeline.reading import Reading, read
from pipeline.schema import IMAGES, LATENT, ORIGINAL, OUTAGE
from pipeline.shards import Receipt, Rejection, write_shard
from pipeline.store import Entry, FetchFailed, Store

_COUNTED = ("status", "source_bytes", "payload_bytes", "width", "height")
"""The columns that a receipt sums up."""


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
    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""


@dataclass(frozen=True, slots=True)
class Pressed:
    """A piece's rows in the schema IMAGES, and what could not become one."""

    rows: pa.Table
    rejections: tuple[Rejection, ...]


def load(objects: Sequence[Entry], source: Store, max_pixels: int, max_bytes: int) -> list[Loaded | Rejection]:
    """Fetch and decode.

    Args:
        objects: from the source's listing.
        source: where they are.
        max_pixels: larger images are not decoded (they become originals).
        max_bytes: larger objects are not even fetched.
    """
    small = [o for o in objects if o.size <= max_bytes]
    results: list[Loaded | Rejection] = [
        Rejection(o.key, o.etag, "fetch", f"{o.size} bytes are more than {max_bytes}")
        for o in objects
        if o.size > max_bytes
    ]
    for entry, got in zip(small, source.fetch([o.key for o in small]) if small else [], strict=True):
        if isinstance(got, FetchFailed):
            results.append(Rejection(entry.key, entry.etag, OUTAGE if got.transient else "fetch", got.reason))
            continue
        reading = read(got.data, max_pixels=max_pixels)
        if isinstance(reading, Reading):
            results.append(Loaded(entry.key, got.etag, got.data, reading))
        else:
            results.append(Rejection(entry.key, got.etag, reading.stage, reading.reason))
    return results


def analyse(items: Sequence[Loaded | Rejection], codec: Codec, quality: int) -> list[Analysed | Rejection]:
    """Run the networks over the pictures of a piece; the codec puts equal sizes together by itself."""
    pictures = [item.reading.picture for item in items if isinstance(item, Loaded) and item.reading.picture is not None]
    latents = iter(_analyse_all(pictures, codec, quality))
    results: list[Analysed | Rejection] = []
    for item in items:
        if isinstance(item, Rejection):
            results.append(item)
            continue
        reading, picture = item.reading, item.reading.picture
        facts = (item.key, item.etag, item.source, reading.source_format, reading.width, reading.height)
        if picture is None:
            results.append(Analysed(*facts))
        elif isinstance(made := next(latents), Latents):
            results.append(Analysed(*facts, made, picture.icc, picture.exif, picture.xmp))
        else:
            results.append(Rejection(item.key, item.etag, "encode", made))
    return results


def _analyse_all(pictures: Sequence[Picture], codec: Codec, quality: int) -> list[Latents | str]:
    """Latents of each, or why there are none: one picture too large for the memory must not take others with it."""
    try:
        return list(codec.analyse(pictures, quality))
    except (RuntimeError, MemoryError) as e:  # memory is short; a mistake in the settings is a MaepressError and passes
        if len(pictures) == 1:
            return [" ".join(str(e).split())[:200]]
        return [result for picture in pictures for result in _analyse_all([picture], codec, quality)]


def press(items: Sequence[Analysed | Rejection], coder: EntropyCoder, run: str) -> Pressed:
    """Entropy-code, and decide between payload and original: whichever is smaller with what has to travel beside it."""
    rows = [_row(item, coder, run) for item in items if isinstance(item, Analysed)]
    return Pressed(pa.Table.from_pylist(rows, IMAGES), tuple(item for item in items if isinstance(item, Rejection)))


def _row(item: Analysed, coder: EntropyCoder, run: str) -> dict[str, Any]:
    row = {
        "key": item.key,
        "etag": item.etag,
        "source_bytes": len(item.source),
        "source_format": item.source_format,
        "width": item.width,
        "height": item.height,
        "status": ORIGINAL,
        "payload": item.source,
        "payload_bytes": len(item.source),
        "source_sha256": hashlib.sha256(item.source).hexdigest(),
        "encoded_at": datetime.now(UTC),
        "run": run,
    }
    if item.latents is None:
        return row
    payload = coder.encode(item.latents)
    if len(payload) + len(item.icc) + len(item.exif) + len(item.xmp) >= len(item.source):
        return row
    return row | {
        "status": LATENT,
        "model": coder.fingerprint,
        "quality": item.latents.header.quality,
        "payload": payload,
        "payload_bytes": len(payload),
        "psnr": item.latents.psnr,
        "icc": item.icc or None,
        "exif": item.exif or None,
        "xmp": item.xmp or None,
    }


def write(unit: int, base: str | None, pieces: Iterable[Pressed], archive: Archive) -> Receipt:
    """Write a whole unit as one shard.

    Args:
        unit: its number.
        base: the shard that it replaces, or None.
        pieces: all of the unit's pieces, in order.
        archive: where to.
    """
    parts = list(pieces)
    rows = pa.concat_tables([p.rows for p in parts])
    rejections = tuple(r for p in parts for r in p.rejections)
    if rows.num_rows == 0:  # nothing to write; an older version of a refused key stays where it is
        return Receipt(unit, rejections=rejections)
    facts: list[tuple[Any, ...]] = list(zip(*(rows[name].to_pylist() for name in _COUNTED), strict=True))
    shard = write_shard(archive.images, [p.rows for p in parts], base=base)
    return Receipt(
        unit,
        add=shard,
        remove=base,
        rejections=rejections,
        rows=len(facts),
        latents=sum(status == LATENT for status, *_ in facts),
        source_bytes=sum(size for _, size, *_ in facts),
        payload_bytes=sum(size for _, _, size, *_ in facts),
        pixels=sum(width * height for *_, width, height in facts),
    )
