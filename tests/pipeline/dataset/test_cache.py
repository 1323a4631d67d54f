"""A cache has the data set's samples, is made once, and never appears incomplete."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from model.core.errors import DamagedPayload, MaepressError
from pipeline.archive.archive import Archive
from pipeline.dataset.cache import FILE, LatentCache, write
from pipeline.dataset.samples import Grid
from pipeline.dataset.torch_dataset import ArchiveImages
from pipeline.storage.base import StorageError
from tests.pipeline.making import add


@pytest.mark.parametrize("content", ["sketch", "prefix", "latents"])
def test_a_cache_holds_what_the_data_set_gives(small_archive: Archive, tmp_path: Path, content: Any) -> None:
    cache = LatentCache.of(tmp_path, small_archive, content=content, columns=["quality"])
    assert len(cache) == 30 and cache.nbytes == (tmp_path / FILE).stat().st_size
    expected = {s["key"]: s for s in ArchiveImages(small_archive, content=content, columns=["quality"])}
    for number in range(30):
        sample = cache[number]
        whole = expected[sample["key"]]
        assert sample["quality"] == whole["quality"] and sample["latents"].dtype == np.float32
        tolerance = np.abs(whole["latents"]).max((0, 1)) / 250 if content == "latents" else 0
        assert (np.abs(sample["latents"] - whole["latents"]) <= tolerance).all()


def test_a_cache_is_made_once_and_anew_after_a_commit(small_archive: Archive, tmp_path: Path) -> None:
    import shutil

    archive = Archive.open(str(shutil.copytree(small_archive.url, tmp_path / "archive")))
    LatentCache.of(tmp_path / "cache", archive, content="sketch")
    made = (tmp_path / "cache" / FILE).stat().st_mtime_ns
    LatentCache.of(tmp_path / "cache", archive, content="sketch")
    assert (tmp_path / "cache" / FILE).stat().st_mtime_ns == made
    row = small_archive.row("a/00.png")
    assert row is not None
    add(archive, [row | {"key": "z.png"}], run="later")
    assert "z.png" in LatentCache.of(tmp_path / "cache", archive, content="sketch").keys
    assert len(LatentCache.of(tmp_path / "cache", archive, content="sketch", keys="a/*")) == 10


def test_what_fails_half_way_leaves_the_older_cache(tmp_path: Path) -> None:
    grid = Grid(np.ones((2, 3, 4), np.int8), np.ones(4, np.float32))
    write(tmp_path, [("old", {}, grid)], {})

    def failing() -> Iterator[tuple[str, dict[str, Any], Grid]]:
        yield "new", {}, grid
        raise DamagedPayload("damaged")

    with pytest.raises(DamagedPayload):
        write(tmp_path, failing(), {})
    assert LatentCache(tmp_path).keys == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_damaged_cache_is_named_and_so_is_one_that_is_not_there(small_archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(MaepressError, match=r"grids.arrow is not there: make it with LatentCache.of"):
        LatentCache(tmp_path)
    LatentCache.of(tmp_path, small_archive, content="sketch")
    whole = (tmp_path / FILE).read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[-len(whole) // 2 :]):
        (tmp_path / FILE).write_bytes(damaged)
        with pytest.raises(MaepressError, match=r"grids.arrow is no cache of latents, or damaged: remove it"):
            LatentCache(tmp_path)
        with pytest.raises(MaepressError, match=r"grids.arrow is no cache of latents, or damaged: remove it"):
            LatentCache.of(tmp_path, small_archive, content="sketch")


def test_another_content_is_one_line(small_archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(MaepressError, match="holds sketch, prefix, latents, and no image"):
        LatentCache.of(tmp_path, small_archive, content="image")


def test_what_is_no_cache_or_no_folder_is_one_line_and_stays(small_archive: Archive, tmp_path: Path) -> None:
    table = pa.table({"mine": [1]})
    with pa.OSFile(str(tmp_path / "mine.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    for number, data in enumerate([b"junk", b"", (tmp_path / "mine.arrow").read_bytes()]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / FILE).write_bytes(data)
        with pytest.raises(StorageError, match="is no cache of latents, or damaged: remove it"):
            LatentCache.of(tmp_path / str(number), small_archive)
        assert (tmp_path / str(number) / FILE).read_bytes() == data
    with pytest.raises(
        StorageError, match=r"the cache of latents, .*/mine\.arrow/x, cannot be written: Not a directory"
    ):
        LatentCache.of(tmp_path / "mine.arrow" / "x", small_archive)
    with pytest.raises(StorageError, match="s3://bucket/cache is no local folder"):
        LatentCache.of("s3://bucket/cache", small_archive)


def test_a_cache_travels_to_a_worker_by_its_folder(tmp_path: Path) -> None:
    grids = [Grid(np.full((2, 3, 4), n, np.int16), np.full(4, 0.5, np.float32)) for n in (1, 300)]
    write(tmp_path, [(str(n), {}, grid) for n, grid in enumerate(grids)], {})
    data = pickle.dumps(LatentCache(tmp_path))
    assert len(data) < 1000
    assert pickle.loads(data)[1]["latents"].max() == 150
    with pytest.raises(IndexError):
        LatentCache(tmp_path)[2]
