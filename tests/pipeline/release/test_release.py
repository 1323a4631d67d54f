"""Release: what passes the checks may go, what went is never retired, and nothing goes without a record."""

import functools
import io
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.codec import Codec
from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt
from pipeline.archive.schema import CHECKED, FAILED, INTENDED, LEFT, RELEASED, RELEASES
from pipeline.archive.shards.row_hash import table_of
from pipeline.archive.shards.shard_reader import read_columns
from pipeline.archive.shards.shard_writer import write_shard
from pipeline.maintain.compact import compact
from pipeline.maintain.restore import RestoreSettings, restore
from pipeline.maintain.settings import CompactSettings, StatusSettings
from pipeline.maintain.status import status
from pipeline.planning.planner import EncodePlan, PlanOptions, make_plan
from pipeline.release.result import ReleaseResult
from pipeline.release.run import release
from pipeline.release.settings import ReleaseSettings, parse_age
from pipeline.runs.checks import LISTED, Damage, write_check
from pipeline.runs.heartbeat import Heartbeat
from pipeline.runs.lease import Lease, LeaseHeld
from pipeline.storage.base import StorageError
from pipeline.storage.open import open_store, open_target
from tests.pipeline.kills import killed_at
from tests.pipeline.making import add, compressed, image_file, original, transcoded

FILES = {"a/1": b"one", "a/2": b"two", "b/3": b"three", "b/4": b"four"}


