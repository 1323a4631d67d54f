"""Exports are opened by the real loaders: webdataset, Hugging Face's datasets, and folders of classes."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.reader import read_image
from pipeline.decode.export import ExportResult, export
from pipeline.decode.layouts import Packed, name_in_class_folder, sample_name
from pipeline.decode.result import Outcome
from pipeline.decode.settings import ExportSettings
from pipeline.decode.shard_sinks import ParquetSink
from pipeline.storage.open import StorageError, open_store
from tests.pipeline.making import add, compressed, image_file, original

KEPT = image_file("PNG", mode="L", seed=9)
KEYS = ["2024/cat/a.v1.png", "2024/cat/a.v2.png", "2024/dog/a.v1.png", "cat/b.png", "cat/c.png"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, tiny_codec: Codec) -> Archive:
    made = Archive.create(str(tmp_path_factory.mktemp("layouts") / "archive"))
    made.put_model(tiny_codec.fingerprint, tiny_model_folder)
    add(made, [compressed(tiny_codec, key, image_file("PNG", seed=n)) for n, key in enumerate(KEYS[:-1])])
    words = original("notes/words.txt", b"words", source_format="unknown", width=0, height=0)
    add(made, [original(KEYS[-1], KEPT), words])
    return made


def exported(archive: Archive, dest: Path, layout: str, **options: Any) -> ExportResult:
    settings = {
        "archive": archive.url,
        "dest": str(dest),
        "layout": layout,
        "executor": "local",
        "shard_mib": 1,
        **options,
    }
    return export(ExportSettings.model_validate(settings), quiet=True)


def pixels_of(archive: Archive, key: str) -> Any:
    image = read_image(archive, key)
    return np.asarray(Image.open(io.BytesIO(image))) if isinstance(image, bytes) else image.pixels


def files_of(dest: Path) -> dict[str, bytes]:
    return {str(p.relative_to(dest)): p.read_bytes() for p in dest.rglob("*") if p.is_file()}


def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard is full after two images or so."""
    monkeypatch.setattr("pipeline.decode.export.MIB", 10_000)


