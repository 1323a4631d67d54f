"""Decode writes every image, and names those that it cannot write."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.key_choice import literal_prefix
from pipeline.archive.selection import select
from pipeline.decode.run import DecodeSettings, decode
from pipeline.images.image_reader import read
from pipeline.images.image_writer import SUFFIXES
from pipeline.images.reading import Reading
from pipeline.storage.open import StorageError, open_store
from tests.pipeline.making import add, compressed, image_file, original, transcoded

SOURCES = {
    "a/photo.jpg": image_file("JPEG", quality=97, seed=1, icc_profile=b"\0" * 130, size=(90, 70)),
    "a/photo.jpg.png.txt": b"any bytes at all",
    "a-b/grey.png": image_file("PNG", "L", seed=2),
    "clear.webp": image_file("WEBP", "RGBA", seed=3, lossless=True),
    "kept.JPG": image_file("JPEG", quality=85, seed=6, progressive=True, size=(90, 70)),
    "old.gif": image_file("GIF", seed=4),
    "ümläut %?#.png": image_file("PNG", seed=5),
}
ORIGINAL, TRANSCODED = "a/photo.jpg.png.txt", "kept.JPG"


def rows(codec: Codec) -> list[dict[str, object]]:
    made: dict[str, dict[str, object]] = {
        ORIGINAL: original(ORIGINAL, SOURCES[ORIGINAL]),
        TRANSCODED: transcoded(TRANSCODED, SOURCES[TRANSCODED]),
    }
    return [made[key] if key in made else compressed(codec, key, data) for key, data in SOURCES.items()]


def same_pixels(codec: Codec, row: dict[str, object], data: bytes) -> bool:
    (expected,) = codec.decompress([row["payload"]])  # type: ignore[list-item]
    reading = read(data)
    assert isinstance(reading, Reading) and reading.picture is not None
    return bool(np.array_equal(reading.picture.pixels, expected.pixels))


def test_an_archive_comes_back_under_its_keys_and_in_its_formats(
    bucket: str, tiny_model_folder: Path, tiny_codec: Codec, local_ray: None
) -> None:
    archive = Archive.create(f"{bucket}/archive")
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    made = {str(row["key"]): row for row in rows(tiny_codec)}
    add(archive, list(made.values())[:3])
    add(archive, list(made.values())[3:], run="second")
    result = decode(DecodeSettings(executor="ray", archive=archive.url, dest=f"{bucket}/back"), quiet=True)
    assert (result.written, result.latents, result.transcoded, result.originals) == (7, 5, 1, 1)
    assert result.failed == 0
    back = {entry.key: entry.size for entry in open_store(f"{bucket}/back").entries()}
    renamed = {"old.gif": "old.gif.png"}
    assert sorted(back) == sorted(renamed.get(key, key) for key in SOURCES)
    assert result.bytes_written == sum(back.values())

    store = open_store(f"{bucket}/back")
    assert store.get(ORIGINAL) == SOURCES[ORIGINAL]
    assert store.get(TRANSCODED) == SOURCES[TRANSCODED]
    for key in ("a-b/grey.png", "clear.webp", "old.gif", "ümläut %?#.png"):
        assert same_pixels(tiny_codec, made[key], store.get(renamed.get(key, key)))
    with Image.open(io.BytesIO(store.get("a/photo.jpg"))) as photo:
        assert photo.format == "JPEG" and photo.size == (90, 70) and photo.info["icc_profile"] == b"\0" * 130
    with Image.open(io.BytesIO(store.get("clear.webp"))) as clear, Image.open(io.BytesIO(SOURCES["clear.webp"])) as was:
        assert np.array_equal(np.asarray(clear)[:, :, 3], np.asarray(was)[:, :, 3])


def test_what_cannot_come_back_is_named_and_the_rest_comes_back(
    tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    good = compressed(tiny_codec, "good.jpg", SOURCES["a/photo.jpg"])
    payload = bytearray(good["payload"])
    payload[len(payload) // 2] ^= 1
    add(
        archive,
        [
            good,
            good | {"key": "damaged.jpg", "payload": bytes(payload)},
            good | {"key": "../../escape.jpg"},
            transcoded("rotten.jpg", SOURCES[TRANSCODED]) | {"source_sha256": "0" * 64},
            good | {"key": "other-model.jpg", "model": "0123456789abcdef"},
            good | {"key": "clash.jpg"},
            original("clash.jpg.png", SOURCES["a-b/grey.png"]),
            original("folder", b"a file here"),
            original("folder/inside", b"and a folder there"),
        ],
    )
    lost = add(archive, [original("in-a-lost-shard")], run="second").add
    assert lost is not None
    shard = Path(archive.images.url) / lost.path
    shard.write_bytes(shard.read_bytes()[:-100])
    result = decode(
        DecodeSettings(executor="local", archive=archive.url, dest=str(tmp_path / "back"), format="png"), quiet=True
    )
    assert (result.written, result.failed) == (3, 7)
    reasons = {failure.key: failure.reason for failure in result.failures}
    assert "checksum" in reasons["damaged.jpg"]
    assert reasons["rotten.jpg"] == "its bytes are no longer those of the source"
    assert "leads out of the folder" in reasons["../../escape.jpg"]
    assert "names the model 0123456789abcdef, its payload" in reasons["other-model.jpg"]
    assert "'clash.jpg.png' is another image's key" in reasons["clash.jpg"]
    assert "cannot be written" in (reasons.get("folder") or reasons["folder/inside"])
    assert "cannot be read" in reasons[f"shard {lost.path}"]
    files = {str(p.relative_to(tmp_path / "back")): p for p in (tmp_path / "back").rglob("*") if p.is_file()}
    assert same_pixels(tiny_codec, good, files["good.jpg.png"].read_bytes())
    assert files["clash.jpg.png"].read_bytes() == SOURCES["a-b/grey.png"]
    assert not (tmp_path.parent / "escape.jpg").exists() and not (tmp_path / "escape.jpg").exists()


def test_a_mae_file_is_the_payload_with_its_metadata_and_a_glob_chooses_keys(
    tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    add(archive, rows(tiny_codec))
    dest = tmp_path / "back"
    result = decode(
        DecodeSettings(executor="local", archive=archive.url, dest=str(dest), format="mae", keys="a/*"), quiet=True
    )
    assert (result.written, result.failed) == (2, 0)
    assert sorted(str(p.relative_to(dest)) for p in dest.rglob("*") if p.is_file()) == ["a/photo.jpg.mae", ORIGINAL]
    (picture,) = tiny_codec.decompress([(dest / "a/photo.jpg.mae").read_bytes()])
    row = archive.row("a/photo.jpg")
    assert row is not None
    (expected,) = tiny_codec.decompress([row["payload"]])
    assert np.array_equal(picture.pixels, expected.pixels) and picture.icc == b"\0" * 130


@pytest.fixture
def small(tmp_path: Path) -> Archive:
    archive = Archive.create(str(tmp_path / "small"))
    add(archive, [original("a"), original("b/c")])
    return archive


def test_a_decode_that_cannot_begin_says_why_in_one_line(small: Archive, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for archive, dest, keys, says in (
        (str(tmp_path / "nothing"), str(tmp_path / "d"), "*", "does not exist"),
        (small.url, str(tmp_path / "d"), "nope/*", r"no key in .* matches 'nope/\*'"),
        (small.url, str(tmp_path / "file"), "*", "cannot be written"),
    ):
        with pytest.raises(StorageError, match=says):
            decode(DecodeSettings(archive=archive, dest=dest, keys=keys), quiet=True)


def test_a_selection_counts_what_matches_and_looks_only_where_it_may_be(small: Archive) -> None:
    other = add(small, [original("z", b"12345678")], run="second").add
    assert other is not None
    chosen = select(small, "z*", ())
    assert (chosen.objects, chosen.payload_bytes, [s.path for s in chosen.shards]) == (1, 8, [other.path])
    assert select(small, "*", ()).objects == 3
    assert select(small, "[ab]*", ()).objects == 2 and select(small, "?", ()).objects == 2


def test_a_new_name_that_is_a_key_is_found_wherever_it_is(small: Archive) -> None:
    add(small, [original(key) for key in ("a.jpg", "a.jpg-b", "a.jpg.pn", "a.jpg/x", "b/c.webp")], run="second")
    add(small, [original("a.jpg.png"), original("b/c.webp.mae")], run="third")
    add(small, [original("a.jpg.mae/0"), original("a.jpg.mae0/0")], run="fourth")
    chosen = select(small, "*", (*SUFFIXES.values(), ".mae"))
    assert chosen.taken == {"a.jpg", "a.jpg.png", "b/c.webp", "b/c.webp.mae"}
    assert chosen.folders == {"a.jpg", "a.jpg.mae"}, "a and a.jpg are keys"


def test_what_every_match_of_a_glob_begins_with() -> None:
    assert [literal_prefix(g) for g in ("*", "a/b*", "a?c", "x[0-9]y", "plain")] == ["", "a/b", "a", "x", "plain"]
