"""Labels and sidecars: which belong to which image, what a listing says of them, and what is fetched with it."""

import csv
import datetime
import io
import json
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from pipeline.sources.open import open_source
from pipeline.sources.sidecars import sidecar_pairs
from pipeline.sources.sidecars.json_stream import JsonStream
from pipeline.sources.sidecars.meta import MAX_FILE, TOO_LARGE, files_of
from pipeline.sources.sidecars.sidecar_names import unmarked
from pipeline.sources.sidecars.sidecar_store import SidecarStore
from pipeline.storage.base import Fetched, FetchFailed, StorageError
from pipeline.storage.listing.source_listing import SourceListing
from pipeline.storage.open import open_store
from tests.pipeline.source_views.test_inventories import rows_of, write_inventory


class Source:
    """A place with objects, read with their sidecars."""

    def __init__(self, place: str, objects: Mapping[str, bytes], view: str = "#sidecars") -> None:
        self.inner = open_store(place)
        for key, data in objects.items():
            self.inner.put(key, data)
        store = open_source(place + view)
        assert isinstance(store, SidecarStore)
        self.store = store
        listing = SourceListing(store)
        self.entries = {entry.key: entry for entry in listing}
        self.unlisted = listing.unlisted

    @property
    def etags(self) -> dict[str, str]:
        return {key: entry.etag for key, entry in self.entries.items()}

    def metas(self) -> dict[str, Any]:
        """The metas as another process fetches them; listing and fetch agree, with and without a listing's etags."""
        far = pickle.loads(pickle.dumps(self.store))
        found = far.fetch_listed(list(self.entries.values()))
        assert found == far.fetch(list(self.entries))
        assert {got.key: got.etag for got in found} == self.etags
        return {got.key: got.meta and json.loads(got.meta) for got in found if isinstance(got, Fetched)}


def test_sidecar_files_go_with_their_image_and_others_stay(place: str) -> None:
    objects = {
        "a.jpg": b"a",
        "a.json": b'{"n": 1}',
        "a.jpg.json": b"{broken",
        "a.cls": b"3",
        "b.png": b"b",
        "b.tif": b"b",
        "b.xmp": b"<x/>",
        "c.json": b"nobody's",
        "d.pdf": b"d",
        "d.txt": b"a document's",
        "e": b"e",
        "e-1.jpg": b"e1",
        "e.txt": b"text",
        "f.jpg": b"f",
        "f.xmp": b"x" * (MAX_FILE + 1),
        "g.v2.jpg": b"g",
        "g.v2.txt": b"\xff",
        "g.txt": b"of g, which is not there",
    }
    source = Source(place, objects)
    metas = source.metas()
    assert metas == {
        "a.jpg": {"json": {"json": {"n": 1}}, "text": {"jpg.json": "{broken", "cls": "3"}},
        "b.png": {"text": {"xmp": "<x/>"}},
        "b.tif": {"text": {"xmp": "<x/>"}},
        "e": {"text": {"txt": "text"}},
        "g.v2.jpg": {"base64": {"txt": "/w=="}},
        **dict.fromkeys(("c.json", "d.pdf", "d.txt", "e-1.jpg", "f.jpg", "f.xmp", "g.txt")),
    }
    assert unmarked(source.entries["a.jpg"].etag)[1] == ("cls", "json", ".json")
    plain = {entry.key: entry.etag for entry in source.inner.entries()}
    assert all(source.etags[key] == plain[key] for key, meta in metas.items() if meta is None)
    assert {unmarked(source.etags[key])[0] for key in ("a.jpg", "e")} == {plain["a.jpg"], plain["e"]}


