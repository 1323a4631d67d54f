"""Listings that come in any order: an S3 Inventory and a list of web addresses, sorted on disk.

    python -m bench.unsorted                       # 10^6 keys
    python -m bench.unsorted --keys 10000000

Each listing is read in a process of its own, whose processor time and peak memory beside that at the start are
measured. Keys are in random order. The list is not compared with servers (`check=never`), but for `asked`: 10^4
addresses of a server on this machine, whose own time does not count.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.sources.external_sort import in_key_order
from pipeline.sources.inventory.files import entries_of
from pipeline.sources.inventory.manifest import read_manifest
from pipeline.sources.open import source_at
from pipeline.storage.base import Entry
from pipeline.storage.open import open_store
from tests.pipeline.source_views.web_server import web_server

FILE_ROWS = 1_000_000
KINDS = ("CSV", "Parquet", "urls", "asked")
ASKED = 10_000


def chunks(keys: int) -> Iterator[list[str]]:
    """Keys in random order, some at a time."""
    order = np.random.default_rng(0).permutation(keys)
    for start in range(0, keys, FILE_ROWS):
        yield [f"photos/{n // 1000:07d}/IMG_{n:010d}.jpg" for n in order[start : start + FILE_ROWS].tolist()]


def write(folder: Path, kind: str, keys: int) -> None:
    """The files of a listing. For `asked`, `folder` holds the address of the server."""
    if kind == "asked":
        server = (folder / "server").read_text()
        pq.write_table(pa.table({"url": [f"{server}/{n}.jpg" for n in range(ASKED)]}), folder / "0.parquet")
        return
    (folder / "data").mkdir()
    files = []
    for number, names in enumerate(chunks(keys)):
        if kind == "urls":
            pq.write_table(
                pa.table({"url": [f"https://example.com/{name}" for name in names]}), folder / f"{number}.parquet"
            )
            continue
        etags = [hashlib.md5(name.encode(), usedforsecurity=False).hexdigest() for name in names]
        columns = {"bucket": ["photos"] * len(names), "key": names, "size": [200_000] * len(names), "e_tag": etags}
        path = folder / "data" / f"{number}.{'csv.gz' if kind == 'CSV' else 'parquet'}"
        if kind == "CSV":
            with pa.CompressedOutputStream(str(path), "gzip") as out:
                options = pyarrow.csv.WriteOptions(include_header=False)
                pyarrow.csv.write_csv(pa.table(columns), out, options)
        else:
            pq.write_table(pa.table(columns), path)
        data = path.read_bytes()
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        files.append({"key": f"data/{path.name}", "size": len(data), "MD5checksum": md5})
    facts = {"sourceBucket": "photos", "creationTimestamp": "1764291600000", "fileFormat": kind, "files": files}
    (folder / "manifest.json").write_text(json.dumps(facts | {"fileSchema": "Bucket, Key, Size, ETag"}))


def listing(folder: Path, kind: str) -> Iterator[Entry]:
    """The listing, sorted."""
    if kind in ("urls", "asked"):
        return source_at(f"{folder}#urls&" + ("check=never" if kind == "urls" else "private&perhost=64")).entries()
    place = open_store(folder)
    return in_key_order(entries_of(place, read_manifest(place, "manifest.json", "photos"), "photos", ""))


def measure(folder: Path, kind: str) -> None:
    """Read a listing in this process, and print what it took as JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, used = time.perf_counter(), time.process_time()
    count = sum(1 for _ in listing(folder, kind))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = time.perf_counter() - began
    facts = {"keys": count, "seconds": seconds, "cpu": time.process_time() - used}
    print(json.dumps(facts | {"mb": peak / 1024, "before": before / 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--step", nargs=3, metavar=("write|measure", "FOLDER", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, folder, kind = options.step
        if step == "write":
            write(Path(folder), kind, options.keys)
        else:
            measure(Path(folder), kind)
        return
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as name, web_server() as server:
            (Path(name) / "server").write_text(server.url)
            command = [sys.executable, "-m", "bench.unsorted", "--keys", str(options.keys), "--step"]
            # This process stays small: a child's peak memory begins at that of its parent.
            subprocess.run([*command, "write", name, kind], check=True)
            done = subprocess.run([*command, "measure", name, kind], check=True, capture_output=True, text=True)
        facts = json.loads(done.stdout)
        print(
            f"{kind:8} {facts['keys']:>10,} keys  {facts['seconds']:6.1f} s, "
            f"{facts['cpu'] / facts['keys'] * 1e6:.1f} us of CPU per key, "
            f"{facts['mb']:,.0f} MB ({facts['before']:,.0f} at the start)"
        )


if __name__ == "__main__":
    main()
