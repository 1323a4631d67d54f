"""Lossless savings of JPEG XL on JPEG files: `python -m bench.transcoding FOLDER ...`.

Reports for each folder the number of JPEGs, those that a transcode restores bit by bit, the bytes saved on them, and
speeds on one core.
"""

import sys
import time
from pathlib import Path

from pipeline.images.formats.jpeg_xl import JPEG_START, to_jpeg, to_jxl

MOST = 150
"""Largest number of files per folder."""


def row(folder: Path) -> str:
    """Measure one folder with its sub-folders."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    sources = [data for data in map(Path.read_bytes, paths) if data.startswith(JPEG_START)][:MOST]
    started = time.perf_counter()
    made = [(source, jxl) for source in sources if (jxl := to_jxl(source)) is not None]
    middle = time.perf_counter()
    exact = sum(to_jpeg(jxl) == source for source, jxl in made)
    ended = time.perf_counter()
    before, after = sum(len(source) for source, _ in made), sum(min(len(jxl), len(source)) for source, jxl in made)
    megabytes = sum(map(len, sources)) / 1e6
    return (
        f"{len(sources):6}  {exact:6}  {1 - after / max(1, before):6.1%}  {megabytes / (middle - started):9.1f}  "
        f"{before / 1e6 / (ended - middle):9.1f}  {folder}"
    )


def main() -> None:
    print(" JPEGs   exact   saved  make MB/s  back MB/s  folder")
    for folder in sys.argv[1:]:
        print(row(Path(folder)), flush=True)


if __name__ == "__main__":
    main()
