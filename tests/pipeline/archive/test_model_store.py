"""Models as folders in any store."""

from pathlib import Path

import pytest

from model import checkpoint
from model.codec import Codec
from pipeline.archive.model_store import CONFIG, FILES, cached_model, local_model, publish_model
from pipeline.storage.open import StorageError, open_store


def test_a_model_has_the_files_that_the_codec_reads() -> None:
    assert FILES == (checkpoint.WEIGHTS, checkpoint.CONFIG) and FILES[-1] == CONFIG


def test_a_model_is_the_same_from_every_kind_of_store(place: str, tiny_model_folder: Path, tiny_codec: Codec) -> None:
    publish_model(tiny_model_folder, open_store(place))
    assert Codec.load(local_model(place)).fingerprint == tiny_codec.fingerprint
    assert Codec.load(local_model(str(tiny_model_folder))).fingerprint == tiny_codec.fingerprint


def test_a_url_without_a_model_is_named(place: str) -> None:
    with pytest.raises(StorageError, match=f"{place} is no model"):
        local_model(place)


def test_a_model_that_is_only_half_there_does_not_count(place: str, tiny_model_folder: Path) -> None:
    store = open_store(place)
    store.put(FILES[0], b"weights")  # its writer died before the configuration
    with pytest.raises(StorageError, match="is not at"):
        cached_model(store, "half")
    publish_model(tiny_model_folder, store)
    assert store.get(FILES[0]) == (tiny_model_folder / FILES[0]).read_bytes()


def test_a_cached_model_is_read_without_its_store(place: str, tiny_model_folder: Path) -> None:
    store = open_store(place)
    publish_model(tiny_model_folder, store)
    folder = cached_model(store, f"cached-from-{place.rsplit('/', 1)[0].replace('/', '_')}")
    for name in FILES:
        store.delete(name)
    assert cached_model(store, folder.name) == folder
    assert (folder / CONFIG).read_bytes() == (tiny_model_folder / CONFIG).read_bytes()
