"""Decode: write an archive's images as files to a folder or bucket.

    shards --> read rows (tasks) --> decode (actors) --> write files (tasks) --> outcomes

Names of the files:

- An `original`, and the JPEG of a `jxl`, get their source's bytes under their own key.
- A compressed image keeps its key when it is written in its source's format, which `same` asks for.
  Sources in formats that have no skeleton, such as GIF or AVIF, become PNG.
- In any other format the suffix is appended, `a.jpg` to `a.jpg.png`, so that the files of `a.jpg`
  and `a.png` differ. What a format cannot hold becomes a PNG (`pipeline.images.image_writer`).
- Names that the destination cannot hold together are planned before anything is written
  (`pipeline.decode.names`); `portable_names` changes names so that any file system can hold them.
- Sidecars in the column `meta` are written beside the image, if that is asked for
  (`pipeline.decode.sidecar_files`).
- Each file gets the time at which its source was last changed, where the source told it.
- `mp4` joins the frames of videos, one file per video, and leaves out everything else
  (`pipeline.decode.video_muxing`).

An image that fails is listed with its reason, and the others are written. A file that is there
already and differs is such a failure: it is replaced only if the settings say so.
"""

import functools
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pyarrow as pa
import torch

from model.core.boundary import Fault, attempt, reason_of
from model.core.errors import DamagedPayload
from model.core.picture import Picture
from pipeline.archive.apart import require_destination_apart, require_no_archive
from pipeline.archive.archive import Archive
from pipeline.archive.models import Models
from pipeline.archive.reader import Row, RowDecoder, mae_file
from pipeline.archive.schema import COMPRESSED, KEPT_ANYHOW, LATENT, READER_COLUMNS, codec_of
from pipeline.archive.selection import Selection, select
from pipeline.archive.shards.shard_reader import salvaged_rows
from pipeline.decode.file_of_row import MAE, file_of_row
from pipeline.decode.layouts import PACKED, Layout, Packed, name_in_class_folder
from pipeline.decode.names import Names, comparison_of, plan_names
from pipeline.decode.occupied import require_free, require_outside_sources
from pipeline.decode.result import DecodeResult, Outcome, Totals
from pipeline.decode.settings import DecodeSettings
from pipeline.decode.shard_sinks import ShardSink, sink_of
from pipeline.decode.sidecar_files import SIDECARS, has_sidecars, write_beside
from pipeline.decode.video_muxing import OCCUPIED, require_frames, write_videos
from pipeline.execution.actor_errors import raise_in_first_call
from pipeline.execution.device import own_device
from pipeline.execution.local_resources import GPUS_PER_ACTOR, require_gpus
from pipeline.execution.packing import unpack
from pipeline.execution.shard_flow import run_shards
from pipeline.execution.shard_work import ShardWork, item_rows
from pipeline.images import video
from pipeline.images.image_writer import SUFFIXES, own_formats
from pipeline.monitoring.progress import Progress
from pipeline.storage.base import Unwritable
from pipeline.storage.open import Occupied, StorageError, Store, open_store, open_target

__all__ = ["DecodeResult", "DecodeSettings", "decode"]

_MORE = ("source_format", "payload_bytes", "source_sha256", "source_modified_ns", "meta")
_COLUMNS = (*READER_COLUMNS, *_MORE)
_FACTS = ("key", "status", "width", "height", *_MORE)
_SUFFIXES: dict[str, str] = dict(SUFFIXES.items()) | {MAE: ".mae"}
_WRITERS = 8
SOURCE_PER_PAYLOAD = 3
"""Bytes of source per byte of payload: how much work a decode is, only to choose where it runs."""


def decode(settings: DecodeSettings, *, quiet: bool = False) -> DecodeResult:
    """Write an archive's images to a folder or bucket.

    A small job runs in this process (`pipeline.execution.executors`); others use the Ray that is
    connected, or start one.

    Existing files that are equal stay, so that the same decode continues. Files that differ are
    never replaced, each is a failure, unless `settings.overwrite` is set. Each file appears whole.
    An image that fails raises nothing: see `DecodeResult.failures`.

    Args:
        settings: archive, destination, keys and format.
        quiet: show no progress.

    Raises:
        MaepressError: in one line, when there is no archive, no key matches, no frame of a video
            matches and `format` is "mp4", or the destination cannot be written, is not apart from
            the archive, lies in its source, or is seen to hold other files under the archive's
            keys.
    """
    return decode_each(settings, lambda _: None, quiet=quiet)