def test_a_changed_new_or_removed_sidecar_changes_the_etag_of_its_image_alone(tmp_path: Path) -> None:
    objects = {"cat/a.jpg": b"a", "cat/a.json": b"1", "cat/b.jpg": b"b", "cat/metadata.jsonl": b""}
    before = Source(str(tmp_path), objects).etags
    for change in ({"cat/a.json": b"22"}, {"cat/a.txt": b"new"}, {"cat/metadata.jsonl": b'{"file_name": "a.jpg"}\n'}):
        after = Source(str(tmp_path), change).etags
        assert [key for key in before if key.endswith("jpg") and before[key] != after[key]] == ["cat/a.jpg"]
        before = after
    (tmp_path / "cat/a.txt").unlink()
    assert Source(str(tmp_path), {}).etags["cat/a.jpg"] != before["cat/a.jpg"]


def test_rows_of_metadata_and_folders_are_labels(place: str) -> None:
    table = io.StringIO()
    rows = csv.DictWriter(table, ["file_name", "caption"])
    rows.writeheader()
    rows.writerows([{"file_name": "1.png", "caption": 'a "dog",\nlarge'}, {"file_name": "", "caption": "none"}])
    lines = ['{"file_name": "cat/1.png", "caption": "a cat", "n": 1.50}', "no json", '{"file_name": 3}', ""]
    objects = {
        "metadata.jsonl": "\n".join(lines).encode(),
        "cat/1.png": b"c",
        "dog/1.png": b"d",
        "dog/metadata.csv": table.getvalue().encode("utf-8-sig"),
        "top.png": b"t",
    }
    source = Source(place, objects)
    assert source.metas() == {
        "cat/1.png": {"label": "cat", "metadata": {"file_name": "cat/1.png", "caption": "a cat", "n": 1.5}},
        "dog/1.png": {"label": "dog", "metadata": {"file_name": "1.png", "caption": 'a "dog",\nlarge'}},
        **dict.fromkeys(("metadata.jsonl", "dog/metadata.csv", "top.png")),
    }
    got = source.store.fetch(["cat/1.png"])[0]
    assert isinstance(got, Fetched) and '"n": 1.50}' in (got.meta or ""), "as it was written"
    assert source.unlisted == {
        "metadata.jsonl": "sidecars: 2 of its lines are no JSON object with the file_name of an image below, "
        "the first of them line 2",
        "dog/metadata.csv": "sidecars: 1 of its rows have no file_name of an image below",
    }


def test_rows_that_name_a_file_elsewhere_are_counted(tmp_path: Path) -> None:
    elsewhere = ["../a.jpg", "/a.jpg", "b/"]
    objects = {
        "in/a.jpg": b"a",
        "in/metadata.jsonl": "\n".join(json.dumps({"file_name": name}) for name in elsewhere).encode(),
        "in/metadata.csv": b"file_name,n\n../a.jpg,1\n",
        "in/coco.json": json.dumps({"images": [{"id": 1, "file_name": name} for name in elsewhere]}).encode(),
    }
    source = Source(str(tmp_path), objects)
    assert source.metas()["in/a.jpg"] == {"label": "in"}
    assert {name: reason.split()[1] for name, reason in source.unlisted.items()} == {
        "in/metadata.jsonl": "3",
        "in/metadata.csv": "1",
        "in/coco.json": "3",
    }


def test_a_sidecar_file_that_cannot_be_read_is_named_and_its_image_stays_as_it_is(tmp_path: Path) -> None:
    link = tarfile.TarInfo("a.json")
    link.type, link.linkname = tarfile.SYMTYPE, "b.json"
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as out:
        out.addfile(tarfile.TarInfo("a.jpg"))
        out.addfile(link)
    broken = Source(f"{tmp_path}/tars", {"x.tar": tar.getvalue()}, "#members&sidecars")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").symlink_to(tmp_path / "nowhere")
    dead = Source(f"{tmp_path}/photos", {"a.jpg": b"a", "a.json": b"1"}, "#sidecars")
    why = {"left_out": {"json": "it is a symbolic link"}}, {"left_out": {"txt": "No such file or directory"}}
    for source, left_out in zip((broken, dead), why, strict=True):
        (got,) = source.store.fetch_listed(list(source.entries.values()))
        assert isinstance(got, Fetched) and got.etag == source.etags[got.key], "else it is encoded every night"
        assert json.loads(got.meta or "").items() >= left_out.items()
    (tmp_path / "photos" / "a.txt").unlink()
    (gone,) = dead.store.fetch_listed(list(dead.entries.values()))
    (tmp_path / "photos" / "a.jpg").write_bytes(b"another")
    (changed,) = dead.store.fetch_listed(list(dead.entries.values()))
    after = Source(f"{tmp_path}/photos", {}).etags["a.jpg"]
    assert isinstance(gone, Fetched) and isinstance(changed, Fetched) and gone.etag != after == changed.etag


