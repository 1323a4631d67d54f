"""What a decode does about files that are there already: it never replaces one that differs, unless it is asked to."""

from pathlib import Path
from typing import Any

import pytest

from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.decode.occupied import require_free
from pipeline.decode.run import DecodeSettings, decode
from pipeline.encode.settings import EncodeSettings
from pipeline.runs.record import RunRecord
from pipeline.storage.open import StorageError, Store, open_store
from tests.pipeline.making import add, compressed, image_file, original, transcoded

SOURCES = {
    "a/photo.jpg": image_file("JPEG", quality=97, seed=1, size=(90, 70)),
    "b.png": image_file("PNG", seed=2),
    "kept.jpg": image_file("JPEG", quality=85, seed=6, progressive=True, size=(90, 70)),
    "note.txt": b"any bytes at all",
    "old.gif": image_file("GIF", seed=4),
}


def make(url: str, model: Path, codec: Codec) -> Archive:
    archive = Archive.create(url)
    archive.put_model(codec.fingerprint, model)
    add(archive, [compressed(codec, key, SOURCES[key]) for key in ("a/photo.jpg", "b.png", "old.gif")])
    add(archive, [transcoded("kept.jpg", SOURCES["kept.jpg"]), original("note.txt", SOURCES["note.txt"])], run="two")
    return archive


def content(store: Store) -> dict[str, bytes]:
    return {entry.key: store.get(entry.key) for entry in store.entries()}


def test_files_that_are_equal_are_fine_and_those_that_differ_stay_and_are_named(
    place: str, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    archive = make(f"{place}/archive", tiny_model_folder, tiny_codec)
    back = open_store(f"{place}/back")

    def run(**more: Any) -> tuple[int, dict[str, str]]:
        done = decode(DecodeSettings(executor="local", archive=archive.url, dest=back.url, **more), quiet=True)
        assert done.failed == len(done.failures)
        return done.written, {failure.key: failure.reason for failure in done.failures}

    assert run() == (5, {})
    first = content(back)
    assert set(first) == {"a/photo.jpg", "b.png", "kept.jpg", "note.txt", "old.gif.png"}
    back.delete("b.png")
    assert run() == (5, {}) and content(back) == first  # the same decode continues

    mine = {"a/photo.jpg": b"my own", "old.gif.png": b"my own, too"}
    for key, data in mine.items():
        back.put(key, data)
    written, failures = run()
    assert written == 3 and set(failures) == {"a/photo.jpg", "old.gif"}
    assert all("holds another file of its name" in reason and "--overwrite" in reason for reason in failures.values())
    assert content(back) == first | mine
    assert run(overwrite=True) == (5, {}) and content(back) == first


@pytest.mark.parametrize("only", ["a/photo.jpg", "b.png", None])
def test_a_destination_that_holds_the_sources_is_refused_before_anything_is_written(
    only: str | None, place: str, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    archive = make(f"{place}/archive", tiny_model_folder, tiny_codec)
    originals = open_store(f"{place}/originals")
    for key, data in SOURCES.items():
        if only in (None, key):
            originals.put(key, data)
    before = content(originals)
    with pytest.raises(
        StorageError, match=rf"holds other files .*the sources perhaps \({only or 'a/photo.jpg'}.*--over"
    ):
        decode(DecodeSettings(executor="local", archive=archive.url, dest=originals.url), quiet=True)
    assert content(originals) == before


def test_what_is_known_without_decoding_is_compared_before(
    tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    from pipeline.archive.selection import select

    archive = make(str(tmp_path / "archive"), tiny_model_folder, tiny_codec)
    back = open_store(str(tmp_path / "back"))

    def check(files: dict[str, bytes], keys: str = "*", own: tuple[str, ...] = ("jpeg", "png")) -> None:
        for key in content(back) if back.root_exists() else ():
            back.delete(key)
        for key, data in files.items():
            back.put(key, data)
        require_free(archive, select(archive, keys, ()), back, keys, frozenset(own))

    check({})
    check({"kept.jpg": SOURCES["kept.jpg"], "note.txt": SOURCES["note.txt"], "strange": b"x", "zz": b"x"})
    check({"b.png": SOURCES["b.png"]}, keys="a/*")
    check({"b.png": SOURCES["b.png"]}, own=("jpeg",))  # it becomes b.png.jpg
    for files in ({"note.txt": b"longer than any bytes"}, {"0": b"", "b.png": SOURCES["b.png"]}):
        with pytest.raises(StorageError, match="holds other files"):
            check(files)


def test_a_destination_inside_the_archives_source_is_refused_and_the_source_itself_is_not(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original("a")])
    source = tmp_path / "photos"
    source.mkdir()
    with RunRecord(archive.root, "run", "encode", EncodeSettings(source=str(source), archive=archive.url)):
        pass
    for dest in (source / "back", f"file://{source}/x/../back"):
        with pytest.raises(StorageError, match="lies inside the archive's source"):
            decode(DecodeSettings(executor="local", archive=archive.url, dest=str(dest)), quiet=True)
    assert not list(source.iterdir())
    (source / "a").write_bytes(b"another")
    with pytest.raises(StorageError, match="holds other files under keys of the archive"):
        decode(DecodeSettings(executor="local", archive=archive.url, dest=str(source)), quiet=True)
    assert (source / "a").read_bytes() == b"another"
