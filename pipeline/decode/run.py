"""Decode: an archive's images back as files in a folder or bucket.

    shards --rows--> decode (actors) --> write --outcomes--> driver

Where each image goes:

- an `original`, and the JPEG of a `jxl`, come back byte for byte under their own key;
- a pressed image in the format that its source had keeps its key (`same` asks for that; sources in
  formats that are not written here, such as GIF or AVIF, become PNG);
- in any other format the suffix is appended, `a.jpg` to `a.jpg.png`, so that `a.jpg` and `a.png`
  cannot meet;
- `mp4` puts the frames of videos together again, a file a video, and leaves everything else out
  (`pipeline.decode.video_muxing`).

What fails is named and counted, and the rest goes on.
"""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, cast

import pyarrow as pa
import torch
from ray.data import DataContext

from model.core.errors import MaepressError
from model.core.picture import Picture
from pipeline.archive.archive import Archive
from pipeline.archive.reader import Row, RowDecoder, mae_file
from pipeline.archive.schema import JXL, LATENT, ORIGINAL, READER_COLUMNS
from pipeline.archive.selection import Selection, select
from pipeline.archive.shard_reader import scan_shard
from pipeline.decode.settings import DecodeSettings
from pipeline.decode.video_muxing import Film, films
from pipeline.execution import ray_flow
from pipeline.execution.device import own_device
from pipeline.execution.packing import unpack
from pipeline.execution.ray_flow import item_rows
from pipeline.execution.setting_types import parse_range
from pipeline.images import video
from pipeline.images.image_writer import SUFFIXES, Format, format_for, write_picture
from pipeline.images.sandbox import TRANSCODING, shared
from pipeline.monitoring.progress import Progress
from pipeline.storage.open import StorageError, Store, open_target

__all__ = ["DecodeResult", "DecodeSettings", "Failure", "decode"]

LISTED_FAILURES = 1000
"""Failures that a result names; beyond that they are only counted."""

_COLUMNS = (*READER_COLUMNS, "source_format", "payload_bytes", "source_sha256")
_MAE = ".mae"
_KINDS = {LATENT: "latents", JXL: "transcoded"}
_WRITERS = 8


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that did not come back, and why in one line."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """What a decode did.

    Attributes:
        written: files written.
        latents: of these, images that were decoded (or, as `.mae`, copied).
        transcoded: of these, JPEGs returned byte for byte from JPEG XL.
        originals: of these, sources returned byte for byte as they were kept.
        bytes_written: of these files.
        pixels: decoded.
        failed: images that did not come back.
        failures: the first of these, with reasons.
        seconds: from the first look at the archive to the last file.
    """

    written: int
    latents: int
    transcoded: int
    originals: int
    bytes_written: int
    pixels: int
    failed: int
    failures: tuple[Failure, ...]
    seconds: float

    def to_dict(self) -> dict[str, object]:
        """The fields, with the speed that follows from them."""
        return asdict(self) | {"megapixels_per_second": self.pixels / 1e6 / self.seconds if self.seconds else None}


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one row: its file's bytes and a name for it, or a reason."""

    key: str
    status: str = ""
    payload_bytes: int = 0
    pixels: int = 0
    name: str = ""
    bytes_written: int = 0
    reason: str = ""


def decode(settings: DecodeSettings, *, quiet: bool = False) -> DecodeResult:
    """Write an archive's images to a folder or bucket. Uses the Ray that is connected, or starts one.

    Files that are there already are overwritten, each in one step; running the same decode twice
    gives the same files.

    Args:
        settings: which images go where.
        quiet: show no progress.

    Raises:
        MaepressError: in one line, when there is no archive, no key matches, or the destination
            cannot be written.
        Single
            images that fail do not raise: see `DecodeResult.failures`.
    """
    started = time.monotonic()
    archive = Archive.open(settings.archive)
    selection = select(archive, settings.keys, (*SUFFIXES.values(), _MAE))
    if not selection.shards:
        raise StorageError(f"no key in {archive.url} matches {settings.keys!r}: there is nothing to decode")
    dest = open_target(settings.dest)
    tally = _Tally()
    if settings.format == "mp4":
        video.require_library()
        for film in films(archive, selection, dest, settings.keys):
            tally.add_film(film)
        return tally.result(time.monotonic() - started)
    with Progress(selection.objects, selection.payload_bytes, quiet=quiet) as progress:
        for outcome in _outcomes(archive, selection, dest, settings):
            tally.add(outcome)
            done = int(not outcome.reason)
            progress.advance(objects=done, bytes_in=outcome.payload_bytes, pixels=outcome.pixels)
    return tally.result(time.monotonic() - started)


def _outcomes(archive: Archive, selection: Selection, dest: Store, settings: DecodeSettings) -> Iterator[_Outcome]:
    workers = ray_flow.worker_resources(parse_range(settings.actors), settings.gpus_per_actor)
    cpus = workers.task_cpus
    with DataContext.current(ray_flow.context()):
        shards = ray_flow.from_shards([shard.path for shard in selection.shards])
        rows = ray_flow.stage(shards, _read, archive, settings.keys, cpus=cpus)
        decoder = (_Decoder, archive, settings.format, workers.threads)
        pictures = ray_flow.actor_stage(rows, *decoder, workers=workers, rows=selection.objects)
        outcomes = ray_flow.stage(pictures, _write, dest, settings.format, selection.taken, cpus=cpus)
    yield from ray_flow.items(outcomes)


