"""Joins the frames of videos in an archive: one MP4 file per video that they were taken from.

Works in this process, one video after the other: frames follow each other, and a video encoder uses
all cores.
"""

import fnmatch
import io
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO

from PIL import Image

from model.core.boundary import reason_of
from model.core.picture import Picture
from pipeline.archive.archive import Archive
from pipeline.archive.kept_source import kept_source
from pipeline.archive.models import Models
from pipeline.archive.reader import Row, RowDecoder
from pipeline.archive.schema import COMPRESSED, READER_COLUMNS
from pipeline.archive.selection import Selection
from pipeline.archive.shards.merge_reader import merged
from pipeline.archive.shards.shard_reader import scan_shard
from pipeline.images import video
from pipeline.images.decode_rgb import decode_rgb
from pipeline.images.image_writer import to_image
from pipeline.storage.open import Occupied, StorageError, Store

OCCUPIED = "the destination holds another file of its name: give another destination, or --overwrite to replace it"
_BLOCK = 1 << 20
_NOT_ADJACENT = "its frames are not next to each other in the archive: run `maepress compact` first"


@dataclass(frozen=True, slots=True)
class VideoResult:
    """A video that was written, or the reason why it was not."""

    key: str
    frames: int = 0
    payload_bytes: int = 0
    pixels: int = 0
    bytes_written: int = 0
    reason: str = ""


def require_frames(archive: Archive, selection: Selection, keys: str) -> None:
    """Check that at least one selected key is a frame of a video; reads keys only.

    Raises:
        StorageError: when none is, and all shards can be read.
    """
    unreadable: set[str] = set()
    for (key,), _ in merged(archive.images, selection.shards, ("key",), unreadable=unreadable):
        if isinstance(key, str) and fnmatch.fnmatchcase(key, keys) and video.parse_key(key):
            return
    if not unreadable:
        raise StorageError(
            f"no key in {archive.url} that matches {keys!r} is a frame of a video: --format mp4 joins what "
            "`maepress encode 'VIDEOS#frames=30' ARCHIVE` took from videos"
        )


def write_videos(
    archive: Archive, selection: Selection, dest: Store, keys: str, *, overwrite: bool = False
) -> Iterator[VideoResult]:
    """Write the videos whose frames are selected; other rows are ignored.

    Args:
        archive: the archive that holds the frames.
        selection: the rows that match `keys`.
        dest: where each video is written, under its own key; `.mp4` is appended unless the key ends
            with it.
        keys: the glob.
        overwrite: replace files that differ.
    """
    decoder, seen = RowDecoder(Models(archive)), set[str]()
    unreadable: list[VideoResult] = []
    for key, rows in groupby(_frames(archive, selection, keys, unreadable), lambda found: found[0]):
        if key in seen:
            yield VideoResult(key, reason=_NOT_ADJACENT)
            continue
        seen.add(key)
        yield _write_video(key, ((time, row) for _, time, row in rows), decoder, dest, overwrite)
    yield from unreadable


def _frames(
    archive: Archive, selection: Selection, keys: str, unreadable: list[VideoResult]
) -> Iterator[tuple[str, float, Row]]:
    """The rows that are frames, in the archive's order: key of the video, time in seconds, row.

    Shards that cannot be read are added to `unreadable`.
    """
    for shard in selection.shards:
        try:
            for batch in scan_shard(archive.images, shard.path, READER_COLUMNS, keys):
                for i in range(batch.num_rows):
                    row: Row = batch.slice(i, 1).to_pylist()[0]
                    if parsed := video.parse_key(row["key"]):
                        yield (*parsed, row)
        except Exception as e:  # whatever a damaged Parquet file makes its parser raise
            unreadable.append(VideoResult(f"shard {shard.path}", reason=reason_of(e)))


def _write_video(
    key: str, rows: Iterator[tuple[float, Row]], decoder: RowDecoder, dest: Store, overwrite: bool
) -> VideoResult:
    name = key if key.lower().endswith(".mp4") else f"{key}.mp4"
    frames = _DecodedFrames(rows, decoder)
    try:
        with tempfile.TemporaryFile() as file:
            count = video.write_mp4(file, iter(frames))
            size = file.seek(0, io.SEEK_END)  # the writer has sought back to complete its header
            if not _put(file, dest, name, overwrite):
                return VideoResult(key, reason=OCCUPIED)
    except Exception as e:  # of a frame, or of the video encoder
        for _ in rows:  # skip the rest of this video, so that the next one begins at its first frame
            pass
        return VideoResult(key, reason=reason_of(e))
    return VideoResult(key, count, frames.payload_bytes, frames.pixels, size)


def _put(file: BinaryIO, dest: Store, name: str, overwrite: bool) -> bool:
    """Copy a file to its destination. Returns whether that now holds it."""
    try:
        file.seek(0)
        with dest.open_output(name, new=not overwrite) as out:
            shutil.copyfileobj(file, out)
    except Occupied:
        file.seek(0)
        with dest.open_input(name) as there:
            return _equal(file, there)
    return True


def _equal(one: BinaryIO, other: BinaryIO) -> bool:
    while data := one.read(_BLOCK):
        if other.read(len(data)) != data:
            return False
    return not other.read(1)


class _DecodedFrames:
    """The frames of one video, decoded in order, with running totals."""

    def __init__(self, rows: Iterator[tuple[float, Row]], decoder: RowDecoder) -> None:
        self._rows, self._decoder = rows, decoder
        self.payload_bytes = self.pixels = 0

    def __iter__(self) -> Iterator[tuple[float, Image.Image]]:
        last = -1.0
        for time, row in self._rows:
            if time <= last:
                raise StorageError(_NOT_ADJACENT)
            last = time
            image = _picture(row, self._decoder)
            self.payload_bytes += len(row["payload"])
            self.pixels += image.width * image.height
            yield time, image


def _picture(row: Row, decoder: RowDecoder) -> Image.Image:
    if row["status"] not in COMPRESSED:
        kept = decode_rgb(kept_source(row["status"], row["payload"]))
        if kept is None:
            raise StorageError(f"{row['key']}: its bytes are no image that can be read")
        return kept
    ((_, picture),) = decoder.pictures([row])
    if not isinstance(picture, Picture):
        raise StorageError(f"{row['key']}: {picture}")
    return to_image(picture)
