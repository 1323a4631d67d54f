"""Rows for tests: originals with any bytes, and images compressed by the small model."""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from PIL import Image

from model.bitstream.container import METADATA
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.archive.schema import IMAGES, JXL, LARGER, LATENT, ORIGINAL
from pipeline.archive.shards.row_hash import table_of
from pipeline.archive.shards.shard_writer import write_shard
from pipeline.archive.shards.shared_payloads import LEAST_BYTES
from pipeline.encode.store_once import StoredOnce, store_once
from pipeline.images.formats.jpeg_xl import to_jxl
from pipeline.images.image_reader import read
from pipeline.images.reading import Reading

if TYPE_CHECKING:  # torch takes seconds, and a process that is started to be killed should not wait for it
    from model.codec import Codec


def original(key: str, payload: bytes = b"source", run: str = "run", **other: Any) -> dict[str, Any]:
    """A row whose payload is its source."""
    return {
        "key": key,
        "etag": "etag of " + key,
        "source_bytes": len(payload),
        "source_format": "png",
        "width": 4,
        "height": 3,
        "status": ORIGINAL,
        "payload": payload,
        "payload_bytes": len(payload),
        "source_sha256": hashlib.sha256(payload).hexdigest(),
        "source_modified_ns": None,
        "encoded_at": datetime.now(UTC),
        "run": run,
    } | other


def originals(keys: Iterable[str], size: int = 100, run: str = "run") -> pa.Table:
    """Rows with random payloads."""
    return table_of([original(key, os.urandom(size), run) for key in keys])


def image_file(kind: str, mode: str = "RGB", seed: int = 0, size: tuple[int, int] = (70, 50), **options: Any) -> bytes:
    """A small image file that looks like a photograph."""
    from tests.conftest import photo_like

    height, width = size[1], size[0]
    pixels = photo_like(height, width, max(1, len(mode)), seed)
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels, mode=None).save(file, kind, **options)
    return file.getvalue()


def transcoded(key: str, jpeg: bytes) -> dict[str, Any]:
    """A row as encode writes it for a JPEG that it cannot make smaller."""
    jxl = to_jxl(jpeg)
    assert jxl is not None
    facts = {"status": JXL, "kept": LARGER, "source_format": "jpeg", "payload": jxl, "payload_bytes": len(jxl)}
    return original(key, jpeg) | facts


def compressed(codec: "Codec", key: str, source: bytes, quality: int = 40, etag: str | None = None) -> dict[str, Any]:
    """A row as encode makes it of a source."""
    reading = read(source)
    assert isinstance(reading, Reading) and reading.picture is not None
    (latents,) = codec.analyse([reading.picture], quality)
    payload = codec.coder.encode(latents)
    picture = reading.picture
    return original(key, source) | {
        "etag": etag or "etag of " + key,
        "source_format": reading.source_format,
        "width": reading.width,
        "height": reading.height,
        "status": LATENT,
        "model": codec.fingerprint,
        "target": f"quality {quality}",
        "quality": quality,
        "payload": payload,
        "payload_bytes": len(payload),
        "psnr": latents.psnr,
        "ssimulacra2": latents.ssimulacra2,
        **{name: getattr(picture, name) or None for name in METADATA},
    }


def add(
    archive: Archive, rows: Iterable[dict[str, Any]], run: str = "run", rejections: Iterable[Rejection] = ()
) -> Receipt:
    """Commit rows as one new shard."""
    table = table_of(list(rows))
    receipt = Receipt(
        0, write_shard(archive.images, [table]), rejections=tuple(rejections), rows=table.num_rows, source_bytes=1
    )
    archive.committer(run).commit([receipt])
    return receipt


LATENTS, SHARDS = 30, 3


def small_archive(folder: Path, model: Path, codec: "Codec") -> Archive:
    """30 compressed images in three shards, keys `LETTER/NUMBER.png`, one JPEG in JPEG XL and one grey original."""
    archive = Archive.create(str(folder / "archive"))
    archive.put_model(codec.fingerprint, model)
    sizes = ((70, 50), (96, 64), (50, 70))
    for shard in range(SHARDS):
        rows = [
            compressed(
                codec,
                f"{'abc'[number % 3]}/{number:02}.png",
                image_file("PNG", seed=number, size=sizes[number % 3]),
                quality=20 + number,
            )
            for number in range(shard, LATENTS, SHARDS)
        ]
        add(archive, rows, run=f"run {shard}")
    kept = image_file("PNG", mode="L", seed=99)
    add(archive, [transcoded("j/kept.jpg", image_file("JPEG", size=(200, 160))), original("o/kept.png", kept)], "kept")
    return archive


def with_other_signs(parquet: bytes) -> Iterator[bytes]:
    """A Parquet file with another sign of one number of its footer: deltalake panics over some such checkpoints."""
    footer = len(parquet) - 8 - int.from_bytes(parquet[-8:-4], "little")
    places = [at + 1 for at in range(footer, len(parquet) - 8) if parquet[at] == 0x26]  # 64-bit, in zigzag code
    for at in places[:40]:
        yield parquet[:at] + bytes([parquet[at] ^ 1]) + parquet[at + 1 :]


def rows_in(archive: Archive, version: int | None = None) -> dict[str, dict[str, Any]]:
    """All rows as readers get them, by key."""
    found = [row for batch in archive.scan(IMAGES.names, version) for row in batch.to_pylist()]
    assert len({row["key"] for row in found}) == len(found)
    return {row["key"]: row for row in found}


def stored_once(archive: Archive, least_bytes: int = LEAST_BYTES, run: str = "once") -> StoredOnce:
    """Store payloads of equal sources once."""
    return store_once(archive, archive.committer(run), least_bytes=least_bytes)


TWICE = bytes(range(256)) * 24
"""The source of `a` and of `copy/a` in `archive_with_copies`."""


def archive_with_copies(url: str) -> Archive:
    """Two shards: `a` and `copy/a` have the same source, which is stored once, and `b` and `z` have others."""
    archive = Archive.create(url)
    add(archive, [original("a", TWICE), original("b", os.urandom(5000)), original("small/1", b"small")], "one")
    add(archive, [original("copy/a", TWICE), original("small/2", b"small"), original("z", os.urandom(5000))], "two")
    assert stored_once(archive) == StoredOnce(2, 2 * len(TWICE))
    return archive
