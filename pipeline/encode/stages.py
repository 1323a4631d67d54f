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
the others to the receipt. Each stage has one boundary around each object (`model.core.boundary`),
which turns any exception into that object's rejection; only `FATAL` end the job.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from model.bitstream.container import METADATA
from model.bitstream.entropy_coder import EntropyCoder, Latents
from model.core.boundary import Fault, attempt, attempt_all
from model.core.errors import MissingPackage
from model.core.picture import Picture
from model.core.target import Target
from pipeline.archive.receipt import Rejection
from pipeline.archive.schema import IMAGES, JXL, LARGER, OUTAGE, UNCODED
from pipeline.archive.shards.row_hash import table_of
from pipeline.encode.codec_settings import described, needs_model, needs_score
from pipeline.encode.coded_picture import choose
from pipeline.encode.kept_payload import kept_payload
from pipeline.images.formats import heif
from pipeline.images.formats.codec_names import MAE, MAE_ALONE
from pipeline.images.formats.file_kind import FileKind, kind_of, why_unreadable
from pipeline.images.formats.jpeg_xl import JPEG_START
from pipeline.images.reading import Reading, Rejected
from pipeline.images.sandbox.sandbox import Sandbox
from pipeline.monitoring.encode_counter import EncodeCounts
from pipeline.storage.base import Entry, Fetched, FetchFailed, StorageError, Store, too_large
from pipeline.storage.modified import in_a_row

if TYPE_CHECKING:  # it imports torch, which only encoders need
    from model.codec import Codec

FATAL = (StorageError, MissingPackage)
"""Errors that concern more than one object, and end the job: of a store, and of the installation."""
_TRANSCODE_SHARE = 0.7
"""A JPEG is transcoded as well when its payload is at least this share of it: few transcodes save
more than 30 %."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An object that was fetched and decoded.

    `etag` is that of the bytes in `source`; it differs from the listing's when the object changed
    after that. `modified_ns` is the time of its last change, None where the store does not tell, and
    `meta` its labels and sidecars as JSON.
    """

    key: str
    etag: str
    source: bytes
    reading: Reading
    modified_ns: int | None = None
    meta: str | None = None


