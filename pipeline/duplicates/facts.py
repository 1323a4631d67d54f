"""What a search needs of each row, as arrays of numbers: 41 bytes per row while reading, and no keys."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.archive.archive import Archive
from pipeline.archive.shards.shard_reader import scan_shard
from pipeline.archive.shards.shard_writer import Shard
from pipeline.archive.shards.shared_payloads import POINTER

_COLUMNS = ("source_sha256", "phash", POINTER, "source_bytes", "payload_bytes")
_PREFIX = 16
"""Hex digits of a SHA-256 that are compared: of 10^7 files, two share them by chance with probability 3e-6."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The rows of an archive, in the order of its shards.

    Attributes:
        sources: int64, the first 64 bits of each source's SHA-256.
        hashes: int64, perceptual hash; any number where there is none.
        hashed: bool, whether there is a perceptual hash.
        source_bytes: int64.
        payload_bytes: int64; 0 where a row before it has the same object as its payload, which is there once.
    """

    sources: NDArray[np.int64]
    hashes: NDArray[np.int64]
    hashed: NDArray[np.bool_]
    source_bytes: NDArray[np.int64]
    payload_bytes: NDArray[np.int64]

    @classmethod
    def read(cls, archive: Archive, shards: Sequence[Shard]) -> "Facts":
        """Read five small columns of all rows.

        Raises:
            StorageError: when a shard cannot be read.
        """
        return cls.of(batch for shard in shards for batch in scan_shard(archive.images, shard.path, _COLUMNS))

    @classmethod
    def of(cls, batches: "Iterable[pa.RecordBatch]") -> "Facts":
        """The facts in record batches with the columns read."""
        parts: list[tuple[NDArray[Any], ...]] = [tuple(np.empty(0, kind) for kind in _KINDS)]
        parts += [_arrays(batch) for batch in batches]
        *columns, objects = (np.concatenate(column) for column in zip(*parts, strict=True))
        facts = cls(*columns)
        facts.payload_bytes[_repeated(objects)] = 0
        return facts


_KINDS = (np.int64, np.int64, np.bool_, np.int64, np.int64, np.int64)


def _arrays(batch: pa.RecordBatch) -> tuple[NDArray[Any], ...]:
    sources = np.array([_number(text) for text in batch.column("source_sha256").to_pylist()], np.int64)
    hashes = batch.column("phash")
    sizes = (batch.column(name).to_numpy(zero_copy_only=False).astype(np.int64) for name in _COLUMNS[3:])
    hashed = hashes.is_valid().to_numpy(zero_copy_only=False)
    objects = np.array([0 if name is None else hash(name) for name in batch.column(POINTER).to_pylist()], np.int64)
    return sources, hashes.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64), hashed, *sizes, objects


def _repeated(objects: NDArray[Any]) -> NDArray[Any]:
    """The numbers of the rows whose shared object, given by a number other than 0, a row before them has, too."""
    sharing = np.flatnonzero(objects)
    first = np.unique(objects[sharing], return_index=True)[1]
    return np.delete(sharing, first)


def _number(sha256: Any) -> int:
    """The first 64 bits; of a text that is no SHA-256, which another tool wrote, some number."""
    try:
        return int.from_bytes(bytes.fromhex(sha256[:_PREFIX]).ljust(8, b"\0"), "big", signed=True)
    except ValueError:
        return hash(sha256)
