"""Keys that a folder cannot hold together, or not at all, are refused or renamed before anything is written."""

import unicodedata
from pathlib import Path

import pytest

from pipeline.archive.archive import Archive
from pipeline.archive.selection import select
from pipeline.decode import run
from pipeline.decode.names import Comparison, Names, comparison_of, plan_names
from pipeline.decode.portable import marked, portable
from pipeline.decode.run import DecodeSettings, decode
from pipeline.storage.base import StorageError
from pipeline.storage.keys import problem_with
from pipeline.storage.open import open_store
from tests.pipeline.making import add, original

NFC, NFD = "caf\u00e9.png", "cafe\u0301.png"
KEYS = (
    *("a", "a/b", "a-x", "dir/A.png", "dir/a.png", "Dir/a.png", NFC, NFD, "clip.gif", "clip.gif.png"),
    *(
        "tile.gif",
        "tile.gif.png/0.jpg",
        "a//b",
        "a/",
        "/abs",
        "..",
        "x/../y",
        ".",
        "nul\0",
        "",
        "x" * 300 + ".png",
        "y/" + "\u00e9" * 200 + ".jpeg",
    ),
    *("CON", "con.txt", "aux/x", "COM1.png", "trailing.", "trailing ", 'q"<>|?*:\\.png', "100%25", "100%"),
)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    made = Archive.create(str(tmp_path / "archive"))
    keys = sorted(set(KEYS), key=str.encode)
    add(made, [original(key, b"bytes of " + key.encode()) for key in keys[::2]], "one")
    add(made, [original(key, b"bytes of " + key.encode()) for key in keys[1::2]], "two")
    return made


def plan(archive: Archive, compared: Comparison, portable_names: bool = False, keys: str = "*") -> Names:
    return plan_names(archive, select(archive, keys, (".png",)), keys, compared, portable_names)


def test_what_collides_depends_on_the_destination_and_the_first_in_order_is_written(archive: Archive) -> None:
    assert plan(archive, Comparison()).refused == {}, "a bucket holds everything"
    assert set(plan(archive, Comparison(folders=True)).refused) == {"a"}
    assert set(plan(archive, Comparison(True, case=True)).refused) == {"a", "dir/A.png", "dir/a.png"}
    assert set(plan(archive, Comparison(True, spelling=True)).refused) == {"a", NFC}
    assert plan(archive, Comparison(True, True, True), keys="a-*").refused == {}


def test_a_decode_to_a_folder_refuses_by_the_plan_and_writes_the_rest(archive: Archive, tmp_path: Path) -> None:
    back = tmp_path / "back"
    done = decode(DecodeSettings(archive=archive.url, dest=str(back), executor="local"), quiet=True)
    failures = {failure.key: failure.reason for failure in done.failures}
    assert set(failures) == {"a", *(key for key in KEYS if problem_with(key))}
    assert "is that of the folder of 'a/" in failures["a"] and "--portable-names" in failures["a"]
    assert (back / "a" / "b").read_bytes() == b"bytes of a/b" and done.written == len(set(KEYS)) - len(failures)


def test_on_a_disk_that_ignores_case_nothing_is_overwritten(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "comparison_of", lambda _: Comparison(True, True, True))
    settings = DecodeSettings(archive=archive.url, dest=str(tmp_path / "back"), executor="local", overwrite=True)
    decode(settings, quiet=True)
    written = [path.relative_to(tmp_path / "back").as_posix() for path in (tmp_path / "back").rglob("*")]
    assert len({unicodedata.normalize("NFC", name).casefold() for name in written}) == len(written)
    assert "Dir/a.png" in written and "dir/A.png" not in written


@pytest.mark.parametrize("case", [False, True])
def test_portable_names_bring_every_key_back(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: bool
) -> None:
    monkeypatch.setattr(run, "comparison_of", lambda _: Comparison(True, case, case))
    back = tmp_path / "deep" / "back"
    settings = DecodeSettings(archive=archive.url, dest=str(back), executor="local", portable_names=True)
    done = decode(settings, quiet=True)
    assert (done.failed, done.written) == (0, len(set(KEYS)))
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "archive" not in path.parts]
    assert {path.read_bytes() for path in files} == {b"bytes of " + key.encode() for key in KEYS}
    assert all(back in path.parents for path in files)
    names = [path.relative_to(back).as_posix() for path in files]
    assert len({unicodedata.normalize("NFC", name.casefold()) for name in names}) == len(set(KEYS))
    assert decode(settings, quiet=True).written == len(set(KEYS)), "the same names each time"


def test_portable_names_are_what_windows_accepts_and_never_equal() -> None:
    made = [portable(key) for key in sorted(set(KEYS))]
    assert len(set(made)) == len(set(KEYS))
    for name in made:
        assert problem_with(name) is None and not set(name) & set('<>:"\\|?*\0')
        for part in name.split("/"):
            assert not part.endswith((".", " ")) and part.split(".")[0].upper() not in ("CON", "AUX", "COM1")
    plain = ("2024/05/IMG_1.JPG", "ünï/中文/😀.png", "a b/c.d.e", "100%", "console.log", "~x", ".hidden")
    assert [portable(name) for name in plain] == list(plain), "what needs no change gets none"
    assert (portable("a//b"), portable("CON.txt"), portable("x%2Fy")) == ("a/%2F/b", "%43ON.txt", "x%252Fy")
    assert portable(made[0]) != "" and len(marked("x" * 255, "key").encode()) == 255
    assert marked("a/b.png", "k").startswith("a/b~") and marked("a/b.png", "k").endswith(".png")


def test_a_new_name_that_is_a_key_gets_another_one(archive: Archive) -> None:
    names = plan(archive, Comparison(), portable_names=True)
    assert names.of("clip.gif", "clip.gif.png") not in ("clip.gif.png", "clip.gif")
    assert names.of("clip.gif", "clip.gif.png").endswith(".png")
    assert names.of("clip.gif.png", "clip.gif.png") == "clip.gif.png"


def test_a_new_name_that_is_a_folder_gets_another_one(archive: Archive) -> None:
    assert plan(archive, Comparison()).of("tile.gif", "tile.gif.png") == "tile.gif.png", "a bucket holds both"
    with pytest.raises(StorageError, match=r"is the folder of another image: --portable-names"):
        plan(archive, Comparison(folders=True)).of("tile.gif", "tile.gif.png")
    made = plan(archive, Comparison(folders=True), portable_names=True).of("tile.gif", "tile.gif.png")
    assert made.startswith("tile.gif~") and made.endswith(".png")


def test_a_new_name_that_is_too_long_says_so_of_the_new_name(archive: Archive) -> None:
    long = "x" * 251 + ".bmp"
    with pytest.raises(
        StorageError, match=r"its new name 'x+\.bmp\.png' is no file's here.*255 bytes: --portable-names"
    ):
        plan(archive, Comparison(folders=True)).of(long, f"{long}.png")
    assert plan(archive, Comparison()).of(long, f"{long}.png") == f"{long}.png", "a bucket holds it"
    assert len(plan(archive, Comparison(folders=True), portable_names=True).of(long, f"{long}.png")) == 255


def test_how_a_destination_compares_is_tried_out_and_leaves_nothing(tmp_path: Path, bucket: str) -> None:
    found = comparison_of(open_store(str(tmp_path)))
    assert found.folders and list(tmp_path.iterdir()) == []
    (tmp_path / "x").write_bytes(b"")
    assert found.case == (tmp_path / "X").exists()
    assert comparison_of(open_store(bucket)) == Comparison()
