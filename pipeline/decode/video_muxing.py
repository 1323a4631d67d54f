"""Frames of an archive put together again: an MP4 for each video that they were taken from.

One video after the other, in this process: frames must follow each other, and an encoder of videos
uses all cores.
"""

import io
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from PIL import Image

from model.core.errors import MaepressError
from model.core.picture import Picture
from pipeline.archive.archive import Archive
from pipeline.archive.reader import Row, RowDecoder
from pipeline.archive.schema import LATENT, READER_COLUMNS
from pipeline.archive.selection import Selection
from pipeline.archive.shard_reader import scan_shard
from pipeline.images import video
from pipeline.images.decode_rgb import decode_rgb
from pipeline.images.image_writer import to_image
from pipeline.storage.open import StorageError, Store


@dataclass(frozen=True, slots=True)
class Film:
    """A video that was written, or why it was not."""

    key: str
    frames: int = 0
    payload_bytes: int = 0
    pixels: int = 0
    bytes_written: int = 0
    reason: str = ""


def films(archive: Archive, selection: Selection, dest: Store, keys: str) -> Iterator[Film]:
    """Write the videos whose frames are selected; other rows are left out.

    Args:
        archive: with the frames.
        selection: what matches `keys`.
        dest: where each video goes, under its own key, with `.mp4` behind it where that is not its
            suffix.
        keys: the glob.
    """
    decoder, seen = RowDecoder(archive), set[str]()
    for key, rows in groupby(_frames(archive, selection, keys), lambda found: found[0]):
        if key in seen:
            yield Film(key, reason="its frames lie apart in the archive: run `maepress compact` first")
            continue
        seen.add(key)
        yield _film(key, ((time, row) for _, time, row in rows), decoder, dest)


def _frames(archive: Archive, selection: Selection, keys: str) -> Iterator[tuple[str, float, Row]]:
    for shard in selection.shards:
        for batch in scan_shard(archive.images, shard.path, READER_COLUMNS, keys):
            for i in range(batch.num_rows):
                row: Row = batch.slice(i, 1).to_pylist()[0]
                if parsed := video.parse_key(row["key"]):
                    yield (*parsed, row)


def _film(key: str, rows: Iterator[tuple[float, Row]], decoder: RowDecoder, dest: Store) -> Film:
    name = key if key.lower().endswith(".mp4") else f"{key}.mp4"
    payload_bytes = pixels = 0

    def shown() -> Iterator[tuple[float, Image.Image]]:
        nonlocal payload_bytes, pixels
        last = -1.0
        for time, row in rows:
            if time <= last:
                raise StorageError("its frames lie apart in the archive: run `maepress compact` first")
            last = time
            image = _picture(row, decoder)
            payload_bytes += len(row["payload"])
            pixels += image.width * image.height
            yield time, image

    try:
        with tempfile.TemporaryFile() as file:
            count = video.write_mp4(file, shown())
            size = file.seek(0, io.SEEK_END)  # the writer has gone back to what it could only know at the end
            file.seek(0)
            with dest.open_output(name) as out:
                shutil.copyfileobj(file, out)
    except MaepressError as e:
        for _ in rows:  # the rest of this video, so that the next one begins where it should
            pass
        return Film(key, reason=str(e))
    return Film(key, count, payload_bytes, pixels, size)


def _picture(row: Row, decoder: RowDecoder) -> Image.Image:
    if row["status"] != LATENT:
        kept = decode_rgb(row["payload"])
        if kept is None:
            raise StorageError(f"{row['key']}: its bytes are no image that can be read")
        return kept
    ((_, picture),) = decoder.pictures([row])
    if not isinstance(picture, Picture):
        raise StorageError(f"{row['key']}: {picture}")
    return to_image(picture)
