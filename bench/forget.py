"""Erasing images from an archive of 10^5 rows: seconds per key, and how they are spent.

    python -m bench.forget                       # 10^5 rows of 2 kB, 1, 10 and 100 keys that are spread over all shards
    python -m bench.forget --rows 10000

The archive is made with the shard writer and committed; rows are complete, with random payloads, without compressing
anything. Each number of keys is erased from a copy of it. Most of the time is spent on writing the shards with the keys
anew, so the bytes that are written are shown, too.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt
from pipeline.archive.shards.row_hash import table_of
from pipeline.archive.shards.shard_writer import write_shard
from pipeline.forget.run import forget
from pipeline.forget.settings import ForgetSettings
from tests.pipeline.making import original

PAYLOAD = 2048
SHARD_ROWS = 10_000
CHUNK = 2_000


def key(number: int) -> str:
    return f"photos/{number // 1000:04}/IMG_{number:08}.jpg"


def build(archive: Archive, rows: int) -> None:
    """Commit shards of SHARD_ROWS rows each."""
    for start in range(0, rows, SHARD_ROWS):
        numbers = range(start, min(rows, start + SHARD_ROWS))
        tables = (
            table_of([original(key(n), os.urandom(PAYLOAD)) for n in numbers[at : at + CHUNK]])
            for at in range(0, len(numbers), CHUNK)
        )
        receipt = Receipt(0, write_shard(archive.images, tables), rows=len(numbers), source_bytes=1)
        archive.committer(f"run {start}").commit([receipt])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the archive")
    parser.add_argument("--keys", type=int, nargs="*", default=(1, 10, 100), help="numbers of keys to erase")
    arguments = parser.parse_args()
    print(
        "".join(f"{name:>12}" for name in ("rows", "keys", "shards", "MB written", "seconds", "s per key")), flush=True
    )
    with tempfile.TemporaryDirectory(prefix="maepress-bench-") as folder:
        build(Archive.create(f"{folder}/first"), arguments.rows)
        for count in arguments.keys:
            place = shutil.copytree(f"{folder}/first", f"{folder}/copy")
            before = {path.name for path in (Path(place) / "images").glob("*.parquet")}
            step = arguments.rows // count
            (Path(folder) / "keys.txt").write_text("\n".join(key(n * step) for n in range(count)))
            started = time.monotonic()
            result = forget(ForgetSettings(archive=str(place), keys=f"@{folder}/keys.txt"))
            seconds = time.monotonic() - started
            assert result.receipt is not None and result.receipt.images == count
            fresh = [path for path in (Path(place) / "images").glob("*.parquet") if path.name not in before]
            written = sum(path.stat().st_size for path in fresh) / 1e6
            numbers = f"{arguments.rows:>12,}{count:>12,}{result.receipt.shards:>12,}"
            print(f"{numbers}{written:>12.1f}{seconds:>12.2f}{seconds / count:>12.3f}", flush=True)
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
