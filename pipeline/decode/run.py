"""Decode: write an archive's images as files to a folder or bucket.

    shards --> read rows (tasks) --> decode (actors) --> write files (tasks) --> outcomes

Names of the files:

- An `original`, and the JPEG of a `jxl`, get their source's bytes under their own key.
- A compressed image keeps its key when it is written in its source's format, which `same` asks for.
  Sources in formats that are not written here, such as GIF or AVIF, become PNG.
- In any other format the suffix is appended, `a.jpg` to `a.jpg.png`, so that the files of `a.jpg`
  and `a.png` differ.
- `mp4` joins the frames of videos, one file per video, and leaves out everything else
  (`pipeline.decode.video_muxing`).

An image that fails is listed with its reason, and the others are written.
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

from model.core.boundary import Fault, attempt, reason_of
from model.core.picture import Picture
from pipeline.archive.archive import Archive
from pipeline.archive.reader import Row, RowDecoder, mae_file
from pipeline.archive.schema import JXL, LATENT, ORIGINAL, READER_COLUMNS
from pipeline.archive.selection import Selection, select
from pipeline.archive.shard_reader import rows_of, scan_shard
from pipeline.decode.settings import DecodeSettings
from pipeline.decode.video_muxing import VideoResult, write_videos
from pipeline.execution import ray_flow
from pipeline.execution.actor_errors import raise_in_first_call
from pipeline.execution.device import own_device
from pipeline.execution.packing import unpack
from pipeline.execution.ray_flow import item_rows
from pipeline.execution.setting_types import parse_range
from pipeline.images import video
from pipeline.images.image_writer import SUFFIXES, Format, format_for, format_of_decoded, write_picture
from pipeline.images.limits import TRANSCODING
from pipeline.images.sandbox import shared
from pipeline.monitoring.progress import Progress
from pipeline.storage.open import StorageError, Store, open_target

__all__ = ["DecodeResult", "DecodeSettings", "Failure", "decode"]

LISTED_FAILURES = 1000
"""Failures that a result lists; further ones are only counted."""

_COLUMNS = (*READER_COLUMNS, "source_format", "payload_bytes", "source_sha256")
_MAE = ".mae"
_KINDS = {LATENT: "latents", JXL: "transcoded"}
_WRITERS = 8


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that was not written, and the reason in one line."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """The result of a decode.

    Attributes:
        written: files written.
        latents: files of compressed images, decoded or, as `.mae`, copied.
        transcoded: files of JPEGs, restored byte for byte from JPEG XL.
        originals: files of sources, copied byte for byte.
        bytes_written: bytes of all files.
        pixels: decoded pixels.
        failed: images that were not written.
        failures: the first of these, with reasons.
        seconds: from the start to the last file.
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
        """The fields, and the speed computed from them."""
        return asdict(self) | {"megapixels_per_second": self.pixels / 1e6 / self.seconds if self.seconds else None}


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result for one row: name and size of its file, or the reason why there is none."""

    key: str
    status: str = ""
    payload_bytes: int = 0
    pixels: int = 0
    name: str = ""
    bytes_written: int = 0
    reason: str = ""


def decode(settings: DecodeSettings, *, quiet: bool = False) -> DecodeResult:
    """Write an archive's images to a folder or bucket.

    Uses the Ray that is connected, or starts one.

    Existing files are overwritten, each atomically; running the same decode twice gives the same
    files. An image that fails raises nothing: see `DecodeResult.failures`.

    Args:
        settings: archive, destination, keys and format.
        quiet: show no progress.

    Raises:
        MaepressError: in one line, when there is no archive, no key matches, or the destination
            cannot be written.
    """
    started = time.monotonic()
    archive = Archive.open(settings.archive)
    selection = select(archive, settings.keys, (*SUFFIXES.values(), _MAE))
    if not selection.shards:
        raise StorageError(f"no key in {archive.url} matches {settings.keys!r}: there is nothing to decode")
    dest = open_target(settings.dest)
    totals = _Totals()
    if settings.format == "mp4":
        video.require_library()
        for written in write_videos(archive, selection, dest, settings.keys):
            totals.add_video(written)
        return totals.result(time.monotonic() - started)
    with Progress(selection.objects, selection.payload_bytes, quiet=quiet) as progress:
        for outcome in _outcomes(archive, selection, dest, settings):
            totals.add(outcome)
            done = int(not outcome.reason)
            progress.advance(objects=done, bytes_in=outcome.payload_bytes, pixels=outcome.pixels)
    return totals.result(time.monotonic() - started)


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
    """Rows of shards; a shard that cannot be read is a failure under its path."""
    for cell in table["shard"]:
        path = str(cell.as_py())
        try:
            for batch in scan_shard(archive.images, path, _COLUMNS, keys):
                rows = (_unread(path, row.reason) if isinstance(row, Fault) else row for row in rows_of(batch))
                yield item_rows(*rows)
        except Exception as e:  # whatever a damaged Parquet file makes its parser raise
            yield item_rows(_unread(path, reason_of(e)))


def _unread(path: str, reason: str) -> _Outcome:
    return _Outcome(f"shard {path}", reason=reason)


@raise_in_first_call
class _Decoder:
    """An actor with the archive's models.

    Turns a row into its facts with a Picture or with the file's bytes, or into the _Outcome of its
    failure.
    """

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
            elif row["status"] != LATENT:
                yield item_rows(_failed(row, f"its status is {row['status']!r}"))
            elif self._wanted == "mae":
                yield item_rows(_as_mae(row))
            else:
                latents.append(row)
        for row, picture in self._decoder.pictures(latents):
            if isinstance(picture, str):
                yield item_rows(_failed(row, picture))
            else:
                yield item_rows((_facts(row), picture))


def _facts(row: Row) -> Row:
    return {name: row[name] for name in ("key", "status", "source_format", "payload_bytes", "source_sha256")}


def _as_mae(row: Row) -> object:
    data = attempt(lambda: mae_file(row))
    return _failed(row, data.reason) if isinstance(data, Fault) else (_facts(row), data)


def _failed(row: Row, reason: str) -> _Outcome:
    return _Outcome(str(row["key"]), str(row["status"]), row["payload_bytes"] or 0, reason=reason)


def _write(table: pa.Table, dest: Store, wanted: str, taken: frozenset[str]) -> pa.Table:
    def one(cell: pa.LargeBinaryScalar) -> _Outcome:
        item = unpack(cell)
        if isinstance(item, _Outcome):
            return item
        row, content = item
        done = attempt(lambda: _write_one(row, content, dest, wanted, taken))
        return _failed(row, f"it cannot be written: {done.reason}") if isinstance(done, Fault) else done

    with ThreadPoolExecutor(_WRITERS) as pool:
        return item_rows(*pool.map(one, table["item"]))


def _write_one(row: Row, content: Picture | bytes, dest: Store, wanted: str, taken: frozenset[str]) -> _Outcome:
    key, status = row["key"], row["status"]
    pixels = content.width * content.height if isinstance(content, Picture) else 0
    if isinstance(content, Picture):
        chosen = format_for(content, format_wanted(wanted, row["source_format"]))
        name = key if chosen == row["source_format"] else key + SUFFIXES[chosen]
    else:
        name = key + _MAE if status == LATENT else key
    if name != key and name in taken:
        return _failed(row, f"its new name {name!r} is another image's key")
    if isinstance(content, Picture):
        data = write_picture(content, chosen)
    else:
        data = shared(TRANSCODING).to_jpeg(content) if status == JXL else content
        if status != LATENT and hashlib.sha256(data).hexdigest() != row["source_sha256"]:
            return _failed(row, "its bytes are no longer those of the source")
    dest.put(name, data)
    return _Outcome(key, status, row["payload_bytes"], pixels, name, len(data))


def format_wanted(wanted: str, source_format: str) -> Format:
    """The format of a compressed image's file; "same" is its source's, or PNG as a substitute."""
    if wanted != "same":
        return cast(Format, wanted)
    return format_of_decoded(source_format)


class _Totals:
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

    def add_video(self, written: VideoResult) -> None:
        facts = (written.payload_bytes, written.pixels, written.key, written.bytes_written, written.reason)
        self.add(_Outcome(written.key, LATENT, *facts))

    def result(self, seconds: float) -> DecodeResult:
        failures = tuple(sorted(self._failures, key=lambda failure: failure.key))
        return DecodeResult(**self._sums, failures=failures, seconds=seconds)
