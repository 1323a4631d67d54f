"""Labels and sidecars through encode, nights, decode and export: from real writers, and back into real readers."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
import webdataset
from PIL import Image

from maepress import ArchiveImages
from pipeline.archive.archive import Archive
from pipeline.archive.schema import IMAGES
from pipeline.archive.shards.row_hash import changed_rows
from pipeline.decode.export import export
from pipeline.decode.run import decode
from pipeline.decode.settings import DecodeSettings, ExportSettings
from pipeline.encode.run import encode
from pipeline.encode.settings import EncodeSettings
from pipeline.release.run import release
from pipeline.release.settings import ReleaseSettings
from pipeline.sync.run import sync
from pipeline.sync.settings import SyncSettings
from pipeline.verify.run import verify
from pipeline.verify.settings import VerifySettings
from tests.pipeline.making import add, image_file, original

CAPTION = b'{"caption": "a cat",\n "n": 1.50}\n'
ROW = '{"file_name": "dog/2.png", "text": "a dog"}'


def images() -> dict[str, bytes]:
    """Three small images of two classes, one of which no model compresses."""
    return {
        "cat/1.png": image_file("PNG", seed=1),
        "dog/2.png": image_file("PNG", seed=2),
        "dog/3.v1.png": image_file("PNG", mode="L", seed=3, size=(12, 9)),
    }


SIDECARS = {"cat/1.json": CAPTION, "cat/1.txt": "täxt".encode(), "dog/3.v1.png.xmp": b"\xff\xfe<x/>"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of classes with sidecars and Hugging Face's metadata."""
    folder = tmp_path_factory.mktemp("sidecars") / "in"
    for key, data in {**images(), **SIDECARS, "metadata.jsonl": ROW.encode() + b"\n"}.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return folder


def settings_of(source: Path, archive: str) -> dict[str, Any]:
    return {"source": str(source), "archive": archive, "codec": "webp", "executor": "local", "min_psnr": 30}


