"""The manifest returns the plan that was written to it."""

import itertools
from pathlib import Path

from pipeline.planning.manifest import Manifest
from pipeline.planning.units import UNIT_ROWS, rework_unit, units_of_new_keys
from pipeline.storage.base import Entry
from pipeline.storage.local.store import LocalStore


def entry(key: str, etag: str = "1", size: int = 10) -> Entry:
    return Entry(key, size, etag)


def test_a_manifest_gives_back_its_pieces_in_parts_that_end_where_a_unit_ends(tmp_path: Path) -> None:
    entries = [entry(f"ключ/{i:05d}", size=100_000) for i in range(2000)]
    pieces = [*units_of_new_keys(entries, 4 << 20), *rework_unit("part-1", entries[:3], 1000, 4 << 20, ("gone/ä", "x"))]
    manifest = Manifest(LocalStore(str(tmp_path)), "run")
    manifest.write(pieces, part_pieces=600)
    parts = [list(part) for part in manifest.parts()]
    assert [piece for part in parts for piece in part] == pieces
    assert len(parts) > 1
    for before, after in itertools.pairwise(parts):
        assert before[-1].unit != after[0].unit
        assert 600 <= len(before) < 600 + UNIT_ROWS
    assert len(list(tmp_path.rglob("*.parquet"))) == len(parts)
    manifest.remove()
    assert not list(tmp_path.rglob("*.parquet"))


def test_an_empty_plan_has_no_parts(tmp_path: Path) -> None:
    manifest = Manifest(LocalStore(str(tmp_path)), "run")
    manifest.write([])
    assert list(manifest.parts()) == []
    manifest.remove()
