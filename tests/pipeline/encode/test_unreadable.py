"""Files that no reader understands: kept byte for byte and named by what they are, or rejected if asked for."""

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from model.core.errors import DamagedPayload
from pipeline.archive.archive import Archive
from pipeline.archive.kept_source import packed, unpacked
from pipeline.archive.reader import read_image
from pipeline.archive.schema import IMAGES
from pipeline.dataset.row_groups import Wanted, row_groups
from pipeline.decode.run import DecodeSettings, decode
from pipeline.encode.run import EncodeResult, EncodeSettings, encode
from pipeline.images.formats import heif
from pipeline.images.formats.file_kind import kind_of, why_unreadable
from pipeline.verify.run import VerifySettings, verify
from tests.pipeline.making import image_file

JPEG = image_file("JPEG")
HEIC = "HEIC image " + ("that cannot be decoded" if heif.is_installed() else "(maepress[heif] is not installed)")
PNG = image_file("PNG")
JXL = imagecodecs.jpegxl_encode(np.zeros((64, 64, 3), np.uint8) + 7)


def _with_frame_header(marker: int, depth: int = 8) -> bytes:
    """The JPEG with another kind of frame, as a rare encoder would write it."""
    at = JPEG.index(b"\xff\xc0")
    assert JPEG[at + 4] == 8
    return JPEG[: at + 1] + bytes([marker]) + JPEG[at + 2 : at + 4] + bytes([depth]) + JPEG[at + 5 :]


def _deep_tiff() -> bytes:
    file = io.BytesIO()
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 5 % 999
    Image.fromarray(pixels).save(file, "TIFF")
    return file.getvalue()


ODD: dict[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", "empty file"),
    "cut.jpg": (JPEG[:-40], "truncated JPEG"),
    "no-eoi.jpg": (JPEG[:-2], "truncated JPEG"),
    "lossless.jpg": (_with_frame_header(0xC3), "lossless JPEG"),
    "deep.jpg": (_with_frame_header(0xC1, 12), "JPEG with 12 bits per channel"),
    "page.jpg": (b"<!DOCTYPE html><title>404</title>", "HTML page"),
    "cut.png": (PNG[:-60], "truncated PNG"),
    "damaged.png": (PNG[:60] + bytes(90) + PNG[150:], "PNG image that cannot be decoded"),
    "cut.gif": (image_file("GIF", "L")[:-30], "truncated GIF"),
    "cut.webp": (image_file("WEBP")[:-50], "truncated WebP"),
    "a.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(90), HEIC),
    "a.jxl": (
        bytes(imagecodecs.jpegxl_encode(np.zeros((64, 64, 3), np.uint8) + 7))[:20],
        "JPEG XL image that cannot be decoded",
    ),
    "a.mov": (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(90), "QuickTime film"),
    "a.mp4": (b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(90), "MPEG-4 film"),
    "a.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF document"),
    "a.svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG drawing"),
    "a.xmp": (b'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"/>', "XMP sidecar"),
    "a.json": (b'{"title": "a"}', "JSON document"),
    ".DS_Store": (b"\0\0\0\1Bud1" + bytes(500), "Finder folder settings (.DS_Store)"),
    "._a.jpg": (b"\0\5\x16\7" + bytes(40), "AppleDouble file"),
    "Thumbs.db": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(40), "OLE document (such as Thumbs.db)"),
    "note.txt": ("häuser".encode(), "text file"),
    "noise.bin": (bytes(range(128, 256)), "unknown kind of file"),
    "zeros.nef": (bytes(999), "file of zeros"),
    "deep.tif": (_deep_tiff(), "more than 8 bits a channel"),
}
"""Files, and why each is kept."""


