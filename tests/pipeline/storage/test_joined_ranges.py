"""Neighbouring ranges are one request, of a bounded size, and each range gets its own bytes."""

import random
import tarfile
from pathlib import Path

import pytest

from jobs.demo.s3_server import S3Server
from pipeline.sources.open import open_source
from pipeline.storage.base import Fetched, Ranges
from pipeline.storage.joined_ranges import GAP, joined
from pipeline.storage.open import open_store
from tests.counting_proxy import counting_proxy


def test_blocks_are_bounded_cover_all_ranges_and_read_little_else() -> None:
    draw = random.Random(1)
    for _ in range(300):
        data = draw.randbytes(draw.randrange(1, 400))
        ranges = [(draw.randrange(420), draw.randrange(60)) for _ in range(draw.randrange(12))]
        gap, most = draw.randrange(20), draw.randrange(1, 90)
        made = joined(ranges, gap, most)
        read = [data[start : start + count] for start, count in made.blocks]
        assert made.parts(read) == [data[start : start + count] for start, count in ranges]
        longest = max((count for _, count in ranges), default=0)
        assert all(count <= max(most, longest) for _, count in made.blocks)
        wanted = {at for start, count in ranges for at in range(start, start + count)}
        for start, count in made.blocks:
            missing = [at for at in range(start, start + count) if at not in wanted]
            assert len(missing) <= gap * len(ranges)


def test_members_of_a_tar_on_s3_take_a_request_per_block(
    s3: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for number in range(100):
            path = tmp_path / f"{number:03d}.jpg"
            path.write_bytes(bytes([number]) * 30_000)
            tar.add(path, path.name)
    open_store(bucket).put("s.tar", (tmp_path / "s.tar").read_bytes())
    with counting_proxy(s3.endpoint) as counted:
        monkeypatch.setenv("AWS_ENDPOINT_URL", counted.endpoint)
        source = open_source(f"{bucket}#members")
        keys = [entry.key for entry in source.entries()]
        counted.reset()
        got = source.fetch(keys)
        assert all(isinstance(one, Fetched) and one.data == bytes([n]) * 30_000 for n, one in enumerate(got))
        assert counted.requests == {"GET": 1} and counted.received < 3_200_000
        counted.reset()
        monkeypatch.setattr("pipeline.storage.s3.ranges.joined", lambda ranges: joined(ranges, GAP, 1 << 20))
        assert source.fetch(keys) == got and counted.requests == {"GET": 4}
        counted.reset()
        assert source.fetch(keys[::10]) == got[::10] and counted.requests == {"GET": 10}, "too far from each other"


def test_ranges_behind_the_end_of_an_object_are_short(place: str) -> None:
    store = open_store(place)
    store.put("a", b"0123456789")
    found = store.read_ranges("a", [(8, 4), (0, 2), (3, 0), (9, 1), (200_000, 5), (12, 3)])
    assert isinstance(found, Ranges) and found.parts == [b"89", b"01", b"", b"9", b"", b""]
