"""One image out of an archive, in Python.

    from pipeline.archive import Archive

    image = Archive("s3://archive/photos").image("2024/IMG_0001.jpg")

A few small reads, however large the archive is: the table's log, the footer of the shard whose range holds the key, and
one row group. The archive's model is fetched once a machine and loaded once a process.
"""

from functools import lru_cache

from model.errors import DamagedPayload
from model.picture import Picture
from pipeline.archive import Archive
from pipeline.opening import Opener
from pipeline.schema import JXL, ORIGINAL
from pipeline.store import StorageError
from pipeline.transcoding import to_jpeg

_COLUMNS = ("key", "status", "model", "width", "height", "payload", "icc", "exif", "xmp")


def image_of(archive: Archive, key: str) -> Picture | bytes:
    """What an archive holds under a key; see `Archive.image`.

    Raises:
        StorageError: when there is no such key, or its model is not in the archive.
        DamagedPayload: when the row is not intact.
    """
    row = archive.row(key, _COLUMNS)
    if row is None:
        raise StorageError(f"{archive.url} has no image {key!r}")
    payload: bytes = row["payload"]
    if row["status"] == ORIGINAL:
        return payload
    if row["status"] == JXL:
        return to_jpeg(payload)
    ((_, picture),) = _opener(archive.url).pictures([row])
    if isinstance(picture, str):
        raise DamagedPayload(f"{key!r} in {archive.url} does not decode: {picture}")
    return picture


@lru_cache(maxsize=4)
def _opener(url: str) -> Opener:
    """Keeps an archive's models loaded between calls."""
    return Opener(Archive(url))
