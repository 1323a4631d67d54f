"""Damage is mended with a replica within one check, and what cannot be mended is named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.archive.schema import IMAGES
from pipeline.archive.shards.row_hash import table_of
from pipeline.archive.shards.shard_writer import write_shard
from pipeline.forget.run import ForgetSettings, forget
from pipeline.maintain.compact import CompactSettings, compact
from pipeline.maintain.replicate import ReplicateSettings, replicate
from pipeline.maintain.status import StatusSettings, status
from pipeline.runs.record import RunRecord
from pipeline.storage.base import StorageError
from pipeline.verify.run import VerifyResult, VerifySettings, verify
from tests.pipeline.making import add, compressed, image_file, original

PAYLOAD = b"the bytes of one source " * 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, tiny_codec: Codec) -> Path:
    """A folder with an archive, and a replica of it."""
    folder = tmp_path_factory.mktemp("pair")
    archive = Archive.create(str(folder / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    settings = CompactSettings(archive=archive.url)
    with RunRecord(archive.root, "20260105T020000-5ac0ffee", "sync", settings) as record:
        add(archive, [compressed(tiny_codec, "a.png", image_file("PNG", size=(40, 30)))], "one", [rejection("r1")])
        add(archive, [original("b", PAYLOAD), original("c", b"c" * 200)], "two", [rejection("r2")])
        archive.table().create_checkpoint()
        add(archive, [original("d", b"d" * 200)], "three")
        record.done({"rows": 4})
    replicate(ReplicateSettings(archive=archive.url, dest=str(folder / "copy")))
    return folder


def rejection(key: str) -> Rejection:
    return Rejection(key, "etag", "read", "broken")


@pytest.fixture
def pair(made: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Fresh copies of the two, to be damaged."""
    for name in ("archive", "copy"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path / "archive", tmp_path / "copy"


def mend(archive: Path, copy: Path, part: str = "") -> VerifyResult:
    settings = VerifySettings(archive=str(archive), repair_from=str(copy), part=part, sample="all", executor="local")
    return verify(settings, quiet=True)


def contents(archive: Path) -> dict[str, bytes]:
    return {str(path.relative_to(archive)): path.read_bytes() for path in archive.rglob("*") if path.is_file()}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def shard_with(archive: Path, text: bytes) -> Path:
    return next(path for path in (archive / "images").glob("part-*") if text in path.read_bytes())


def in_a_payload(archive: Path) -> None:
    path = shard_with(archive, PAYLOAD)
    flip(path, path.read_bytes().index(PAYLOAD) + 7)


def in_the_footer(archive: Path) -> None:
    flip(shard_with(archive, PAYLOAD), -40)


def at_the_end(archive: Path) -> None:
    flip(shard_with(archive, PAYLOAD), -1)


def a_lost_shard(archive: Path) -> None:
    shard_with(archive, PAYLOAD).unlink()


def in_a_commit(archive: Path) -> None:
    path = archive / "images/_delta_log" / f"{2:020d}.json"
    flip(path, path.read_bytes().index(b'"size":') + 8)


def in_the_last_commit(archive: Path) -> None:
    path = archive / "images/_delta_log" / f"{3:020d}.json"
    flip(path, path.read_bytes().index(b'"add"') + 1)


def a_lost_commit(archive: Path) -> None:
    (archive / "images/_delta_log" / f"{3:020d}.json").unlink()


def a_log_of_nothing(archive: Path) -> None:
    shutil.rmtree(archive / "images/_delta_log")


def in_a_checkpoint(archive: Path) -> None:
    flip(next((archive / "images/_delta_log").glob("*.checkpoint.parquet")), -20)


def in_the_log_of_rejections(archive: Path) -> None:
    flip(archive / "rejections/_delta_log" / f"{1:020d}.json", 30)


def in_the_rejections(archive: Path) -> None:
    flip(next((archive / "rejections").glob("part-*")), 100)


def in_the_weights(archive: Path) -> None:
    flip(next(archive.glob("models/*/model.safetensors")), -100)


def in_the_configuration(archive: Path) -> None:
    flip(next(archive.glob("models/*/config.json")), 30)


def a_lost_model(archive: Path) -> None:
    shutil.rmtree(next(archive.glob("models/*")))


def in_a_record(archive: Path) -> None:
    flip(next((archive / "runs").glob("*.json")), 40)


DAMAGE = [
    *(in_a_payload, in_the_footer, at_the_end, a_lost_shard, in_a_commit, in_the_last_commit, a_lost_commit),
    *(a_log_of_nothing, in_a_checkpoint, in_the_log_of_rejections, in_the_rejections, in_the_weights),
    *(in_the_configuration, a_lost_model, in_a_record),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_flipped_byte_and_a_lost_file_are_mended_within_one_round_with_the_same_bytes(
    pair: tuple[Path, Path], damage: Callable[[Path], None]
) -> None:
    archive, copy = pair
    before = contents(archive)
    damage(archive)
    assert contents(archive) != before
    results = [mend(archive, copy, f"{k}/2") for k in (1, 2)]
    assert any(result.repaired for result in results), "it was noticed and mended"
    assert all(result.ok for result in results), [result.problems for result in results]
    after = {name: data for name, data in contents(archive).items() if not name.startswith("checks/")}
    assert after == before
    again = mend(archive, copy)
    assert again.ok and again.repaired == () and (again.rows, again.decoded) == (4, 1)
    assert status(StatusSettings(archive=str(archive))).checked.damaged == 0


def test_rows_are_taken_where_the_replica_has_no_such_file(pair: tuple[Path, Path]) -> None:
    archive, copy = pair
    rows = rows_of(archive)
    compact(CompactSettings(archive=str(archive)))
    (shard,) = Archive(str(archive)).shards()
    path = archive / "images" / shard.path
    flip(path, path.read_bytes().index(PAYLOAD) + 7)
    result = mend(archive, copy)
    assert result.ok and [text.partition(": ")[2] for text in result.repaired] == [
        "1 of 4 rows taken from the replica, as a new shard"
    ]
    assert rows_of(archive) == rows and mend(archive, copy).repaired == ()
    assert verify(VerifySettings(archive=str(archive), executor="local"), quiet=True).ok


def test_all_rows_of_a_shard_are_taken_where_its_rows_cannot_be_told_apart(pair: tuple[Path, Path]) -> None:
    archive, copy = pair
    rows = rows_of(archive)
    compact(CompactSettings(archive=str(archive)))
    (shard,) = Archive(str(archive)).shards()
    flip(archive / "images" / shard.path, -20)
    result = mend(archive, copy)
    assert result.ok and "4 of 4 rows taken" in result.repaired[0] and rows_of(archive) == rows


def rows_of(archive: Path) -> list[dict[str, object]]:
    found = [row for batch in Archive.open(str(archive)).scan(IMAGES.names) for row in batch.to_pylist()]
    return sorted(found, key=lambda row: str(row["key"]))


def test_what_the_replica_does_not_have_or_has_damaged_is_named(pair: tuple[Path, Path]) -> None:
    archive, copy = pair
    add(Archive(str(archive)), [original("new", b"n" * 300)], "after the last replication")
    flip(shard_with(archive, b"n" * 300), shard_with(archive, b"n" * 300).read_bytes().index(b"n" * 300) + 5)
    in_a_payload(archive)
    path = shard_with(copy, PAYLOAD)
    flip(path, path.read_bytes().index(PAYLOAD) + 9)
    before = contents(archive)
    result = mend(archive, copy, "1/1")
    assert not result.ok and {problem.key for problem in result.problems} == {"b", "new"} and result.repaired == ()
    assert {name: data for name, data in contents(archive).items() if not name.startswith("checks/")} == before
    assert status(StatusSettings(archive=str(archive))).checked.damaged == 2


def test_a_row_of_another_content_is_never_taken(pair: tuple[Path, Path]) -> None:
    """The replica is older: its row of the key is the one before the change."""
    archive, copy = pair
    compact(CompactSettings(archive=str(archive)))
    (shard,) = Archive(str(archive)).shards()
    newer = write_shard(Archive(str(archive)).images, [table_of([original("b", b"newer " * 90)])], base=shard.path)
    Archive(str(archive)).committer("newer").commit([Receipt(0, newer, remove=shard.path)])
    assert newer is not None
    path = archive / "images" / newer.path
    flip(path, path.read_bytes().index(b"newer " * 90) + 3)
    result = mend(archive, copy)
    assert [problem.key for problem in result.problems] == ["b"] and result.repaired == ()


def test_a_replica_is_mended_with_its_archive(pair: tuple[Path, Path]) -> None:
    archive, copy = pair
    before = contents(copy)
    in_a_payload(copy)
    in_the_weights(copy)
    result = mend(copy, archive)
    assert result.ok and len(result.repaired) == 2 and contents(copy) == before


def test_a_replica_in_the_archive_or_none_at_all_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    archive, _ = pair
    with pytest.raises(StorageError, match=r"the replica .* is the archive"):
        mend(archive, archive)
    with pytest.raises(StorageError, match="does not exist"):
        mend(archive, tmp_path / "nothing")


@pytest.mark.parametrize("lost", ["images/_delta_log", "releases", "rejections/_delta_log"])
def test_a_replica_from_before_an_erasure_does_not_bring_logs_with_erased_keys_back(
    pair: tuple[Path, Path], lost: str
) -> None:
    archive, copy = pair
    forget(ForgetSettings(archive=str(archive), keys="b"))
    shutil.rmtree(archive / lost, ignore_errors=True)
    if lost == "releases":
        assert mend(archive, copy).ok  # there was none, and nothing else is damaged
    else:
        with pytest.raises(StorageError, match=r"log .* is damaged, and the replica .*copy is from before an erasure"):
            mend(archive, copy)
    assert not any(PAYLOAD in data for data in contents(archive).values())


@pytest.mark.parametrize("damage", ["one", "all"])
def test_receipts_of_erasures_are_mended_so_that_what_was_erased_stays_away(
    pair: tuple[Path, Path], damage: str
) -> None:
    archive, copy = pair
    forget(ForgetSettings(archive=str(archive), keys="b"))
    replicate(ReplicateSettings(archive=str(archive), dest=str(copy)))
    (receipt,) = (archive / "erasures").iterdir()
    before = receipt.read_bytes()
    flip(receipt, before.index(b'"state"') + 3) if damage == "one" else shutil.rmtree(archive / "erasures")
    result = mend(archive, copy)
    assert receipt.read_bytes() == before and "b" in Archive(str(archive)).erasures.barred()
    assert result.ok and result.repaired == (f"erasures/{receipt.name}: taken from the replica",)


def test_a_receipt_of_the_replica_alone_is_not_taken(pair: tuple[Path, Path]) -> None:
    archive, copy = pair
    forget(ForgetSettings(archive=str(archive), keys="b"))
    replicate(ReplicateSettings(archive=str(archive), dest=str(copy)))
    forget(ForgetSettings(archive=str(copy), keys="c"))
    assert mend(archive, copy).repaired == () and "c" not in Archive(str(archive)).erasures.barred()