def _read(table: pa.Table, archive: Archive, keys: str) -> Iterator[pa.Table]:
    """Rows of a shard; one that cannot be read is a failure under its path, as its keys cannot be told."""
    for cell in table["shard"]:
        path = str(cell.as_py())
        try:
            for batch in scan_shard(archive.images, path, _COLUMNS, keys):
                yield item_rows(*batch.to_pylist())
        except MaepressError as e:
            yield item_rows(_Outcome(f"shard {path}", reason=str(e)))


class _Decoder:
    """An actor with the archive's models. Rows become (row without payload, Picture or file bytes), or an _Outcome."""

    def __init__(self, archive: Archive, wanted: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._decoder = RowDecoder(archive, own_device())
        self._wanted = wanted

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        latents: list[Row] = []
        for cell in table["item"]:
            row = unpack(cell)
            if isinstance(row, _Outcome):
                yield item_rows(row)
            elif row["status"] in (ORIGINAL, JXL):
                yield item_rows((_facts(row), row["payload"]))
            elif self._wanted == "mae":
                yield item_rows(_as_mae(row))
            else:
                latents.append(row)
        for row, picture in self._decoder.pictures(latents):
            if isinstance(picture, str):
                yield item_rows(_Outcome(row["key"], LATENT, row["payload_bytes"], reason=picture))
            else:
                yield item_rows((_facts(row), picture))


def _facts(row: Row) -> Row:
    return {name: row[name] for name in ("key", "status", "source_format", "payload_bytes", "source_sha256")}


def _as_mae(row: Row) -> object:
    try:
        return _facts(row), mae_file(row)
    except MaepressError as e:
        return _Outcome(row["key"], LATENT, row["payload_bytes"], reason=str(e))


def _write(table: pa.Table, dest: Store, wanted: str, taken: frozenset[str]) -> pa.Table:
    def one(cell: pa.LargeBinaryScalar) -> _Outcome:
        item = unpack(cell)
        if isinstance(item, _Outcome):
            return item
        row, content = item
        return _write_one(row, content, dest, wanted, taken)

    with ThreadPoolExecutor(_WRITERS) as pool:
        return item_rows(*pool.map(one, table["item"]))


def _write_one(row: Row, content: Picture | bytes, dest: Store, wanted: str, taken: frozenset[str]) -> _Outcome:
    key, status = row["key"], row["status"]
    pixels = content.width * content.height if isinstance(content, Picture) else 0
    try:
        if isinstance(content, Picture):
            chosen = format_for(content, format_wanted(wanted, row["source_format"]))
            name = key if chosen == row["source_format"] else key + SUFFIXES[chosen]
        else:
            name = key + _MAE if status == LATENT else key
        if name != key and name in taken:
            return _Outcome(key, status, row["payload_bytes"], reason=f"its new name {name!r} is another image's key")
        if isinstance(content, Picture):
            data = write_picture(content, chosen)
        else:
            data = shared(TRANSCODING).to_jpeg(content) if status == JXL else content
            if status != LATENT and hashlib.sha256(data).hexdigest() != row["source_sha256"]:
                return _Outcome(key, status, row["payload_bytes"], reason="its bytes are not the source's any more")
        dest.put(name, data)
    except (MaepressError, ValueError, OSError) as e:
        return _Outcome(key, status, row["payload_bytes"], reason=f"it cannot be written: {e}")
    return _Outcome(key, status, row["payload_bytes"], pixels, name, len(data))


def format_wanted(wanted: str, source_format: str) -> Format:
    """The format to write a pressed image in: "same" is its source's own, or PNG where that is not written here."""
    if wanted != "same":
        return cast(Format, wanted)
    return source_format if source_format in SUFFIXES else "png"


class _Tally:
    """Sums of outcomes."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = dict.fromkeys(
            ("written", "latents", "transcoded", "originals", "bytes_written", "pixels", "failed"), 0
        )
        self._failures: list[Failure] = []

    def add(self, outcome: _Outcome) -> None:
        sums = self._sums
        if outcome.reason:
            sums["failed"] += 1
            if len(self._failures) < LISTED_FAILURES:
                self._failures.append(Failure(outcome.key, outcome.reason))
            return
        sums["written"] += 1
        sums[_KINDS.get(outcome.status, "originals")] += 1
        sums["bytes_written"] += outcome.bytes_written
        sums["pixels"] += outcome.pixels

    def add_film(self, film: Film) -> None:
        kind = _Outcome(film.key, LATENT, film.payload_bytes, film.pixels, film.key, film.bytes_written, film.reason)
        self.add(kind)

    def result(self, seconds: float) -> DecodeResult:
        failures = tuple(sorted(self._failures, key=lambda failure: failure.key))
        return DecodeResult(**self._sums, failures=failures, seconds=seconds)
