"""Files that archives lost something of: each is kept, or exiftool finds in what comes back what it found before."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.images.image_reader import read
from pipeline.images.image_writer import SUFFIXES, format_for, format_of_decoded, write_picture
from pipeline.images.reading import Reading
from tests.pipeline.containers.files import rgba

EXIFTOOL = shutil.which("exiftool")

STORAGE = (
    *("SourceFile", "System:", "ExifTool:", "Composite:", "File:FileType", "File:MIME", "File:Image"),
    *("File:EncodingProcess", "File:YCbCrSubSampling"),
    *("PNG:Image", "PNG:Compression", "PNG:Filter", "PNG:Interlace", "PNG:BitDepth", "PNG:ColorType", "PNG:Palette"),
    *("PNG:Transparency", "PNG:AppleDataOffsets"),
    *("IFD0:StripOffsets", "IFD0:StripByteCounts", "IFD0:RowsPerStrip", "IFD0:Compression", "IFD0:Predictor"),
    *("IFD0:PlanarConfiguration", "IFD0:FillOrder", "IFD0:Tile"),
    *("RIFF:VP8", "RIFF:Image", "RIFF:HorizontalScale", "RIFF:VerticalScale", "RIFF:AlphaIsUsed"),
)
"""Facts about how pixels are stored: they may differ. Width and height are compared by the pixels."""

PLACES = ("MPImage1:MPImageLength", "MPImage2:MPImageStart", "IFD1:ThumbnailOffset")
"""Facts that have to change with the first image's length, or count from the start of the file."""


def exif_facts(paths: Sequence[Path]) -> list[dict[str, object]]:
    """Everything that exiftool finds in files, unknown tags included."""
    command = [str(EXIFTOOL), "-json", "-a", "-u", "-G1", "-n", "-q", "-q", *map(str, paths)]
    found = {fact["SourceFile"]: fact for fact in json.loads(subprocess.run(command, capture_output=True).stdout)}
    return [{k: v for k, v in found[str(path)].items() if not k.startswith((*STORAGE, *PLACES))} for path in paths]


def restored_files(folder: Path, to: Path) -> list[tuple[Path, Path]]:
    """The files that are coded, each with what a decode writes in the same format; their pixels are checked."""
    pairs = list[tuple[Path, Path]]()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        source = path.read_bytes()
        reading = read(source)
        if not isinstance(reading, Reading) or reading.picture is None:
            continue
        wanted = format_for(reading.picture, format_of_decoded(reading.source_format))
        back = write_picture(reading.picture, wanted)
        if wanted != "jpeg":
            assert np.array_equal(rgba(back), rgba(source)), path
        if wanted == reading.source_format:
            out = to / f"{len(pairs)}{SUFFIXES[wanted]}"
            out.write_bytes(back)
            pairs.append((path, out))
    return pairs


@pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed (Debian: libimage-exiftool-perl)")
@pytest.mark.parametrize(("folder", "least"), [("cases", 14), ("awkward", 100)])
def test_exiftool_finds_the_same_in_what_comes_back(folder: str, least: int, shared_data: Path, tmp_path: Path) -> None:
    pairs = restored_files(shared_data / folder, tmp_path)
    assert len(pairs) >= least
    before, after = (exif_facts([pair[i] for pair in pairs]) for i in (0, 1))
    different = {
        path.name: {k: (a.get(k), b.get(k)) for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
        for (path, _), a, b in zip(pairs, before, after, strict=True)
        if a != b
    }
    # A palette's background is an index, which becomes its colour.
    assert different in ({}, {"Flag_of_the_Netherlands.png": {"PNG:BackgroundColor": (1, "255 255 255")}})


CARRIED = (
    *("behind-the-end/google-motion.jpg", "behind-the-end/png-with-zip-behind-iend.png", "gain-map/android-uhdr.jpg"),
    *("captions/extended-xmp-depth.jpg", "captions/generated.png", "captions/iptc-and-comment.jpg"),
    *("colour-tags/cicp-display-p3.png", "colour-tags/gama-chrm-adobergb.png", "colour-tags/nclx-display-p3.avif"),
    *("large-metadata/maker-note-100k-two-segments.jpg", "resolution/scan300.jpg", "resolution/scan600.png"),
)
KEPT = {
    "camera-raw/camera.dng": "camera raw",
    "camera-raw/layers.tif": "layers",
    "low-depth-transparency/grey1bit-trns1.png": "fewer than 8 bits a channel",
    "low-depth-transparency/grey4bit-trns6.png": "fewer than 8 bits a channel",
    "odd/four-channels-no-alpha.tif": "extra bands",
}


def test_each_case_that_lost_something_is_carried_or_kept(shared_data: Path) -> None:
    folder = shared_data / "cases"
    for name in CARRIED:
        reading = read((folder / name).read_bytes())
        assert isinstance(reading, Reading) and reading.picture is not None, (name, reading)
    for name, why in KEPT.items():
        reading = read((folder / name).read_bytes())
        assert isinstance(reading, Reading) and reading.keep == why, name