def decode_each(
    settings: DecodeSettings,
    seen: Callable[[Outcome], None],
    *,
    layout: Layout = "files",
    shard_bytes: int = 0,
    quiet: bool = False,
) -> DecodeResult:
    """`decode`, and each row's outcome for `seen`, in any order; videos have none.

    Args:
        settings: of the decode.
        seen: called with each outcome.
        layout: where files go.
        shard_bytes: bytes of images per shard, where the layout has shards.
        quiet: show no progress.

    Raises:
        MaepressError: as `decode` does, and when shards of another export would follow these.
    """
    started = time.monotonic()
    archive = checked_archive(settings)
    selection = select(archive, settings.keys, tuple(_SUFFIXES.values()))
    if not selection.shards:
        raise StorageError(f"no key in {archive.url} matches {settings.keys!r}: there is nothing to decode")
    totals = Totals()
    if settings.format == "mp4":
        video.require_library()
        require_frames(archive, selection, settings.keys)
    dest = open_target(settings.dest)
    if settings.format == "mp4":
        for written in write_videos(archive, selection, dest, settings.keys, overwrite=settings.overwrite):
            totals.add_video(written)
        return totals.result(time.monotonic() - started)
    if not settings.overwrite and layout == "files":
        require_free(archive, selection, dest, settings.keys, own_formats(settings.format))
    sink = sink_of(layout, dest, shard_bytes, overwrite=settings.overwrite, sidecars=settings.sidecars)
    names = Names()
    if sink is None:
        names = plan_names(archive, selection, settings.keys, comparison_of(dest), settings.portable_names)
    with (
        Progress(selection.objects, selection.payload_bytes, quiet=quiet) as progress,
        closing(_outcomes(archive, selection, dest, settings, names, layout)) as made,
    ):
        for outcome in made if sink is None else _through(sink, made):
            totals.add(outcome)
            seen(outcome)
            done = int(not outcome.reason)
            progress.advance(objects=done, bytes_in=outcome.payload_bytes, pixels=outcome.pixels)
    return totals.result(time.monotonic() - started)


def _through(sink: ShardSink, made: Iterator[Outcome | Packed]) -> Iterator[Outcome]:
    """The outcomes of images that pass a sink, each once its shard is written."""
    for item in made:
        yield from [item] if isinstance(item, Outcome) else sink.add(item)
    yield from sink.flush()
    sink.require_last()


def checked_archive(settings: DecodeSettings) -> Archive:
    """The archive, if it may be decoded to the destination: takes seconds, and needs no Ray.

    Raises:
        MaepressError: when there is no archive, or the destination is not apart from it or from its
            source, or cannot be written.
    """
    require_gpus(settings.gpus_per_actor, GPUS_PER_ACTOR)
    require_destination_apart(settings.dest, settings.archive)
    archive, dest = Archive.open(settings.archive), open_store(settings.dest)
    require_no_archive(dest, "the destination")
    require_outside_sources(archive, dest)
    dest.check_target()
    return archive


def _outcomes(
    archive: Archive, selection: Selection, dest: Store, settings: DecodeSettings, names: Names, layout: Layout
) -> Generator[Any, None, None]:
    work = ShardWork(
        functools.partial(_read, archive=archive, keys=settings.keys),
        _Decoder,
        (Models(archive), settings.format),
        functools.partial(_write, dest=dest, settings=settings, names=names, layout=layout),
        selection.objects,
        SOURCE_PER_PAYLOAD * selection.payload_bytes,
        ordered=layout in PACKED,
    )
    paths = [shard.path for shard in selection.shards]
    return run_shards(paths, work, settings.executor, settings.actors, settings.gpus_per_actor)


def _read(table: pa.Table, archive: Archive, keys: str) -> Iterator[pa.Table]:
    """Rows of shards; a damaged row is a failure under its key, a shard that cannot be read one under its path."""
    for cell in table["shard"]:
        path = str(cell.as_py())
        try:
            for rows in salvaged_rows(archive.images, path, _COLUMNS, keys):
                yield item_rows(*(_checked(path, row, damaged) for row, damaged in rows))
        except Exception as e:  # whatever a damaged Parquet file makes its parser raise
            yield item_rows(_unread(path, reason_of(e)))


