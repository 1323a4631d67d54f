"""What becomes of odd files: `python -m bench.odd_files FOLDER ...`.

Prints how many files of each kind are carried, kept (by reason) and refused (larger than an encode
fetches, or not to be read). Each carried file is written as a decode writes it, without loss of the
codec's; then its pixels are compared by Pillow, and, where the format stays the same, all facts that
exiftool finds (Debian: libimage-exiftool-perl). Each kept file is stored and returned as an archive
does. What differs is listed; nothing should be.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.archive.kept_source import packed, unpacked
from pipeline.archive.receipt import Rejection
from pipeline.encode.stages import load
from pipeline.images.formats.jpeg_xl import JPEG_START, to_jpeg, to_jxl
from pipeline.images.image_reader import _opened
from pipeline.images.image_writer import SUFFIXES, Format, format_for, format_of_decoded, write_picture
from pipeline.images.limits import MAX_PIXELS, READABLE_BYTES, READING
from pipeline.images.reading import Reading
from pipeline.images.sandbox.sandbox import shared
from pipeline.storage.base import Entry
from pipeline.storage.local.store import LocalStore
from pipeline.storage.local_names import key_of

EXIFTOOL = shutil.which("exiftool")

STORAGE = (
    *("SourceFile", "System:", "ExifTool:", "Composite:", "File:FileType", "File:MIME", "File:Image"),
    *("File:EncodingProcess", "File:YCbCrSubSampling"),
    *("PNG:Image", "PNG:Compression", "PNG:Filter", "PNG:Interlace", "PNG:BitDepth", "PNG:ColorType"),
    *("PNG:Transparency", "PNG:AppleDataOffsets"),
    *("IFD0:StripOffsets", "IFD0:StripByteCounts", "IFD0:RowsPerStrip", "IFD0:Compression", "IFD0:Predictor"),
    *("IFD0:PlanarConfiguration", "IFD0:FillOrder", "IFD0:Tile", "IFD0:SampleFormat", "IFD0:JPEGTables"),
    *("IFD0:PreviewImage", "IFD0:YCbCrSubSampling"),  # exiftool's names for the strips of a JPEG in TIFF
    *("RIFF:VP8", "RIFF:Image", "RIFF:HorizontalScale", "RIFF:VerticalScale", "RIFF:Alpha"),
)
"""Facts about how pixels are stored: they may differ. Width and height are compared by the pixels."""

PLACES = ("MPImage1:MPImageLength", "MPImage2:MPImageStart", "IFD1:ThumbnailOffset")
"""Facts that have to change with the first image's length, or count from the start of the file."""

PALETTE = (
    *("PNG:Palette", "PNG:BackgroundColor"),
    *("IFD0:BitsPerSample", "IFD0:ColorMap", "IFD0:PhotometricInterpretation"),
)
"""Facts that change when a palette is replaced by its colours, with `IFD0:SamplesPerPixel`."""


def files_below(folders: Sequence[Path]) -> Iterator[Path]:
    """All files of folders, in order."""
    for folder in folders:
        yield from sorted(path for path in folder.rglob("*") if path.is_file())


def outcome_of(path: Path) -> tuple[str, str, Reading | None]:
    """Format, "carried" or the reason why it is kept or refused, and the reading of what is carried."""
    store = LocalStore(str(path.parent))
    entry = Entry(key_of(path.name), path.stat().st_size, "as it is")
    (loaded,) = load([entry], store, shared(READING), MAX_PIXELS, READABLE_BYTES)
    if isinstance(loaded, Rejection):
        return "-", f"refused: {loaded.reason[:60]}", None
    reading = loaded.reading
    if reading.picture is None:
        return reading.source_format, f"kept: {reading.keep}", None
    return reading.source_format, "carried", reading


def is_kept_whole(source: bytes) -> bool:
    """Whether a kept file comes back, whichever way it is stored."""
    frame = packed(source)
    jxl = to_jxl(source) if source.startswith(JPEG_START) else None
    return (frame is None or unpacked(frame) == source) and (jxl is None or to_jpeg(jxl) == source)


def restored(reading: Reading) -> tuple[bytes, Format]:
    """The file that a decode writes if the codec loses nothing, and its format."""
    assert reading.picture is not None
    wanted = format_for(reading.picture, format_of_decoded(reading.source_format))
    return write_picture(reading.picture, wanted), wanted


def pixels(source: bytes, lossless: bool) -> bytes | tuple[int, int]:
    """Pixels by Pillow, or their size where a format loses some."""
    with warnings.catch_warnings(), _opened(source) as image:
        warnings.simplefilter("ignore")
        return np.asarray(image.convert("RGBA")).tobytes() if lossless else image.size


def facts(paths: Sequence[Path], palettes: Sequence[bool]) -> list[dict[str, object]]:
    """Everything that exiftool finds in files, unknown tags included, but for facts about storage."""
    command = [str(EXIFTOOL), "-json", "-a", "-u", "-G1", "-n", "-q", "-q", *map(str, paths)]
    answer = subprocess.run(command, capture_output=True).stdout
    found = {fact["SourceFile"]: fact for fact in json.loads(answer or b"[]")}
    free = (*STORAGE, *PLACES)
    return [
        {
            name: value
            for name, value in found[str(path)].items()
            if not name.startswith((*free, *PALETTE, "IFD0:SamplesPerPixel") if palette else free)
        }
        for path, palette in zip(paths, palettes, strict=True)
    ]


def different(folders: Sequence[Path]) -> tuple[Counter[tuple[str, str]], dict[str, object]]:
    """Counts by format and outcome, and what differs between carried files and their sources."""
    counts, problems = Counter[tuple[str, str]](), dict[str, object]()
    pairs, palettes = list[tuple[Path, Path]](), list[bool]()
    with tempfile.TemporaryDirectory() as folder:
        for path in files_below(folders):
            form, outcome, reading = outcome_of(path)
            counts[form, outcome] += 1
            source = path.read_bytes()
            if reading is None:
                if outcome.startswith("kept") and not is_kept_whole(source):
                    problems[str(path)] = "bytes"
                continue
            back, wanted = restored(reading)
            lossless = wanted != "jpeg"
            if pixels(source, lossless) != pixels(back, lossless):
                problems[str(path)] = "pixels"
            if wanted == form:
                pairs.append((path, Path(folder) / f"{len(pairs)}{SUFFIXES[wanted]}"))
                pairs[-1][1].write_bytes(back)
                with _opened(source) as image:
                    palettes.append(image.mode == "P")
        if EXIFTOOL and pairs:
            sources, results = (facts([pair[i] for pair in pairs], palettes) for i in (0, 1))
            for (path, _), a, b in zip(pairs, sources, results, strict=True):
                if a != b:
                    problems[str(path)] = {k: (a.get(k), b.get(k)) for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
    return counts, problems


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    counts, problems = different([Path(name) for name in sys.argv[1:]])
    for (form, outcome), count in sorted(counts.items()):
        print(f"{count:5d}  {form:9s}  {outcome}")
    kinds = Counter[str]()
    for (_, outcome), count in counts.items():
        kinds[outcome.split(":")[0]] += count
    compared = "" if EXIFTOOL else " (exiftool is not installed: facts were not compared)"
    print(f"{counts.total()} files: {dict(kinds)}; different {len(problems)}{compared}")
    for name, problem in problems.items():
        print(f"  {name}: {problem}")


if __name__ == "__main__":
    main()
