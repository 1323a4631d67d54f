"""Tables as sources: Hugging Face's Parquet, Delta and Iceberg, each from its own writer."""

import io
import json
import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from PIL import Image

from model.core.errors import MaepressError
from pipeline.archive.receipt import Rejection
from pipeline.decode.run import DecodeSettings, decode
from pipeline.encode.run import EncodeSettings, encode
from pipeline.encode.stages import Loaded, load
from pipeline.estimate.run import estimate
from pipeline.estimate.settings import EstimateSettings
from pipeline.images.limits import Limits
from pipeline.images.sandbox.sandbox import Sandbox
from pipeline.release.run import ReleaseSettings, release
from pipeline.sources.open import open_source
from pipeline.sources.tables.parquet_columns import _value
from pipeline.storage.base import Fetched, FetchFailed, StorageError
from pipeline.storage.listing.source_listing import SourceListing
from pipeline.storage.open import open_store
from pipeline.verify.run import VerifySettings, verify
from tests.pipeline.making import image_file, with_other_signs


def table(keys: Sequence[object], seeds: Sequence[int]) -> pa.Table:
    return pa.table({"id": keys, "jpg": [image_file("PNG", seed=seed) for seed in seeds]})


def parquet(made: pa.Table, row_group_size: int | None = None) -> bytes:
    file = io.BytesIO()
    pq.write_table(made, file, row_group_size=row_group_size)
    return file.getvalue()


