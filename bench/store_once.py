"""What `--store-once` saves and costs: `python -m bench.store_once FOLDER...`.

First, for each folder, the share of its bytes that copies hold: what there is to save at most, as files of equal bytes
have equal payloads. Then an archive of payloads made of chance, a fifth of whose rows are copies: bytes before and
after, and the CPU seconds of writing it, of sharing, and of reading it whole before and after.
"""

import hashlib
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt
from pipeline.archive.schema import IMAGES
from pipeline.archive.shards.payload_references import shared_payloads
from pipeline.archive.shards.row_hash import table_of
from pipeline.archive.shards.shard_writer import write_shard
from pipeline.encode.store_once import store_once
from tests.pipeline.making import original

ROWS, PER_SHARD, PAYLOAD, REPEATS = 4000, 500, 30_000, 3


def copies_in(folder: Path) -> tuple[int, int, int, int]:
    """Files, their bytes, copies among them, and the bytes of these. Only files of one size are read."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            by_size[path.stat().st_size].append(path)
    files, total = sum(map(len, by_size.values())), sum(size * len(paths) for size, paths in by_size.items())
    copies = saved = 0
    for size, paths in by_size.items():
        if len(paths) > 1 and size:
            counts = Counter(hashlib.sha256(path.read_bytes()).digest() for path in paths)
            more = sum(count - 1 for count in counts.values())
            copies, saved = copies + more, saved + more * size
    return files, total, copies, saved


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def fill(archive: Archive) -> None:
    for start in range(0, ROWS, PER_SHARD):
        keys = range(start, start + PER_SHARD)
        payloads = (os.urandom(PAYLOAD) if key % 5 else (key % 20).to_bytes(2, "big") * (PAYLOAD // 2) for key in keys)
        rows = table_of([original(f"{key:06}", payload) for key, payload in zip(keys, payloads, strict=True)])
        archive.committer(f"run {start}").commit([Receipt(0, write_shard(archive.images, [rows]))])


def bytes_of(archive: Archive) -> int:
    return sum(shard.size for shard in archive.shards()) + sum(shared_payloads(archive.images).values())


def read(archive: Archive) -> Iterator[int]:
    yield from (batch.num_rows for batch in archive.scan(IMAGES.names))


def main(folders: list[str]) -> None:
    for folder in folders:
        files, total, copies, saved = copies_in(Path(folder))
        share = saved / total if total else 0
        print(f"{folder}: {files:,} files, {total:,} bytes; {copies:,} copies, {saved:,} bytes ({share:.2%})")
    with tempfile.TemporaryDirectory() as place:
        archive = Archive.create(f"{place}/archive")
        writing = seconds(lambda: fill(archive))
        before, whole = bytes_of(archive), min(seconds(lambda: sum(read(archive))) for _ in range(REPEATS))
        sharing = seconds(lambda: store_once(archive, archive.committer("once")))
        after, shared = bytes_of(archive), min(seconds(lambda: sum(read(archive))) for _ in range(REPEATS))
        nothing = seconds(lambda: store_once(archive, archive.committer("again")))
    print(f"{ROWS:,} rows, a fifth of them copies: {before:,} -> {after:,} bytes ({after / before:.3f})")
    print(
        f"CPU s: writing {writing:.2f}, sharing {sharing:.2f}, again {nothing:.2f}; reading {whole:.2f} -> {shared:.2f}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
