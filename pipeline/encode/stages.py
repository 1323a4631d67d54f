"""The stages of an encode, as plain functions on Python objects.

    Entry --load--> Loaded --analyse--> Analysed --compress--> CompressedPiece --write--> Receipt

| stage    | result                                     | where `dataflow` runs it                  |
|----------|--------------------------------------------|-------------------------------------------|
| load     | source bytes and decoded picture           | CPU tasks, keys fetched concurrently      |
| analyse  | integers of the latents in place of pixels | actors with a model each, on GPUs if any  |
| compress | rows of the archive                        | CPU tasks, entropy coding                 |
| write    | one shard per unit                         | CPU tasks                                 |

Nothing here depends on Ray: `pipeline.encode.dataflow` and `pipeline.encode.ray_tasks` run these
functions on it.

Every object is accounted for: one that fails becomes a `Rejection` in its place and travels with
the others to the receipt.
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
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.archive.schema import IMAGES, JXL, LARGER, LATENT, MISSED, ORIGINAL, OUTAGE
from pipeline.archive.shards import write_shard
from pipeline.images.image_reader import Reading
from pipeline.images.jpeg_xl import JPEG_START
from pipeline.images.sandbox import Sandbox
from pipeline.storage.base import Entry, FetchFailed, Store, too_large

if TYPE_CHECKING:  # it imports torch, which only encoders need
    from model.codec import Codec

_RECEIPT_COLUMNS = ("status", "source_bytes", "payload_bytes", "width", "height", "kept")
"""The columns whose sums a receipt holds."""
_TRANSCODE_SHARE = 0.7
"""A JPEG is transcoded as well when its payload is at least this share of it: few transcodes save
more than 30 %."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An object that was fetched and decoded.

    `etag` is that of the bytes in `source`; it differs from the listing's when the object changed
    after that.
    """

    key: str
    etag: str
    source: bytes
    reading: Reading


@dataclass(frozen=True, slots=True)
class Analysed:
    """A loaded object with `latents` in place of its pixels, or with neither if the source is kept.

    Attributes:
        key: of the object.
        etag: of `source`.
        source: the object's bytes, which are kept if the payload is not smaller.
        source_format: "jpeg", "png" ...
        width: in pixels.
        height: in pixels.
        latents: integers that the networks made of the picture.
        keep: the reason when there are no latents, else None.
        icc: ICC profile; empty for none, and for kept sources, whose own bytes hold it.
        exif: EXIF block, likewise.
        xmp: XMP packet, likewise.
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
class CompressedPiece:
    """The rows of one piece, in the schema IMAGES, and the rejections of its other objects."""

    rows: pa.Table
    rejections: tuple[Rejection, ...]


def load(
    objects: Sequence[Entry], source: Store, sandbox: Sandbox, max_pixels: int, max_bytes: int
) -> list[Loaded | Rejection]:
    """Fetch and decode the objects of a piece.

    Args:
        objects: from the source's listing.
        source: the store that holds them.
        sandbox: decodes them one at a time, so that a file that crashes the decoder affects no
            other.
        max_pixels: larger images are not decoded; their sources are kept.
        max_bytes: larger objects are rejected without being fetched.

    Returns:
        One result per object; those rejected for their size come first, the others keep their
        order.
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
    """Run the networks over the pictures of a piece; the codec batches pictures of equal size."""
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
    """Latents of each picture, or a reason.

    A picture that exhausts the memory must not fail the others, so these are tried one by one.
    """
    try:
        return list(codec.analyse(pictures, target))
    except (RuntimeError, MemoryError) as e:  # out of memory; mistakes in settings are MaepressErrors and pass through
        if len(pictures) == 1:
            return [" ".join(str(e).split())[:200]]
        return [result for picture in pictures for result in _analyse_all([picture], codec, target)]


def compress(
    items: Sequence[Analysed | Rejection], coder: EntropyCoder, target: Target, sandbox: Sandbox, run: str
) -> CompressedPiece:
    """Entropy-code the latents of a piece and choose the payload of each row.

    Args:
        items: results of `analyse` for one piece.
        coder: the model's entropy coder.
        target: the target that the items were analysed for.
        sandbox: transcodes JPEG files.
        run: the run's id, for the rows.
    """
    rows = [_row(item, coder, target, sandbox, run) for item in items if isinstance(item, Analysed)]
    return CompressedPiece(
        pa.Table.from_pylist(rows, IMAGES), tuple(item for item in items if isinstance(item, Rejection))
    )


def _row(item: Analysed, coder: EntropyCoder, target: Target, sandbox: Sandbox, run: str) -> dict[str, Any]:
    """The row with the smallest of: payload and metadata if the target is met, transcode, source."""
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
    kept, smallest = item.keep, size
    if item.latents is not None:
        row["target"] = target.described()
        payload = coder.encode(item.latents) if item.latents.met else b""
        kept = LARGER if item.latents.met else MISSED
        if item.latents.met:
            smallest = min(size, len(payload) + len(item.icc) + len(item.exif) + len(item.xmp))
    jxl = None
    if smallest >= _TRANSCODE_SHARE * size and item.source.startswith(JPEG_START):
        jxl = sandbox.to_jxl(item.source)
    if jxl is not None and len(jxl) < smallest:
        return row | {"status": JXL, "kept": kept, "payload": jxl, "payload_bytes": len(jxl)}
    if item.latents is None or smallest >= size:
        return row | {"status": ORIGINAL, "kept": kept, "payload": item.source, "payload_bytes": size}
    return row | {
        "status": LATENT,
        "model": coder.fingerprint,
        "quality": item.latents.header.fine_quality,
        "payload": payload,
        "payload_bytes": len(payload),
        "psnr": item.latents.psnr,
        "ms_ssim": item.latents.ms_ssim,
        "ssimulacra2": item.latents.ssimulacra2,
        "icc": item.icc or None,
        "exif": item.exif or None,
        "xmp": item.xmp or None,
    }


def write(
    unit: int, base: str | None, pieces: Iterable[CompressedPiece], archive: Archive, drop: Collection[str] = ()
) -> Receipt:
    """Write a whole unit as one shard.

    Args:
        unit: its number.
        base: the shard that it replaces, None for new keys.
        pieces: all of the unit's pieces, in order.
        archive: the archive to write to.
        drop: keys that leave `base`.

    Returns:
        The unit's receipt. Nothing refers to the shard until the receipt is committed.
    """
    parts = list(pieces)
    rows = pa.concat_tables([IMAGES.empty_table(), *(p.rows for p in parts)])
    rejections = tuple(r for p in parts for r in p.rejections)
    if rows.num_rows == 0 and not drop:  # nothing to write; an older row of a rejected key stays
        return Receipt(unit, rejections=rejections)
    facts: list[tuple[Any, ...]] = list(zip(*(rows[name].to_pylist() for name in _RECEIPT_COLUMNS), strict=True))
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
