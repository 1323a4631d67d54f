"""Status: counts, without reading payloads."""

import io
import json
import math
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from jobs.commands.status import in_words
from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.archive.schema import IMAGES, LARGER, LATENT, MISSED, UNLIKE
from pipeline.maintain.status import StatusSettings, any_between, status
from pipeline.storage.open import StorageError
from tests.pipeline.making import add, compressed, image_file, original


def strict(value: object) -> object:
    """Through standard JSON, which has no Infinity and NaN."""
    return json.loads(json.dumps(value, allow_nan=False))


def test_pixels_are_those_of_all_images_that_were_decoded(place: str) -> None:
    archive = Archive.create(place)
    add(archive, [original(why, width=10, height=7, kept=why) for why in (MISSED, LARGER, UNLIKE, "animation")])
    assert status(StatusSettings(archive=place)).pixels == 3 * 10 * 7


def test_an_archives_contents_are_counted(place: str, tiny_codec: Codec) -> None:
    archive = Archive.create(place)
    rows = [compressed(tiny_codec, f"{i}.png", image_file("PNG", seed=i), quality=20 + i % 2) for i in range(6)]
    rows[0]["ssimulacra2"], rows[1]["ssimulacra2"] = 70.0, 81.0
    exact = original("exact") | {"status": LATENT, "model": "0" * 16, "quality": 63, "psnr": math.inf}
    rejections = [Rejection(key, "e", "read", "broken") for key in ("r1", "r2")]
    add(archive, rows, run="one", rejections=rejections)
    add(archive, [original("o.gif", b"x" * 50) | {"source_format": "gif"}, exact], run="two")
    found = status(StatusSettings(archive=place))
    assert (found.rows, found.latents, found.originals, found.shards) == (8, 7, 1, 2)
    assert found.source_bytes == sum(row["source_bytes"] for row in rows) + 50 + len(b"source")
    assert found.payload_bytes == sum(row["payload_bytes"] for row in rows) + 50 + len(b"source")
    assert found.pixels == 6 * 70 * 50 + 12  # not of the source that was kept without being decoded
    assert found.shard_bytes == sum(shard.size for shard in archive.shards())
    assert found.ratio == found.source_bytes / found.shard_bytes
    assert found.models == {tiny_codec.fingerprint: 6, "0" * 16: 1}
    assert found.qualities == {20: 3, 21: 3, 63: 1} and found.formats == {"png": 7, "gif": 1}
    measured = [row["psnr"] for row in rows]
    assert found.psnr["mean"] == pytest.approx(sum(measured) / 6) and found.psnr["least"] == min(measured)
    assert found.psnr["exact"] == 1 and found.psnr["measured"] == 7
    assert min(measured) <= float(found.psnr["p50"] or 0) <= max(measured)
    assert found.ssimulacra2["measured"] == 2
    assert found.ssimulacra2["least"] == 70 and found.ssimulacra2["mean"] == pytest.approx(75.5)
    assert found.rejections == {"read: broken": 2} and found.rejected == 2
    assert [(v.version, v.run, v.rows) for v in found.versions] == [(2, "two", 2), (1, "one", 6), (0, None, None)]
    assert abs(found.versions[0].time - datetime.now(UTC)) < timedelta(minutes=5)
    assert strict(found.to_dict())["versions"][0]["rows"] == 2  # type: ignore[index]


def test_models_are_shown_by_their_names_beside_their_fingerprints(place: str, tiny_codec: Codec) -> None:
    archive = Archive.create(place)
    add(archive, [compressed(tiny_codec, "a.png", image_file("PNG"))], run="one")
    store = archive.root.child(f"models/{tiny_codec.fingerprint}")
    assert status(StatusSettings(archive=place)).model_names == {}
    store.put("config.json", json.dumps({"notes": {"name": "photos"}}).encode())
    found = status(StatusSettings(archive=place))
    assert found.model_names == {tiny_codec.fingerprint: "photos"}
    assert ("models", f"photos {tiny_codec.fingerprint} (1)") in in_words(found)
    store.put("config.json", json.dumps({"notes": {"name": "\x1b[2J"}}).encode())
    assert status(StatusSettings(archive=place)).model_names == {}


def test_an_empty_archive_has_a_status(place: str) -> None:
    Archive.create(place)
    found = status(StatusSettings(archive=place, versions=0))
    assert (found.rows, found.source_bytes, found.pixels, found.ratio, found.versions) == (0, 0, 0, None, ())
    assert found.psnr["mean"] is None and found.ssimulacra2["mean"] is None
    strict(found.to_dict())


def test_a_rejection_is_settled_once_its_key_is_a_row_and_open_again_when_a_newer_one_is_refused(place: str) -> None:
    archive = Archive.create(place)
    add(archive, [original("a")], run="one", rejections=[Rejection("k", "e1", "read", "broken")])
    assert status(StatusSettings(archive=place)).rejected == 1
    add(archive, [original("k")], run="two")
    assert status(StatusSettings(archive=place)).rejected == 0
    archive.committer("three").commit([Receipt(0, rejections=(Rejection("k", "e2", "fetch", "gone"),))])
    assert status(StatusSettings(archive=place)).rejections == {"fetch: gone": 1}


def test_status_reads_no_payload(place: str) -> None:
    archive = Archive.create(place)
    shard = add(archive, [original(f"{i}", b"x" * 1000) for i in range(20)]).add
    assert shard is not None
    data = bytearray(archive.images.get(shard.path))
    column = pq.read_metadata(io.BytesIO(data)).row_group(0).column(IMAGES.get_field_index("payload"))
    end = column.data_page_offset + column.total_compressed_size
    data[column.data_page_offset : end] = b"\xff" * column.total_compressed_size
    archive.images.put(shard.path, bytes(data))
    with pytest.raises(StorageError):
        archive.row("0")
    assert status(StatusSettings(archive=place)).rows == 20


def test_a_place_without_an_archive_has_no_status(tmp_path: object) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        status(StatusSettings(archive=f"{tmp_path}/nothing"))


def test_whether_a_sorted_list_has_a_key_in_a_range() -> None:
    keys = ["b", "d"]
    assert [any_between(keys, *ends) for ends in (("a", "a"), ("a", "b"), ("c", "c"), ("d", "e"), ("e", "f"))] == [
        *(False, True, False, True, False)
    ]
