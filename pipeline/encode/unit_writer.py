"""The last stage of an encode: a unit's compressed pieces become one shard and a receipt."""

import functools
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pyarrow as pa

from model.core.boundary import Fault, attempt
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.archive.schema import AFTER_ANALYSIS, COMPRESSED, IMAGES, JXL, LATENT, PIXELS
from pipeline.archive.shards.shard_writer import check_rows, write_shard
from pipeline.encode.stages import FATAL, CompressedPiece, rejection_for

_RECEIPT_COLUMNS = ("status", "source_bytes", "payload_bytes", "width", "height", "kept", "codec")
"""The columns whose sums a receipt holds."""


def write_unit(
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
    tables = [p.rows for p in parts]
    rejections = tuple(r for p in parts for r in p.rejections)
    shard = None
    if drop or any(table.num_rows for table in tables):  # else nothing to write; an older row of a rejected key stays
        made = attempt(lambda: write_shard(archive.images, tables, base=base, drop=drop), passes=(*FATAL, OSError))
        if isinstance(made, Fault):
            tables, found = _writable(tables)
            rejections += tuple(found)
            made = write_shard(archive.images, tables, base=base, drop=drop)
        shard = made
    rows = pa.concat_tables([IMAGES.empty_table(), *tables])
    if rows.num_rows == 0 and not drop:
        return Receipt(unit, rejections=rejections)
    facts: list[tuple[Any, ...]] = list(zip(*(rows[name].to_pylist() for name in _RECEIPT_COLUMNS), strict=True))
    return Receipt(
        unit,
        add=shard,
        remove=base,
        rejections=rejections,
        retired=len(drop),
        rows=len(facts),
        latents=sum(status == LATENT for status, *_ in facts),
        codecs=tuple(Counter(codec for *_, codec in facts if codec is not None).items()),
        transcoded=sum(status == JXL for status, *_ in facts),
        kept_pixels=sum(status == PIXELS for status, *_ in facts),
        kept=tuple(Counter(kept for *_, kept, _ in facts if kept is not None).items()),
        source_bytes=sum(size for _, size, *_ in facts),
        payload_bytes=sum(size for _, _, size, *_ in facts),
        pixels=sum(width * height for status, _, _, width, height, kept, _ in facts if _is_decoded(status, kept)),
    )


def _is_decoded(status: str, kept: str | None) -> bool:
    """Whether a row's pixels were decoded; of other rows the size is only what their header claims."""
    return status in COMPRESSED or kept in AFTER_ANALYSIS


def _writable(tables: Sequence[pa.Table]) -> tuple[list[pa.Table], list[Rejection]]:
    """The rows that can be written, each alone, and the rejections of the others."""
    sound, rejections = list[pa.Table](), list[Rejection]()
    for table in tables:
        for i in range(table.num_rows):
            row = table.slice(i, 1)
            fault = attempt(functools.partial(check_rows, row))
            if isinstance(fault, Fault):
                rejections.append(rejection_for(row["key"][0].as_py(), row["etag"][0].as_py(), "write", fault))
            else:
                sound.append(row)
    return sound, rejections