def held(source: str, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Rows with the files as they are, after putting them into a source."""
    store = open_target(source)
    for key, data in files.items():
        store.put(key, data)
    etags = {entry.key: entry.etag for entry in store.entries()}
    return [original(key, data, etag=etags[key]) for key, data in files.items()]


def run(source: str, archive: Archive, **settings: Any) -> ReleaseResult:
    wanted = ReleaseSettings(source=source, archive=archive.url, executor="local", **settings)
    return release(wanted, quiet=True)


def keys_of(source: str) -> list[str]:
    return [entry.key for entry in open_store(source).entries()]


def plan(source: str, archive: Archive) -> EncodePlan:
    return make_plan(open_store(source), archive, None, PlanOptions(1 << 20, retire_share=1.0))


def states(archive: Archive) -> dict[str, list[str]]:
    """The states of each key, in the order of their entries."""
    found: dict[str, list[str]] = {}
    read = functools.partial(read_columns, archive.releases.store, columns=RELEASES.names)
    rows = [row for shard in archive.releases.files() for row in read(shard.path).to_pylist()]
    for row in sorted(rows, key=lambda row: row["sequence"]):
        found.setdefault(row["key"], []).append(row["state"])
    return found


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, Archive]:
    """A source of four files and its archive."""
    source, archive = str(tmp_path / "source"), Archive.create(str(tmp_path / "archive"))
    add(archive, held(source, FILES))
    return source, archive


def test_another_object_under_a_released_key_does_not_pass_and_the_advice_is_one_that_helps(
    folders: tuple[str, Archive],
) -> None:
    source, archive = folders
    assert run(source, archive, delete=True).deleted == 4
    open_store(source).put("b/3", b"another")
    for settings in ({}, {"delete": True}):
        found = run(source, archive, **settings)
        assert (found.failed, found.released_before, found.deleted) == (1, 3, 0)
        ((key, reason),) = found.problems
        assert key == "b/3" and "give it another key" in reason and "encode" not in reason
    assert keys_of(source) == ["b/3"]


def test_what_is_in_the_archive_as_it_is_in_the_source_goes_and_what_changed_stays(place: str, tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, held(place, FILES))
    open_store(place).put("b/3", b"another")
    open_store(place).put("new", b"not encoded yet")
    checked = run(place, archive)
    assert (checked.passed, checked.failed, checked.deleted) == (3, 1, 0) and not checked.ok
    assert checked.problems == (("b/3", "the object is not the one that was encoded: encode the source again"),)
    assert len(keys_of(place)) == 5 and archive.releases.released_keys() == frozenset()
    done = run(place, archive, delete=True)
    assert (done.deleted, done.deleted_bytes, done.left) == (3, 10, 0)
    assert done.conditional == place.startswith("s3://")  # this server compares the etag itself
    assert keys_of(place) == ["b/3", "new"] and archive.releases.released_keys() == {"a/1", "a/2", "b/4"}
    assert states(archive)["a/1"] == [CHECKED, INTENDED, RELEASED] and states(archive)["b/3"] == [FAILED, FAILED]
    again = run(place, archive, delete=True)
    assert (again.deleted, again.released_before, again.failed) == (0, 3, 1)


def test_a_released_row_is_neither_gone_nor_retired_nor_overwritten_nor_compressed_again(
    folders: tuple[str, Archive],
) -> None:
    source, archive = folders
    run(source, archive, delete=True, keys="a/*")
    open_store(source).delete("b/4")
    night = plan(source, archive)
    assert (night.released, night.gone, night.retire, night.unchanged) == (2, 1, 1, 1)
    open_store(source).put("a/1", b"somebody else's")
    night = plan(source, archive)
    assert (night.released, night.reappeared, night.reappeared_keys, night.changed) == (1, 1, ("a/1",), 0)
    assert night.objects == 0
    assert status(StatusSettings(archive=archive.url)).released == 2


def test_a_withdrawn_release_leaves_the_key_to_its_source_again(folders: tuple[str, Archive]) -> None:
    source, archive = folders
    run(source, archive, delete=True, keys="a/*")
    open_store(source).put("a/1", b"somebody else's")
    assert run(source, archive, withdraw=True, keys="a/1").withdrawn == 1
    night = plan(source, archive)
    assert (night.changed, night.reappeared, night.released, night.gone) == (1, 0, 1, 0)


def test_a_source_that_is_all_released_is_no_broken_one(folders: tuple[str, Archive]) -> None:
    source, archive = folders
    assert run(source, archive, delete=True).deleted == 4
    night = plan(source, archive)
    assert (night.released, night.gone, night.objects) == (4, 0, 0)
    add(archive, [original("c")], run="second")
    with pytest.raises(StorageError, match="is empty: no row is retired"):
        plan(source, archive)


def test_a_source_of_which_little_is_left_is_no_less_protected_against_loss(folders: tuple[str, Archive]) -> None:
    source, archive = folders
    run(source, archive, delete=True, keys="[ab]/[123]")
    add(archive, held(source, {"c": b"new"}), run="second")
    open_store(source).delete("c")
    half = make_plan(open_store(source), archive, None, PlanOptions(1 << 20, retire_share=0.4))
    assert (half.rows, half.released, half.gone, half.retire) == (5, 3, 1, 0), "one of the two that are left"


def test_an_older_version_without_a_released_image_is_not_restored(folders: tuple[str, Archive]) -> None:
    source, archive = folders
    add(archive, held(source, {"c": b"later"}), run="second")
    run(source, archive, delete=True, keys="c")
    with pytest.raises(StorageError, match=r"version 1 of .* lacks 1 images whose originals were released.*'c'"):
        restore(RestoreSettings(archive=archive.url, version=1))
    restore(RestoreSettings(archive=archive.url, version=2))


def test_an_older_version_with_another_row_of_a_released_image_is_not_restored(folders: tuple[str, Archive]) -> None:
    source, archive = folders
    (old,) = archive.shards()
    again = write_shard(archive.images, [table_of(held(source, FILES))])  # as with a higher target
    archive.committer("second").commit([Receipt(0, again, remove=old.path, rows=4)])
    run(source, archive, delete=True, keys="a/1")
    with pytest.raises(StorageError, match=r"version 1 of .* lacks 1 images .*, or has other rows of them.*'a/1'"):
        restore(RestoreSettings(archive=archive.url, version=1))
    add(archive, [original("c")], run="third")
    compact(CompactSettings(archive=archive.url))
    restore(RestoreSettings(archive=archive.url, version=2))


def test_images_of_every_kind_pass_and_one_with_anything_missing_does_not(
    tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    source, archive = str(tmp_path / "source"), Archive.create(str(tmp_path / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    files = {
        "plain.png": image_file("PNG", dpi=(72, 72)),
        "photo.jpg": image_file("JPEG", comment=b"hello"),
        "grey.webp": image_file("WEBP", lossless=True),
        "alpha.png": _with_alpha(image_file("PNG")),
    }
    etags = {row["key"]: row["etag"] for row in held(source, files)}
    rows = [compressed(tiny_codec, key, data, etag=etags[key]) for key, data in files.items()]
    kept = image_file("JPEG", size=(120, 80))
    (entry,) = held(source, {"kept.jpg": kept})
    rows.append(transcoded("kept.jpg", kept) | {"etag": entry["etag"]})
    wrong: dict[str, dict[str, Any]] = {
        "a decode writes another skeleton than its original has": {"skeleton": None},
        "its PSNR is": {"psnr": 99.0},
        "below its floor (min_psnr 60)": {"target": "min_psnr 60"},
    }
    for number, change in enumerate(wrong.values()):
        (entry,) = held(source, {f"wrong/{number}": files["plain.png"]})
        rows.append(rows[0] | {"key": f"wrong/{number}", "etag": entry["etag"]} | change)
    add(archive, rows)
    result = run(source, archive)
    assert result.passed == 5, result.problems
    for number, (reason, (key, found)) in enumerate(zip(wrong, sorted(result.problems), strict=True)):
        assert key == f"wrong/{number}" and reason in found


def _with_alpha(plain: bytes) -> bytes:
    pixels = np.asarray(Image.open(io.BytesIO(plain)).convert("RGBA")).copy()
    pixels[:20, :, 3] = 128
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_an_archive_with_known_damage_releases_nothing(folders: tuple[str, Archive]) -> None:
    source, archive = folders
    log = Path(archive.images.url) / "_delta_log" / f"{1:020d}.json"
    log.write_bytes(log.read_bytes().replace(b'"run":"run"', b'"run":"ruN"'))
    with pytest.raises(StorageError, match=r"is damaged .*: nothing is released before"):
        run(source, archive, delete=True)
    assert len(keys_of(source)) == 4


def test_known_damage_counts_that_its_record_was_too_short_to_list(folders: tuple[str, Archive]) -> None:
    source, archive = folders
    add(archive, held(source, {"c": b"new"}), run="second")
    old, later = archive.shards()
    found = [Damage(f"a/{i}", "broken", old.path) for i in range(LISTED)] + [Damage("c", "broken", later.path)]
    write_check(archive.root, "1/1", datetime.now(UTC), [old.path, later.path], found, len(found))
    again = write_shard(archive.images, [table_of(held(source, FILES))])
    archive.committer("third").commit([Receipt(0, again, remove=old.path, rows=4)])  # what was listed is mended
    with pytest.raises(StorageError, match="found damage in 1 shards: repair it"):
        run(source, archive, delete=True)


def test_a_damaged_row_does_not_pass_and_its_neighbours_do(folders: tuple[str, Archive]) -> None:
    source, archive = folders
    shard = next(iter(archive.shards()))
    path = Path(archive.images.url) / shard.path
    path.write_bytes(path.read_bytes().replace(b"three", b"thrEe"))
    result = run(source, archive, delete=True)
    assert result.deleted == 3 and keys_of(source) == ["b/3"]
    assert [key for key, _ in result.problems] == ["b/3"]


def test_a_row_must_be_old_enough(folders: tuple[str, Archive]) -> None:
    source, archive = folders
    result = run(source, archive, minimum_age="1d")
    assert result.failed == 4 and "younger than the minimum age" in result.problems[0][1]
    assert run(source, archive, minimum_age="0").passed == 4
    assert (parse_age("30d"), parse_age("12h")) == (30 * 86400, 12 * 3600)
    for bad in ("30", "d", "-1d", "1y"):
        with pytest.raises(ValueError, match="is no age"):
            parse_age(bad)


def test_without_a_minimum_age_the_clock_of_the_machine_that_encoded_does_not_matter(tmp_path: Path) -> None:
    source, archive = str(tmp_path / "source"), Archive.create(str(tmp_path / "archive"))
    rows = held(source, {"a": b"one"})
    add(archive, [row | {"encoded_at": datetime.now(UTC) + timedelta(hours=3)} for row in rows])
    assert run(source, archive, minimum_age="1h").failed == 1
    assert run(source, archive, delete=True).deleted == 1


def test_a_second_copy_must_hold_each_row_intact(folders: tuple[str, Archive], tmp_path: Path) -> None:
    source, archive = folders
    copy = tmp_path / "copy"
    shutil.copytree(archive.url, copy)
    assert run(source, archive, second_copy=str(copy)).passed == 4
    (shard,) = archive.shards()
    path = copy / "images" / shard.path
    path.write_bytes(path.read_bytes().replace(b"three", b"thrEe"))
    result = run(source, archive, second_copy=str(copy), delete=True)
    assert result.problems == (("b/3", "the second copy has no intact row of it"),) and keys_of(source) == ["b/3"]


def test_a_second_copy_must_be_another_one(folders: tuple[str, Archive], tmp_path: Path) -> None:
    source, archive = folders
    (tmp_path / "link").symlink_to(archive.url)
    for same in (archive.url, f"{archive.url}/.", str(tmp_path / "link")):
        with pytest.raises(StorageError, match="and would be lost with it: give another place"):
            run(source, archive, second_copy=same, delete=True)
    with pytest.raises(StorageError, match="an empty path or URL names nothing"):  # a variable that is not set
        run(source, archive, second_copy="", delete=True)
    assert len(keys_of(source)) == 4
    inside = shutil.copytree(archive.url, f"{source}/backup")  # its shards may have been encoded, and pass
    with pytest.raises(StorageError, match=r"lies inside the source .*, whose files are deleted: give another"):
        run(source, archive, second_copy=inside, delete=True)


def test_a_second_copy_with_other_shards_is_read_row_by_row(folders: tuple[str, Archive], tmp_path: Path) -> None:
    source, archive = folders
    shutil.copytree(archive.url, tmp_path / "copy")
    copy = Archive.open(str(tmp_path / "copy"))
    (old,) = copy.shards()
    copy.committer("x").commit([Receipt(0, write_shard(copy.images, [], base=old.path, drop=["a/1"]), old.path)])
    result = run(source, archive, second_copy=copy.url)
    assert result.passed == 3 and [key for key, _ in result.problems] == ["a/1"]


def test_a_list_of_keys_is_taken_from_a_file(folders: tuple[str, Archive], tmp_path: Path) -> None:
    source, archive = folders
    (tmp_path / "list.txt").write_text("a/1\r\nb/4\nno such key\n")
    result = run(source, archive, delete=True, keys=f"@{tmp_path / 'list.txt'}")
    assert (result.deleted, result.unknown, result.ok) == (2, 1, False)
    assert keys_of(source) == ["a/2", "b/3"]


def test_frames_of_videos_members_of_archive_files_and_links_are_not_released(
    folders: tuple[str, Archive], tmp_path: Path
) -> None:
    source, archive = folders
    for view in (f"{source}#frames=30", f"tar://::file://{tmp_path}/x.tar"):
        with pytest.raises(StorageError):
            run(view, archive, delete=True)
    real = Path(source) / "a/1"
    real.rename(tmp_path / "elsewhere")
    real.symlink_to(tmp_path / "elsewhere")
    result = run(source, archive, delete=True)
    assert (result.deleted, result.left) == (3, 1) and "is a link" in result.problems[0][1]
    assert (tmp_path / "elsewhere").exists() and LEFT in states(archive)["a/1"]


def test_an_original_that_changes_after_its_check_stays(
    folders: tuple[str, Archive], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, archive = folders
    record = type(archive.releases).record

    def changing(*arguments: Any) -> None:
        record(*arguments)
        (Path(source) / "a/2").write_bytes(b"just now")

    monkeypatch.setattr(type(archive.releases), "record", changing)
    result = run(source, archive, delete=True)
    assert (result.deleted, result.left) == (3, 1) and keys_of(source) == ["a/2"]
    assert states(archive)["a/2"] == [INTENDED, LEFT] and "a/2" not in archive.releases.released_keys()


def test_no_other_job_may_work_on_source_or_archive_while_originals_are_deleted(folders: tuple[str, Archive]) -> None:
    source, archive = folders
    with Lease(archive.root, "20260101T000000-cafe", "sync"), pytest.raises(LeaseHeld):
        run(source, archive, delete=True)
    place = "/".join(open_store(source).place())
    with (
        Heartbeat(archive.root, "20260101T000000-cafe", "encode", place),
        pytest.raises(LeaseHeld, match="is encoding"),
    ):
        run(source, archive, delete=True)
    assert len(keys_of(source)) == 4


def test_whatever_operation_a_release_is_killed_at_nothing_is_lost_or_deleted_without_a_record(tmp_path: Path) -> None:
    first = tmp_path / "first"
    add(Archive.create(str(first / "archive")), held(str(first / "source"), FILES))
    for operation in range(1, 100):
        source, archive = str(tmp_path / f"{operation}/source"), Archive(str(tmp_path / f"{operation}/archive"))
        shutil.copytree(first, tmp_path / str(operation))
        ended = False
        with killed_at(operation):
            run(source, archive, delete=True)
            ended = True
        deleted = FILES.keys() - set(keys_of(source))
        assert deleted <= archive.releases.released_keys(), operation
        assert {row.key for row in archive.rows_by_key()} == FILES.keys()
        if len(deleted) < len(FILES):
            assert plan(source, archive).gone == 0
        finished = run(source, archive, delete=True)
        assert finished.deleted + finished.released_before == 4 and finished.ok, operation
        assert keys_of(source) == [] and archive.releases.released_keys() == FILES.keys()
        if ended:
            break
    assert ended and operation > 10


def test_keys_that_match_nothing_are_a_mistake_and_no_success(folders: tuple[str, Archive], tmp_path: Path) -> None:
    source, archive = folders
    for settings in ({}, {"delete": True}):
        with pytest.raises(MaepressError, match=r"no key in .* matches 'typo/\*': nothing was released"):
            run(source, archive, keys="typo/*", **settings)
    run(source, archive, delete=True, keys="a/*")
    for keys in ("typo", "b/*"):  # b/* is in the archive, and was never released
        with pytest.raises(MaepressError, match=r"no key that was released from .* matches"):
            run(source, archive, withdraw=True, keys=keys)
    (tmp_path / "list.txt").write_text("a/1\nb/3\n")
    listed = f"@{tmp_path / 'list.txt'}"
    partly = run(source, archive, withdraw=True, keys=listed)
    assert (partly.withdrawn, partly.unknown, partly.ok) == (1, 1, False)
    again = run(source, archive, withdraw=True, keys="a/1")  # as after a kill
    assert (again.withdrawn, again.ok) == (0, True)
    assert archive.releases.released_keys() == {"a/2"}


def test_a_copy_of_hard_links_is_no_second_copy(folders: tuple[str, Archive], tmp_path: Path) -> None:
    source, archive = folders
    linked = shutil.copytree(archive.url, tmp_path / "linked", copy_function=os.link)
    with pytest.raises(StorageError, match=r"the second copy .*linked is none: its .* is the archive's own file"):
        run(source, archive, second_copy=str(linked), delete=True)
    assert len(keys_of(source)) == 4
    (shard,) = archive.shards()
    again = shutil.copytree(archive.url, tmp_path / "again")
    (again / "images" / shard.path).unlink()
    os.link(Path(archive.images.url) / shard.path, again / "images" / shard.path)  # as `rsync --link-dest` leaves one
    with pytest.raises(StorageError, match=r"its images/.*\.parquet is the archive's own file"):
        run(source, archive, second_copy=str(again))


def linked(source: Path, elsewhere: Path) -> list[dict[str, Any]]:
    """Rows of a source in which folders and files have several keys."""
    rows = held(str(source), {"real/1": b"one", "real/2": b"two", "plain": b"three", "hard": b"four"})
    elsewhere.mkdir()
    (elsewhere / "back").symlink_to(source / "real")
    for name, target in (("album", "real"), ("other", elsewhere), ("file", "plain"), ("loop", ".")):
        (source / name).symlink_to(target)
    os.link(source / "hard", source / "hard2")
    by_key = {row["key"]: row for row in rows}
    for prefix in ("album", "other/back"):
        rows += [by_key[f"real/{i}"] | {"key": f"{prefix}/{i}"} for i in (1, 2)]
    return [*rows, by_key["plain"] | {"key": "file"}, by_key["hard"] | {"key": "hard2"}]


@pytest.mark.parametrize("keys", ["*", "real/*", "plain", "album/*"])
def test_no_file_goes_that_other_keys_lead_to_and_no_row_counts_as_gone(tmp_path: Path, keys: str) -> None:
    source, archive = tmp_path / "source", Archive.create(str(tmp_path / "archive"))
    add(archive, linked(source, tmp_path / "elsewhere"))
    assert plan(str(source), archive).unchanged == 10
    checked = run(str(source), archive, keys=keys)
    done = run(str(source), archive, keys=keys, delete=True)
    hard = 2 if keys == "*" else 0  # each of these names can go by itself
    assert (checked.passed, done.deleted) == (hard, hard)
    assert done.left == checked.failed > 0 and done.problems == checked.problems
    assert "is a link" in done.problems[0][1] or "is the file of" in done.problems[0][1]
    night = plan(str(source), archive)
    assert (night.gone, night.released, night.unchanged) == (0, hard, 10 - hard)
    assert archive.releases.released_keys() == ({"hard", "hard2"} if hard else frozenset())


def test_one_hard_link_goes_and_the_other_stays(tmp_path: Path) -> None:
    source, archive = tmp_path / "source", Archive.create(str(tmp_path / "archive"))
    add(archive, linked(source, tmp_path / "elsewhere"))
    assert run(str(source), archive, keys="hard", delete=True).deleted == 1
    night = plan(str(source), archive)
    assert (night.gone, night.released, night.unchanged) == (0, 1, 9)
