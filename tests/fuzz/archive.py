"""Fuzz a whole archive: mutated image files through encode, verify, decode and the viewer, in this process.

python -m tests.fuzz.archive [--cases 2000] [--seed 0] [--data FOLDER]

Every file must end as one row or one rejection; every row must pass verify, come back from decode
and be shown or refused by the viewer; sound files between the mutated ones must come through
untouched. No exception may leave a stage.
"""

import argparse
import io
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from PIL import Image

from jobs.web.viewer.catalogue import Catalogue
from jobs.web.viewer.renditions import Studio, Wanted
from model.codec import Codec
from model.core.errors import MaepressError
from model.core.target import Target
from pipeline.archive.archive import Archive
from pipeline.archive.models import Models
from pipeline.archive.schema import LATENT
from pipeline.decode import run as decode_run
from pipeline.decode.names import Names
from pipeline.decode.settings import DecodeSettings
from pipeline.encode import stages
from pipeline.encode.unit_writer import write_unit
from pipeline.execution.packing import unpack
from pipeline.execution.shard_work import item_rows
from pipeline.images.limits import Limits
from pipeline.images.sandbox.sandbox import shared
from pipeline.storage.base import Entry
from pipeline.storage.open import open_store
from pipeline.verify import run as verify_run
from pipeline.verify.archive_checks import images_log
from tests.conftest import photo_like, write_tiny_model
from tests.fuzz.mutations import PLAIN

MAX_PIXELS, MAX_BYTES = 1 << 18, 1 << 20
LARGEST_SEED = 60_000
"""Larger files of the data folder are left out, so that a case takes milliseconds."""
PIECE, UNIT = 16, 128
"""Files per piece, and per shard."""
SOUND_EVERY = 10
"""One sound file for this number of mutated ones."""
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFF81, 0xFFFFFFFF)
"""Values at which sizes, offsets and counts change their meaning."""
Rng = np.random.Generator


@dataclass(slots=True)
class Report:
    """The outcome of a run.

    Attributes:
        rows: number of rows by status.
        rejected: number of rejections by stage.
        shown: images that the viewer showed.
        failures: each key whose outcome is wrong, with the reason.
        seconds: duration.
    """

    rows: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    shown: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def made_files() -> list[tuple[str, bytes]]:
    """Small sound files of every format that Pillow writes, in several modes: suffix and bytes."""
    pixels = photo_like(40, 56, 4, seed=3)
    rgba = Image.fromarray(pixels)
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    exif = Image.Exif()
    exif[271], exif[274] = "maker", 6
    exif.get_ifd(0x8769)[37386] = 50.0
    tagged: dict[str, Any] = {"exif": exif, "icc_profile": bytes(range(256)) * 2}
    jobs: list[tuple[str, Image.Image, dict[str, Any]]] = [
        *((kind, rgb, {}) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "TGA", "PCX", "SGI", "ICO")),
        *((kind, rgba, {}) for kind in ("PNG", "WEBP", "TIFF", "TGA")),
        *((kind, grey, {}) for kind in ("JPEG", "PNG", "TIFF", "BMP", "PPM")),
        *((kind, rgb, tagged) for kind in ("JPEG", "PNG", "WEBP", "TIFF")),
        ("JPEG", rgb, {"progressive": True}),
        ("JPEG", rgb.convert("CMYK"), {}),
        ("TIFF", rgb, {"compression": "tiff_lzw"}),
        ("PNG", rgb.convert("P"), {}),
        ("PNG", rgb.convert("1"), {}),
        ("PNG", Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257), {}),
        ("GIF", rgb, {"save_all": True, "append_images": [rgba.convert("RGB").rotate(90)]}),
        ("JPEG2000", rgb, {}),
        ("AVIF", rgb, {}),
    ]
    files = []
    for kind, image, options in jobs:
        if kind not in Image.SAVE and (Image.init() or kind not in Image.SAVE):
            continue  # this Pillow was built without the format
        file = io.BytesIO()
        image.save(file, kind, **options)
        files.append((kind.lower(), file.getvalue()))
    return files


def files_below(folder: Path | None) -> list[tuple[str, bytes]]:
    """The small files below a folder: suffix and bytes."""
    if folder is None:
        return []
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size <= LARGEST_SEED]
    return [(path.suffix.strip(".").lower() or "none", path.read_bytes()) for path in found]


def mutated(data: bytes, rng: Rng) -> bytes:
    """A file with one to three mutations, half of them in its first bytes, where sizes and offsets are."""
    for _ in range(int(rng.integers(1, 4))):
        if rng.integers(2) and len(data) > 16:
            width = int(rng.choice([1, 2, 4, 8]))
            at = int(rng.integers(min(len(data), 300) - 8))
            number = int(rng.choice(NUMBERS)) % (1 << (8 * width))
            order = "little" if rng.integers(2) else "big"
            data = data[:at] + number.to_bytes(width, order) + data[at + width :]  # type: ignore[arg-type]
        else:
            # The last two of PLAIN replace the whole file, of which no parser gets far.
            data = PLAIN[int(rng.integers(len(PLAIN) - 2))](data, rng)
    return data


