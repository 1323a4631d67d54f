"""Sorting listings on disk: any order in, byte order out, each key once, and nothing left behind."""

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.sources import external_sort
from pipeline.sources.external_sort import ENTRIES, in_key_order
from pipeline.storage.base import Entry, Unwritable


def tables(keys: list[str], rows: int = 7) -> Iterator[pa.Table]:
    for at in range(0, len(keys), rows):
        some = keys[at : at + rows]
        yield pa.table([some, list(range(at, at + len(some))), [f"e {key}" for key in some]], schema=ENTRIES)


@pytest.mark.parametrize("run_rows", [5, 64, 10_000])
def test_entries_come_in_byte_order_and_of_equal_keys_the_first_counts(
    run_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_sort, "MOST_RUNS", 4)  # a hundred runs are merged in four rounds
    draw = random.Random(run_rows)
    keys = ["".join(draw.choices("ab/ü€\U0001f600", k=draw.randint(1, 4))) for _ in range(500)]
    first: dict[str, int] = {}
    for number, key in enumerate(keys):
        first.setdefault(key, number)
    expected = [Entry(key, first[key], f"e {key}") for key in sorted(first, key=str.encode)]
    assert len(expected) < len(keys)
    assert list(in_key_order(tables(keys), run_rows)) == expected


def test_nothing_is_left_on_disk_after_the_end_an_error_or_a_reader_that_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def failing() -> Iterator[pa.Table]:
        yield from tables(["b", "a"])
        raise OSError("the list ends")

    assert list(in_key_order(iter(()))) == []
    with pytest.raises(OSError, match="the list ends"):
        list(in_key_order(failing(), 1))
    stopped = in_key_order(tables(["b", "a"]))
    assert next(stopped).key == "a" and len(list((tmp_path / "maepress/sorting").iterdir())) == 1
    stopped.close()
    assert not list((tmp_path / "maepress/sorting").iterdir())


def test_a_full_disk_is_one_line_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(pa, "OSFile", lambda *_: io.FileIO("/dev/full", "w"))
    with pytest.raises(Unwritable, match=r"cache for sorting.*XDG_CACHE_HOME"):
        list(in_key_order(tables(["b", "a"])))
