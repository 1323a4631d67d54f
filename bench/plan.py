"""Planning at scale: a sorted listing against real shards, a tenth of which overlap as nightly additions do.

    python -m bench.plan                    # 10^5, 10^6 and 10^7 keys, each in a process of its own
    python -m bench.plan --keys 100000

Of all keys 1 % are new, 1 % changed and 0.1 % deleted. The archive is made with the shard writer and committed; its
rows are complete, with tiny payloads, which planning does not read. The listing is simulated, one Entry at a time as a
store yields them. Measured are `make_plan` with a real manifest, in seconds, and the peak memory of the process beside
its memory before.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt
from pipeline.archive.schema import IMAGES, LATENT
from pipeline.archive.shards.shard_writer import write_shard
from pipeline.planning.manifest import Manifest
from pipeline.planning.planner import PlanOptions, make_plan
from pipeline.planning.staleness import Staleness
from pipeline.storage.base import Entry, NotListed
from pipeline.storage.local.store import LocalStore

SIZES = (100_000, 1_000_000, 10_000_000)
SHARD_ROWS = 4096
NIGHTS = 10
CHUNK = 1 << 16

_NEW, _CHANGED, _GONE = range(0, 10), range(20, 30), range(500, 501)
"""Share of keys in thousandths, by the remainder of a key's number."""


def keys(numbers: np.ndarray) -> list[str]:
    return [f"photos/{n // 1000:07d}/IMG_{n:010d}.jpg" for n in numbers.tolist()]


def etags(numbers: np.ndarray, version: int) -> list[str]:
    """32 incompressible hex digits, like an MD5."""
    mixed = (numbers.astype(np.uint64) + np.uint64(version)) * np.uint64(0x9E3779B97F4A7C15)
    other = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    text = np.stack([mixed, other], 1).astype(">u8").tobytes().hex()
    return [text[i : i + 32] for i in range(0, len(text), 32)]


def thousandth(numbers: np.ndarray, which: range) -> np.ndarray:
    part = (numbers * 7919) % 1000
    return (part >= which.start) & (part < which.stop)


class Listing(LocalStore):
    """A source with a listing and no content."""

    def __init__(self, size: int) -> None:
        super().__init__("/nowhere")
        self.size = size

    def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """See Store."""
        for start in range(0, self.size, CHUNK):
            numbers = np.arange(start, min(start + CHUNK, self.size))
            numbers = numbers[~thousandth(numbers, _GONE)]
            changed = thousandth(numbers, _CHANGED)
            found = np.where(changed, etags(numbers, 1), etags(numbers, 0)).tolist()
            for key, etag in zip(keys(numbers), found, strict=True):
                yield Entry(key, 200_000, etag)


def rows(numbers: np.ndarray, now: datetime) -> pa.Table:
    """Rows as the encode job would write them."""
    tags = etags(numbers, 0)
    same = {
        "source_bytes": 200_000,
        "source_format": "jpeg",
        "width": 1200,
        "height": 800,
        "status": LATENT,
        "model": "0123456789abcdef",
        "target": "quality 40",
        "quality": 40,
        "payload": b"payload",
        "payload_bytes": 7,
        "psnr": 38.5,
        "encoded_at": now,
        "run": "20260101T000000-00000000",
    }
    made = {
        "key": keys(numbers),
        "etag": tags,
        "source_sha256": [tag + tag for tag in tags],
        "row_sha256": [tag + tag for tag in tags],
    }
    columns = [
        pa.array(made[field.name], field.type)
        if field.name in made
        else pa.repeat(pa.scalar(same.get(field.name), field.type), len(numbers))
        for field in IMAGES
    ]
    return pa.table(columns, schema=IMAGES)  # the hashes are not those of the rows, which planning does not read


def build(archive: Archive, size: int, nights: int = NIGHTS) -> int:
    """Fill an archive: most of it at first, one per cent in each of `nights` nights; returns the number of rows."""
    now = datetime.now(UTC)
    receipts: list[Receipt] = []
    count = 0
    numbers = np.arange(size)
    numbers = numbers[~thousandth(numbers, _NEW)]
    night = np.where(numbers % 100 < nights, numbers % 100, nights)  # one per cent each, the rest at first
    for part in range(nights + 1):
        members = numbers[night == part]
        for start in range(0, len(members), SHARD_ROWS):
            table = rows(members[start : start + SHARD_ROWS], now)
            receipts.append(Receipt(len(receipts), write_shard(archive.images, [table]), rows=table.num_rows))
            count += table.num_rows
    archive.committer("bench").commit(receipts)
    return count


def measure(size: int, url: str, stale: bool) -> dict[str, float]:
    """Plan once, in this process."""
    archive = Archive.open(url)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    manifest = Manifest(archive.root, "bench")
    scope = PlanOptions(64 << 20, Staleness("0123456789abcdef", "quality 40", stale), retire_share=0.1)
    cpu, started = time.process_time(), time.monotonic()
    plan = make_plan(Listing(size), archive, manifest, scope)
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    manifest.remove()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = {"new": plan.new, "changed": plan.changed, "gone": plan.retire, "rows": plan.rows, "stale": plan.stale}
    return {"seconds": seconds, "cpu": cpu, "before_mb": before / 1024, "peak_mb": peak / 1024, **counts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, nargs="*", default=SIZES, help="numbers of keys")
    parser.add_argument("--stale", action="store_true", help="also check model and target, as sync with repress does")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.keys[0], arguments.measure, arguments.stale)))
        return
    head = ("keys", "rows", "shards", "new", "changed", "gone", "seconds", "CPU s", "us a key", "MB before", "MB peak")
    print("".join(f"{name:>11}" for name in head), flush=True)
    found = []
    for size in arguments.keys:
        with tempfile.TemporaryDirectory(prefix="maepress-bench-") as folder:
            archive = Archive.create(str(Path(folder) / "archive"))
            build(archive, size)
            command = [sys.executable, "-m", "bench.plan", "--keys", str(size), "--measure", archive.url]
            command += ["--stale"] * arguments.stale
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            result = json.loads(done.stdout)
            shards = len(archive.shards())
        found.append(result)
        numbers = [size, result["rows"], shards, result["new"], result["changed"], result["gone"]]
        measured = [result["seconds"], result["cpu"], 1e6 * result["seconds"] / size]
        memory = [result["before_mb"], result["peak_mb"]]
        line = "".join(f"{n:>11,}" for n in numbers) + "".join(f"{n:>11.2f}" for n in measured)
        print(line + "".join(f"{n:>11.0f}" for n in memory), flush=True)
    if len(found) > 1:
        first, last = found[0], found[-1]
        time_ratio = (last["cpu"] / arguments.keys[-1]) / (first["cpu"] / arguments.keys[0])
        print(f"\nlargest against smallest: CPU time a key x {time_ratio:.2f}, ", end="")
        print(f"peak memory x {last['peak_mb'] / first['peak_mb']:.2f}")


if __name__ == "__main__":
    main()