def test_webdataset_reads_every_key_with_its_pixels_and_facts(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import webdataset as wds

    small_shards(monkeypatch)
    assert exported(archive, tmp_path, "webdataset").ok
    shards = sorted(str(path) for path in tmp_path.glob("images-*.tar"))
    assert len(shards) > 1
    seen = {}
    for sample in wds.WebDataset(shards, shardshuffle=False).decode("rgb8"):
        facts = sample["json"]
        seen[facts["key"]] = sample
        if facts["width"]:
            assert (sample["png"] == np.atleast_3d(pixels_of(archive, facts["key"]))).all()
    assert sorted(seen) == sorted([*KEYS, "notes/words.txt"])
    assert seen["2024/cat/a.v2.png"]["json"]["label"] == "cat" and seen["notes/words.txt"]["txt"] == "words"
    lines = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert {line["key"] for line in lines} == set(seen) and all(".tar/" in line["file"] for line in lines)


def test_datasets_opens_the_tables_as_images(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    small_shards(monkeypatch)
    result = exported(archive, tmp_path / "out", "parquet")
    assert [(f.key, "no image" in f.reason) for f in result.decoded.failures] == [("notes/words.txt", True)]
    files = [str(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    found = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(found.features["image"], datasets.Image) and len(files) > 1
    assert found["key"][:] == KEYS
    for row in found:
        assert isinstance(row["image"], Image.Image) and row["label"] in ("cat", "dog")
        assert (np.asarray(row["image"]) == pixels_of(archive, row["key"])).all()


def test_the_sizes_of_a_tables_images_are_summed_once(tmp_path: Path) -> None:
    """A shard of small images has hundreds of thousands: adding all up for each of them took minutes."""

    class Measured(bytes):
        times = 0

        def __len__(self) -> int:
            Measured.times += 1
            return super().__len__()

    outcome = Outcome("a/b.png", "original", 9, name="a/b.png", form="png")
    images = [Packed(outcome, Measured(9), 4, 3, "0" * 64, None)] * 500
    data, _ = ParquetSink(open_store(str(tmp_path)), 1, overwrite=False).content(images)
    assert Measured.times <= 2 * len(images)
    assert pq.read_table(io.BytesIO(data)).num_rows == len(images)


def test_an_image_folder_has_a_folder_per_label(archive: Archive, tmp_path: Path) -> None:
    result = exported(archive, tmp_path, "imagefolder", keys="*.png")
    assert result.ok
    files = files_of(tmp_path)
    cats = ["cat/2024%2Fa.v1.png", "cat/2024%2Fa.v2.png", "cat/b.png", "cat/c.png"]
    assert sorted(files) == [*cats, "dog/2024%2Fa.v1.png", "losses.jsonl"]
    assert files["cat/c.png"] == KEPT


@pytest.mark.parametrize("sidecars", [False, True])
def test_lists_of_metadata_that_were_in_the_source_hide_no_image_and_double_none(
    tmp_path: Path, sidecars: bool
) -> None:
    """Readers of an ImageFolder give what each list that they find names, and no other image."""
    datasets = pytest.importorskip("datasets")
    archive = Archive.create(str(tmp_path / "archive"))
    lists = {"cat/metadata.jsonl": b'{"file_name": "a.png", "text": "x"}\n', "dog/metadata.csv": b"file_name\nc.png\n"}
    facts = {key: {"width": 0, "height": 0, "kept": "text file"} for key in lists}
    sources = {"cat/a.png": KEPT, "cat/b.png": KEPT, "dog/c.png": KEPT} | lists
    add(archive, [original(key, data) | facts.get(key, {}) for key, data in sources.items()])
    assert exported(archive, tmp_path / "out", "imagefolder", sidecars=sidecars).ok
    assert {"cat/metadata%2Ejsonl", "dog/metadata%2Ecsv"} <= set(files_of(tmp_path / "out"))
    found = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    labels = found["label"][:] if sidecars else [found.features["label"].names[n] for n in found["label"][:]]
    assert sorted(labels) == ["cat", "cat", "dog"]


def test_a_key_without_a_folder_is_named_and_gets_no_file(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original("plain.png", KEPT), original("a/b.png", KEPT)])
    result = exported(archive, tmp_path / "out", "imagefolder")
    assert [failure.key for failure in result.decoded.failures] == ["plain.png"]
    assert result.decoded.failures[0].reason.endswith("its key has no folder that could be its label")
    assert sorted(files_of(tmp_path / "out")) == ["a/b.png", "losses.jsonl"]


@pytest.mark.parametrize("layout", ["webdataset", "parquet", "imagefolder"])
def test_a_second_run_changes_nothing_and_other_files_are_never_replaced(
    archive: Archive, tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    exported(archive, tmp_path, layout, keys="*.png")
    before = files_of(tmp_path)
    assert exported(archive, tmp_path, layout, keys="*.png").ok and files_of(tmp_path) == before
    first = next(iter(sorted(set(before) - {"losses.jsonl"})))
    (tmp_path / first).write_bytes(b"mine")
    result = exported(archive, tmp_path, layout, keys="*.png")
    assert not result.ok and (tmp_path / first).read_bytes() == b"mine"
    assert exported(archive, tmp_path, layout, keys="*.png", overwrite=True).ok and files_of(tmp_path) == before


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_a_shard_of_a_larger_export_is_not_left_for_loaders(
    archive: Archive, tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    exported(archive, tmp_path, layout, keys="*.png")
    with pytest.raises(StorageError, match="of another export"):
        exported(archive, tmp_path, layout, keys="2024/cat/*", overwrite=True)


def test_names_are_one_per_key_and_lead_nowhere_else() -> None:
    keys = ["a/b.png", "a/b%2Epng", "a/b", "/a/b", "../a", "./a", "%../a", "a//b", "a/", "a/.b", "%2E/a"]
    assert len({sample_name(key) for key in keys}) == len(keys)
    for key in keys:
        name = sample_name(key)
        assert not {"", ".", ".."} & set(name.split("/")) and "." not in name.rsplit("/", 1)[-1]
    names = ["x/c/a", "c/a", "/c/a", "c/%2Fa", "y/x/c/a", "y%2Fx/c/a", "c/metadata.csv", "c/metadata%2Ecsv"]
    assert len({name_in_class_folder(name) for name in names}) == len(names)
