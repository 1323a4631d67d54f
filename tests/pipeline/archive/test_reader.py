"""Reading one image out of many: the right bytes, with a bounded number of requests."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.plan import build, rows
from jobs.demo.s3_server import S3Server
from model.bitstream import container
from model.codec import Codec
from model.core.errors import DamagedPayload
from model.core.picture import Picture
from pipeline.archive.archive import Archive, ArchiveMissing
from pipeline.archive.models import Models
from pipeline.archive.reader import RowDecoder, read_image, row_fault
from pipeline.storage.open import StorageError
from tests.counting_proxy import Counted, counting_proxy
from tests.pipeline.making import add, compressed, image_file, original


@pytest.fixture
def counted(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    """A proxy between this process and the S3 server."""
    with counting_proxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.mark.parametrize("place", ["absent", "empty"])
def test_an_archive_that_was_not_opened_and_is_not_there_is_one_line(place: str, tmp_path: Path) -> None:
    """`Archive(url)`, as the examples of the documentation make it, contacts nothing."""
    (tmp_path / "empty").mkdir()
    archive = Archive(str(tmp_path / place))
    for read in (lambda: read_image(archive, "a.jpg"), archive.version, lambda: list(archive.rows_by_key())):
        with pytest.raises(ArchiveMissing, match=r"^there is no archive at [^\n]* makes one$"):
            read()


def test_an_image_comes_back_as_a_picture_or_as_its_own_bytes(
    tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    source = image_file("JPEG", quality=97, icc_profile=b"\0" * 130)
    row = compressed(tiny_codec, "a.jpg", source)
    add(archive, [row, row | {"key": "cut.jpg", "payload": row["payload"][:-9]}, original("b", b"its own bytes")])
    picture = read_image(archive, "a.jpg")
    (expected,) = tiny_codec.decompress([row["payload"]])
    assert isinstance(picture, Picture) and np.array_equal(picture.pixels, expected.pixels)
    assert picture.icc == b"\0" * 130
    assert read_image(archive, "b") == b"its own bytes"
    with pytest.raises(StorageError, match="has no image 'c'"):
        read_image(archive, "c")
    with pytest.raises(DamagedPayload, match=r"'cut.jpg' in .* does not decode"):
        read_image(archive, "cut.jpg")


def test_a_jpeg_that_is_kept_as_jpeg_xl_comes_back_as_the_same_jpeg(tmp_path: Path) -> None:
    from pipeline.images.formats.jpeg_xl import to_jxl

    jpeg = image_file("JPEG", quality=90, size=(200, 160))
    jxl = to_jxl(jpeg)
    assert jxl is not None
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original("a.jpg", jpeg) | {"status": "jxl", "payload": jxl, "payload_bytes": len(jxl)}])
    got = read_image(archive, "a.jpg")
    assert isinstance(got, bytes) and hashlib.sha256(got).digest() == hashlib.sha256(jpeg).digest()


def test_a_row_decodes_only_as_what_its_payload_says(
    tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    row = compressed(tiny_codec, "a.png", image_file("PNG", size=(70, 50)))
    large = container.write(container.Header(tiny_codec.fingerprint, 20_000, 10_000, 9, container.Colour.RGB), {})
    other = container.write(container.Header("0" * 16, 70, 50, 9, container.Colour.RGB), {})
    said: dict[str, dict[str, Any]] = {
        "gives the size 71 x 50, its payload 70 x 50": {"width": 71},
        "gives the size 70 x 50, its payload 20000 x 10000": {"payload": large},
        f"names the model {tiny_codec.fingerprint}, its payload {'0' * 16}": {"payload": other},
        "names the model 0000000000000000": {"model": "0" * 16},
        "has 200 megapixels, more than 178": {"payload": large, "width": 20_000, "height": 10_000},
        "impossible size: 0 x 50": {"width": 0},
        "not a maepress payload": {"payload": b"GIF89a"},
    }
    found = dict(enumerate(RowDecoder(Models(archive)).pictures([row | change for change in said.values()])))
    assert len(found) == len(said)
    for text, (_, fault) in zip(said, found.values(), strict=True):
        assert isinstance(fault, str) and text in fault
    assert row_fault(row) is None
    monkeypatch.setenv("MAEPRESS_MAX_MEGAPIXELS", "200")
    assert row_fault(row | {"payload": large, "width": 20_000, "height": 10_000}) is None


@pytest.mark.parametrize("size", [10_000, 100_000])
def test_one_key_of_many_costs_a_bounded_number_of_requests(bucket: str, counted: Counted, size: int) -> None:
    archive = Archive.create(f"{bucket}/archive")
    assert build(archive, size, nights=0) == size * 0.99
    held = [row.key for row in archive.rows_by_key()]
    counted.reset()
    found = archive.row(held[len(held) // 2], ["key", "payload"])
    assert found is not None and found["payload"] == b"payload"
    # The log: _last_checkpoint, its listing, two versions. The shard: its size, its footer, keys, one row group.
    assert sum(counted.requests.values()) <= 12, counted.requests
    counted.reset()
    assert archive.row("photos/0000001/no such key") is None
    assert sum(counted.requests.values()) <= 12, counted.requests


def test_a_key_is_found_without_reading_other_payloads(bucket: str, counted: Counted) -> None:
    archive = Archive.create(f"{bucket}/archive")
    table = rows(np.arange(100), datetime.fromtimestamp(0, UTC)).to_pylist()
    payload = bytes(1 << 20)
    add(archive, [row | {"payload": payload, "payload_bytes": len(payload)} for row in table])
    counted.reset()
    assert archive.row(table[50]["key"]) is not None
    assert counted.received < 6 << 20  # one row group of the shard's hundred MiB
