"""The viewer's renditions: each is made once for concurrent requests; the cache has a limit."""

import asyncio
import shutil
from pathlib import Path

import pytest

from jobs.web.viewer.catalogue import Catalogue
from jobs.web.viewer.renditions import Cache, NotShown, Rendition, Studio, Wanted, tag_of
from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.storage.base import StorageError
from tests.pipeline.making import add, compressed, image_file, original

SMALL = Wanted("png", 32)


@pytest.fixture
def catalogue(tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive = Archive.create(str(tmp_path / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    rows = [compressed(tiny_codec, f"{n}.png", image_file("PNG", seed=n)) for n in range(2)]
    add(archive, [*rows, original("kept", b"bytes", kept="mode CMYK")])
    return Catalogue(str(tmp_path / "archive"))


def ask(catalogue: Catalogue, keys: list[str], cache_bytes: int, wanted: Wanted = SMALL) -> list[Rendition]:
    """Request all renditions at the same time, then each once more."""

    async def all_of_them() -> list[Rendition]:
        studio = Studio(catalogue, None, 2, cache_bytes)
        rows = [row for key in keys if (row := catalogue.facts(key))]
        found = await asyncio.gather(*(studio.get(row, tag_of(row, wanted), wanted) for row in rows))
        found += [await studio.get(row, tag_of(row, wanted), wanted) for row in rows]
        studio.close()
        return found

    return asyncio.run(all_of_them())


def test_a_rendition_requested_many_times_at_once_is_made_once_and_then_kept(catalogue: Catalogue) -> None:
    found = ask(catalogue, ["0.png"] * 20, 1 << 20)
    assert len(found) == 40 and all(one is found[0] for one in found)


def test_a_rendition_larger_than_the_cache_is_made_again_and_is_the_same(catalogue: Catalogue) -> None:
    first, again = ask(catalogue, ["0.png"], 1)
    assert first is not again and first == again


def test_the_cache_drops_the_least_recently_used() -> None:
    cache = Cache(100)
    for tag in "abcd":
        cache.put(Rendition(tag, b"x" * 25, "image/png", ".png"))
    assert cache.get("a") is not None  # asked for again
    cache.put(Rendition("e", b"x" * 25, "image/png", ".png"))
    assert [tag for tag in "abcde" if cache.get(tag)] == ["a", "c", "d", "e"]
    cache.put(Rendition("large", b"x" * 26, "image/png", ".png"))  # more than a quarter of it: not kept
    assert cache.get("large") is None and cache.get("a") is not None


def test_a_rendition_that_fails_does_not_affect_the_others(catalogue: Catalogue) -> None:
    with pytest.raises(NotShown, match="cannot be decoded"):
        ask(catalogue, ["kept"], 1 << 20)
    assert len(ask(catalogue, ["0.png", "1.png"], 1 << 20)) == 4


def test_a_model_that_is_missing_is_the_archives_fault(catalogue: Catalogue) -> None:
    shutil.rmtree(Path(catalogue.archive.url) / "models")
    with pytest.raises(StorageError, match="model"):
        ask(catalogue, ["0.png"], 1)


def test_facts_and_folders_are_of_the_table_as_it_is(catalogue: Catalogue) -> None:
    assert catalogue.facts("none") is None
    (everything,) = catalogue.folders("")
    assert (everything.name, everything.rows) == ("", 3)
    assert [row["key"] for row in catalogue.page("", "PNG", "0.png", 9)] == ["1.png"]
    assert catalogue.status() is catalogue.status()
