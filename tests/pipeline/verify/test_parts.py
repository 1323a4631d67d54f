"""Checks in parts: each shard is checked once per round, and it is known when."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.archive.archive import Archive
from pipeline.maintain.status import StatusSettings, status
from pipeline.runs.checks import Checked, Damage, checked, write_check
from pipeline.storage.base import StorageError
from pipeline.verify.part import Part, parse_part
from pipeline.verify.run import VerifyResult, VerifySettings, verify
from tests.pipeline.making import add, original


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Six shards of two rows each."""
    made = Archive.create(str(tmp_path / "archive"))
    for i in range(6):
        add(made, [original(f"{i}{letter}", b"payload of " + letter.encode() * 9) for letter in "ab"], f"run {i}")
    return made


def check(archive: Archive, part: str) -> VerifyResult:
    return verify(VerifySettings(archive=archive.url, part=part, executor="local"), quiet=True)


def flip(archive: Archive, path: str, at: bytes) -> None:
    file = Path(archive.images.absolute_url) / path
    data = file.read_bytes()
    file.write_bytes(data.replace(at, at[:-1] + bytes([at[-1] ^ 1]), 1))


def now(archive: Archive) -> Checked:
    return status(StatusSettings(archive=archive.url)).checked


def test_the_parts_of_a_round_hold_each_shard_once_and_a_shard_stays_in_its_part() -> None:
    paths = [f"part-{i:032x}.parquet" for i in range(2000)]
    parts = [{path for path in paths if Part(k, 30).has(path)} for k in range(1, 31)]
    assert sum(map(len, parts)) == 2000 and set().union(*parts) == set(paths)
    assert max(map(len, parts)) < 2 * min(map(len, parts))
    assert [k for k in range(1, 31) if Part(k, 30).has("part-00.parquet")] == [17], "the same for ever"


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/", "/3", "1/1001", "-1/3", "1/2/3", "x/3", "٣/3x"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        VerifySettings(archive="a", part=text)
    assert parse_part("") is None and parse_part("3/30") == Part(3, 30)


def test_a_round_checks_every_row_once_and_status_tells_how_far_it_is(archive: Archive) -> None:
    assert now(archive) == Checked(6, None, 0, ())
    first = check(archive, "1/3")
    in_it = [shard for shard in archive.shards() if Part(1, 3).has(shard.path)]  # names are random: none to all six
    assert first.ok and first.shards == len(in_it) and now(archive).never == 6 - len(in_it)
    rest = [check(archive, f"{k}/3") for k in (2, 3)]
    assert sum(result.rows for result in (first, *rest)) == 12
    found = now(archive)
    assert found.never == 0 and found.oldest is not None
    assert datetime.now(UTC) - found.oldest < timedelta(minutes=1)
    add(archive, [original("new")], "later")
    assert now(archive).never == 1
    check(archive, "1/1")
    assert now(archive).never == 0
    assert [path.name for path in Path(archive.url, "checks").iterdir()] == ["1-of-1.json"], "older ones are useless"


def test_damage_stays_known_until_a_check_finds_none(archive: Archive) -> None:
    path = archive.shards()[2].path
    flip(archive, path, b"payload of b")
    part = next(f"{k}/3" for k in (1, 2, 3) if Part(k, 3).has(path))
    result = check(archive, part)
    assert not result.ok and [problem.key for problem in result.problems] == ["2b"]
    others = [f"{k}/3" for k in (1, 2, 3) if f"{k}/3" != part]
    assert all(check(archive, other).ok for other in others)
    found = now(archive)
    assert found.damaged == 1 and [damage.what for damage in found.problems] == ["2b"]
    assert json.loads(json.dumps(found.to_dict()))["damaged"] == 1
    Path(archive.images.absolute_url, path).write_bytes(
        Path(archive.images.absolute_url, path).read_bytes().replace(b"payload of c", b"payload of b")
    )
    assert check(archive, part).ok and now(archive).damaged == 0


def test_a_record_that_is_damaged_is_named_and_counts_for_nothing(archive: Archive) -> None:
    check(archive, "1/1")
    record = Path(archive.url, "checks", "1-of-1.json")
    record.write_bytes(record.read_bytes().replace(b'"problems": 0', b'"problems": 1'))
    assert now(archive).never == 6
    (problem,) = verify(VerifySettings(archive=archive.url, executor="local"), quiet=True).problems
    assert problem.key == "checks/1-of-1.json" and "checksum" in problem.problem
    assert not check(archive, "1/1").ok and check(archive, "1/1").ok


def test_a_check_without_a_part_writes_nothing(archive: Archive) -> None:
    verify(VerifySettings(archive=archive.url, executor="local"), quiet=True)
    assert not Path(archive.url, "checks").exists()


def test_a_part_is_not_compared_with_a_source(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="--part checks some shards, and --source needs all"):
        verify(VerifySettings(archive=archive.url, part="1/2", source=str(tmp_path)), quiet=True)


def test_a_record_lists_a_bounded_number_of_problems_and_every_damaged_shard(archive: Archive) -> None:
    paths = [shard.path for shard in archive.shards()]
    problems = [Damage(f"key {i}", "damaged", paths[i % 2]) for i in range(500)]
    write_check(archive.root, "1/1", datetime.now(UTC), paths, problems, 12345)
    assert Path(archive.url, "checks", "1-of-1.json").stat().st_size < 50_000
    found = checked(archive.root, paths)
    assert (found.damaged, len(found.problems)) == (2, 100)