COCO: dict[str, Any] = {
    "info": {"licences": [[["]"]]], "text": 'a "quoted\\" \\\\ text', "n": None},
    "annotations": [
        {"id": 7, "image_id": 9, "category_id": 2, "bbox": [1, 2.50, 3, 4], "segmentation": [[1, 2]]},
        {"id": 8, "image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 1]},
        {"id": 9, "image_id": 1234, "category_id": 1},
    ],
    "images": [{"id": 9, "file_name": "9.jpg", "height": 4}, {"id": 10, "file_name": "10.jpg"}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dög"}, {"id": 3, "name": "cow"}],
}


@pytest.mark.parametrize("indent", [None, 2])
def test_coco_says_of_each_image_what_is_annotated_in_it(place: str, indent: int | None) -> None:
    objects = {
        "annotations/instances_train2017.json": json.dumps(COCO, indent=indent).encode(),
        "annotations/instances_val2017.json": b'{"images": [{"id": 1, "file_name": "9.jpg"}], "more": 1}',
        **{f"{folder}/{n}.jpg": b"x" for folder in ("train2017", "images/val2017", "other") for n in (9, 10)},
    }
    metas = Source(place, objects).metas()
    assert metas["train2017/9.jpg"] == {
        "label": "train2017",
        "coco": [
            {
                "file": "annotations/instances_train2017.json",
                "image": COCO["images"][0],
                "annotations": COCO["annotations"][:2],
                "categories": {"1": "cat", "2": "dög"},
            }
        ],
    }
    assert metas["train2017/10.jpg"]["coco"][0]["annotations"] == []
    assert [said["file"] for said in metas["images/val2017/9.jpg"]["coco"]] == ["annotations/instances_val2017.json"]
    assert metas["images/val2017/10.jpg"] == {"label": "val2017"} and metas["other/9.jpg"] == {"label": "other"}


HOSTILE = {
    "no json": (b"\x00\xff\xfe", "it is not UTF-8"),
    "cut short": (json.dumps(COCO).encode()[:-30], "it is no JSON"),
    "an array": (b"[1, 2]", "it is no JSON"),
    "deep": (b'{"images": [' + b"[" * 200_000, "too deep"),
    "deep elsewhere": (b'{"x": ' + b"[" * 20_000 + b"]" * 20_000 + b', "images": 3}', "it is no JSON"),
    "not an array": (b'{"images": {}}', "it is no JSON"),
    "odd entries": (b'{"images": [1, {"id": [1]}, {"id": 1}, {"id": 1, "file_name": 3}]}', "4 of its entries"),
    "large entries": (b'{"images": [{"id": 1, "x": "' + b"y" * 600_000 + b'"}]}', "1 of its entries are too large"),
    "an open text": (b'{"x": "' + b"y" * 600_000, "it is no JSON"),
    "an open escape": (b'{"x": "\\', "it is no JSON"),
}


@pytest.mark.parametrize("data, reason", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_coco_file_is_named_and_the_images_are_listed(tmp_path: Path, data: bytes, reason: str) -> None:
    source = Source(str(tmp_path), {"coco.json": data, "a.jpg": b"a"})
    assert source.metas() == {"a.jpg": None, "coco.json": None}
    assert list(source.unlisted) == ["coco.json"] and reason in source.unlisted["coco.json"]


def test_too_many_annotations_of_one_image_are_left_out(tmp_path: Path) -> None:
    many = [{"id": n, "image_id": 1, "text": "x" * 1000} for n in range(300)]
    document = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": many}
    source = Source(str(tmp_path), {"labels.json": json.dumps(document).encode(), "a.jpg": b"a"})
    assert source.metas()["a.jpg"] == {"left_out": {"coco": TOO_LARGE}}


def test_a_document_larger_than_memory_is_read_in_bounded_memory() -> None:
    class Endless(io.StringIO):
        """Gives 40 MB in blocks, and notes how much is asked for at once."""

        def __init__(self) -> None:
            super().__init__()
            self.left, self.most = 40, 0

        def read(self, size: int | None = -1) -> str:
            assert size is not None
            self.left, self.most = self.left - 1, max(self.most, size)
            return '{"x": "' if self.left == 39 else "y" * (1 << 20) if self.left else '", "z": 1}'

    file = Endless()
    stream = JsonStream(file)
    names = []
    for name in stream.members():
        names.append(name)
        stream.skip()
    assert names == ["x", "z"] and file.most <= 1 << 18


def test_members_of_a_webdataset_have_the_others_of_their_sample(place: str, tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "s.tar")) as out:
        for n in range(3):
            sample = {"__key__": f"{n:04d}", "jpg": bytes([n]), "json": {"caption": f"c{n}"}, "cls": n, "txt": "täxt"}
            out.write(sample | {"seg.png": b"mask"})
    shard = (tmp_path / "s.tar").read_bytes()
    source = Source(place, {"s.tar": shard, "cat/x.jpg": b"x"}, "#members&sidecars")
    metas = source.metas()
    assert metas == {
        "cat/x.jpg": {"label": "cat"},
        **{f"s.tar/{n:04d}.seg.png": None for n in range(3)},
        **{
            f"s.tar/{n:04d}.jpg": {"json": {"json": {"caption": f"c{n}"}}, "text": {"cls": str(n), "txt": "täxt"}}
            for n in range(3)
        },
    }
    got = source.store.fetch(["s.tar/0001.jpg"])[0]
    with tarfile.open(fileobj=io.BytesIO(shard)) as tar:
        written = {name: tar.extractfile(f"0001.{name}").read() for name in ("json", "cls", "txt")}  # type: ignore[union-attr]
    assert isinstance(got, Fetched) and files_of(got.meta or "") == written


def test_metadata_inside_an_archive_file_and_classes_in_it_count(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in {"cat/1.jpg": b"1", "metadata.jsonl": b'{"file_name": "cat/1.jpg", "x": 1}'}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    metas = Source(str(tmp_path), {"a.tar": file.getvalue()}, "#members&sidecars").metas()
    assert metas["a.tar/cat/1.jpg"] == {"label": "cat", "metadata": {"file_name": "cat/1.jpg", "x": 1}}


def test_other_columns_of_a_table_go_with_its_rows(place: str) -> None:
    rows = {
        "jpg": [b"a", b"b", b"c"],
        "id": ["k/2", "k/1", "k/3"],
        "score": [1.5, float("nan"), None],
        "when": [datetime.datetime(2024, 5, 6, 7, 8, tzinfo=datetime.UTC)] * 3,
        "boxes": [[{"x": 1, "label": "cat"}], [], None],
        "thumb": [b"t"] * 3,
        "text": ["ä" * 200_000, "short", "\0"],
    }
    features = {"info": {"features": {"kind": {"_type": "ClassLabel", "names": ["dog", "cat"]}}}}
    table = pa.table({**rows, "kind": [1, 0, 7]}).replace_schema_metadata({"huggingface": json.dumps(features)})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=2)
    open_store(place).put("t.parquet", file.getvalue())
    left_out = {"thumb": "it holds bytes"}
    when = "2024-05-06T07:08:00+00:00"
    keyed = open_source(f"{place}#table&image=jpg&key=id&sidecars")
    entries = list(keyed.entries())
    found = keyed.fetch_listed(entries)
    assert [(got.key, got.etag) for got in found if isinstance(got, Fetched)] == [(e.key, e.etag) for e in entries]
    assert {entry.etag.rpartition("+")[2] for entry in entries} == {"columns"}
    metas = {got.key: json.loads(got.meta or "") for got in found if isinstance(got, Fetched)}
    assert metas["k/1"] == {
        "label": "dog",
        "columns": {"score": None, "when": when, "boxes": [], "text": "short", "kind": 0},
        "left_out": left_out,
    }
    assert metas["k/2"] == {"label": "cat", "left_out": left_out | {"columns": TOO_LARGE}}
    assert "label" not in metas["k/3"] and metas["k/3"]["columns"]["text"] == "\0"
    numbered = open_source(f"{place}#table&image=jpg&sidecars")
    got = numbered.fetch_listed(list(numbered.entries()))[1]
    assert isinstance(got, Fetched) and json.loads(got.meta or "")["columns"]["id"] == "k/1"
    plain = open_source(f"{place}#table&image=jpg&key=id")
    assert all(isinstance(got, Fetched) and got.meta is None for got in plain.fetch(["k/1"]))


def test_a_bucket_that_is_listed_by_its_inventory_has_them_too(bucket: str) -> None:
    objects = {"a/x.png": b"x", "a/x.txt": b"text", "a/metadata.jsonl": b'{"file_name": "x.png", "n": 1}\n'}
    plain = Source(f"{bucket}/in", objects)
    lists = open_store(f"{bucket}/lists")
    write_inventory(lists, [rows_of(plain.inner.url, list(plain.inner.entries()))])
    listed = Source(f"{bucket}/in", {}, f"#inventory={lists.url}&sidecars")
    assert listed.etags == plain.etags and listed.store.listed_at() is not None
    assert listed.metas() == plain.metas()
    assert plain.metas()["a/x.png"]["metadata"]["n"] == 1


def test_few_objects_are_held_and_the_order_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecar_pairs, "MOST_HELD", 8)
    objects = {f"2024.{n:02d}.{kind}": b"x" for n in range(20) for kind in ("jpg", "json")} | {"2024": b"y"}
    metas = Source(str(tmp_path), objects).metas()
    assert list(metas) == sorted(metas) and set(metas) == {key for key in objects if not key.endswith("json")}


def test_an_outage_of_a_sidecar_is_no_verdict_on_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(str(tmp_path), {"a.jpg": b"a", "a.json": b"1"})
    fetch = type(source.inner).fetch

    def failing(self: Any, keys: list[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        found = fetch(self, keys, max_bytes)
        return [FetchFailed(got.key, "slow", transient=True) if got.key == "a.json" else got for got in found]

    monkeypatch.setattr(type(source.inner), "fetch", failing)
    (got,) = source.store.fetch_listed([source.entries["a.jpg"]])
    assert got == FetchFailed("a.jpg", "slow", transient=True)


def test_annotations_that_cannot_be_listed_end_the_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(str(tmp_path), {"annotations/x.json": b"{}", "a.jpg": b"a"})
    entries = type(source.inner).entries

    def partly(self: Any, unlisted: Any = None) -> Any:
        if unlisted is not None:
            unlisted("annotations/", "forbidden")
        return entries(self, unlisted)

    monkeypatch.setattr(type(source.inner), "entries", partly)
    with pytest.raises(StorageError, match="annotations/ cannot be listed: forbidden"):
        list(source.store.entries())


def test_an_image_is_deleted_only_with_the_sidecars_that_were_read(tmp_path: Path) -> None:
    source = Source(str(tmp_path), {"a.jpg": b"a", "a.json": b"1"})
    etag = source.etags["a.jpg"]
    (tmp_path / "a.json").write_bytes(b"22")
    assert not source.store.delete_unchanged("a.jpg", etag) and (tmp_path / "a.jpg").exists()
    etag = Source(str(tmp_path), {}).etags["a.jpg"]
    assert source.store.delete_unchanged("a.jpg", etag) and not (tmp_path / "a.jpg").exists()
    assert (tmp_path / "a.json").exists()