def _checked(path: str, row: Row | Fault, damaged: bool) -> Row | Outcome:
    if isinstance(row, Fault):
        return _unread(path, row.reason)
    if damaged:
        return _failed(row, "its row is damaged: it is not the one that was written (row_sha256 differs)")
    return row


def _unread(path: str, reason: str) -> Outcome:
    return Outcome(f"shard {path}", reason=reason)


@raise_in_first_call
class _Decoder:
    """An actor with the archive's models.

    Turns a row into its facts with a Picture or with the file's bytes, or into the Outcome of its
    failure.
    """

    def __init__(self, models: Models, wanted: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._decoder = RowDecoder(models, own_device())
        self._wanted = wanted

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        compressed: list[Row] = []
        for cell in table["item"]:
            row = unpack(cell)
            if isinstance(row, Outcome):
                yield item_rows(row)
            elif row["status"] in KEPT_ANYHOW:
                yield item_rows((_facts(row), row["payload"]))
            elif row["status"] not in COMPRESSED:
                yield item_rows(_failed(row, f"its status is {row['status']!r}"))
            elif self._wanted == MAE and row["status"] == LATENT:
                yield item_rows(_as_mae(row))
            else:
                compressed.append(row)
        for row, picture in self._decoder.pictures(compressed):
            if isinstance(picture, str):
                yield item_rows(_failed(row, picture))
            else:
                yield item_rows((_facts(row), picture))


def _facts(row: Row) -> Row:
    return {name: row[name] for name in _FACTS} | {"codec": codec_of(row)}


def _as_mae(row: Row) -> object:
    data = attempt(lambda: mae_file(row))
    return _failed(row, data.reason) if isinstance(data, Fault) else (_facts(row), data)


def _failed(row: Row, reason: str) -> Outcome:
    return Outcome(str(row["key"]), str(row["status"]), row["payload_bytes"] or 0, reason=reason)


def _write(table: pa.Table, dest: Store, settings: DecodeSettings, names: Names, layout: Layout = "files") -> pa.Table:
    def one(cell: pa.LargeBinaryScalar) -> list[Outcome | Packed]:
        item = unpack(cell)
        if isinstance(item, Outcome):
            return [item]
        row, content = item
        done = attempt(lambda: _write_one(row, content, dest, settings, names, layout), passes=(Unwritable,))
        if isinstance(done, Fault):
            return [_failed(row, f"it cannot be written: {done.reason}")]
        if not (settings.sidecars and layout == "files" and row["meta"]) or isinstance(done, Packed) or done.reason:
            return [done]
        return [done, *write_beside(done, row, dest, names, settings.overwrite)]

    with ThreadPoolExecutor(_WRITERS) as pool:
        return item_rows(*itertools.chain.from_iterable(pool.map(one, table["item"])))


def _write_one(
    row: Row, content: Picture | bytes, dest: Store, settings: DecodeSettings, names: Names, layout: Layout
) -> Outcome | Packed:
    key, status = row["key"], row["status"]
    pixels = content.width * content.height if isinstance(content, Picture) else 0
    try:
        made = file_of_row(row, content, settings.format, convert_kept=settings.convert_kept)
    except DamagedPayload as e:
        return _failed(row, str(e))
    try:
        name = names.of(key, key if made.form == row["source_format"] else key + _SUFFIXES[made.form])
        name = name_in_class_folder(name) if layout == "imagefolder" else name
        lost = made.lost if settings.sidecars or not has_sidecars(row["meta"]) else (*made.lost, SIDECARS)
        facts = (made.form, made.instead and f"{made.form}: {made.instead}", lost)
        outcome = Outcome(key, status, row["payload_bytes"], pixels, name, len(made.data), "", *facts)
        if layout in PACKED:
            return Packed.of(outcome, made.data, row, sidecars=settings.sidecars)
        if layout == "imagefolder" and settings.sidecars and row["width"]:
            outcome = replace(outcome, listed=(row["meta"],))
        (dest.put if settings.overwrite else dest.put_new)(name, made.data, row["source_modified_ns"])
    except Occupied:
        return _failed(row, OCCUPIED)
    return outcome
