"""Commits are atomic, idempotent and never add a key twice, on a local disk and on a real S3 server."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from deltalake import DeltaTable

from model.codec import Codec
from pipeline.archive.archive import Archive, ArchiveMissing, IndexRow, RejectionRow
from pipeline.archive.log.commits import Commit, CommitConflict
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.archive.shards.shard_writer import Shard, write_shard
from pipeline.storage.open import StorageError, storage_options
from tests.pipeline.making import add, original, originals


@pytest.fixture
def archive(place: str) -> Archive:
    return Archive.create(place)


def shard_of(archive: Archive, *keys: str, base: str | None = None, run: str = "run") -> Shard:
    shard = write_shard(archive.images, [originals(keys, run=run)], base=base)
    assert shard is not None
    return shard


def keys_of(archive: Archive) -> list[str]:
    return [row.key for row in archive.rows_by_key()]


def test_a_new_archive_is_empty_and_creating_it_again_changes_nothing(archive: Archive) -> None:
    assert keys_of(archive) == [] and list(archive.rejections_by_key()) == [] and archive.row("a") is None
    add(archive, [original("a")])
    assert keys_of(Archive.create(archive.url)) == ["a"]


def test_a_url_without_an_archive_is_named(place: str) -> None:
    with pytest.raises(StorageError):
        Archive.open(place)
    Archive(place).root.put("something-else", b"x")
    with pytest.raises(ArchiveMissing, match=f"no archive at {place}"):
        Archive.open(place)


def test_a_commit_makes_rows_and_rejections_visible(archive: Archive) -> None:
    add(archive, [original("b"), original("a/x"), original("a-x")], rejections=[Rejection("bad", "e1", "read", "why")])
    shard = archive.shards()[0].path
    assert list(Archive.open(archive.url).rows_by_key()) == [
        IndexRow(key, "etag of " + key, "original", None, None, shard) for key in ("a-x", "a/x", "b")
    ]
    assert list(archive.rejections_by_key()) == [RejectionRow("bad", "e1", "read", "why")]


def test_a_shard_without_a_commit_is_invisible(archive: Archive) -> None:
    shard_of(archive, "a", "b")  # the writer died here
    assert keys_of(archive) == []
    add(archive, [original("a")])
    assert keys_of(archive) == ["a"]


def test_a_replayed_commit_is_skipped_in_any_process(archive: Archive) -> None:
    receipt = Receipt(0, shard_of(archive, "a"), rejections=(Rejection("bad", "e1", "read", "why"),))
    committer = archive.committer("r")
    assert committer.commit([receipt]) == Commit(1, skipped=False)
    assert committer.commit([receipt], number=1) == Commit(1, skipped=True)
    assert archive.committer("r").commit([receipt], number=1) == Commit(1, skipped=True)
    assert keys_of(archive) == ["a"] and len(list(archive.rejections_by_key())) == 1


def test_a_run_that_goes_on_under_its_name_goes_on_with_its_numbers(archive: Archive) -> None:
    archive.committer("r").commit([Receipt(0, shard_of(archive, "a"))])
    again = archive.committer("r")
    assert again.number == 1
    assert again.commit([Receipt(1, shard_of(archive, "b"))]) == Commit(2, skipped=False)
    assert keys_of(archive) == ["a", "b"]


def test_copy_on_write_replaces_a_shard_in_one_version(archive: Archive) -> None:
    old = add(archive, [original("a"), original("b"), original("c")]).add
    assert old is not None
    new = shard_of(archive, "b", "d", base=old.path, run="second")
    archive.committer("second").commit([Receipt(0, new, remove=old.path)])
    assert keys_of(archive) == ["a", "b", "c", "d"]
    assert [row["run"] for key in "abcd" if (row := archive.row(key, ["run"]))] == ["run", "second", "run", "second"]
    assert [row.key for row in archive.rows_by_key(version=1)] == ["a", "b", "c"]  # history is still there


def test_two_jobs_that_add_different_keys_both_succeed(archive: Archive) -> None:
    one, two = archive.committer("one"), archive.committer("two")
    one.commit([Receipt(0, shard_of(archive, "a", "c"))])
    two.commit([Receipt(0, shard_of(archive, "b", "d"))])  # the ranges overlap, the keys do not
    one.commit([Receipt(1, shard_of(archive, "e"))])
    assert keys_of(archive) == ["a", "b", "c", "d", "e"]


def test_two_jobs_that_add_the_same_key_conflict_and_the_first_stays(archive: Archive) -> None:
    one, two = archive.committer("one"), archive.committer("two")
    one.commit([Receipt(0, shard_of(archive, "a", "b", run="one"))])
    with pytest.raises(CommitConflict, match="another job added 'b'"):
        two.commit([Receipt(0, shard_of(archive, "b", "c", run="two"))])
    assert keys_of(archive) == ["a", "b"]


def test_two_jobs_that_replace_the_same_shard_conflict_and_the_first_stays(archive: Archive) -> None:
    old = add(archive, [original("a"), original("b")]).add
    assert old is not None
    one, two = archive.committer("one"), archive.committer("two")
    one.commit([Receipt(0, shard_of(archive, "a", base=old.path, run="one"), remove=old.path)])
    with pytest.raises(CommitConflict, match="replaced a shard"):
        two.commit([Receipt(0, shard_of(archive, "a", base=old.path, run="two"), remove=old.path)])
    assert [row["run"] for key in "ab" if (row := archive.row(key, ["run"]))] == ["one", "run"]


def test_jobs_that_commit_at_the_same_time_lose_nothing(archive: Archive) -> None:
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            committer = archive.committer(name)
            for i in range(4):
                rejection = Rejection(name, str(i), "read", "x")
                committer.commit([Receipt(i, shard_of(archive, f"{name}-{i}"), rejections=(rejection,))])
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert keys_of(archive) == [f"{name}-{i}" for name in "abc" for i in range(4)]
    assert len(list(archive.rejections_by_key())) == 12


def test_archives_created_at_the_same_time_are_one(place: str) -> None:
    errors: list[BaseException] = []

    def create() -> None:
        try:
            Archive.create(place)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and Archive.open(place).version() == 0


def test_a_rejection_is_there_once_for_each_key_and_etag(archive: Archive) -> None:
    first, second = Rejection("k", "e1", "read", "broken"), Rejection("k", "e2", "fetch", "gone")
    archive.committer("one").commit([Receipt(0, rejections=(first, first))])
    archive.committer("two").commit([Receipt(0, rejections=(second, first, Rejection("a", "e", "read", "x")))])
    assert [row[:2] for row in archive.rejections_by_key()] == [("a", "e"), ("k", "e1"), ("k", "e2")]


def test_a_verdict_is_added_to_an_outage_but_no_second_outage(archive: Archive) -> None:
    outage, verdict = Rejection("k", "e", "outage", "no answer"), Rejection("k", "e", "read", "broken")
    for run, rejection in (("one", outage), ("two", outage), ("three", verdict), ("four", outage)):
        archive.committer(run).commit([Receipt(0, rejections=(rejection,))])
    assert sorted(row.stage for row in archive.rejections_by_key()) == ["outage", "read"]


def test_a_commit_of_rejections_alone_leaves_the_images_as_they_are(archive: Archive) -> None:
    before = archive.version()
    commit = archive.committer("r").commit([Receipt(0, rejections=(Rejection("k", "e", "read", "x"),))])
    assert commit == Commit(before, skipped=False) and archive.version() == before


def test_one_row_is_found_among_many_shards_by_statistics(archive: Archive) -> None:
    shards = [shard_of(archive, *(f"{i}{j:02d}" for j in range(20))) for i in range(5)]
    archive.committer("r").commit([Receipt(i, shard) for i, shard in enumerate(shards)])
    row = archive.row("311")
    assert row is not None and row["key"] == "311" and len(row["payload"]) == 100
    assert archive.row("311", ["key", "etag"]) == {"key": "311", "etag": "etag of 311"}
    assert archive.row("311x") is None and archive.row("9") is None
    for shard in shards[:3] + shards[4:]:
        archive.images.delete(shard.path)  # shards that cannot have the key are not touched
    assert archive.row("311") is not None


def test_chosen_columns_of_all_rows_are_scanned(archive: Archive) -> None:
    add(archive, [original("b"), original("c")], run="one")
    add(archive, [original("a")], run="two")
    assert sorted(row["key"] for batch in archive.scan(["key"]) for row in batch.to_pylist()) == ["a", "b", "c"]
    assert [batch.schema.names for batch in archive.scan(["width", "key"])] == [["width", "key"]] * 2


def test_other_tools_read_the_table_as_it_is(archive: Archive) -> None:
    add(archive, [original("a", b"12345"), original("b")])
    url = archive.images.absolute_url
    table = DeltaTable(url, storage_options=storage_options(url))
    assert table.to_pyarrow_table(columns=["key", "payload"]).to_pylist()[0] == {"key": "a", "payload": b"12345"}


def test_a_model_in_the_archive_is_complete_and_decodes(
    archive: Archive, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    assert archive.models() == []
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    assert archive.models() == [tiny_codec.fingerprint]
    assert Codec.load(archive.get_model(tiny_codec.fingerprint)).fingerprint == tiny_codec.fingerprint


def test_a_model_that_the_archive_lacks_is_named(archive: Archive) -> None:
    with pytest.raises(StorageError, match="the model 0123456789abcdef is not at"):
        archive.get_model("0123456789abcdef")


def test_a_driver_killed_around_its_commit_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    """kill -9 after some commits of a loop: only whole commits are visible, and the next run continues."""
    archive = Archive.create(str(tmp_path / "archive"))
    script = """
import sys
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt
from pipeline.archive.shards.shard_writer import write_shard
from tests.pipeline.making import originals
archive = Archive.open(sys.argv[1])
committer = archive.committer(sys.argv[2])
print("ready", flush=True)
for i in range(10_000):
    pair = [Receipt(j, write_shard(archive.images, [originals([f"{sys.argv[2]}-{i:04d}-{j}"])])) for j in range(2)]
    committer.commit(pair)
    print(i, flush=True)
"""
    for n, commits in enumerate((1, 2, 4)):
        command = [sys.executable, "-c", script, archive.url, f"run{n}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        told = [int(process.stdout.readline()) for _ in range(commits)]
        process.kill()  # anywhere in the next commit
        told += [int(line) for line in process.stdout]
        process.wait()
        found = [key for key in keys_of(archive) if key.startswith(f"run{n}-")]
        assert len(found) == len(set(found)) and len(found) % 2 == 0
        assert len(found) // 2 >= len(told) >= commits  # whatever was told to be committed is there
    add(archive, [original("after")])
    assert "after" in keys_of(archive)
