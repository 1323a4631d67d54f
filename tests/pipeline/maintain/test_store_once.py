"""Jobs that move, drop, copy or delete rows leave each of the others its payload, also one that they share."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.archive import Archive
from pipeline.archive.shards.payload_references import shared_payloads
from pipeline.archive.shards.shard_reader import read_columns
from pipeline.archive.shards.shard_writer import write_shard
from pipeline.archive.shards.shared_payloads import key_of, name_of
from pipeline.forget.run import forget
from pipeline.forget.settings import ForgetSettings
from pipeline.maintain import replicate as replicate_module
from pipeline.maintain.compact import CompactSettings, compact
from pipeline.maintain.replicate import ReplicateResult, ReplicateSettings, replicate
from pipeline.maintain.restore import RestoreSettings, restore
from pipeline.maintain.settings import StatusSettings
from pipeline.maintain.status import status
from pipeline.maintain.vacuum import VacuumResult, VacuumSettings, vacuum
from pipeline.runs.heartbeat import Heartbeat
from pipeline.runs.name import new_run
from pipeline.storage.base import StorageError
from pipeline.verify.run import verify
from pipeline.verify.settings import VerifySettings
from tests.pipeline.kills import killed_at
from tests.pipeline.maintain.helpers import age, replace
from tests.pipeline.making import TWICE, add, archive_with_copies, original, rows_in, stored_once

OBJECT = key_of(name_of(TWICE, "once"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return archive_with_copies(str(tmp_path_factory.mktemp("once") / "archive"))


@pytest.fixture
def archive(made: Archive, tmp_path: Path) -> Archive:
    """A copy to be changed."""
    shutil.copytree(made.url, tmp_path / "archive")
    return Archive.open(str(tmp_path / "archive"))


def sound(archive: Archive) -> bool:
    return verify(VerifySettings(archive=archive.url, executor="local"), quiet=True).problems == ()


def pointers(archive: Archive) -> set[str]:
    """Keys of rows whose payload is shared."""
    rows = [
        row for s in archive.shards() for row in read_columns(archive.images, s.path, ["key", "same_as"]).to_pylist()
    ]
    return {row["key"] for row in rows if row["same_as"] is not None}


def clean(archive: Archive) -> VacuumResult:
    """Remove everything that no version needs but the present one."""
    age(archive, 100)
    return vacuum(VacuumSettings.model_construct(archive=archive.url, hours=0.0, dry_run=False))


def drop(archive: Archive, key: str) -> None:
    (path,) = {row.shard for row in archive.rows_by_key() if row.key == key}
    (shard,) = [shard for shard in archive.shards() if shard.path == path]
    replace(archive, shard, drop=(key,), run=f"without {key}")


@pytest.mark.parametrize("key", ["a", "copy/a"])
def test_the_other_copy_stays_when_one_is_retired_and_the_payload_goes_with_both(archive: Archive, key: str) -> None:
    before = rows_in(archive)
    drop(archive, key)
    clean(archive)
    assert rows_in(archive) == {name: row for name, row in before.items() if name != key} and sound(archive)
    assert pointers(archive) == {"a", "copy/a"} - {key}, "who copies rows copies where their payload is"
    drop(archive, ({"a", "copy/a"} - {key}).pop())
    assert list(shared_payloads(archive.images)) == [OBJECT], "older versions need it"
    assert clean(archive).payloads == 1
    assert shared_payloads(archive.images) == {} and sound(archive)


def test_a_row_that_is_encoded_anew_takes_nothing_from_its_copy(archive: Archive) -> None:
    (first, _) = archive.shards()
    replace(archive, first, "a")
    clean(archive)
    assert rows_in(archive)["copy/a"]["payload"] == TWICE and sound(archive)


@pytest.mark.parametrize("key", ["a", "copy/a"])
def test_an_erasure_leaves_the_copy_its_payload_and_the_last_one_takes_it(archive: Archive, key: str) -> None:
    before, other = rows_in(archive), ({"a", "copy/a"} - {key}).pop()
    assert forget(ForgetSettings(archive=archive.url, keys=key)).ok
    assert rows_in(archive) == {name: row for name, row in before.items() if name != key} and sound(archive)
    assert forget(ForgetSettings(archive=archive.url, keys=other)).ok
    assert sorted(rows_in(archive)) == ["b", "small/1", "small/2", "z"] and sound(archive)
    left = [path for path in Path(archive.url).rglob("*") if path.is_file() and TWICE in path.read_bytes()]
    assert left == [] and shared_payloads(archive.images) == {}


@pytest.mark.slow
def test_an_erasure_that_is_killed_anywhere_leaves_every_other_row_whole(archive: Archive, tmp_path: Path) -> None:
    before = rows_in(archive)
    for operation in range(1, 60):
        place = tmp_path / f"killed {operation}"
        shutil.copytree(archive.url, place)
        hurt = Archive.open(str(place))
        with killed_at(operation) as kill:
            forget(ForgetSettings(archive=hurt.url, keys="a"))
        found = rows_in(hurt)
        assert {name: row for name, row in before.items() if name != "a"}.items() <= found.items()
        forget(ForgetSettings(archive=hurt.url, keys="a"))
        assert "a" not in rows_in(hurt) and sound(hurt)
        shutil.rmtree(place)
        if kill.done < operation:
            return
    raise AssertionError("it never ended")


def test_compaction_moves_pointers(archive: Archive) -> None:
    before = rows_in(archive)
    assert compact(CompactSettings(archive=archive.url)).shards_after == 1
    clean(archive)
    assert rows_in(archive) == before and pointers(archive) == {"a", "copy/a"} and sound(archive)


def test_versions_from_before_and_after_are_restored_whole(archive: Archive) -> None:
    before, after = rows_in(archive, 2), archive.version()
    assert rows_in(archive) == before
    restore(RestoreSettings(archive=archive.url, version=2))
    assert pointers(archive) == set() and rows_in(archive) == before and sound(archive)
    assert vacuum(VacuumSettings(archive=archive.url)).payloads == 0, "a version that can be restored needs it"
    restore(RestoreSettings(archive=archive.url, version=after))
    assert pointers(archive) == {"a", "copy/a"} and rows_in(archive) == before and sound(archive)
    restore(RestoreSettings(archive=archive.url, version=2))
    clean(archive)
    assert shared_payloads(archive.images) == {} and rows_in(archive) == before and sound(archive)


def test_a_version_whose_payload_is_gone_is_not_restored(archive: Archive) -> None:
    after = archive.version()
    restore(RestoreSettings(archive=archive.url, version=2))
    archive.images.delete(OBJECT)
    with pytest.raises(StorageError, match="1 payloads that its rows share are missing"):
        restore(RestoreSettings(archive=archive.url, version=after))
    assert sound(archive)


def test_a_vacuum_spares_what_an_uncommitted_shard_names(archive: Archive) -> None:
    (first, _) = archive.shards()
    for key in ("a", "copy/a"):
        drop(archive, key)
    waiting = write_shard(archive.images, [], base=first.path, drop=["b"])
    assert waiting is not None
    age(archive, 100)
    age(archive, -1000, waiting.path)  # it is young
    result = vacuum(VacuumSettings.model_construct(archive=archive.url, hours=0.0, dry_run=False))
    assert (archive.images.exists(waiting.path), archive.images.exists(first.path)) == (True, False)
    assert result.payloads == 0 and list(shared_payloads(archive.images)) == [OBJECT]


def test_a_dry_vacuum_counts_what_a_real_one_removes_and_both_spare_what_a_live_run_wrote(archive: Archive) -> None:
    for key in ("a", "copy/a"):
        drop(archive, key)
    age(archive, 100)
    now: dict[str, Any] = {"archive": archive.url, "hours": 0.0}
    would = vacuum(VacuumSettings.model_construct(**now, dry_run=True))
    assert (would.payloads, would.payload_bytes, would.payloads_left) == (1, len(TWICE), None)
    assert vacuum(VacuumSettings.model_construct(**now, dry_run=False)).payloads == 1
    run = "20260105T020000-5ac0ffee"
    fresh = key_of(name_of(b"payload", run))
    archive.images.put(fresh, b"payload")
    with Heartbeat(archive.root, run, "sync"):
        vacuum(VacuumSettings.model_construct(**now, dry_run=False))
        assert list(shared_payloads(archive.images)) == [fresh]
    young = key_of(name_of(b"payload", new_run()))
    archive.images.put(young, b"payload")
    assert vacuum(VacuumSettings(archive=archive.url, hours=1)).payloads == 1
    assert list(shared_payloads(archive.images)) == [young] and sound(archive)


def test_a_vacuum_that_cannot_read_a_shard_removes_no_payload(archive: Archive) -> None:
    for key in ("a", "copy/a"):
        drop(archive, key)
    (shard, *_) = archive.shards()
    (Path(archive.images.url) / shard.path).write_bytes(b"no Parquet file")
    result = clean(archive)
    assert result.payloads == 0 and shard.path in str(result.payloads_left)
    assert list(shared_payloads(archive.images)) == [OBJECT]


def copied(archive: Archive, **more: Any) -> ReplicateResult:
    return replicate(ReplicateSettings(archive=archive.url, dest=copy_of(archive).url, **more))


def copy_of(archive: Archive) -> Archive:
    return Archive(str(Path(archive.url).parent / "copy"))


def test_a_replica_has_the_payloads_and_only_new_ones_are_copied(archive: Archive) -> None:
    assert copied(archive).ok
    copy = copy_of(archive)
    assert rows_in(copy) == rows_in(archive) and pointers(copy) == {"a", "copy/a"} and sound(copy)
    assert copied(archive).copied == 0
    add(archive, [original("x/1", b"x" * 5000), original("x/2", b"x" * 5000)], "three")
    assert stored_once(archive, run="four").rows == 2
    assert copied(archive).ok and rows_in(copy) == rows_in(archive) and len(shared_payloads(copy.images)) == 2
    for key in ("a", "copy/a"):
        drop(archive, key)
    clean(archive)
    assert copied(archive, prune=True).ok and sound(copy) and len(shared_payloads(copy.images)) == 1


def test_a_vacuum_of_the_replica_spares_payloads_whose_shards_are_being_copied(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "copy")
    copy_shards = replicate_module._copy_shards
    found: list[VacuumResult] = []

    def late(*arguments: Any) -> Any:
        found.append(vacuum(VacuumSettings(archive=url, hours=1)))
        return copy_shards(*arguments)

    monkeypatch.setattr(replicate_module, "_copy_shards", late)
    assert replicate(ReplicateSettings(archive=archive.url, dest=url)).ok
    assert found[0].payloads == 0 and "replicate" in str(found[0].payloads_left)
    assert sound(Archive.open(url)) and shared_payloads(Archive.open(url).images)


def test_what_the_archive_lacks_is_named_and_leaves_the_replica_as_it_was(archive: Archive) -> None:
    restore(RestoreSettings(archive=archive.url, version=2))
    assert copied(archive).ok
    copy, before = copy_of(archive), rows_in(copy_of(archive))
    restore(RestoreSettings(archive=archive.url, version=3))
    archive.images.delete(OBJECT)
    result = copied(archive)
    assert result.problems == (f"images/{OBJECT}: the payload, which rows share, is missing",)
    assert rows_in(copy) == before and sound(copy)


def test_pruning_never_takes_the_only_copy(archive: Archive) -> None:
    assert copied(archive).ok
    archive.images.delete(OBJECT)
    assert copied(archive, prune=True).ok
    assert rows_in(copy_of(archive))["a"]["payload"] == TWICE and sound(copy_of(archive))


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


@pytest.mark.parametrize("harm", [Path.unlink, flip], ids=["missing", "damaged"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared there", "whole there"])
def test_a_payload_is_mended_with_a_replica(archive: Archive, harm: Callable[[Path], None], shared: bool) -> None:
    before, now = rows_in(archive), archive.version()
    if not shared:
        restore(RestoreSettings(archive=archive.url, version=2))
    assert copied(archive).ok
    restore(RestoreSettings(archive=archive.url, version=now))
    harm(Path(archive.images.absolute_url) / OBJECT)
    settings = VerifySettings(archive=archive.url, repair_from=copy_of(archive).url, executor="local")
    result = verify(settings, quiet=True)
    assert result.problems == () and result.repaired
    assert (f"images/{OBJECT}: taken from the replica" in result.repaired) == shared
    assert rows_in(archive) == before and sound(archive)


def test_the_status_counts_what_is_stored(archive: Archive) -> None:
    shards = sum(shard.size for shard in archive.shards())
    found = status(StatusSettings(archive=archive.url))
    assert found.shard_bytes == shards + len(TWICE) and found.payload_bytes == 2 * len(TWICE) + 10_010