def _encode(folder: Path, model: Path, **settings: object) -> EncodeResult:
    chosen = {"source": str(folder / "source"), "archive": str(folder / "archive"), "executor": "local"} | settings
    return encode(EncodeSettings.model_validate(chosen | {"model": str(model)}), quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """A folder with `source`, of all odd files and one photograph, and `archive`."""
    made = tmp_path_factory.mktemp("odd")
    (made / "source").mkdir()
    for key, (data, _) in ODD.items():
        (made / "source" / key).write_bytes(data)
    (made / "source" / "photo.png").write_bytes(PNG)
    result = _encode(made, tiny_model_folder)
    assert (result.latents, result.originals, result.rejected) == (1, len(ODD), 0)
    return made


def test_every_file_is_a_row_and_says_what_it_is(folder: Path) -> None:
    archive = Archive.open(str(folder / "archive"))
    found = {row["key"]: row for batch in archive.scan(IMAGES.names) for row in batch.to_pylist()}
    assert {key: found[key]["kept"] for key in ODD} == {key: reason for key, (_, reason) in ODD.items()}
    assert not list(archive.rejections_by_key())
    assert all((found[key]["width"] == 0) == (key != "deep.tif") for key in ODD)


def test_every_file_comes_back_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    decode(DecodeSettings(archive=str(folder / "archive"), dest=str(tmp_path), executor="local"), quiet=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "photo.png"} == {
        key: data for key, (data, _) in ODD.items()
    }
    archive = Archive.open(str(folder / "archive"))
    assert read_image(archive, "deep.tif") == ODD["deep.tif"][0]


def test_what_nobody_has_compressed_is_packed_and_verified(folder: Path) -> None:
    archive = Archive.open(str(folder / "archive"))
    row = archive.row("deep.tif", IMAGES.names)
    assert row is not None and row["status"] == "zstd"
    assert row["payload_bytes"] < 0.9 * row["source_bytes"]
    assert row["payload"][:4] == b"\x28\xb5\x2f\xfd"
    result = verify(VerifySettings(archive=archive.url, executor="local"), quiet=True)
    assert (result.rows, result.failed) == (len(ODD) + 1, 0)


def test_a_data_set_of_images_leaves_out_what_is_no_image(folder: Path) -> None:
    groups = row_groups(Archive.open(str(folder / "archive")), Wanted())
    assert sum(group.rows for group in groups) == 2  # photo.png and deep.tif


def test_with_reject_such_files_are_rejections_and_a_later_keep_tries_them_again(
    folder: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    (tmp_path / "source").mkdir()
    for key in ("cut.jpg", "a.mov", "deep.tif"):
        (tmp_path / "source" / key).write_bytes(ODD[key][0])
    result = _encode(tmp_path, tiny_model_folder, unreadable="reject")
    assert (result.originals, result.rejected) == (1, 2)
    reasons = {row.key: row.reason for row in Archive.open(str(tmp_path / "archive")).rejections_by_key()}
    assert reasons["a.mov"] == "QuickTime film" and reasons["cut.jpg"].startswith("cannot be decoded")
    assert _encode(tmp_path, tiny_model_folder, unreadable="reject").rejected_before == 2
    result = _encode(tmp_path, tiny_model_folder)
    assert (result.originals, result.rejected, result.rejected_before, result.missing) == (2, 0, 0, None)


def test_packing_pays_by_a_tenth_or_is_not_done() -> None:
    assert packed(np.random.default_rng(0).bytes(100_000)) is None
    assert packed(JPEG) is None
    source = bytes(9000) + b"end"
    frame = packed(source)
    assert frame is not None and len(frame) < 100 and unpacked(frame) == source
    for damaged in (frame[:-1], frame[1:], frame[:12] + bytes([frame[12] ^ 255]) + frame[13:]):
        with pytest.raises(DamagedPayload):
            if unpacked(damaged) != source:
                raise DamagedPayload("found by the row's SHA-256")


@pytest.mark.parametrize("length", [*range(0, 80, 3), 200, 400, 700])
def test_any_start_of_any_file_has_a_name(length: int) -> None:
    for data, _ in ODD.values():
        assert why_unreadable(data[:length], kind_of(data[:length]))
