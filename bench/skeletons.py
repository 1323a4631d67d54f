"""What it costs to carry all contents of files: `python -m bench.skeletons FOLDER ... [--model base]`.

Per folder: images coded and kept, bytes of skeleton per coded image as they are and as an archive
stores them (the difference between Parquet files of their metadata with the column and without it),
and processor time of parsing and of the check on one pixel, beside that of reading the image and of
encoding it. Times are the best of several rounds.
"""

import argparse
import io
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from model.codec import Codec
from pipeline.containers.read import read_contents
from pipeline.images.image_reader import read
from pipeline.images.reading import Reading
from pipeline.images.self_check import problem_with

ROUNDS = 3
COLUMNS = ("icc", "exif", "xmp", "skeleton")


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        before = time.process_time()
        work()
        best = min(best, time.process_time() - before)
    return best


def stored(readings: list[Reading], columns: tuple[str, ...]) -> int:
    """Bytes of a Parquet file of these columns, written as shards are."""
    values = {name: [getattr(r.picture, name) or None for r in readings] for name in columns}
    file = io.BytesIO()
    table = pa.table({name: pa.array(value, pa.binary()) for name, value in values.items()})
    pq.write_table(table, file, compression="zstd", use_dictionary=True)
    return file.tell()


def measure(folder: Path, most: int, codec: Codec | None) -> str:
    """One line of the table."""
    sources = [p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()][:most]
    outcomes = [(source, read(source)) for source in sources]
    readings = [r for _, r in outcomes if isinstance(r, Reading)]
    coded = [r for r in readings if r.picture is not None]
    reasons = Counter(r.keep for r in readings if r.keep is not None)
    raw = sum(len(r.picture.skeleton) for r in coded if r.picture) / max(1, len(coded))
    extra = (stored(coded, COLUMNS) - stored(coded, COLUMNS[:3])) / max(1, len(coded))
    line = f"{folder}: {len(sources)} files, {len(coded)} coded, kept {dict(reasons)}; "
    line += f"skeleton {raw:.0f} bytes per image, {extra:.1f} stored"
    timed = [(s, r) for s, r in outcomes if isinstance(r, Reading) and r.picture is not None][:40]
    whole = seconds(lambda: [read(source) for source, _ in timed])
    carrying = seconds(lambda: [_carry(source, r) for source, r in timed])
    line += f"; {carrying / len(timed) * 1e3:.2f} ms per image, {100 * carrying / whole:.1f} % of reading"
    if codec is not None:
        few = [r.picture for _, r in timed[:8] if r.picture is not None]
        share = carrying / len(timed) * len(few)
        encoding = seconds(lambda: codec.compress(few, 40)) + whole / len(timed) * len(few)
        line += f", {100 * share / encoding:.2f} % of reading and encoding"
    return line


def _carry(source: bytes, reading: Reading) -> object:
    picture = reading.picture
    assert picture is not None
    bands = picture.pixels.shape[2] + (picture.alpha is not None)
    contents = read_contents(reading.source_format, source, exif=picture.exif, xmp=picture.xmp, bands=bands)
    return problem_with(picture, contents, reading.source_format)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--most", type=int, default=400, help="files per folder")
    parser.add_argument("--model", default="base", help="model that encodes; none: encode nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    codec = None if options.model == "none" else Codec.load(options.model)
    for folder in options.folders:
        print(measure(folder, options.most, codec), flush=True)


if __name__ == "__main__":
    main()