@pytest.fixture(scope="module")
def archive(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    url = str(tmp_path_factory.mktemp("sidecars") / "archive")
    encode(EncodeSettings.model_validate(settings_of(source, url) | {"sidecars": True}), quiet=True)
    return Archive.open(url)


def metas(archive: Archive) -> dict[str, Any]:
    rows = [row for batch in archive.scan(("key", "meta")) for row in batch.to_pylist()]
    return {row["key"]: row["meta"] and json.loads(row["meta"]) for row in rows}


def test_the_column_holds_them_and_the_row_hash_covers_it(archive: Archive) -> None:
    assert metas(archive) == {
        "cat/1.png": {"label": "cat", "json": {"json": json.loads(CAPTION)}, "text": {"txt": "täxt"}},
        "dog/2.png": {"label": "dog", "metadata": json.loads(ROW)},
        "dog/3.v1.png": {"label": "dog", "base64": {"png.xmp": "//48eC8+"}},
        "metadata.jsonl": None,
    }
    (batch,) = [batch for batch in archive.scan(IMAGES.names) if batch.num_rows]
    assert not any(changed_rows(batch))
    at = batch.schema.get_field_index("meta")
    other = [text and text.replace("cat", "cow") for text in batch.column("meta").to_pylist()]
    import pyarrow as pa

    assert changed_rows(batch.set_column(at, "meta", pa.array(other, pa.string()))) == [True, False, False, False]


def test_sql_and_training_have_it(archive: Archive) -> None:
    files = [f"{archive.images.absolute_url}/{shard.path}" for shard in archive.shards()]
    query = "SELECT key FROM read_parquet($files) WHERE meta::JSON->'json'->'json'->>'caption' = 'a cat'"
    assert duckdb.execute(query, {"files": files}).fetchall() == [("cat/1.png",)]
    samples = {sample["key"]: sample for sample in ArchiveImages(archive.url, columns=["meta"], keys="*.png")}
    assert json.loads(samples["dog/2.png"]["meta"])["metadata"]["text"] == "a dog"


def test_decode_writes_them_beside_the_images_and_names_what_is_left_out(archive: Archive, tmp_path: Path) -> None:
    done = decode(
        DecodeSettings(archive=archive.url, dest=str(tmp_path / "all"), sidecars=True, executor="local"), quiet=True
    )
    found = {str(p.relative_to(tmp_path / "all")): p.read_bytes() for p in (tmp_path / "all").rglob("*.*")}
    assert {key: found[key] for key in SIDECARS} == SIDECARS and not done.failed and not done.losses
    assert json.loads(found["dog/2.png.json"]) == {"label": "dog", "metadata": json.loads(ROW)}
    assert set(found) == {*images(), *SIDECARS, "dog/2.png.json", "metadata.jsonl"}
    done = decode(DecodeSettings(archive=archive.url, dest=str(tmp_path / "few"), executor="local"), quiet=True)
    assert done.losses == {"sidecars": 3}
    assert len(list((tmp_path / "few").rglob("*.*"))) == 4


def test_a_night_notices_a_changed_sidecar_alone(source: Path, archive: Archive, tmp_path: Path) -> None:
    copy = tmp_path / "in"
    url = str(tmp_path / "archive")
    for path in source.rglob("*.*"):
        (copy / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        (copy / path.relative_to(source)).write_bytes(path.read_bytes())
    night = SyncSettings.model_validate(settings_of(copy, url) | {"sidecars": True, "retire_share": 1})
    sync(night, quiet=True)
    (copy / "cat/1.txt").write_bytes(b"another")
    (copy / "dog/3.v1.png.xmp").unlink()
    done = sync(night, quiet=True)
    assert (done.plan.new, done.plan.changed, done.plan.gone, done.plan.unchanged) == (0, 2, 0, 2)
    made = Archive.open(url)
    assert metas(made)["cat/1.png"]["text"] == {"txt": "another"} and metas(made)["dog/3.v1.png"] == {"label": "dog"}
    report = verify(VerifySettings(archive=url, source=str(copy), sidecars=True, executor="local"), quiet=True)
    assert (report.ok, report.source_objects, report.absent, report.outdated) == (True, 4, 0, 0)
    released = release(
        ReleaseSettings(source=str(copy), archive=url, sidecars=True, delete=True, yes=True, executor="local"),
        quiet=True,
    )
    assert released.deleted == 4 and sorted(path.name for path in copy.rglob("*.*")) == ["1.json", "1.txt"]


def test_webdataset_gets_its_samples_back(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "in.tar")) as out:
        for n in range(2):
            sample = {"__key__": f"{n:04d}", "png": image_file("PNG", seed=n), "json": {"n": n}, "cls": n}
            out.write(sample)
    (tmp_path / "in").mkdir()
    (tmp_path / "in.tar").rename(tmp_path / "in/s.tar")
    url = str(tmp_path / "archive")
    job = settings_of(tmp_path / "in", url) | {"members": "*.tar", "sidecars": True}
    encode(EncodeSettings.model_validate(job), quiet=True)
    options = {"archive": url, "executor": "local", "sidecars": True, "layout": "webdataset"}
    export(ExportSettings.model_validate(options | {"dest": str(tmp_path / "out")}), quiet=True)
    shard = str(tmp_path / "out/images-000000.tar")
    samples = list(webdataset.WebDataset(shard, shardshuffle=False).decode())
    assert [(sample["json"], sample["cls"]) for sample in samples] == [({"n": 0}, 0), ({"n": 1}, 1)]
    assert samples[1]["maepress.json"]["key"] == "s.tar/0001.png"
    with tarfile.open(shard) as there, tarfile.open(tmp_path / "in/s.tar") as before:
        for name in ("0001.json", "0001.cls"):
            one, other = there.extractfile(f"s.tar/0001%2Epng{name[4:]}"), before.extractfile(name)
            assert one is not None and other is not None and one.read() == other.read()


def test_hugging_face_reads_its_columns_and_folders_back(
    source: Path, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    classes = datasets.ClassLabel(names=["cat", "dog"])
    own = datasets.load_dataset("imagefolder", data_dir=str(source), split="train")
    said = {row["text"] for row in own if row["text"]}
    assert said == {meta["metadata"]["text"] for meta in metas(archive).values() if meta and "metadata" in meta}
    features = datasets.Features({"image": datasets.Image(), "label": classes, "text": datasets.Value("string")})
    pictures = [Image.open(io.BytesIO(image_file("PNG", seed=seed))) for seed in range(2)]
    made = datasets.Dataset.from_dict({"image": pictures, "label": [1, 0], "text": ["x", None]}, features=features)
    (tmp_path / "in").mkdir()
    made.to_parquet(str(tmp_path / "in/train.parquet"))
    url = str(tmp_path / "archive")
    job = settings_of(tmp_path / "in", url) | {"image_column": "image", "sidecars": True}
    encode(EncodeSettings.model_validate(job), quiet=True)
    assert list(metas(Archive.open(url)).values()) == [
        {"label": "dog", "columns": {"label": 1, "text": "x"}},
        {"label": "cat", "columns": {"label": 0, "text": None}},
    ]
    more = {"executor": "local", "sidecars": True}
    options = {"archive": url, "dest": str(tmp_path / "rows"), "layout": "parquet"} | more
    export(ExportSettings.model_validate(options), quiet=True)
    loaded = datasets.load_dataset("parquet", data_files=str(tmp_path / "rows/*.parquet"), split="train")
    assert loaded["label"] == ["dog", "cat"] and json.loads(loaded[0]["meta"])["columns"]["text"] == "x"
    options = {
        "archive": archive.url,
        "dest": str(tmp_path / "folder"),
        "layout": "imagefolder",
        "keys": "*.png",
    } | more
    export(ExportSettings.model_validate(options), quiet=True)
    folder = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "folder"), split="train")
    rows = {row["key"]: row for row in folder}
    assert {key: row["label"] for key, row in rows.items()} == {key: key[:3] for key in images()}
    assert json.loads(rows["dog/2.png"]["meta"])["metadata"]["text"] == "a dog"


def test_a_meta_that_an_archive_of_others_holds_writes_nothing_elsewhere(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    image = image_file("PNG", seed=1)
    bad = {
        "a.png": '{"text": {"/../../../outside": "x"}}',
        "b.png": "no json",
        "c.png": '{"text": {"png": "another image"}}',
        "d.png": "[" * 100_000,
    }
    add(archive, [original(key, image, meta=meta) for key, meta in bad.items()])
    settings = DecodeSettings(archive=archive.url, dest=str(tmp_path / "deep/er/out"), sidecars=True, executor="local")
    done = decode(settings, quiet=True)
    assert (done.written, done.failed) == (4, 4)
    assert {path.name for path in (tmp_path / "deep").rglob("*.*")} == set(bad)
    assert all((tmp_path / "deep/er/out" / key).read_bytes() == image for key in bad)
