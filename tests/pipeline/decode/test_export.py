"""Every key leaves the archive as a file in a standard format, and what a file lacks is named."""

import io
import json
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.decode.export import export
from pipeline.decode.run import DecodeSettings, decode
from pipeline.decode.settings import ExportSettings
from pipeline.storage.open import StorageError
from tests.pipeline.containers.files import jpeg
from tests.pipeline.making import add, compressed, image_file, original, transcoded

DEEP = bytes(imagecodecs.png_encode(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)))
COMMENTED = jpeg([(0xFE, b"a comment")], b"a film")
SOURCES: dict[str, bytes] = {
    "a/photo.jpg": COMMENTED,
    "clear.png": image_file("PNG", "RGBA", seed=3),
    "deep.png": DEEP,
    "kept.jpg": image_file("JPEG", quality=85, seed=6, size=(90, 70)),
    "plain.png": image_file("PNG", seed=5),
    "words.txt": b"any bytes at all",
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, tiny_codec: Codec) -> Archive:
    made = Archive.create(str(tmp_path_factory.mktemp("export") / "archive"))
    made.put_model(tiny_codec.fingerprint, tiny_model_folder)
    kept = {
        "deep.png": original("deep.png", DEEP),
        "kept.jpg": transcoded("kept.jpg", SOURCES["kept.jpg"]),
        "plain.png": original("plain.png", SOURCES["plain.png"]),
        "words.txt": original("words.txt", SOURCES["words.txt"], source_format="unknown"),
    }
    add(made, [kept[key] if key in kept else compressed(tiny_codec, key, data) for key, data in SOURCES.items()])
    return made


def exported(archive: Archive, dest: Path, **options: Any) -> tuple[Any, dict[str, dict[str, Any]]]:
    result = export(ExportSettings(archive=archive.url, dest=str(dest), executor="local", **options), quiet=True)
    lines = [json.loads(line) for line in (dest / result.losses_file).read_text().splitlines()]
    assert len(lines) == len({line["key"] for line in lines})
    return result, {line["key"]: line for line in lines}


def files_of(dest: Path) -> dict[str, bytes]:
    return {str(p.relative_to(dest)): p.read_bytes() for p in dest.rglob("*") if p.is_file()}


def test_an_export_has_every_key_and_says_what_each_file_lacks(archive: Archive, tmp_path: Path) -> None:
    result, lines = exported(archive, tmp_path / "out")
    assert result.ok and sorted(lines) == sorted(SOURCES)
    files = files_of(tmp_path / "out")
    assert sorted(files) == sorted([*SOURCES, "losses.jsonl"])
    for key in ("deep.png", "kept.jpg", "plain.png", "words.txt"):
        assert files[key] == SOURCES[key] and (lines[key]["stored"], lines[key]["lost"]) == ("exact", [])
    photo = lines["a/photo.jpg"]
    assert (photo["file"], photo["format"], photo["stored"]) == ("a/photo.jpg", "jpeg", "compressed")
    assert photo["lost"] == ["pixels compressed again"] and result.decoded.losses == {"pixels compressed again": 1}
    assert files["a/photo.jpg"].endswith(b"a film") and b"a comment" in files["a/photo.jpg"]
    assert lines["clear.png"]["lost"] == []


def test_an_export_in_one_format_names_what_is_written_otherwise_and_why(archive: Archive, tmp_path: Path) -> None:
    result, lines = exported(archive, tmp_path / "out", format="avif")
    files = files_of(tmp_path / "out")
    assert result.ok and (lines["a/photo.jpg"]["file"], lines["clear.png"]["file"]) == ("a/photo.jpg.avif", "clear.png")
    assert lines["clear.png"]["reason"] == "png: alpha" and result.decoded.instead == {"png: alpha": 1}
    assert lines["a/photo.jpg"]["lost"] == ["bytes behind the end", "comments and texts", "pixels compressed again"]
    assert files["kept.jpg"] == SOURCES["kept.jpg"], "kept files stay as they are"
    with Image.open(io.BytesIO(files["a/photo.jpg.avif"])) as photo:
        assert (photo.format, photo.size) == ("AVIF", (40, 24))


def test_kept_images_are_converted_on_request_but_never_to_fewer_bits(archive: Archive, tmp_path: Path) -> None:
    result, lines = exported(archive, tmp_path / "out", format="jxl", convert_kept=True)
    files = files_of(tmp_path / "out")
    assert result.ok
    assert bytes(imagecodecs.jpegxl_decode_jpeg(files["kept.jpg.jxl"], numthreads=1)) == SOURCES["kept.jpg"]
    assert lines["kept.jpg"]["lost"] == [] and lines["plain.png"]["lost"] == ["pixels compressed again"]
    assert files["deep.png"] == DEEP and files["words.txt"] == SOURCES["words.txt"]
    assert lines["deep.png"]["reason"] == "png: more than 8 bits a channel"
    assert lines["words.txt"]["reason"] == "unknown: it cannot be read"


def test_the_same_export_continues_and_no_file_of_others_is_replaced(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(archive, out)
    before = files_of(out)
    (out / "plain.png").unlink()
    result, _ = exported(archive, out)
    assert result.ok and files_of(out) == before
    (out / "plain.png").write_bytes(SOURCES["plain.png"][:-1] + b"?")
    other = files_of(out)["plain.png"]
    result, lines = exported(archive, out)
    assert not result.ok and files_of(out)["plain.png"] == other
    assert (lines["plain.png"]["file"], lines["plain.png"]["lost"]) == (None, ["the file"])
    assert "holds another file" in lines["plain.png"]["reason"]


def test_a_list_of_someone_else_is_not_replaced_nor_a_key_of_its_name(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "losses.jsonl").write_text('{"mine": 1}\n')
    with pytest.raises(StorageError, match=r"holds another file losses\.jsonl"):
        exported(archive, out)
    assert files_of(out) == {"losses.jsonl": b'{"mine": 1}\n'}
    own = Archive.create(str(tmp_path / "own"))
    add(own, [original("losses.jsonl", b"a key")])
    result, _ = exported(own, tmp_path / "other")
    assert result.ok and result.losses_file == "losses-1.jsonl"
    assert files_of(tmp_path / "other")["losses.jsonl"] == b"a key"


@pytest.mark.parametrize("wanted", ["tiff", "webp", "jxl"])
def test_decode_writes_each_standard_format(archive: Archive, tmp_path: Path, wanted: Any) -> None:
    settings = DecodeSettings(
        archive=archive.url, dest=str(tmp_path / "out"), keys="a/*", format=wanted, executor="local"
    )
    result = decode(settings, quiet=True)
    assert (result.written, result.latents, result.failed) == (1, 1, 0)
    (name,) = files_of(tmp_path / "out")
    assert name == {"tiff": "a/photo.jpg.tif", "webp": "a/photo.jpg.webp", "jxl": "a/photo.jpg.jxl"}[wanted]
    assert ("comments and texts" in result.losses) == (wanted != "jxl")
