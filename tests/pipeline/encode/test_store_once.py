"""`--store-once`: equal sources share a payload, whatever happens meanwhile, and readers get each of them whole."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.cli import main
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt
from pipeline.archive.shards.payload_references import shared_payloads
from pipeline.archive.shards.shard_writer import write_shard
from pipeline.archive.shards.shared_payloads import key_of, name_of
from pipeline.dataset.torch_dataset import ArchiveImages
from pipeline.decode.export import export
from pipeline.decode.settings import ExportSettings
from pipeline.encode.run import encode
from pipeline.encode.settings import EncodeSettings
from pipeline.encode.store_once import StoredOnce, store_once
from pipeline.release.run import release
from pipeline.release.settings import ReleaseSettings
from pipeline.runs.lease import Lease
from pipeline.sync.run import sync
from pipeline.sync.settings import SyncSettings
from pipeline.verify.run import verify
from pipeline.verify.settings import VerifySettings
from tests.pipeline.kills import killed_at
from tests.pipeline.making import TWICE, add, archive_with_copies, image_file, original, originals, rows_in, stored_once

OBJECT = key_of(name_of(TWICE, "once"))


def sound(archive: Archive) -> bool:
    settings = VerifySettings(archive=archive.url, sample="all", executor="local")
    return verify(settings, quiet=True).problems == ()


def apart(url: str) -> Archive:
    """Copies that are not stored once yet, in three shards."""
    archive = Archive.create(url)
    for run, keys in (("one", "ab"), ("two", "cd"), ("three", "ef")):
        add(archive, [original(keys[0], TWICE), original(keys[1], os.urandom(5000))], run)
    return archive


def test_rows_are_what_they_were_and_the_next_run_finds_nothing_to_do(tmp_path: Path) -> None:
    archive = apart(str(tmp_path / "archive"))
    before, bytes_before = rows_in(archive), sum(shard.size for shard in archive.shards())
    assert stored_once(archive) == StoredOnce(3, 3 * len(TWICE))
    assert rows_in(archive) == before and sound(archive)
    assert shared_payloads(archive.images) == {OBJECT: len(TWICE)}
    assert sum(shard.size for shard in archive.shards()) < bytes_before - 2 * len(TWICE)
    version = archive.version()
    assert stored_once(archive, run="again") == StoredOnce() and archive.version() == version


def test_a_copy_that_comes_later_joins_and_mends_a_damaged_payload(tmp_path: Path) -> None:
    archive = archive_with_copies(str(tmp_path / "archive"))
    (Path(archive.images.absolute_url) / OBJECT).write_bytes(b"damaged")
    add(archive, [original("later", TWICE), original("v", os.urandom(5000))], "later")
    assert stored_once(archive, run="again") == StoredOnce(1, len(TWICE))
    assert {key for key, row in rows_in(archive).items() if row["payload"] == TWICE} == {"a", "copy/a", "later"}
    assert sound(archive)


def test_equal_sources_with_other_payloads_do_not_share(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    packed = original("packed", TWICE) | {"payload": b"x" * 5000, "payload_bytes": 5000}
    add(archive, [original("a", TWICE), packed], "one")
    assert stored_once(archive) == StoredOnce()
    add(archive, [original("b", TWICE) | {"payload": TWICE[::-1]}], "two")  # of one size, and no copy
    before = rows_in(archive)
    stored_once(archive, run="again")
    assert rows_in(archive) == before


def test_a_damaged_row_stays_where_it_is(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    rows = [original("a", TWICE), original("b", TWICE)]
    add(archive, rows, "one")
    path = Path(archive.images.absolute_url) / archive.shards()[0].path
    data = path.read_bytes()
    at = data.index(TWICE) + 7
    path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
    assert stored_once(archive).left == "1 shards are damaged, or another job changed them meanwhile"
    assert path.exists() and shared_payloads(archive.images) == {}


def test_a_job_that_commits_meanwhile_stays_and_the_rest_waits_for_the_next_run(tmp_path: Path) -> None:
    archive = archive_with_copies(str(tmp_path / "archive"))
    add(archive, [original("later", TWICE)], "later")
    (shard,) = [shard for shard in archive.shards() if shard.first_key == "later"]

    def meanwhile() -> None:
        new = write_shard(archive.images, [originals(["later/2"])], base=shard.path)
        archive.committer("other").commit([Receipt(0, new, remove=shard.path)])

    result = store_once(archive, archive.committer("once"), meanwhile)
    assert (result.rows, result.left is not None) == (0, True)
    assert set(rows_in(archive)) >= {"later", "later/2"} and sound(archive)


def test_of_two_runs_that_share_at_once_one_does_and_the_other_waits(tmp_path: Path) -> None:
    archive = apart(str(tmp_path / "archive"))
    before = rows_in(archive)
    result = store_once(archive, archive.committer("slow"), lambda: finds(stored_once(archive), 3))
    assert result.rows == 0 and result.left is not None
    assert rows_in(archive) == before and sound(archive)
    assert stored_once(archive, run="again") == StoredOnce()


def finds(done: StoredOnce, rows: int) -> None:
    assert done.rows == rows


def test_an_object_that_no_row_names_any_more_is_never_named_again(tmp_path: Path) -> None:
    """Whoever decided to delete it may do so at any time."""
    archive = archive_with_copies(str(tmp_path / "archive"))
    for shard in archive.shards():
        new = write_shard(archive.images, [], base=shard.path, drop=["a", "copy/a"])
        archive.committer(f"drop from {shard.path}").commit([Receipt(0, new, remove=shard.path)])
    add(archive, [original(key, TWICE) for key in ("n", "m")], "anew")
    assert stored_once(archive, run="later").rows == 2
    archive.images.delete(OBJECT)
    assert rows_in(archive)["n"]["payload"] == TWICE and sound(archive)


def test_a_payload_that_a_vacuum_took_meanwhile_is_noticed_before_the_commit(tmp_path: Path) -> None:
    archive = apart(str(tmp_path / "archive"))
    before = rows_in(archive)
    result = store_once(archive, archive.committer("once"), lambda: archive.images.delete(OBJECT))
    assert result.rows == 0 and result.left is not None
    assert rows_in(archive) == before and sound(archive)
    assert stored_once(archive, run="again").rows == 3 and rows_in(archive) == before


def test_whatever_operation_it_is_killed_at_every_row_is_whole_and_the_next_run_goes_on(tmp_path: Path) -> None:
    made = apart(str(tmp_path / "archive"))
    before = rows_in(made)
    for operation in range(1, 40):
        archive = Archive(str(shutil.copytree(made.url, tmp_path / str(operation))))
        with killed_at(operation) as kill, Lease(archive.root, "killed", "encode") as lease:
            store_once(archive, archive.committer("killed"), lease.check)
        assert rows_in(archive) == before, operation
        stored_once(archive)
        assert rows_in(archive) == before and {row["payload"] for row in rows_in(archive).values()} >= {TWICE}, (
            operation
        )
        if kill.done < operation:
            assert operation > 5 and sound(archive)
            return
    raise AssertionError("it never ended")


PAIRS = (("again/noise.png", "noise.png"), ("notes copy.bin", "notes.bin"))


def contents() -> dict[str, bytes]:
    """Two files and a copy of each, which are kept, and an image that the model compresses."""
    chance = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(chance.integers(0, 255, (48, 48, 3), np.uint8)).save(file, "PNG")
    kept = dict(zip(PAIRS, (file.getvalue(), chance.bytes(5000)), strict=True))
    return {key: data for pair, data in kept.items() for key in pair} | {"one.png": image_file("PNG")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """A source, and its archive."""
    folder = tmp_path_factory.mktemp("made")
    for key, data in contents().items():
        (folder / "source" / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / key).write_bytes(data)
    result = encode(settings(folder, tiny_model_folder), quiet=True)
    assert (result.originals, result.stored_once, result.stored_once_left) == (4, 4, None)
    assert result.stored_once_bytes == sum(len(data) for key, data in contents().items() if key in sum(PAIRS, ()))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(made, tmp_path / "folder"))


def settings(folder: Path, model: Path, **more: Any) -> Any:
    kind = SyncSettings if more.pop("night", False) else EncodeSettings
    places: dict[str, Any] = {"source": str(folder / "source"), "archive": str(folder / "archive")}
    return kind(**places, model=str(model), executor="local", quality=40, **{"store_once": True} | more)


@pytest.mark.slow
def test_an_encode_stores_copies_once_and_says_so(
    made: Path, tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive.open(str(made / "archive"))
    assert len(shared_payloads(archive.images)) == 2 and sound(archive)
    assert {key: row["payload"] for key, row in rows_in(archive).items() if row["kept"]}.items() <= contents().items()
    flags = ["--model", str(tiny_model_folder), "--executor", "local", "--quality", "40", "--store-once"]
    assert main(["encode", str(made / "source"), str(tmp_path / "other"), *flags]) == 0
    assert "stored once from now on" in capsys.readouterr().out


@pytest.mark.slow
def test_every_copy_is_decoded_exported_and_learned_from(made: Path, tmp_path: Path) -> None:
    archive = Archive.open(str(made / "archive"))
    result = export(ExportSettings(archive=archive.url, dest=str(tmp_path / "out"), executor="local"), quiet=True)
    assert result.ok
    for key in sum(PAIRS, ()):
        assert (tmp_path / "out" / key).read_bytes() == contents()[key]
    for cache in (None, tmp_path / "cache"):
        samples = {sample["key"]: sample["image"] for sample in ArchiveImages(archive, cache=cache)}
        assert np.array_equal(samples["noise.png"], samples["again/noise.png"])
        assert sorted(samples) == sorted(key for key in contents() if key.endswith(".png"))


@pytest.mark.slow
def test_a_released_copy_stays_when_the_other_one_is_retired(folder: Path, tiny_model_folder: Path) -> None:
    archive = Archive.open(str(folder / "archive"))
    place = {"source": str(folder / "source"), "archive": archive.url, "executor": "local"}
    done = release(ReleaseSettings(**place, keys="noise.png", delete=True), quiet=True)
    assert (done.deleted, done.failed) == (1, 0)
    (folder / "source" / "again" / "noise.png").unlink()
    night = sync(settings(folder, tiny_model_folder, night=True, retire_share=1.0), quiet=True)
    assert night.done is not None and night.done.retired == 1
    assert rows_in(archive)["noise.png"]["payload"] == contents()["noise.png"] and sound(archive)


@pytest.mark.slow
def test_a_night_takes_new_copies_along(folder: Path, tiny_model_folder: Path) -> None:
    archive = Archive.open(str(folder / "archive"))
    shutil.copy(folder / "source" / "notes.bin", folder / "source" / "a third.bin")
    plain = sync(settings(folder, tiny_model_folder, night=True, store_once=False), quiet=True)
    assert plain.done is not None and plain.done.stored_once == 0
    night = sync(settings(folder, tiny_model_folder, night=True), quiet=True)
    assert night.done is not None and (night.done.stored_once, night.done.originals) == (1, 0)
    assert rows_in(archive)["a third.bin"]["payload"] == contents()["notes.bin"] and sound(archive)
