"""With `--keep pixels`, kept pictures are lossless JPEG XL of the same samples, and every job knows them."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from maepress import read_image
from model.core.target import Target
from pipeline.archive.archive import Archive
from pipeline.archive.schema import LARGER, ORIGINAL, PIXELS, ZSTD
from pipeline.dataset.row_groups import STATUSES
from pipeline.decode.export import export
from pipeline.decode.settings import ExportSettings
from pipeline.encode.settings import EncodeSettings
from pipeline.encode.stages import Analysed, compress
from pipeline.images.decode_rgb import decode_rgb
from pipeline.images.formats.lossless_pixels import to_pixels
from pipeline.images.limits import READING
from pipeline.images.sandbox.sandbox import shared
from pipeline.maintain.settings import StatusSettings
from pipeline.maintain.status import status
from pipeline.release.checks import problem_with_original
from pipeline.verify.run import VerifySettings, verify
from tests.conftest import photo_like
from tests.pipeline.making import add, image_file

DEEP = photo_like(64, 72).astype(np.uint16) * 257
FILES = {
    "deep.png": bytes(imagecodecs.png_encode(DEEP, level=1)),
    "deep.tif": bytes(imagecodecs.tiff_encode(DEEP)),
    "film.gif": image_file("GIF"),
    "noise.png": bytes(imagecodecs.png_encode(np.random.default_rng(0).integers(0, 65536, (40, 40), np.uint16))),
    "plain.png": image_file("PNG", compress_level=1),
}


def rows_of(keep: str) -> dict[str, dict[str, Any]]:
    """The rows that an encode makes of sources that are kept."""
    kinds = {".png": "png", ".tif": "tiff", ".gif": "gif"}
    items = [
        Analysed(key, "etag", source, kinds[key[-4:]], 72, 64, keep=LARGER if key == "plain.png" else "of a kind")
        for key, source in FILES.items()
    ]
    no_coder: Any = None  # only latents need it
    piece = compress(items, no_coder, Target(quality=40), shared(READING), "run", keep=keep)
    assert not piece.rejections
    return {row["key"]: row for row in piece.rows.to_pylist()}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    made = Archive.create(str(tmp_path_factory.mktemp("pixels") / "archive"))
    add(made, list(rows_of("pixels").values()))
    return made


def test_kept_pictures_become_pixels_where_that_is_smaller_and_nothing_else_changes() -> None:
    pixels, exact = rows_of("pixels"), rows_of("exact")
    assert {key: row["status"] for key, row in pixels.items()} == {
        "deep.png": PIXELS,
        "deep.tif": PIXELS,
        "film.gif": ORIGINAL,
        "noise.png": ORIGINAL,
        "plain.png": PIXELS,
    }
    assert PIXELS not in {row["status"] for row in exact.values()} and exact["deep.tif"]["status"] == ZSTD
    for key, row in pixels.items():
        assert row["payload_bytes"] <= exact[key]["payload_bytes"]
        same = ("source_bytes", "source_sha256", "source_format", "width", "height", "kept")
        assert all(row[name] == exact[key][name] for name in same)


def test_every_job_knows_pictures_that_are_kept_as_pixels(archive: Archive, tmp_path: Path) -> None:
    result = export(ExportSettings(archive=archive.url, dest=str(tmp_path / "out"), executor="local"), quiet=True)
    assert result.ok and result.decoded.kept_pixels == 3 and result.decoded.originals == 2
    back = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert np.array_equal(imagecodecs.png_decode(back["deep.png"]), DEEP)
    assert np.array_equal(imagecodecs.tiff_decode(back["deep.tif"]), DEEP)
    assert back["film.gif"] == FILES["film.gif"] and back["noise.png"] == FILES["noise.png"]
    assert read_image(archive, "deep.png") == back["deep.png"]
    again = export(ExportSettings(archive=archive.url, dest=str(tmp_path / "out"), executor="local"), quiet=True)
    assert again.ok, "what an export has written, it takes for its own"
    found = status(StatusSettings(archive=archive.url))
    assert (found.rows, found.kept_pixels, found.originals) == (5, 3, 2)
    checked = verify(VerifySettings(archive=archive.url, executor="local"), quiet=True)
    assert checked.ok and (checked.rows, checked.kept_pixels, checked.originals) == (5, 3, 2)
    assert PIXELS in STATUSES
    picture = decode_rgb(back["deep.png"])
    assert picture is not None and picture.size == (72, 64)


def test_a_payload_that_decodes_to_other_samples_is_a_problem(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    row = rows_of("pixels")["deep.png"]
    payload = bytearray(row["payload"])
    at = payload.index(b"mprs") + 12  # the first byte of the samples' checksum
    payload[at] ^= 1
    add(archive, [row | {"payload": bytes(payload)}])
    checked = verify(VerifySettings(archive=archive.url, executor="local"), quiet=True)
    assert [problem.problem for problem in checked.problems] == [
        "the payload decodes to other samples than its checksum says"
    ]
    result = export(ExportSettings(archive=archive.url, dest=str(tmp_path / "out"), executor="local"), quiet=True)
    assert not result.ok and "checksum" in result.decoded.failures[0].reason


def test_a_release_compares_samples_and_facts_with_the_original() -> None:
    rows = rows_of("pixels")
    for key, source in FILES.items():
        assert problem_with_original(rows[key], source) is None
    other = np.ascontiguousarray(DEEP[::-1])
    row = rows["deep.png"] | {"payload": to_pixels(bytes(imagecodecs.png_encode(other, level=1)))}
    assert problem_with_original(row, FILES["deep.png"]) == "its samples or facts do not come back"


def test_exact_is_the_default() -> None:
    assert EncodeSettings(source="a", archive="b").keep == "exact"
    assert EncodeSettings(source="a", archive="b", keep="pixels").keep == "pixels"