@dataclass(frozen=True, slots=True)
class Analysed:
    """A loaded object with `latents` in place of its pixels, or with neither if the source is kept.

    The pixels stay with it if a standard codec may compress them.

    Attributes:
        key: of the object.
        etag: of `source`.
        source: the object's bytes, which are kept if the payload is not smaller.
        source_format: "jpeg", "png" ...
        width: in pixels.
        height: in pixels.
        latents: integers that the networks made of the picture.
        keep: the reason when there are neither latents nor a picture, else None.
        icc: ICC profile; empty for none, and for kept sources, whose own bytes hold it.
        exif: EXIF block, likewise.
        xmp: XMP packet, likewise.
        skeleton: what else the file holds, likewise.
        modified_ns: time of the object's last change, None where the store does not tell.
        phash: perceptual hash of the picture, None without one.
        picture: the pixels, where a standard codec is allowed.
        meta: labels and sidecars as JSON, None without any.
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
    skeleton: bytes = b""
    modified_ns: int | None = None
    phash: int | None = None
    picture: Picture | None = None
    meta: str | None = None


@dataclass(frozen=True, slots=True)
class CompressedPiece:
    """The rows of one piece, in the schema IMAGES, and the rejections of its other objects."""

    rows: pa.Table
    rejections: tuple[Rejection, ...]


def load(
    objects: Sequence[Entry],
    source: Store,
    sandbox: Sandbox,
    max_pixels: int,
    max_bytes: int,
    *,
    keep_unreadable: bool = True,
) -> list[Loaded | Rejection]:
    """Fetch and decode the objects of a piece.

    Args:
        objects: from the source's listing.
        source: the store that holds them.
        sandbox: decodes them one at a time, so that a file that crashes the decoder affects no
            other.
        max_pixels: larger images are not decoded; their sources are kept.
        max_bytes: larger objects are rejected, without being fetched where the listing has their sizes.
        keep_unreadable: keep the bytes of files that no reader understands, instead of rejecting them.

    Returns:
        One result per object; those rejected for their size come first, the others keep their
        order.
    """
    small: list[Entry] = []
    results: list[Loaded | Rejection] = []
    for entry in objects:
        if source.sizes_are_known and (large := too_large(entry.size, max_bytes)):
            results.append(Rejection(entry.key, entry.etag, "fetch", large))
        else:
            small.append(entry)
    fetched = attempt_all(small, lambda some: source.fetch_listed(some, max_bytes), passes=FATAL)
    for entry, got in zip(small, fetched, strict=True):
        if isinstance(got, Fault):
            results.append(Rejection(entry.key, entry.etag, OUTAGE, got.reason))  # says nothing about the object
        elif isinstance(got, FetchFailed):
            results.append(Rejection(entry.key, entry.etag, "fetch" if got.is_verdict else OUTAGE, got.reason))
        else:
            results.append(_read(got, sandbox, max_pixels, keep_unreadable))
    return results


def _read(got: Fetched, sandbox: Sandbox, max_pixels: int, keep_unreadable: bool) -> Loaded | Rejection:
    kind = kind_of(got.data)
    reading: Reading | Rejected | Fault = Rejected("read", kind.text)
    if kind.readable:  # a film of gigabytes does not have to pass the sandbox
        reading = attempt(lambda: sandbox.read(got.data, max_pixels=max_pixels), passes=FATAL)
    if isinstance(reading, Reading):
        return Loaded(got.key, got.etag, got.data, reading, got.modified_ns, got.meta)
    if keep_unreadable and not (isinstance(reading, Fault) and reading.machine):
        reading = Reading(kind.name, 0, 0, keep=_why_kept(got.data, kind))
        return Loaded(got.key, got.etag, got.data, reading, got.modified_ns, got.meta)
    if isinstance(reading, Fault):
        return rejection_for(got.key, got.etag, "read", reading)
    return Rejection(got.key, got.etag, reading.stage, reading.reason)


def _why_kept(data: bytes, kind: FileKind) -> str:
    """Why a file is kept that no reader understands."""
    reason = why_unreadable(data, kind)
    if kind.name != heif.FORMAT:
        return reason
    return f"{reason} that cannot be decoded" if heif.is_installed() else f"{reason} (maepress[heif] is not installed)"


def rejection_for(key: str, etag: str, stage: str, fault: Fault) -> Rejection:
    """The rejection of an object for a fault; if the machine is to blame, the next run tries the object again."""
    return Rejection(key, etag, OUTAGE if fault.machine else stage, fault.reason)


def analyse(
    items: Sequence[Loaded | Rejection],
    codec: "Codec | None",
    target: Target,
    *,
    codecs: Sequence[str] = MAE_ALONE,
    effort: int = 0,
) -> list[Analysed | Rejection]:
    """Run the networks over the pictures of a piece; the codec batches pictures of equal size.

    A picture on which the codec fails is kept, unless a standard codec may compress it.

    Args:
        items: results of `load` for one piece.
        codec: the model; None where none of `codecs` needs it (`codec_settings.needs_model`).
        target: for each picture.
        codecs: those allowed.
        effort: of the model, 0..3.
    """
    pictures = [item.reading.picture for item in items if isinstance(item, Loaded) and item.reading.picture is not None]
    latents = iter(_latents(pictures, codec, target, codecs, effort))
    standard = any(name != MAE for name in codecs)
    results: list[Analysed | Rejection] = []
    for item in items:
        if isinstance(item, Rejection):
            results.append(item)
            continue
        reading, picture = item.reading, item.reading.picture
        facts = (item.key, item.etag, item.source, reading.source_format, reading.width, reading.height)
        more: dict[str, Any] = {"modified_ns": item.modified_ns, "phash": reading.phash, "meta": item.meta}
        if picture is None:
            results.append(Analysed(*facts, keep=reading.keep, **more))
            continue
        made = next(latents)
        if isinstance(made, Fault) and made.machine:
            results.append(Rejection(item.key, item.etag, OUTAGE, made.reason))
        elif isinstance(made, Fault) and not (standard and target.quality is None):
            results.append(Analysed(*facts, keep=UNCODED, **more))
        else:
            more |= {name: getattr(picture, name) for name in METADATA}
            own = None if isinstance(made, Fault) else made
            results.append(Analysed(*facts, own, None, **more, picture=picture if standard else None))
    return results


def _latents(
    pictures: Sequence[Picture], codec: "Codec | None", target: Target, codecs: Sequence[str], effort: int
) -> Sequence[Latents | Fault | None]:
    """What the model makes of each picture; None where it is not needed."""
    if codec is None or not needs_model(target, codecs):
        return [None] * len(pictures)
    more: dict[str, Any] = {"also": ("ssimulacra2",)} if needs_score(target, codecs) else {}
    return attempt_all(pictures, lambda some: codec.analyse(some, target, effort=effort, **more), passes=FATAL)


def counts_of(items: Sequence[Analysed | Rejection]) -> EncodeCounts:
    """What the progress display counts of a piece: all objects, bytes of those read, pixels of those analysed."""
    images = [item for item in items if isinstance(item, Analysed)]
    pixels = sum(image.width * image.height for image in images if _has_pixels(image))
    return EncodeCounts(len(items), sum(len(image.source) for image in images), pixels)


def _has_pixels(item: Analysed) -> bool:
    """Whether it is a picture that may be compressed."""
    return item.latents is not None or item.picture is not None


def compress(
    items: Sequence[Analysed | Rejection],
    coder: EntropyCoder | None,
    target: Target,
    sandbox: Sandbox,
    run: str,
    *,
    keep: str = "exact",
    codecs: Sequence[str] = MAE_ALONE,
    effort: int = 0,
) -> CompressedPiece:
    """Entropy-code the latents of a piece, try the standard codecs that are allowed, and choose each row's payload.

    Args:
        items: results of `analyse` for one piece.
        coder: the model's entropy coder; None where the items have no latents.
        target: the target that the items were analysed for.
        sandbox: transcodes JPEG files.
        run: the run's id, for the rows.
        keep: how sources are kept: "exact", or "pixels" (`pipeline.images.formats.lossless_pixels`).
        codecs: those that the items were analysed for.
        effort: with which they were.
    """
    choice = _Choice(coder, target, sandbox, run, keep, tuple(codecs), effort)
    rows, rejections = list[dict[str, Any]](), [item for item in items if isinstance(item, Rejection)]
    for item in items:
        if isinstance(item, Analysed):
            row = attempt(functools.partial(_row, item, choice), passes=FATAL)
            if isinstance(row, Fault) and not row.machine and _has_pixels(item):
                plain = replace(item, latents=None, picture=None, keep=UNCODED)
                row = attempt(functools.partial(_row, plain, choice), passes=FATAL)
            if isinstance(row, Fault):
                rejections.append(rejection_for(item.key, item.etag, "encode", row))
            else:
                rows.append(row)
    made = attempt(lambda: table_of(rows))
    if isinstance(made, Fault):  # a value that its column cannot hold: find out whose
        made, found = _tables(rows)
        rejections += found
    return CompressedPiece(made, tuple(rejections))


def _tables(rows: Sequence[dict[str, Any]]) -> tuple[pa.Table, list[Rejection]]:
    """A table of those rows that fit the schema IMAGES, and the rejections of the others."""
    tables, rejections = [IMAGES.empty_table()], list[Rejection]()
    for row in rows:
        one = attempt(functools.partial(table_of, [row]))
        if isinstance(one, Fault):
            rejections.append(rejection_for(row["key"], row["etag"], "encode", one))
        else:
            tables.append(one)
    return pa.concat_tables(tables), rejections


@dataclass(frozen=True, slots=True)
class _Choice:
    """What all rows of a run are chosen by; see `compress`."""

    coder: EntropyCoder | None
    target: Target
    sandbox: Sandbox
    run: str
    keep: str
    codecs: tuple[str, ...]
    effort: int


def _row(item: Analysed, by: _Choice) -> dict[str, Any]:
    """The row with the smallest of: payload and metadata if the target is met, transcode, source (packed)."""
    size = len(item.source)
    row = {
        "key": item.key,
        "etag": item.etag,
        "source_bytes": size,
        "source_format": item.source_format,
        "width": item.width,
        "height": item.height,
        "source_sha256": hashlib.sha256(item.source).hexdigest(),
        "source_modified_ns": in_a_row(item.modified_ns),
        "phash": item.phash,
        "meta": item.meta,
        "encoded_at": datetime.now(UTC),
        "run": by.run,
    }
    kept, smallest, coded = item.keep, size, None
    if _has_pixels(item):
        row |= {"target": by.target.described(), "candidates": described(by.codecs), "effort": by.effort or None}
        chosen = choose(item.picture, item.latents, by.coder, by.target, by.codecs)
        coded, kept = chosen.coded, chosen.why_not or LARGER
        if coded is not None:
            smallest = min(size, len(coded.payload) + sum(len(getattr(item, name)) for name in METADATA))
    jxl = None
    # Of several codecs, one might be larger than this share alone, and then be beaten by a transcode.
    worthwhile = smallest >= _TRANSCODE_SHARE * size or len(by.codecs) > 1
    if worthwhile and item.source.startswith(JPEG_START):
        jxl = by.sandbox.to_jxl(item.source)
    if jxl is not None and len(jxl) < smallest:
        return row | {"status": JXL, "kept": kept, "payload": jxl, "payload_bytes": len(jxl)}
    if coded is None or smallest >= size:
        status, payload = kept_payload(item.source, item.source_format, by.sandbox, by.keep)
        return row | {"status": status, "kept": kept, "payload": payload, "payload_bytes": len(payload)}
    return row | coded.row() | {name: getattr(item, name) or None for name in METADATA}
