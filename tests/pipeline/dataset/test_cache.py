"""A cache has the data set's samples, is made once, and never appears incomplete."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.core.errors import DamagedPayload, MaepressError
from pipeline.archive.archive import Archive
from pipeline.dataset.cache import FILE, LatentCache, write
from pipeline.dataset.samples import Grid
from pipeline.dataset.torch_dataset import ArchiveImages
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


def test_a_damaged_cache_is_made_anew_and_one_that_is_not_there_is_named(
    small_archive: Archive, tmp_path: Path
) -> None:
    with pytest.raises(MaepressError, match=r"grids.arrow is not there: make it with LatentCache.of"):
        LatentCache(tmp_path)
    LatentCache.of(tmp_path, small_archive, content="sketch")
    whole = (tmp_path / FILE).read_bytes()
    for damaged in (b"", b"junk" * 100, whole[: len(whole) // 2], whole[-len(whole) // 2 :]):
        (tmp_path / FILE).write_bytes(damaged)
        with pytest.raises(MaepressError, match=r"grids.arrow is damaged"):
            LatentCache(tmp_path)
        assert len(LatentCache.of(tmp_path, small_archive, content="sketch")) == 30


def test_a_folder_that_cannot_be_written_and_another_content_are_one_line(
    small_archive: Archive, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", "/proc/maepress"):
        with pytest.raises(MaepressError, match=r"cannot be written: .* .give a folder"):
            LatentCache.of(folder, small_archive, content="sketch")
    with pytest.raises(MaepressError, match="holds sketch, prefix, latents, and no image"):
        LatentCache.of(tmp_path, small_archive, content="image")


def test_a_cache_travels_to_a_worker_by_its_folder(tmp_path: Path) -> None:
    grids = [Grid(np.full((2, 3, 4), n, np.int16), np.full(4, 0.5, np.float32)) for n in (1, 300)]
    write(tmp_path, [(str(n), {}, grid) for n, grid in enumerate(grids)], {})
    data = pickle.dumps(LatentCache(tmp_path))
    assert len(data) < 1000
    assert pickle.loads(data)[1]["latents"].max() == 150
    with pytest.raises(IndexError):
        LatentCache(tmp_path)[2]
