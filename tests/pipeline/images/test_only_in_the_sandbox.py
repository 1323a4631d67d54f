"""No file of others is decoded outside the sandbox, and none in a format that is not on the list."""

import ast
import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from jobs.commands import compress
from jobs.web.viewer.catalogue import Catalogue
from jobs.web.viewer.renditions import NotShown
from pipeline.archive.archive import Archive
from pipeline.dataset.samples import Samples
from pipeline.images.decode_rgb import decode_rgb
from pipeline.images.limits import MAX_PIXELS, READING
from pipeline.images.reading import Reading, Rejected
from pipeline.images.sandbox.sandbox import Sandbox
from pipeline.train.crops import usable_image
from tests.jobs.web.test_renditions import ask
from tests.pipeline.making import add, original

ROOT = Path(__file__).parents[3]
DECODERS = {
    "PIL.Image.open",
    "imagecodecs",
    "av",
    "cv2",
    "imageio",
    "pi_heif",
    "pipeline.images.formats.heif.opened",
    "pipeline.images.image_reader.read",
    "pipeline.images.image_reader.read_rgb",
    "pipeline.images.formats.jpeg_xl.to_jpeg",
    "pipeline.images.formats.jpeg_xl.to_jxl",
    "pipeline.images.formats.jpeg_xl.library",
    "pipeline.images.formats.lossless_pixels.digest_of",
    "pipeline.images.formats.lossless_pixels.from_pixels",
    "pipeline.images.formats.lossless_pixels.to_pixels",
    "pipeline.images.standard_codecs.decode",
    "pipeline.images.video.read_clip",
    "pipeline.images.video.read_frames",
}
ALLOWED = {
    "pipeline/images/image_reader.py": "the reader, which the sandbox's child runs",
    "pipeline/images/formats/tiff_exif.py": "the same",
    "pipeline/images/formats/heif.py": "the same",
    "pipeline/images/formats/jxl_file.py": "the same",
    "pipeline/images/formats/jpeg_xl.py": "the same",
    "pipeline/images/formats/lossless_pixels.py": "the same",
    "pipeline/images/video.py": "the same; and it writes videos",
    "pipeline/images/standard_codecs.py": "the same; and it encodes",
    "pipeline/encode/standard_search.py": "decodes what it has encoded itself",
    "pipeline/images/image_writer.py": "transcodes JPEGs that it has written itself",
    "pipeline/images/sandbox/child.py": "the child",
    "pipeline/evaluate/baseline_codecs.py": "decodes what it has encoded itself",
    "maepress/thumbnailer.py": "opens .mae files alone",
    "jobs/demo/photos.py": "reads files that Python packages ship",
    "jobs/demo/codec_alone.py": "reads the photograph that the package ships, and files of its own",
}
EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 200 200
%%EndComments
showpage
%%EOF
"""


def decoders_used(source: str) -> set[str]:
    """The decoders that a module names, whatever it calls them."""
    names: dict[str, str] = {}
    found = set[str]()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = alias.name
                found |= {alias.name.split(".")[0], alias.name}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                found |= {node.module.split(".")[0], f"{node.module}.{alias.name}"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add(f"{names.get(node.value.id, node.value.id)}.{node.attr}")
    return found & DECODERS


def test_decoders_are_used_in_the_child_of_the_sandbox_alone() -> None:
    paths = [path for room in ("maepress", "jobs", "model", "pipeline") for path in (ROOT / room).rglob("*.py")]
    users = {str(path.relative_to(ROOT)) for path in paths if decoders_used(path.read_text())}
    assert users == set(ALLOWED)


@pytest.mark.parametrize(
    "source",
    [
        "from PIL import Image\nImage.open(x)",
        "import PIL.Image as I\nI.open(x)",
        "import av",
        "from pipeline.images import video\nvideo.read_clip(x, 1)",
        "from pipeline.images.image_reader import read as r",
        "import imagecodecs",
    ],
)
def test_a_module_that_used_a_decoder_would_be_found(source: str) -> None:
    assert decoders_used(source)


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `gs` on the path; the file that it leaves when somebody starts it."""
    folder, mark = tmp_path / "bin", tmp_path / "started"
    folder.mkdir()
    (folder / "gs").write_text(f"#!/bin/sh\n{shutil.which('touch')} {mark}\nexit 1\n")
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    return mark


def test_pillow_itself_would_start_ghostscript(ghostscript: Path) -> None:
    with pytest.raises(Exception), Image.open(io.BytesIO(EPS)) as image:  # noqa: B017 (whatever a failed gs gives)
        image.load()
    assert ghostscript.exists()


def refused_by_compress(path: Path) -> None:
    assert compress.main([str(path), str(path) + ".mae"]) == 2


def refused_by_the_viewer(path: Path) -> None:
    archive = Archive.create(str(path.parent / "viewed"))
    add(archive, [original("x.jpg", path.read_bytes(), kept="not smaller")])
    with pytest.raises(NotShown, match="format eps"):
        ask(Catalogue(archive.url), ["x.jpg"], 1 << 20)


def refused_by_learning(path: Path) -> None:
    archive = Archive.create(str(path.parent / "learned"))
    add(archive, [original("x.jpg", path.read_bytes())])
    row = archive.row("x.jpg")
    assert row is not None
    (fault,) = Samples(archive, "image").pixels_or_faults([row])
    assert "no RGB pixels" in getattr(fault, "reason", "")


def refused_by_the_reader(path: Path) -> None:
    sandbox = Sandbox(READING)
    reading = sandbox.read(path.read_bytes(), max_pixels=MAX_PIXELS)
    assert isinstance(reading, Reading) and reading.keep == "format eps"
    assert isinstance(sandbox.read_rgb(path.read_bytes(), max_pixels=MAX_PIXELS), Rejected)
    sandbox.close()


@pytest.mark.parametrize(
    "refused",
    [
        lambda path: usable_image(lambda _: path.read_bytes(), "x.jpg", 1) is None or pytest.fail("training takes it"),
        lambda path: decode_rgb(path.read_bytes()) is None or pytest.fail("it is decoded"),
        refused_by_the_reader,
        refused_by_compress,
        refused_by_learning,
        refused_by_the_viewer,
    ],
    ids=["training", "joining videos", "encode and verify", "compress", "learning", "viewer"],
)
def test_an_eps_file_under_another_name_reaches_no_interpreter(
    refused: Callable[[Path], object], ghostscript: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.jpg").write_bytes(EPS)
    refused(tmp_path / "x.jpg")
    assert not ghostscript.exists()
    assert "PIL.EpsImagePlugin" in sys.modules, "of this test; the child has its own"
