"""Writing one unit of work as one Parquet file, and the receipt that the driver commits.

A shard is written straight to its final, unique name below `images/`. Nobody sees it until a commit names it; when no commit ever does, it is an
orphan that a vacuum removes. So a writer may die, be run twice or be forgotten at any point.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.store import Store


@dataclass(frozen=True, slots=True)
class Shard:
    """A Parquet file that is written, as the transaction log will name it.

    Attributes:
        path: relative to the table's root.
        size: bytes.
        modified_ms: milliseconds since 1970.
        rows: number of rows.
        first_key: least key.
        last_key: greatest key.
        stats: Delta's per-file statistics as JSON (numRecords, minValues, maxValues, nullCount).
    """

    path: str
    size: int
    modified_ms: int
    rows: int
    first_key: str
    last_key: str
    stats: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A (key, etag) that could not be pressed: at which stage ("fetch", "read", "encode"), and why in one line."""

    key: str
    etag: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one unit did; small, travels to the driver, which commits it.

    Attributes:
        unit: the unit's number in the plan.
        add: the shard written, None when no row is left.
        remove: path of the shard that this one replaces (copy on write), None for new keys.
        rejections: what could not be pressed.
        rows: rows pressed or kept in this unit (rows copied from `remove` do not count).
        latents: of these, rows whose status is latent.
        source_bytes: bytes of the sources of `rows`.
        payload_bytes: bytes of the payloads of `rows`.
        pixels: width times height over `rows`.
    """

    unit: int
    add: Shard | None = None
    remove: str | None = None
    rejections: tuple[Rejection, ...] = field(default=())
    rows: int = 0
    latents: int = 0
    source_bytes: int = 0
    payload_bytes: int = 0
    pixels: int = 0


def write_shard(
    images: Store, rows: Iterable[pa.Table], *, base: str | None = None, drop: Collection[str] = (), row_group_bytes: int = 4 << 20
) -> Shard | None:
    """Write rows as one shard, merged with an older shard when there is one.

    Args:
        images: the table's root (`Archive.images`).
        rows: tables in the schema IMAGES, in any order; each key at most once. They are held in memory together.
        base: path of the shard to replace, relative to `images`. It is read in bounded memory; its rows are copied as they are, except
            those whose key is in `rows` (replaced) or in `drop` (gone).
        drop: keys that leave the archive. A key whose new version could not be pressed is best not dropped: its old row stays.
        row_group_bytes: payload bytes after which a row group ends.

    Returns:
        The facts for a Receipt, or None when no row is left (nothing is written then).
    """
    raise NotImplementedError
