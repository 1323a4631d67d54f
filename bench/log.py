"""Cost of a large transaction log: time to open a table and to commit to it, by number of shards.

    python -m bench.log --shards 10000 100000

The shards are entries in the log without files, as neither opening nor committing reads them. The log has a checkpoint,
as it gets one every hundred commits.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deltalake import Transaction

from pipeline.archive.archive import Archive
from pipeline.archive.log.commit_seal import FilesDigest
from pipeline.archive.log.commits import transact
from pipeline.archive.log.delta_table import files_of, open_table
from pipeline.archive.receipt import Receipt
from pipeline.archive.schema import IMAGES
from pipeline.archive.shards.shard_writer import Shard

_BATCH = 10_000


def shard(number: int) -> Shard:
    first, last = f"photos/{number:09d}/a.jpg", f"photos/{number:09d}/z.jpg"
    facts = {"key": first, "source_bytes": 10_000, "width": 64, "height": 64, "payload_bytes": 900, "psnr": 31.5}
    ends = {"minValues": facts, "maxValues": facts | {"key": last}, "nullCount": dict.fromkeys(facts, 0)}
    return Shard(
        f"part-{number:032x}.parquet",
        80_000_000,
        time.time_ns() // 1_000_000,
        4096,
        first,
        last,
        json.dumps({"numRecords": 4096} | ends),
    )


def build(archive: Archive, shards: int) -> None:
    digest = FilesDigest()
    for start in range(0, shards, _BATCH):
        adds = [shard(number) for number in range(start, min(start + _BATCH, shards))]
        table = open_table(archive.images)
        mark = Transaction("bench", start // _BATCH + 1)
        digest = transact(archive.images, table, IMAGES, adds, [], mark, {"run": "bench"}, digest)
    open_table(archive.images).create_checkpoint()


def measure(url: str, shards: int) -> dict[str, float]:
    archive = Archive.open(url)
    marks = [time.process_time()]
    files = files_of(open_table(archive.images))
    marks.append(time.process_time())
    committer = archive.committer("measured")
    marks.append(time.process_time())
    for i in range(5):
        committer.commit([Receipt(n, shard(shards + 16 * i + n)) for n in range(16)])
    marks.append(time.process_time())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    log = sum(p.stat().st_size for p in (Path(url) / "images" / "_delta_log").iterdir())
    checkpoint = sum(p.stat().st_size for p in (Path(url) / "images" / "_delta_log").glob("*.checkpoint*.parquet"))
    facts = {"files": len(files), "open": marks[1] - marks[0], "commit": (marks[3] - marks[2]) / 5, "peak_mb": peak}
    return facts | {"log_mb": log / 1e6, "checkpoint_mb": checkpoint / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="*", default=(10_000, 100_000))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.shards[0])))
        return
    names = ("shards", "open, CPU s", "commit, CPU s", "MB peak", "MB log", "MB checkpoint")
    print("".join(f"{name:>15}" for name in names), flush=True)
    for shards in arguments.shards:
        with tempfile.TemporaryDirectory(prefix="maepress-bench-") as folder:
            archive = Archive.create(str(Path(folder) / "archive"))
            build(archive, shards)
            command = [sys.executable, "-m", "bench.log", "--shards", str(shards), "--measure", archive.url]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        values = [found[name] for name in ("open", "commit", "peak_mb", "log_mb", "checkpoint_mb")]
        print(f"{found['files']:>15,}" + "".join(f"{value:>15.2f}" for value in values), flush=True)


if __name__ == "__main__":
    main()
