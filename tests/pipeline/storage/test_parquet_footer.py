"""The facts of column chunks are those that pyarrow gives, and no damaged footer ends the process."""

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.archive.shards.shard_writer import write_shard
from pipeline.storage.local.store import LocalStore
from pipeline.storage.parquet_footer import chunks_of
from tests.pipeline.making import originals

TABLE = pa.table(
    {
        "text": ["b", None, "aé", "c"],
        "number": pa.array([3, -70_000, None, 5], pa.int32()),
        "ratio": [0.5, None, 2.0, 1.0],
        "flag": [True, False, None, True],
        "list": [["x"], [], None, ["y", "z"]],
        "struct": [{"bytes": b"1", "path": "p"}, None, {"bytes": b"", "path": None}, {"bytes": b"4", "path": "q"}],
        "nothing": pa.nulls(4, pa.string()),
    }
)


def test_the_facts_are_those_of_the_library(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=3, write_page_index=True, store_schema=True)
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    groups = chunks_of(metadata, range(metadata.num_columns))
    assert len(groups) == metadata.num_row_groups == 2
    for number, group in enumerate(groups):
        for leaf, facts in group.items():
            chunk = metadata.row_group(number).column(leaf)
            said = chunk.statistics
            assert facts.size == chunk.total_uncompressed_size
            assert facts.nulls == (said.null_count if said else None)
            assert (facts.minimum is not None) == bool(said and said.has_min_max)
            if said and said.has_min_max and chunk.physical_type == "BYTE_ARRAY":
                expected = [text.encode() if isinstance(text, str) else text for text in (said.min, said.max)]
                assert [facts.minimum, facts.maximum] == expected
            if facts.minimum is not None and isinstance(least := said and said.min, int) and leaf == 1:
                assert facts.minimum == least.to_bytes(4, "little", signed=True)


def test_a_file_without_row_groups_or_statistics_has_none(tmp_path: Path) -> None:
    with pq.ParquetWriter(tmp_path / "empty.parquet", TABLE.schema):
        pass
    pq.write_table(TABLE, tmp_path / "silent.parquet", write_statistics=False)
    assert chunks_of(pq.read_metadata(tmp_path / "empty.parquet"), [0]) == []
    (group,) = chunks_of(pq.read_metadata(tmp_path / "silent.parquet"), [0, 3])
    assert [(facts.nulls, facts.minimum, facts.maximum) for facts in group.values()] == [(None, None, None)] * 2


def test_no_module_asks_pyarrow_for_a_chunk() -> None:
    root = Path(__file__).parents[3]
    asks = re.compile(r"\.row_group\([^)]*\)\.column\(|\.total_uncompressed_size|\.path_in_schema|\.statistics\b")
    modules = [path for room in ("pipeline", "jobs", "maepress") for path in sorted((root / room).rglob("*.py"))]
    assert len(modules) > 100
    assert [str(path) for path in modules if asks.search(path.read_text())] == []


READERS = """
import sys
from pathlib import Path
import pyarrow as pa
from pipeline.archive.shards.shard_file import open_shard
from pipeline.sources.members.container_file import ContainerFile
from pipeline.sources.tables.parquet_rows import Columns, members
from pipeline.sources.web.url_list import texts_of
from pipeline.storage.base import Entry, StorageError
from pipeline.storage.local.store import LocalStore

folder, name, at, end = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sound, store = (folder / name).read_bytes(), LocalStore(str(folder))
path = "damaged-" + name

def shard():
    with open_shard(store, path) as opened:
        for index in range(opened.num_row_groups):
            opened.may_hold(index, "key"), opened.range_of(index, "key"), opened.range_of(index, "width")

readers = (
    shard,
    lambda: list(members(ContainerFile(store, path, None), Columns("payload", "key"))),
    lambda: list(texts_of(store, Entry(path, len(sound), None), "key")),
)
(folder / path).write_bytes(sound)
for reader in readers:
    reader()
for bit in range(8 * at, 8 * end, int(sys.argv[5])):
    data = bytearray(sound)
    data[bit // 8] ^= 1 << bit % 8
    (folder / path).write_bytes(data)
    for reader in readers:
        try:
            reader()
        except (StorageError, pa.ArrowException, OSError, ValueError):
            pass
print("done")
"""


@pytest.mark.parametrize("step", [41, pytest.param(7, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_flipped_bit_in_a_footer_is_an_error_and_not_the_end_of_the_process(tmp_path: Path, step: int) -> None:
    shard = write_shard(LocalStore(str(tmp_path)), [originals(["a", "b", "c"])])
    assert shard is not None
    data = (tmp_path / shard.path).read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    done = subprocess.run(
        [sys.executable, "-c", READERS, str(tmp_path), shard.path, str(footer), str(len(data)), str(step)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]
