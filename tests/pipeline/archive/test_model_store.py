"""Models as folders in any store."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model import checkpoint
from model.codec import Codec
from model.core.model_files import CONFIG, FILES
from model.network.network import Network
from pipeline.archive.archive import Archive
from pipeline.archive.model_store import cache_folder, cached_model, local_model, publish_model
from pipeline.archive.models import Models
from pipeline.archive.reader import RowDecoder
from pipeline.storage.open import StorageError, open_store
from tests.conftest import TINY
from tests.pipeline.making import compressed, image_file


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of models, for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    return cache_folder()


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of another model than the small one."""
    folder = tmp_path_factory.mktemp("other")
    for name, data in checkpoint.serialise(Network(TINY)).items():
        (folder / name).write_bytes(data)
    return folder


def test_a_model_has_the_files_that_the_codec_reads() -> None:
    assert FILES[-1] == CONFIG


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
        cached_model(store, "0" * 16)
    publish_model(tiny_model_folder, store)
    assert store.get(FILES[0]) == (tiny_model_folder / FILES[0]).read_bytes()


def test_a_cached_model_is_read_without_its_store(
    place: str, tiny_model_folder: Path, tiny_codec: Codec, cache: Path
) -> None:
    store = open_store(place)
    publish_model(tiny_model_folder, store)
    folder = cached_model(store, tiny_codec.fingerprint)
    assert folder == cache / tiny_codec.fingerprint
    for name in FILES:
        store.delete(name)
    assert cached_model(store, folder.name) == folder
    assert (folder / CONFIG).read_bytes() == (tiny_model_folder / CONFIG).read_bytes()


@pytest.mark.parametrize("name", ["../../planted", "/planted", "", ".", "0" * 15, "0" * 17, "A" * 16, "0" * 16 + "\n"])
def test_a_name_that_is_no_fingerprint_never_becomes_a_path(
    name: str, tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec, cache: Path
) -> None:
    archive = Archive.create(str(tmp_path / "received" / "archive"))
    for folder in ("planted", "models/planted", "models/" + "0" * 16):  # wherever the name may lead
        publish_model(tiny_model_folder, archive.root.child(folder))
    before = sorted(tmp_path.rglob("*"))
    uses: list[Callable[[str], object]] = [archive.get_model, lambda text: archive.put_model(text, tiny_model_folder)]
    for use in uses:
        with pytest.raises(StorageError, match="names no model"):
            use(name)
    row = compressed(tiny_codec, "a.png", image_file("PNG")) | {"model": name}
    ((_, fault),) = RowDecoder(Models(archive)).pictures([row])
    assert isinstance(fault, str) and "names no model" in fault
    assert sorted(tmp_path.rglob("*")) == before
    assert archive.models() == ["0" * 16]


def test_a_model_that_is_not_what_the_archive_says_does_not_enter_the_cache(
    place: str, tiny_codec: Codec, other_model: Path, cache: Path
) -> None:
    store = open_store(place)
    publish_model(other_model, store)
    description = json.loads((other_model / CONFIG).read_text())
    store.put(CONFIG, json.dumps(description | {"fingerprint": tiny_codec.fingerprint}).encode())
    with pytest.raises(StorageError, match=f"is {description['fingerprint']}, not {tiny_codec.fingerprint}"):
        cached_model(store, tiny_codec.fingerprint)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "another", "pipe", "link", "no weights"])
def test_a_damaged_copy_in_the_cache_heals_itself(
    damage: str, tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec, other_model: Path, cache: Path
) -> None:
    store = open_store(str(tmp_path / "models"))
    publish_model(tiny_model_folder, store)
    weights = cached_model(store, tiny_codec.fingerprint) / FILES[0]
    match damage:
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "empty":
            weights.write_bytes(b"")
        case "another":
            shutil.copytree(other_model, weights.parent, dirs_exist_ok=True)
        case "pipe":
            weights.unlink()
            os.mkfifo(weights)
        case "link":
            shutil.rmtree(weights.parent)
            weights.parent.symlink_to(other_model)
        case "no weights":
            weights.unlink()
    assert Codec.load(cached_model(store, tiny_codec.fingerprint)).fingerprint == tiny_codec.fingerprint
    assert [folder.name for folder in cache.iterdir()] == [tiny_codec.fingerprint]
    assert len(list(other_model.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "another", "no weights"])
def test_a_damaged_model_in_an_archive_is_replaced_before_rows_need_it(
    damage: str, place: str, tiny_model_folder: Path, tiny_codec: Codec, other_model: Path, cache: Path
) -> None:
    archive = Archive(place)
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    store = archive.root.child(f"models/{tiny_codec.fingerprint}")
    if damage == "no weights":
        store.delete(FILES[0])
    elif damage == "cut":
        store.put(FILES[0], store.get(FILES[0])[:-100])
    else:
        for name in FILES:
            store.put(name, (other_model / name).read_bytes())
    with pytest.raises(StorageError):
        archive.get_model(tiny_codec.fingerprint)
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    assert Codec.load(archive.get_model(tiny_codec.fingerprint)).fingerprint == tiny_codec.fingerprint


def test_a_model_of_any_size_is_not_fetched(tmp_path: Path, tiny_model_folder: Path, cache: Path) -> None:
    folder = tmp_path / "models"
    publish_model(tiny_model_folder, open_store(str(folder)))
    with (folder / FILES[0]).open("r+b") as weights:
        weights.truncate(40 << 30)  # a sparse file
    with pytest.raises(StorageError, match="bytes are more than"):
        cached_model(open_store(str(folder)), "0" * 16)