def fuzz(folder: Path, cases: int, seed: int = 0, data: Path | None = None) -> Report:
    """Run cases in a folder.

    Args:
        folder: empty; receives source, archive, model and decoded files.
        cases: number of mutated files.
        seed: of the run.
        data: folder with further files to mutate; None for made ones alone.
    """
    began = time.monotonic()
    report, rng = Report(), np.random.default_rng(seed)
    made = made_files()
    seeds = [*made, *files_below(data)]
    source = open_store(str(folder / "source"))
    source.check_writable()
    sound: set[str] = set()
    for number in range(cases):
        suffix, original = seeds[number % len(seeds)]
        source.put(f"{number:06}.{suffix}", mutated(original, rng))
        if number % SOUND_EVERY == 0:
            suffix, original = made[number // SOUND_EVERY % len(made)]
            key = f"{number:06}-sound.{suffix}"
            source.put(key, original)
            sound.add(key)
    archive = _encoded(folder, list(source.entries()), report, sound)
    with patch.object(verify_run, "own_device", lambda: "cpu"), patch.object(decode_run, "own_device", lambda: "cpu"):
        _verify(archive, report)  # outside an actor, `own_device` would start a Ray
        _decode(archive, folder, report)
    _show(archive, report)
    report.seconds = time.monotonic() - began
    return report


def _encoded(folder: Path, entries: Sequence[Entry], report: Report, sound: set[str]) -> Archive:
    """Encode the entries, and check that each ends once."""
    model = folder / "model"
    model.mkdir()
    write_tiny_model(model)
    codec, target = Codec.load(model), Target(quality=40)
    archive = Archive.create(str(folder / "archive"))
    archive.put_model(codec.fingerprint, model)
    sandbox = shared(Limits.for_images(20.0, MAX_PIXELS, MAX_BYTES))
    source = open_store(str(folder / "source"))
    receipts = []
    for unit, some in _units(entries):
        pieces = []
        for at in range(0, len(some), PIECE):
            keep = at // PIECE % 2 == 0  # in turn: kept and rejected
            loaded = stages.load(some[at : at + PIECE], source, sandbox, MAX_PIXELS, MAX_BYTES, keep_unreadable=keep)
            pieces.append(stages.compress(stages.analyse(loaded, codec, target), codec.coder, target, sandbox, "fuzz"))
        receipts.append(write_unit(unit, None, pieces, archive))
    archive.committer("fuzz").commit(receipts)
    rows, rejections = list(archive.rows_by_key()), list(archive.rejections_by_key())
    ends = Counter([row.key for row in rows] + [rejection.key for rejection in rejections])
    report.failures += [f"{entry.key}: it ended {ends[entry.key]} times" for entry in entries if ends[entry.key] != 1]
    report.rejected.update(rejection.stage for rejection in rejections)
    report.failures += [f"{r.key}: a sound file was rejected ({r.stage})" for r in rejections if r.key in sound]
    return archive


def _units(entries: Sequence[Entry]) -> Iterator[tuple[int, tuple[Entry, ...]]]:
    for unit, at in enumerate(range(0, len(entries), UNIT)):
        yield unit, tuple(entries[at : at + UNIT])


def _items(tables: Iterator[pa.Table]) -> Iterator[Any]:
    for table in tables:
        for cell in table["item"]:
            yield unpack(cell)


def _shards(archive: Archive) -> pa.Table:
    return pa.table({"shard": [shard.path for shard in archive.shards()]})


def _verify(archive: Archive, report: Report) -> None:
    files, problems = images_log(archive)
    report.failures += [f"verify: {problem}" for problem in problems]
    logged = pa.table({"shard": [file.to_json() for file in files]})
    checked = _items(verify_run._check(logged, archive, frozenset(archive.models()), None))
    decoder = verify_run._SampleDecoder(archive, Models(archive), None, 1)
    while some := list(itertools.islice(checked, PIECE)):
        for finding in _items(decoder(item_rows(*some))):
            if finding.problem:
                report.failures.append(f"{finding.key}: verify: {finding.problem}")


def _decode(archive: Archive, folder: Path, report: Report) -> None:
    dest = open_store(str(folder / "decoded"))
    dest.check_writable()
    settings = DecodeSettings(archive=archive.url, dest=dest.url)
    decoder = decode_run._Decoder(Models(archive), "same", 1)
    for table in decode_run._read(_shards(archive), archive, "*"):
        decoded = item_rows(*_items(decoder(table)))
        for outcome in _items(iter([decode_run._write(decoded, dest, settings, Names(frozenset()))])):
            report.rows[outcome.status] += 1
            if outcome.reason:
                report.failures.append(f"{outcome.key}: decode: {outcome.reason}")
            elif outcome.status != LATENT:
                source = folder / "source" / outcome.key
                if (folder / "decoded" / outcome.name).read_bytes() != source.read_bytes():
                    report.failures.append(f"{outcome.key}: its decoded bytes are not its source's")


def _show(archive: Archive, report: Report) -> None:
    studio = Studio(Catalogue(archive.url), None, 1, 1 << 20)
    try:
        for row in archive.rows_by_key():
            try:
                report.shown += bool(studio._work(row.key, Wanted("webp", 32)).data)
            except MaepressError:
                continue
    finally:
        studio.close()


def main() -> int:
    """Run, and print the outcomes."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.archive", description="Fuzz a whole archive.")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="folder with further files to mutate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="maepress-fuzz-") as folder:
        report = fuzz(Path(folder), options.cases, options.seed, options.data)
    for failure in report.failures:
        print(failure)
    for name, counts in (("row", report.rows), ("rejected", report.rejected)):
        for kind, count in counts.most_common():
            print(f"{count:8,}  {name}: {kind}")
    print(f"{report.shown:8,}  shown by the viewer")
    print(f"{options.cases:8,}  cases of seed {options.seed}, {report.seconds:.0f} s, {len(report.failures)} failures")
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
