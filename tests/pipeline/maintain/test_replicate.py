"""A second copy of an archive: sound at every moment, with nothing copied twice."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from model.codec import Codec
from pipeline.archive.apart import OWN_FOLDERS
from pipeline.archive.archive import Archive
from pipeline.archive.ledgers.origin import digests
from pipeline.archive.ledgers.releases import ReleaseEntry
from pipeline.archive.log.commit_seal import FilesDigest
from pipeline.archive.receipt import Rejection
from pipeline.archive.schema import CHECKED, IMAGES, RELEASED
from pipeline.encode.settings import EncodeSettings
from pipeline.forget.run import forget
from pipeline.forget.settings import ForgetSettings
from pipeline.maintain import replicate as module
from pipeline.maintain.compact import CompactSettings, compact
from pipeline.maintain.replicate import LEFT_OUT, ReplicateResult, ReplicateSettings, replicate
from pipeline.maintain.vacuum import VacuumSettings, vacuum
from pipeline.runs.lease import Lease, LeaseHeld
from pipeline.runs.record import RunRecord
from pipeline.storage.base import StorageError
from pipeline.storage.copying import copy_object
from pipeline.storage.listing.temporary_names import temporary_name
from pipeline.storage.local.store import LocalStore
from pipeline.storage.open import open_store
from pipeline.verify.run import VerifySettings, verify
from tests.pipeline.forget.test_forget import erase, filled, hits
from tests.pipeline.kills import killed_at
from tests.pipeline.maintain.helpers import replace
from tests.pipeline.making import add, compressed, image_file, original


@pytest.fixture
def archive(place: str, tiny_model_folder: Path, tiny_codec: Codec) -> Archive:
    made = Archive.create(f"{place}/archive")
    made.put_model(tiny_codec.fingerprint, tiny_model_folder)
    add(made, [compressed(tiny_codec, "a.png", image_file("PNG")), original("b")], rejections=[rejection("r1")])
    add(made, [original(f"c{i}") for i in range(3)], "two")
    return made


def rejection(key: str) -> Rejection:
    return Rejection(key, "etag", "read", "broken")


def copy(archive: Archive, dest: str | None = None, **more: Any) -> ReplicateResult:
    return replicate(ReplicateSettings(archive=archive.url, dest=dest or copy_of(archive), **more))


def copy_of(archive: Archive) -> str:
    return archive.url.removesuffix("archive") + "copy"


def contents(url: str) -> list[dict[str, Any]]:
    archive = Archive.open(url)
    return [row for batch in archive.scan(IMAGES.names) for row in batch.to_pylist()]


def sound(url: str) -> bool:
    return verify(VerifySettings(archive=url, sample="all", executor="local"), quiet=True).ok


def test_a_copy_is_an_archive_of_the_same_rows_and_only_what_is_new_is_copied(archive: Archive) -> None:
    first = copy(archive)
    url = copy_of(archive)
    assert first.ok and first.version == archive.version() and sound(url)
    assert contents(url) == contents(archive.url)
    replica = Archive.open(url)
    assert FilesDigest(replica.shards()).hexdigest() == FilesDigest(archive.shards()).hexdigest()
    assert [row.key for row in replica.rejections_by_key()] == ["r1"]
    assert replica.models() == archive.models()

    again, before = copy(archive), replica.version()
    assert (again.copied, again.copied_bytes, replica.version()) == (0, 0, before)

    add(archive, [original("d")], "three", [rejection("r2")])
    replace(archive, archive.shards()[1], "c1", run="four")
    third = copy(archive)
    assert third.copied == 3 + 3, "two shards and one file of rejections; two commits of images, one of rejections"
    assert contents(url) == contents(archive.url) and sound(url)
    assert replica.version() == before + 1
    older = {row.key for row in replica.rows_by_key(before)}
    assert older == {row["key"] for row in contents(url)} - {"d"}, "its version before is still there"


def test_a_compaction_and_vacuums_are_followed_and_nothing_is_deleted_unasked(local: Archive, tmp_path: Path) -> None:
    for i in range(4):
        add(local, [original(f"{i}")], f"run {i}")
    url = str(tmp_path / "copy")
    copy(local, url)
    compact(CompactSettings(archive=local.url))
    copy(local, url)
    files = {path.name for path in (tmp_path / "copy" / "images").glob("part-*")}
    assert len(files) == 5 and len(Archive(url).shards()) == 1 and sound(url)
    for name in files - {Archive(url).shards()[0].path}:
        local.images.delete(name)  # as a vacuum does
    assert copy(local, url).removed == 0 and len(list((tmp_path / "copy" / "images").glob("part-*"))) == 5
    assert copy(local, url, prune=True).removed > 4
    assert [path.name for path in (tmp_path / "copy" / "images").glob("part-*")] == [Archive(url).shards()[0].path]
    assert contents(url) == contents(local.url) and sound(url)
    add(local, [original("new")], "new")
    assert copy(local, url).ok and sound(url) and contents(url) == contents(local.url)
    assert vacuum(VacuumSettings(archive=url, hours=1)).shards == 0


def test_what_was_erased_from_the_archive_is_erased_from_the_copy_by_pruning(local: Archive, tmp_path: Path) -> None:
    secret = b"the bytes of a person " * 20
    add(local, [original("person-7.jpg", secret), original("z")], "one")
    url = str(tmp_path / "copy")
    copy(local, url)
    old = local.shards()[0]
    replace(local, old, drop=("person-7.jpg",), run="two")
    local.images.delete(old.path)
    local.table().create_checkpoint()
    for version in (0, 1):
        local.images.delete(f"_delta_log/{version:020d}.json")
    copy(local, url, prune=True)
    found = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert len(found) > 3
    for path in found:
        data = path.read_bytes()
        assert secret not in data and b"person-7" not in data, path
    assert sound(url) and [row["key"] for row in contents(url)] == ["z"]


def test_a_copy_because_of_which_originals_were_deleted_does_not_forget_them(local: Archive, tmp_path: Path) -> None:
    add(local, [original("a"), original("b")], "one")
    url = str(tmp_path / "copy")
    copy(local, url)
    ledger = Archive.open(url).releases
    ledger.record([ReleaseEntry("a", CHECKED, "e", 1, "0" * 64, "")], "a dry run", 1)
    assert copy(local, url).ok
    ledger.record([ReleaseEntry("a", RELEASED, "e", 1, "0" * 64, "")], "r", 1)
    replace(local, local.shards()[0], drop=("a",), run="a sync that finds a gone")
    with pytest.raises(StorageError, match=r"originals of 1 images were released because of \S+copy, among them 'a'"):
        copy(local, url)
    assert ledger.released_keys() == {"a"} and len(contents(url)) == 2


def test_an_erasure_in_the_middle_of_a_replication_is_followed_by_the_next_one(
    local: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = b"the bytes of a person " * 20
    add(local, [original("person-7.jpg", secret), original("z")], "one")
    url = str(tmp_path / "copy")
    commit = module._commit

    def late(*arguments: Any) -> None:
        monkeypatch.setattr(module, "_commit", commit)
        forget(ForgetSettings(archive=local.url, keys="person-*"))  # after the shards were copied
        commit(*arguments)

    monkeypatch.setattr(module, "_commit", late)
    assert copy(local, url).ok and copy(local, url).removed > 0
    left = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert not [path for path in left if secret in path.read_bytes() or b"person-7" in path.read_bytes()]
    assert sound(url) and [row["key"] for row in contents(url)] == ["z"] and copy(local, url).removed == 0


@pytest.mark.parametrize(("held", "says"), [(None, "cannot be asked"), (True, "keeps, or kept, old versions")])
def test_erasure_and_copy_say_what_their_places_may_keep(
    local: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool | None, says: str
) -> None:
    add(local, [original("person-7.jpg"), original("z")], "one")
    url = str(tmp_path / "copy")
    copy(local, url)
    monkeypatch.setattr(LocalStore, "may_hold_versions", lambda store: held)
    done = forget(ForgetSettings(archive=local.url, keys="person-*"))
    assert not done.ok and done.receipt is not None and says in done.receipt.remarks[0]
    followed = copy(local, url)
    assert not followed.ok and says in followed.remarks[0] and "copy" in followed.remarks[0]
    assert copy(local, url).ok  # of nights without an erasure there is nothing to say


def test_what_a_killed_replication_left_unfinished_goes_with_an_erasure(local: Archive, tmp_path: Path) -> None:
    add(local, [original("person-7.jpg"), original("z")], "one")
    url = str(tmp_path / "copy")
    copy(local, url)
    for name in ("images", "rejections"):
        (tmp_path / "copy" / name / temporary_name()).write_bytes(b"person-7.jpg, half of it")
    copy(local, url)
    assert len(list(open_store(url).unfinished())) == 2  # for a vacuum, as usual
    forget(ForgetSettings(archive=local.url, keys="person-*"))
    copy(local, url)
    assert not list(open_store(url).unfinished())


def follow_an_erasure(folder: Path, operations: Iterable[int]) -> None:
    """Kill the replication after an erasure at each of some operations; the next one leaves no trace."""
    archive = filled(str(folder / "archive"))
    copy(archive, str(folder / "first"))
    shutil.rmtree(folder / "archive" / "plans")
    erase(archive)
    for operation in operations:
        url = str(shutil.copytree(folder / "first", folder / str(operation)))
        ended = False
        with killed_at(operation):
            copy(archive, url)
            ended = True
        assert copy(archive, url).ok and sound(url)
        assert hits(Archive(url)) == [], operation
        shutil.rmtree(url)
        if ended:
            break
    assert ended and operation > 50


def test_a_replication_after_an_erasure_that_is_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    follow_an_erasure(tmp_path, [1, 20, 39, 40, 41, 200])


@pytest.mark.slow
def test_a_replication_after_an_erasure_may_be_killed_at_every_operation(tmp_path: Path) -> None:
    follow_an_erasure(tmp_path, range(1, 200))


def test_what_is_not_in_the_logs_of_the_archive_leaves_the_folder_of_them(local: Archive, tmp_path: Path) -> None:
    url = str(tmp_path / "copy")
    copy(local, url)
    left = tmp_path / "copy/origin/images/_delta_log" / f"{99:020d}.json"  # by a run that died before it deleted it
    left.write_text("person-7.jpg")
    assert copy(local, url).ok and not left.exists()
    assert digests(open_store(url)) and copy(local, url).copied == 0


def test_what_was_forgotten_leaves_the_copy_with_the_next_replication(local: Archive, tmp_path: Path) -> None:
    secret = b"the bytes of a person " * 20
    add(local, [original("person-7.jpg", secret), original("z")], "one", [rejection("person-8.jpg")])
    url = str(tmp_path / "copy")
    copy(local, url)
    check = VerifySettings(archive=url, part="1/1", executor="local")
    path = next((tmp_path / "copy" / "images").glob("part-*"))
    data = path.read_bytes()
    path.write_bytes(data.replace(secret, secret[:-1] + b"!"))
    assert not verify(check, quiet=True).ok, "the record of this check names the key"
    path.write_bytes(data)
    forget(ForgetSettings(archive=local.url, keys="person-*"))
    assert copy(local, url).removed > 0 and copy(local, url).removed == 0
    found = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert len(found) > 3 and any("erasures" in str(path) for path in found)
    for path in found:
        data = path.read_bytes()
        assert secret not in data and b"person-" not in data, path
    assert sound(url) and [row["key"] for row in contents(url)] == ["z"]
    add(local, [original("new")], "later")
    assert copy(local, url).ok and sound(url) and contents(url) == contents(local.url)


def test_a_replication_that_dies_leaves_the_copy_as_it_was_and_the_next_one_continues(
    local: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        add(local, [original(f"{i}")], f"run {i}")
    url = str(tmp_path / "copy")
    real, copied = copy_object, list[str]()

    def dies(source: Any, dest: Any, key: str, size: int, sha256: str | None) -> None:
        if len(copied) == 2:
            raise KeyboardInterrupt
        copied.append(key)
        real(source, dest, key, size, sha256)

    monkeypatch.setattr(module, "copy_object", dies)
    monkeypatch.setattr(module, "_COPIERS", 1)
    with pytest.raises(KeyboardInterrupt):
        copy(local, url)
    assert contents(url) == [] and sound(url)
    monkeypatch.setattr(module, "copy_object", real)
    assert copy(local, url).ok and contents(url) == contents(local.url)
    shards = {shard.path for shard in local.shards()}
    assert {path.name for path in (tmp_path / "copy" / "images").glob("part-*")} == shards


def test_a_damaged_file_is_named_and_the_copy_stays_at_its_version(archive: Archive) -> None:
    copy(archive)
    url = copy_of(archive)
    before = contents(url)
    shard = add(archive, [original("new", b"n" * 100)], "new").add
    assert shard is not None
    data = archive.images.get(shard.path)
    archive.images.put(shard.path, data.replace(b"n" * 100, b"n" * 99 + b"m"))
    result = copy(archive)
    assert (result.ok, result.version) == (False, None)
    assert [problem.partition(":")[0] for problem in result.problems] == [shard.path]
    assert "SHA-256" in result.problems[0]
    assert contents(url) == before and sound(url)
    archive.images.put(shard.path, data)
    assert copy(archive).ok and len(contents(url)) == len(before) + 1


def test_a_damaged_model_and_a_damaged_log_are_not_copied(local: Archive, tmp_path: Path) -> None:
    local.root.put("models/0123456789abcdef/SHA256SUMS", b"00  config.json\n")
    local.root.put("models/0123456789abcdef/config.json", b"{}")
    (problem,) = copy(local, str(tmp_path / "copy")).problems
    assert problem.startswith("models/0123456789abcdef/config.json") and "SHA256SUMS" in problem
    local.root.delete("models/0123456789abcdef/config.json")
    add(local, [original("a")], "one")
    log = Path(local.images.absolute_url) / "_delta_log" / f"{1:020d}.json"
    log.write_bytes(log.read_bytes().replace(b'"job":"encode"', b'"job":"encodf"'))
    with pytest.raises(StorageError, match=r"the log of .*images is damaged and is not copied"):
        copy(local, str(tmp_path / "copy"))


def test_places_that_are_no_replica_of_this_archive_are_refused(local: Archive, tmp_path: Path) -> None:
    add(local, [original("a")])
    source = tmp_path / "photos"
    source.mkdir()
    with RunRecord(local.root, "run", "encode", EncodeSettings(source=str(source), archive=local.url)):
        pass
    other = Archive.create(str(tmp_path / "other"))
    add(other, [original("b")])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    for dest, says in (
        (local.url, "is the archive"),
        (f"{local.url}/copy", "lies inside the archive"),
        (str(tmp_path), "the archive .* lies inside the destination"),
        (str(source / "copy"), "not apart from the archive's source"),
        (str(source), "not apart from the archive's source"),
        (other.url, "is another archive"),
        (f"{other.url}/models/copy", "the replica .* lies inside the archive"),
        (str(tmp_path / "full"), "holds other files .'letter.txt'"),
    ):
        with pytest.raises(StorageError, match=says):
            copy(local, dest)
    assert [row["key"] for row in contents(other.url)] == ["b"] and not list(source.iterdir())


def test_a_copy_that_others_extended_is_refused_and_two_replications_at_once_give_way(
    local: Archive, tmp_path: Path
) -> None:
    add(local, [original("a")])
    url = str(tmp_path / "copy")
    copy(local, url)
    with Lease(open_store(url, links=False), "other", "replicate"), pytest.raises(LeaseHeld):
        copy(local, url)
    compact(CompactSettings(archive=url))
    assert copy(local, url).ok
    add(Archive(url), [original("b")], "encode of somebody")
    with pytest.raises(StorageError, match=r"was changed by encode in its version \d+"):
        copy(local, url)


def test_a_lost_archive_comes_back_from_its_copy_and_every_folder_is_thought_of(archive: Archive) -> None:
    copy(archive)
    back = archive.url.removesuffix("archive") + "back"
    copy(Archive.open(copy_of(archive)), back)
    assert contents(back) == contents(archive.url) and sound(back)
    assert {name.split("/")[0] for name in digests(open_store(copy_of(archive)))} == {"images", "rejections"}
    assert set(LEFT_OUT) >= set(OWN_FOLDERS) - {"models", "erasures"}


def test_the_ledger_of_releases_is_a_table_of_the_copy_and_an_erasure_of_both_leaves_nothing(archive: Archive) -> None:
    archive.releases.record([ReleaseEntry(key, RELEASED, "e", 1, "0" * 64, "fine") for key in ("b", "c1")], "r", 1)
    copy(archive)
    there = Archive.open(copy_of(archive))
    assert there.releases.released_keys() == {"b", "c1"} and sound(there.url)
    for one in (archive, there):
        forget(ForgetSettings(archive=one.url, keys="c1"))
    assert copy(archive).ok and sound(there.url) and there.releases.released_keys() == {"b"}
    names = [entry.key for entry in there.root.entries()]
    assert not [name for name in names if b'"c1"' in there.root.get(name)]
    assert len(there.erasures.receipts()) == 2
