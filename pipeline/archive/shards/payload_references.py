"""Which shared payloads are there, and which of them the shards of an archive name.

A payload is needed as long as any file of the table names it: one of the present version, of an older
one, or one that its writer has not committed yet. So nothing is counted that could be counted wrongly;
who deletes reads all files first, and deletes nothing where one of them cannot be read.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow.compute

from pipeline.archive.schema import LOG
from pipeline.archive.shards.shard_file import open_shard
from pipeline.archive.shards.shared_payloads import FOLDER, POINTER, is_name, key_of, name_in
from pipeline.storage.base import Store

pc: Any = pyarrow.compute  # its stubs refuse most mixes of columns and plain values

_PARQUET = ".parquet"
_AT_ONCE = 8
"""Shards that are read concurrently, as reading from an object store is mostly waiting."""


def shared_payloads(images: Store) -> dict[str, int]:
    """The bytes of the payloads that rows share, by their keys below `images/`; other files there are left out.

    Raises:
        StorageError: when the folder cannot be listed.
    """
    folder = images.child(FOLDER)
    if not folder.root_exists():
        return {}
    found = {f"{FOLDER}/{entry.key}": entry.size for entry in folder.entries()}
    return {key: size for key, size in found.items() if is_name(name := name_in(key)) and key == key_of(name)}


def named_by(images: Store, paths: Iterable[str]) -> set[str]:
    """The keys, below `images/`, of the payloads that shards name. Mostly, their footers tell that there are none.

    Args:
        images: root of the table.
        paths: of the shards.

    Raises:
        StorageError: when a shard cannot be read.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {key_of(name) for names in pool.map(lambda path: set(_named(images, path)), paths) for name in names}


def _named(images: Store, path: str) -> Iterator[str]:
    with open_shard(images, path) as shard:
        for index in range(shard.num_row_groups):
            if shard.may_hold(index, POINTER):
                yield from filter(is_name, pc.unique(shard.read_row_group(index, [POINTER])[POINTER]).to_pylist())


def files_of_table(images: Store) -> list[str]:
    """The paths of all Parquet files of a table, also of older versions, and of none."""
    return [e.key for e in images.entries() if e.key.endswith(_PARQUET) and not e.key.startswith((LOG, f"{FOLDER}/"))]
