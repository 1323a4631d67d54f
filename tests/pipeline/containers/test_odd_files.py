"""Files that archives lost something of: each is kept, or comes back with what exiftool and Pillow found before."""

import subprocess
from pathlib import Path

import pytest

from bench.odd_files import EXIFTOOL, different
from pipeline.images.image_reader import read
from pipeline.images.reading import Reading
from tests.pipeline.containers.files import GREY, RGB, encoded


@pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed (Debian: libimage-exiftool-perl)")
@pytest.mark.parametrize(("folder", "least"), [("cases", 15), ("awkward", 150)])
def test_exiftool_finds_the_same_in_what_comes_back(folder: str, least: int, shared_data: Path) -> None:
    counts, problems = different([shared_data / folder])
    assert sum(count for (_, outcome), count in counts.items() if outcome == "carried") >= least
    assert problems == {}


WRITTEN = (
    *("-IPTC:Caption-Abstract=Ein Köter", "-IPTC:City=Berlin", "-XMP-dc:Title=A title", "-Comment=a comment"),
    *("-GPSLatitude=52.5", "-GPSLatitudeRef=N", "-EXIF:Artist=Ada", "-EXIF:UserComment=by hand", "-PNG:Author=Ada"),
    *("-EXIF:DateTimeOriginal=2021:02:03 04:05:06", "-Orientation#=6", "-XResolution=300", "-YResolution=300"),
    *("-XMP-tiff:Orientation#=6", "-Photoshop:CopyrightFlag=1"),
)
"""Arguments that make exiftool write all kinds of metadata, each where the format has room for it."""


@pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed (Debian: libimage-exiftool-perl)")
def test_what_exiftool_writes_comes_back(tmp_path: Path) -> None:
    kinds = {"a.jpg": "JPEG", "a.png": "PNG", "a.webp": "WEBP", "a.tif": "TIFF", "a.gif": "GIF"}
    for name, kind in kinds.items():
        (tmp_path / name).write_bytes(encoded(RGB, kind))
    (tmp_path / "grey.tif").write_bytes(encoded(GREY, "TIFF", compression="tiff_lzw"))
    paths = sorted(map(str, tmp_path.iterdir()))
    subprocess.run([str(EXIFTOOL), "-q", "-q", "-m", "-overwrite_original", *WRITTEN, *paths], check=True)
    counts, problems = different([tmp_path])
    assert {outcome for _, outcome in counts} == {"carried"} and counts.total() == 6
    assert problems == {}


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
