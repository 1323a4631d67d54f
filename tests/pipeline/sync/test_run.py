"""Sync brings an archive in line with its source, unless the source has lost too many objects."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.archive import Archive
from pipeline.encode.run import EncodeSettings, encode
from pipeline.planning.planner import PlanOptions, make_plan
from pipeline.runs.lease import Lease, LeaseHeld
from pipeline.storage.base import Entry, NotListed
from pipeline.storage.local.store import LocalStore
from pipeline.storage.open import StorageError, open_store
from pipeline.sync.run import SyncResult, SyncSettings, sync
from tests.pipeline.making import add, original
from tests.pipeline.sources import encoded, large_pngs, photo, put_all


def run(source: object, archive: object, model: Path, **settings: Any) -> SyncResult:
    folders = {"source": str(source), "archive": str(archive), "model": str(model)}
    return sync(SyncSettings(**folders, executor="local", **settings), quiet=True)


def rows(archive: object) -> dict[str, dict[str, Any]]:
    """Every row by key; a duplicate key fails the test."""
    columns = ["key", "etag", "run", "quality", "encoded_at"]
    found = [row for batch in Archive.open(str(archive)).scan(columns) for row in batch.to_pylist()]
    assert len({row["key"] for row in found}) == len(found), "a key is there twice"
    return {row["key"]: row for row in found}


def photos(count: int) -> dict[str, bytes]:
    return {f"{i // 10}/{i:02d}.png": encoded(photo(i), "PNG") for i in range(count)}


@pytest.fixture(scope="module")
def first_night(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> tuple[Path, Path]:
    """A source of thirty photographs and its archive."""
    folder = tmp_path_factory.mktemp("sync")
    put_all(str(folder / "source"), photos(30))
    result = run(folder / "source", folder / "archive", tiny_model_folder)
    assert result.done is not None and result.done.latents + result.done.originals == result.plan.new == 30
    return folder / "source", folder / "archive"


@pytest.fixture
def folders(first_night: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """The same, for tests that change it."""
    source, archive = (shutil.copytree(folder, tmp_path / folder.name) for folder in first_night)
    return source, archive


def test_a_night_compresses_what_is_new_or_changed_and_retires_what_is_gone_in_one_rewrite_of_the_shard(
    folders: tuple[Path, Path], tiny_model_folder: Path
) -> None:
    source, archive = folders
    before = rows(archive)
    (source / "0/03.png").write_bytes(encoded(photo(77), "PNG"))
    (source / "2/29.png").unlink()
    (source / "2/28.png").unlink()
    put_all(str(source), {"0/new.png": encoded(photo(78), "PNG")})
    version = Archive.open(str(archive)).version()
    result = run(source, archive, tiny_model_folder)
    assert (result.plan.new, result.plan.changed, result.plan.gone, result.plan.retire) == (1, 1, 2, 2)
    assert result.done is not None and (result.done.latents + result.done.originals, result.done.retired) == (2, 2)
    assert result.plan.units == 2 and Archive.open(str(archive)).version() == version + 1
    after = rows(archive)
    assert after.keys() == before.keys() - {"2/29.png", "2/28.png"} | {"0/new.png"}
    assert {key for key in after if after[key] != before.get(key)} == {"0/03.png", "0/new.png"}
    again = run(source, archive, tiny_model_folder)
    assert (again.plan.units, again.plan.unchanged, again.warning) == (0, 29, None)


def test_what_lay_behind_a_link_that_leads_nowhere_is_not_gone(tmp_path: Path, tiny_model_folder: Path) -> None:
    put_all(str(tmp_path / "disk"), {"a.txt": b"1", "b.txt": b"2"})
    put_all(str(tmp_path / "source"), {"c.txt": b"3"})
    (tmp_path / "source" / "2023").symlink_to(tmp_path / "disk")
    run(tmp_path / "source", tmp_path / "archive", tiny_model_folder)
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    result = run(tmp_path / "source", tmp_path / "archive", tiny_model_folder, retire_share=1)
    assert (result.plan.gone, result.plan.retire, result.plan.unchanged) == (0, 0, 1)
    assert result.done is not None and "2023/ (it is a link that cannot be followed" in str(result.done.missing)
    assert rows(tmp_path / "archive").keys() == {"2023/a.txt", "2023/b.txt", "c.txt"}


def test_a_shard_all_of_whose_keys_are_gone_leaves_without_a_successor(tmp_path: Path, tiny_model_folder: Path) -> None:
    put_all(str(tmp_path / "source"), {"b": b"1"})
    archive = Archive.create(str(tmp_path / "archive"))
    (entry,) = open_store(str(tmp_path / "source")).entries()
    add(archive, [original("a"), original("a2")], run="one")
    add(archive, [original("b", etag=entry.etag)], run="two")
    result = run(tmp_path / "source", archive.url, tiny_model_folder, retire_share=0.7)
    assert result.done is not None and result.done.retired == 2
    assert rows(archive.url).keys() == {"b"} and len(archive.shards()) == 1


@pytest.mark.timeout(120)
def test_a_night_that_only_retires_starts_no_encoder_and_leaves_no_model(
    folders: tuple[Path, Path], tiny_model_folder: Path
) -> None:
    """The encoders would wait for GPUs that this machine does not have."""
    source, archive = folders
    for key in ("0/05.png", "1/10.png"):
        (source / key).unlink()
    shutil.rmtree(archive / "models")
    result = run(source, archive, tiny_model_folder, gpus_per_actor=1)
    assert result.done is not None and (result.plan.objects, result.done.retired) == (0, 2)
    assert len(rows(archive)) == 28 and not (archive / "models").exists()


def test_a_source_that_lost_too_much_is_not_believed_but_the_rest_of_the_work_is_done(
    folders: tuple[Path, Path], tiny_model_folder: Path
) -> None:
    source, archive = folders
    shutil.rmtree(source / "1")
    put_all(str(source), {"0/new.png": encoded(photo(78), "PNG")})
    result = run(source, archive, tiny_model_folder)
    assert (result.plan.gone, result.plan.retire, result.plan.withheld) == (10, 0, 10)
    assert result.warning == (
        "10 of 30 rows are gone from the source, more than 10%: none was retired; "
        "if the source is right, run again with --retire-share 1"
    )
    assert len(rows(archive)) == 31
    result = run(source, archive, tiny_model_folder, retire_share=0, dry_run=True)  # keep all, and say nothing about it
    assert (result.plan.withheld, result.warning) == (10, None)
    result = run(source, archive, tiny_model_folder, retire_share=1, dry_run=True)
    assert (result.plan.retire, result.warning) == (10, None)


def test_an_empty_or_failing_listing_retires_nothing_whatever_the_limit(
    folders: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    source, archive = folders
    before = rows(archive)
    shutil.rmtree(source)
    with pytest.raises(StorageError, match="does not exist"):
        run(source, archive, tiny_model_folder, retire_share=1)
    source.mkdir()
    with pytest.raises(StorageError, match="is empty"):
        run(source, archive, tiny_model_folder, retire_share=1)

    class Emptied(LocalStore):
        def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
            return iter(())

    class Failing(LocalStore):
        def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
            yield Entry("0/00.png", 1, "x")
            raise StorageError("the listing broke off")

    for kind, says in ((Emptied, "is empty"), (Failing, "broke off")):
        with pytest.raises(StorageError, match=says):
            make_plan(kind(str(source)), Archive(str(archive)), None, PlanOptions(1 << 20, retire_share=1.0))
    assert rows(archive) == before


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    folders: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    source, archive = folders
    size = (source / "0/00.png").write_bytes(encoded(photo(70), "PNG"))
    (source / "1/11.png").unlink()
    files = {path: path.stat().st_mtime_ns for path in archive.rglob("*")}
    result = run(source, archive, tiny_model_folder, dry_run=True, repress=True, quality=20)
    assert result.done is None
    plan = result.plan
    assert (plan.new, plan.changed, plan.changed_bytes, plan.gone, plan.retire, plan.rows) == (0, 1, size, 1, 1, 30)
    assert plan.stale + plan.unchanged == 28 and plan.stale > 20
    assert plan.gone_bytes == len(encoded(photo(11), "PNG"))
    assert {path: path.stat().st_mtime_ns for path in archive.rglob("*")} == files
    nothing = run(source, tmp_path / "not-there", tiny_model_folder, dry_run=True)
    assert nothing.plan.new == 29 and not (tmp_path / "not-there").exists()


def test_what_another_target_compressed_is_renewed_within_a_budget_and_oldest_first(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    source, archive = tmp_path / "source", tmp_path / "archive"
    keys = large_pngs(source, 15)
    run(source, archive, tiny_model_folder, quality=10, shard_mib=1)
    assert len(Archive(str(archive)).shards()) >= 3
    aged = sorted(rows(archive).values(), key=lambda row: row["encoded_at"])
    result = run(source, archive, tiny_model_folder, quality=30, shard_mib=1, repress=True, repress_objects=6)
    assert (result.plan.stale, result.plan.stale_left) == (6, 9)
    fresh = {row["key"] for row in rows(archive).values() if row["quality"] == 30}
    assert len(fresh) == 6 and aged[0]["key"] in fresh and len(rows(archive)) == len(keys)
    left = run(source, archive, tiny_model_folder, quality=30, repress=True, dry_run=True).plan
    assert (left.stale, left.unchanged) == (9, 6)


def test_renewal_stops_when_its_minutes_are_over_and_what_has_to_be_done_is_done(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    source, archive = tmp_path / "source", tmp_path / "archive"
    keys = large_pngs(source, 24)
    run(source, archive, tiny_model_folder, quality=10, shard_mib=1)
    (source / keys[0]).write_bytes(encoded(photo(5), "PNG"))
    settings = {"quality": 30, "shard_mib": 1, "repress": True, "commit_seconds": 0}
    result = run(source, archive, tiny_model_folder, repress_minutes=1e-6, **settings)
    assert result.done is not None and result.plan.stale == 23
    after = rows(archive)
    assert after[keys[0]]["run"] == result.done.run and len(after) == 24
    assert result.done.latents + result.done.originals < 12  # the changed key's shard, and no others


def test_a_second_sync_gives_way_before_it_begins(folders: tuple[Path, Path], tiny_model_folder: Path) -> None:
    source, archive = folders
    with Lease(Archive(str(archive)).root, "the-other", "sync"), pytest.raises(LeaseHeld, match="sync the-other on"):
        run(source, archive, tiny_model_folder)
    assert not list((archive / "plans").rglob("*.json"))


def test_two_syncs_at_once_on_an_s3_server_leave_one_row_a_key(bucket: str, tiny_model_folder: Path) -> None:
    put_all(f"{bucket}/source", photos(12))
    results: list[SyncResult] = []
    gave_way: list[str] = []
    begin = threading.Barrier(2)

    def work() -> None:
        begin.wait()
        try:
            results.append(run(f"{bucket}/source", f"{bucket}/archive", tiny_model_folder))
        except LeaseHeld as e:
            gave_way.append(str(e))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(results), len(gave_way)) == (1, 1)
    assert rows(f"{bucket}/archive").keys() == photos(12).keys()


def test_an_encode_never_retires_and_never_waits_for_a_lease(
    folders: tuple[Path, Path], tiny_model_folder: Path
) -> None:
    source, archive = folders
    (source / "0/00.png").unlink()
    settings = EncodeSettings(source=str(source), archive=str(archive), model=str(tiny_model_folder), executor="local")
    with Lease(Archive(str(archive)).root, "the-other", "sync"):
        result = encode(settings, quiet=True)
    assert (result.gone, result.retired, len(rows(archive))) == (1, 0, 30)