def listing(address: str) -> tuple[list[str], dict[str, str]]:
    found = SourceListing(open_source(address))
    return [entry.key for entry in found], found.unlisted


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file as `datasets` writes it: structs of bytes and path, and labels."""
    folder = tmp_path_factory.mktemp("hf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        import datasets

        pictures = [Image.open(io.BytesIO(image_file("PNG", seed=seed))) for seed in range(4)]
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
        made = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 0, 1]}, features=features)
        made.to_parquet(str(folder / "train.parquet"), batch_size=3)
    return (folder / "train.parquet").read_bytes()


def test_a_data_set_of_hugging_face_is_encoded_once_and_comes_back(
    hugging_face: bytes, place: str, tmp_path: Path, tiny_model_folder: Path
) -> None:
    inner = open_store(f"{place}/in")
    inner.put("data/train-00000-of-00001.parquet", hugging_face)
    inner.put("README.md", b"about")
    job = {"source": f"{place}/in#table", "archive": f"{place}/archive", "model": str(tiny_model_folder)}
    settings = EncodeSettings.model_validate(job | {"executor": "local"})
    first = encode(settings, quiet=True)
    assert (first.latents + first.transcoded + first.originals, first.missing) == (5, None)
    assert encode(settings, quiet=True).unchanged == 5
    with pytest.raises(MaepressError, match="a row cannot be deleted from its table"):
        release(ReleaseSettings(source=job["source"], archive=job["archive"], delete=True, yes=True), quiet=True)
    if place.startswith("s3"):
        return
    decode(DecodeSettings(archive=job["archive"], dest=str(tmp_path / "out"), executor="local"), quiet=True)
    rows = sorted((tmp_path / "out/data/train-00000-of-00001.parquet").iterdir())
    assert [path.name[:9] for path in rows] == [f"{n:09d}" for n in range(4)]
    source = Image.open(io.BytesIO(image_file("PNG", seed=2)))
    difference = np.asarray(Image.open(rows[2]), int) - np.asarray(source, int)
    assert np.abs(difference).mean() < 10, "row 2 is another picture"


def test_rows_are_compared_with_their_archive_whatever_the_mean_of_their_sizes(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    """A listing gives each row the mean size of its row group: of a larger one than that, all were too large."""
    images = [image_file("PNG", seed=seed) for seed in range(3)] + [image_file("PNG", size=(400, 300))]
    open_store(str(tmp_path)).put("in/rows.parquet", parquet(pa.table({"jpg": images})))
    source, archive = f"{tmp_path}/in#table", str(tmp_path / "archive")
    settings = {"source": source, "archive": archive, "model": str(tiny_model_folder), "executor": "local"}
    assert encode(EncodeSettings.model_validate(settings), quiet=True).latents == 4
    result = verify(VerifySettings(archive=archive, source=source, sample="all", executor="local"), quiet=True)
    assert (result.decoded, result.compared, result.changed, result.ok) == (4, 4, 0, True)
    (small, large) = open_source(source).fetch(["rows.parquet/000000000", "rows.parquet/000000003"], len(images[0]))
    assert isinstance(small, Fetched) and small.data == images[0]
    assert isinstance(large, FetchFailed) and "are more than" in large.reason


@pytest.mark.parametrize("view", ["#table", "#table&image=jpg&key=id"])
def test_a_table_that_was_copied_is_compared_by_the_bytes_of_its_rows(
    tmp_path: Path, tiny_model_folder: Path, view: str
) -> None:
    images = [image_file("PNG", seed=seed) for seed in range(3)] + [image_file("PNG", size=(400, 300))]
    store = open_store(str(tmp_path))
    store.put("in/rows.parquet", parquet(pa.table({"id": list("abcd"), "jpg": images})), modified_ns=10**18)
    source, archive = f"{tmp_path}/in{view}", str(tmp_path / "archive")
    settings = {"source": source, "archive": archive, "model": str(tiny_model_folder), "executor": "local"}
    encode(EncodeSettings.model_validate(settings), quiet=True)
    os.utime(tmp_path / "in/rows.parquet")
    again = VerifySettings(archive=archive, source=source, sample="all", executor="local")
    result = verify(again, quiet=True)
    assert (result.same_bytes, result.outdated, result.unread, result.ok) == (4, 0, 0, True)
    images[1] = image_file("PNG", seed=9)
    store.put("in/rows.parquet", parquet(pa.table({"id": list("abcd"), "jpg": images})))
    result = verify(again, quiet=True)
    assert (result.same_bytes, result.outdated, result.unread, result.ok) == (3, 1, 0, False)


def test_a_row_is_too_large_by_its_own_size_and_not_by_the_mean_of_its_row_group(tmp_path: Path) -> None:
    images = [b"small", b"x" * 3000, b"also small"]
    open_store(str(tmp_path)).put("in/rows.parquet", parquet(pa.table({"jpg": images})))
    source = open_source(f"{tmp_path}/in#table")
    entries = list(source.entries())
    assert {entry.size > 900 for entry in entries} == {True}
    sandbox = Sandbox(Limits(seconds=10, memory=1 << 30))
    small, large, other = load(entries, source, sandbox, 1000, 900)
    sandbox.close()
    assert isinstance(small, Loaded) and isinstance(other, Loaded)
    assert isinstance(large, Rejection) and (large.stage, large.reason) == ("fetch", "3000 bytes are more than 900")


def test_an_estimate_takes_rows_at_their_own_sizes(tmp_path: Path, tiny_model_folder: Path) -> None:
    """Equal rows are stored once in a dictionary, and the mean of their sizes is far below their own."""
    image = image_file("PNG", size=(200, 150))
    open_store(str(tmp_path)).put("in/rows.parquet", parquet(pa.table({"jpg": [image] * 8})))
    settings = EstimateSettings(source=f"{tmp_path}/in#table", model=str(tiny_model_folder), compare=0)
    found = estimate(settings)
    assert found.source_bytes == 8 * len(image)
    assert 0 < found.stored_bytes.value < found.source_bytes


def test_rows_with_keys_come_in_one_order_and_double_or_missing_ones_have_verdicts(place: str) -> None:
    inner = open_store(place)
    inner.put("b.parquet", parquet(table(["z", "a", None], [0, 1, 2]), row_group_size=2))
    inner.put("a.parquet", parquet(table(["m", "a", "../up"], [3, 4, 5])))
    store = open_source(f"{place}#table&image=jpg&key=id")
    entries = list(store.entries())
    assert [e.key for e in entries] == ["../up", "a", "a (2)", "b.parquet/000000002", "m", "z"]
    got = store.fetch([e.key for e in entries])
    reasons = [one.reason if isinstance(one, FetchFailed) else one.data for one in got]
    assert reasons == [
        "its name cannot be a key: it leads out of the folder",
        image_file("PNG", seed=1),
        "a later member has the same name",
        "the row has no key",
        image_file("PNG", seed=3),
        image_file("PNG", seed=0),
    ]
    assert [e.etag == one.etag for e, one in zip(entries, got, strict=True) if not isinstance(one, FetchFailed)] == [
        True
    ] * 3


def test_keys_that_are_bytes_are_text_and_lists_are_no_keys(tmp_path: Path) -> None:
    columns: dict[str, Sequence[object]] = {
        "bytes": [b"b/1.jpg", b"caf\xe9.jpg"],
        "lists": [["a"], ["b"]],
        "numbers": [7, 10],
    }
    for name, keys in columns.items():
        open_store(f"{tmp_path}/{name}").put("t.parquet", parquet(table(keys, [0, 1])))
    assert listing(f"{tmp_path}/bytes#table&image=jpg&key=id") == (["b/1.jpg", "caf\ufffdE9.jpg"], {})
    assert listing(f"{tmp_path}/numbers#table&image=jpg&key=id") == (["10", "7"], {})
    times = table([datetime(2020, 1, 1), datetime(2021, 1, 1)], [0, 1])
    open_store(f"{tmp_path}/times").put("t.parquet", parquet(times))
    for name, kind in {"lists": "list<.*>", "times": "timestamp.*"}.items():
        with pytest.raises(StorageError, match=rf"t\.parquet: its column 'id' holds {kind}, which is no key"):
            open_source(f"{tmp_path}/{name}#table&image=jpg&key=id")


def test_times_in_nanoseconds_go_with_their_images_whether_pandas_is_there_or_not(tmp_path: Path) -> None:
    at = 1_600_000_000_123_456_789
    kinds: dict[str, tuple[pa.DataType, object, object]] = {
        "plain": (pa.timestamp("ns"), at, "2020-09-13T12:26:40.123456789"),
        "before": (pa.timestamp("ns", "UTC"), -1, "1969-12-31T23:59:59.999999999+00:00"),
        "whole": (pa.timestamp("ns"), 10**18, "2001-09-09T01:46:40"),
        "time": (pa.time64("ns"), 1, "00:00:00.000000001"),
        "span": (pa.duration("ns"), 1_000_000_001, "0:00:01.000000001"),
        "span of us": (pa.duration("ns"), 1_500_000_000, "0:00:01.500000"),
        "list": (pa.list_(pa.timestamp("ns")), [at, None], ["2020-09-13T12:26:40.123456789", None]),
        "struct": (pa.struct([("at", pa.timestamp("ns")), ("n", pa.int64())]), {"at": 0, "n": 1}, None),
        "map": (pa.map_(pa.string(), pa.time64("ns")), [("a", 1)], [["a", "00:00:00.000000001"]]),
        "none": (pa.timestamp("ns"), None, None),
    }
    columns = {name: pa.array([value], kind) for name, (kind, value, _) in kinds.items()}
    made = pa.table({"jpg": [image_file("PNG")], **columns})
    open_store(str(tmp_path)).put("t.parquet", parquet(made))
    (got,) = open_source(f"{tmp_path}#table&image=jpg&sidecars").fetch(["t.parquet/000000000"])
    expected = {name: text for name, (_, _, text) in kinds.items()} | {"struct": {"at": "1970-01-01T00:00:00", "n": 1}}
    assert isinstance(got, Fetched) and json.loads(got.meta or "") == {"columns": expected}
    assert all(not type(_value(made[name][0])).__module__.startswith("pandas") for name in kinds)


def test_what_holds_no_image_is_a_verdict_and_a_wrong_column_one_line(place: str) -> None:
    inner = open_store(place)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [
        {"bytes": b"x", "path": "a.JPG"},
        {"bytes": None, "path": "/home/a.png"},
        None,
        {"bytes": b"", "path": ".."},
    ]
    inner.put("t.parquet", parquet(pa.table({"image": pa.array(rows, kind), "other": [b"1", b"2", b"3", b"4"]})))
    inner.put("no.parquet", b"PAR1 and nothing else PAR1")
    inner.put("text.parquet", b"text")
    store = open_source(f"{place}#table&image=image")
    keys, unlisted = listing(f"{place}#table&image=image")
    names = ["000000000.jpg", "000000001.png", "000000002", "000000003"]
    assert keys == [*(f"t.parquet/{name}" for name in names), "text.parquet"]
    assert set(unlisted) == {"no.parquet/", "text.parquet/"}
    got = store.fetch([key for key in keys if key.startswith("t.parquet/")])
    assert [isinstance(one, FetchFailed) for one in got] == [False, True, True, False]
    assert isinstance(got[1], FetchFailed) and got[1].reason == "the row has no bytes"
    assert listing(f"{place}#table")[1]["t.parquet/"].startswith("its columns that may hold images: image, other")
    with pytest.raises(StorageError, match=r"t\.parquet: it has no column 'id' \(it has: image, other\)"):
        open_source(f"{place}#table=t.parquet&image=image&key=id")


def test_a_delta_tables_present_version_is_the_source(place: str) -> None:
    options = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    options = options | {"aws_allow_http": "true"} if place.startswith("s3") else {}
    write_deltalake(place, table(["a", "b"], [0, 1]), storage_options=options)
    write_deltalake(place, table(["c"], [2]), mode="append", storage_options=options)
    address = f"{place}#table&image=jpg&key=id"
    assert listing(address) == (["a", "b", "c"], {})
    DeltaTable(place, storage_options=options).delete("id = 'b'")
    store = open_source(address)
    assert [e.key for e in store.entries()] == ["a", "c"] and store.get("c") == image_file("PNG", seed=2)
    with pytest.raises(StorageError, match="name its column of keys"):
        open_source(f"{place}#table&image=jpg")


def test_an_iceberg_tables_present_version_is_the_source(tmp_path: Path) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    place = f"file://{tmp_path}/warehouse"
    (tmp_path / "warehouse").mkdir()
    catalog = SqlCatalog("test", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=place)
    catalog.create_namespace("n")
    rows = table(["a", "b"], [0, 1])
    made = catalog.create_table("n.photos", schema=rows.schema)
    made.append(rows)
    made.append(table(["c"], [2]))
    address = f"{made.location().removeprefix('file://')}#table&image=jpg&key=id"
    assert listing(address) == (["a", "b", "c"], {})
    made.delete("id = 'b'")
    store = open_source(address)
    assert [e.key for e in store.entries()] == ["a", "c"] and store.get("c") == image_file("PNG", seed=2)


def test_a_delta_table_whose_log_names_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", table(["a"], [0]))
    log = tmp_path / "t/_delta_log/00000000000000000000.json"
    (path,) = (tmp_path / "t").glob("*.parquet")
    log.write_text(log.read_text().replace(path.name, "../secret.parquet"))
    with pytest.raises(StorageError, match="is not in its folder"):
        open_source(f"{tmp_path}/t#table&image=jpg&key=id")
    protocol = '"minReaderVersion":3,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]'
    text = log.read_text().replace('"minReaderVersion":1', protocol)
    log.write_text(re.sub('"minWriterVersion":[0-9]', '"minWriterVersion":7', text))
    with pytest.raises(StorageError, match=r"deletionVectors|deletion"):
        open_source(f"{tmp_path}/t#table&image=jpg&key=id")


def test_a_checkpoint_that_makes_deltalake_panic_is_an_error_of_the_source(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", table(["a"], [0]))
    DeltaTable(tmp_path / "t").create_checkpoint()
    (path,) = (tmp_path / "t/_delta_log").glob("*.checkpoint.parquet")
    texts = []
    for damaged in with_other_signs(path.read_bytes()):
        path.write_bytes(damaged)
        try:
            open_source(f"{tmp_path}/t#table&image=jpg&key=id")
        except StorageError as e:
            texts.append(str(e))
    assert any("is damaged" in text and "Executor has crashed" in text for text in texts)
