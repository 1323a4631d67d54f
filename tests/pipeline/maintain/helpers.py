"""Helpers of these tests that read and change archives."""

import os
import time
from pathlib import Path

from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt
from pipeline.archive.shards.shard_writer import Shard, write_shard
from tests.pipeline.making import originals


def keys_of(archive: Archive) -> list[str]:
    return [row.key for row in archive.rows_by_key()]


def rejected(archive: Archive) -> list[str]:
    return [row.key for row in archive.rejections_by_key()]


def replace(archive: Archive, base: Shard, *keys: str, drop: tuple[str, ...] = (), run: str = "second") -> Shard:
    shard = write_shard(archive.images, [originals(keys, run=run)], base=base.path, drop=drop)
    assert shard is not None
    archive.committer(run).commit([Receipt(0, shard, remove=base.path, rows=len(keys), retired=len(drop))])
    return shard


def age(archive: Archive, seconds: float, *names: str) -> None:
    """Make files look as if they had been written long ago."""
    when = time.time() - seconds
    for path in Path(archive.url).rglob("*"):
        if path.is_file() and (not names or path.name in names):
            os.utime(path, (when, when))
