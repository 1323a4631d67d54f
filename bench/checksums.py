"""Cost of the checksums of an archive: time and bytes per row, per shard and per commit.

    python -m bench.checksums [--rows 2000] [--payload 30000]

Rows are originals of random bytes. Reading is measured with and without comparing the pages' checksums, warm.
"""

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from deltalake import DeltaTable

from pipeline.archive.archive import Archive
from pipeline.archive.log.commit_seal import AT, SEALED, log_file
from pipeline.archive.receipt import Receipt
from pipeline.archive.schema import IMAGES, ROW_SHA256
from pipeline.archive.shards.row_hash import row_hashes, table_of
from pipeline.archive.shards.shard_writer import write_shard
from tests.pipeline.making import original

_REPEATS = 5


def seconds(work: Callable[[], object]) -> float:
    """Processor time of the fastest of a few repeats."""
    times = []
    for _ in range(_REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--payload", type=int, default=30_000)
    arguments = parser.parse_args()
    count, megabytes = arguments.rows, arguments.rows * arguments.payload / 1e6
    rows = [original(f"photos/{i:07}.jpg", os.urandom(arguments.payload)) for i in range(count)]
    table = table_of(rows)
    with tempfile.TemporaryDirectory(prefix="maepress-bench-") as folder:
        archive = Archive.create(str(Path(folder) / "archive"))
        write = seconds(lambda: write_shard(archive.images, [table]))
        shard = write_shard(archive.images, [table])
        assert shard is not None
        archive.committer("run").commit([Receipt(0, shard, rows=count)])
        path = Path(archive.images.absolute_url) / shard.path
        data = path.read_bytes()

        def read(check: bool) -> None:
            pq.ParquetFile(path, page_checksum_verification=check).read(use_threads=False)

        metadata = pq.read_metadata(path)
        at = IMAGES.get_field_index(ROW_SHA256)
        groups = range(metadata.num_row_groups)
        column = sum(metadata.row_group(group).column(at).total_compressed_size for group in groups)
        log = (Path(archive.images.absolute_url) / log_file(1)).read_text().splitlines()
        record = DeltaTable(archive.images.absolute_url).history(1)[0]
        own = [name for name in record if name.endswith("256") or name in (SEALED, AT)]
        seal = sum(len(f'"{name}":"{record[name]}",') for name in own)
        hashing, sha = seconds(lambda: row_hashes(table)), seconds(lambda: hashlib.sha256(data).hexdigest())
        unchecked, checked = seconds(lambda: read(False)), seconds(lambda: read(True))
    print(f"{count:,} rows with {arguments.payload:,} bytes of payload")
    print(f"row hash        {hashing / count * 1e6:8.1f} us per row  ({megabytes / hashing:,.0f} MB/s)")
    print(f"row hash        {column / count:8.1f} bytes per row  ({column / len(data):.2%} of the shard)")
    print(f"file's SHA-256  {sha:8.3f} s  (writing the shard: {write:.3f} s, this included)")
    print(f"reading         {unchecked:8.3f} s without, {checked:.3f} s with the pages' checksums")
    entry = f', "sha256": "{shard.path:0<64.64}"'
    print(f"log             {len(entry):8} bytes per shard, {seal} per commit (of {sum(map(len, log)):,})")


if __name__ == "__main__":
    main()
