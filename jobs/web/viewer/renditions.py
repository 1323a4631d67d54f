"""Images of an archive in formats that browsers show: decoded on demand, each only once at a time.

    request    --facts of the row-->  entity tag  --known to the browser?-->  304
                                                  --in the cache?-->          200
                                                  --being made?-->            wait for it
                                                  --otherwise-->              queue, decode, shrink, keep, 200

Thumbnails are decoded at 1/2, 1/4 or 1/8 of the sides where that is large enough; the cache serves the next requests.
As many threads decode as there are cores; further requests wait in a queue.
"""

import asyncio
import contextlib
import hashlib
import io
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import torch
from PIL import Image, ImageOps
from PIL import __version__ as pillow_version

from jobs.web.viewer.catalogue import Catalogue, Row
from model.core.boundary import Fault, attempt, reason_of
from model.core.errors import DamagedPayload, MaepressError
from model.core.picture import Picture
from pipeline.archive.kept_source import kept_source
from pipeline.archive.models import Models
from pipeline.archive.reader import RowDecoder, mae_file
from pipeline.archive.schema import COMPRESSED, JXL, LATENT
from pipeline.images.image_writer import SUFFIXES, format_for, to_image, write_picture
from pipeline.images.limits import MAX_PIXELS, TRANSCODING, Limits
from pipeline.images.reading import Rejected
from pipeline.images.sandbox.sandbox import Sandbox
from pipeline.storage.base import FetchFailed, Store

Kind = Literal["webp", "png", "jpeg", "avif", "mae", "source"]
KINDS: tuple[Kind, ...] = ("webp", "png", "jpeg", "avif", "mae", "source")
SMALLEST, LARGEST = 16, 16_383
"""Smallest and largest width of a rendition, and its largest height; WebP holds no larger one."""
MEDIA = {name: f"image/{name}" for name in ("webp", "png", "jpeg", "avif")} | {"mae": "image/x-maepress"}
SOURCE_MEDIA = {"jpeg", "png", "webp", "gif", "avif", "bmp", "tiff"}
_MAX_SOURCE = 512 << 20
_READING = Limits.for_images(60.0, MAX_PIXELS, _MAX_SOURCE)
_MADE_BY = (version("maepress"), pillow_version)
"""Versions that may change the bytes of a rendition."""


class NotFound(MaepressError):
    """The archive has no such key."""


class NotShown(MaepressError):
    """The archive has the image, but not in the requested form."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A form of an image.

    Attributes:
        kind: the file format; "source": the source's own bytes, which only rows of unchanged sources have.
        width: largest width in pixels, after EXIF rotation; None: the whole image with its metadata.
        from_source: read the source store instead of the archive.
    """

    kind: Kind
    width: int | None = None
    from_source: bool = False


@dataclass(frozen=True, slots=True)
class Rendition:
    """A file made from an image.

    Attributes:
        tag: entity tag, from the row that it was made from.
        data: the file's bytes.
        media_type: for the HTTP header.
        suffix: for a file name, with its dot.
    """

    tag: str
    data: bytes
    media_type: str
    suffix: str


class Studio:
    """Makes renditions in a pool of threads, and caches them."""

    def __init__(self, catalogue: Catalogue, source: Store | None, workers: int, cache_bytes: int) -> None:
        """Start the threads; nothing is decoded yet.

        Args:
            catalogue: the archive.
            source: store that its images came from, or None.
            workers: images decoded at once.
            cache_bytes: memory for files.
        """
        self._catalogue, self._source = catalogue, source
        self._decoder = RowDecoder(Models(catalogue.archive))
        self._pool = ThreadPoolExecutor(workers, "decode", initializer=torch.set_num_threads, initargs=(1,))
        self._readers, self._transcoders = _SandboxPerThread(_READING), _SandboxPerThread(TRANSCODING)
        self._cache = Cache(cache_bytes)
        self._making: dict[str, asyncio.Task[Rendition]] = {}

    def close(self) -> None:
        """Cancel the requests that wait, and end the decoders' processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._readers.close()
        self._transcoders.close()

    @property
    def making(self) -> int:
        """Renditions that are being made, or wait for it."""
        return len(self._making)

    @property
    def cached_bytes(self) -> int:
        """Bytes of the files in the cache."""
        return self._cache.bytes

    async def get(self, row: Row, tag: str, wanted: Wanted) -> Rendition:
        """The rendition of a row, from the cache or made now; concurrent requests for it share the work.

        Raises:
            NotFound: when the row is gone.
            NotShown: when the archive has no such form of the image.
            MaepressError: when the image cannot be read or decoded.
        """
        found = self._cache.get(tag)
        if found is not None:
            return found
        task = self._making.get(tag)
        if task is None:
            task = self._making[tag] = asyncio.ensure_future(self._make(row["key"], wanted))
            task.add_done_callback(lambda done: self._made(tag, done))
        return await asyncio.shield(task)  # a request that is cancelled must not cancel the others'

    def _made(self, tag: str, done: "asyncio.Task[Rendition]") -> None:
        del self._making[tag]
        if not done.cancelled():
            done.exception()  # retrieved, even if all requests for it have been cancelled

    async def _make(self, key: str, wanted: Wanted) -> Rendition:
        made = await asyncio.get_running_loop().run_in_executor(self._pool, self._work, key, wanted)
        self._cache.put(made)
        return made

    def _work(self, key: str, wanted: Wanted) -> Rendition:
        try:
            return self._rendition(key, wanted)
        except (MaepressError, MemoryError):
            raise
        except Exception as e:  # of a row, a picture or its metadata, which may come from anyone
            raise NotShown(f"{key!r} cannot be shown: {reason_of(e)}") from e

    def _rendition(self, key: str, wanted: Wanted) -> Rendition:
        row = self._catalogue.content(key)
        if row is None:
            raise NotFound(f"the archive has no image {key!r}")
        tag = tag_of(row, wanted)  # of the row as read now: it may have changed since the request
        if wanted.from_source:
            return _drawn(self._read(self._source_bytes(row)), wanted, tag)
        if wanted.kind == "mae":
            if row["status"] != LATENT:
                how = f"compressed as {row['codec']}" if row["status"] in COMPRESSED else "not compressed"
                raise NotShown(f"{key!r} is {how}: ask for another format")
            return Rendition(tag, mae_file(row), MEDIA["mae"], ".mae")
        if row["status"] in COMPRESSED:
            if wanted.kind == "source":
                raise NotShown(f"{key!r} is compressed; its source's own bytes are not in the archive")
            return _drawn(self._decoded(row, wanted.width), wanted, tag)
        data = (
            self._transcoders.own().to_jpeg(row["payload"])
            if row["status"] == JXL
            else kept_source(row["status"], row["payload"])
        )
        if wanted.kind == "source":
            name = row["source_format"]
            media = f"image/{name}" if name in SOURCE_MEDIA else "application/octet-stream"
            return Rendition(tag, data, media, "")
        return _drawn(self._read(data), wanted, tag)

    def _decoded(self, row: Row, width: int | None) -> Picture:
        if row["status"] == LATENT:
            self._decoder.codec(row["model"])  # a model that is missing is the archive's fault, and not the payload's
        ((_, picture),) = self._decoder.pictures([row], _scale_for(row, width))
        if isinstance(picture, str):
            raise DamagedPayload(f"{row['key']!r} does not decode: {picture}")
        return picture

    def _read(self, data: bytes) -> Picture:
        reading = self._readers.own().read(data, max_pixels=MAX_PIXELS)
        if isinstance(reading, Rejected):
            raise NotShown(f"the image cannot be decoded: {reading.reason}")
        if reading.picture is None:
            raise NotShown(f"the image is of a kind that is not decoded here: {reading.keep}; ask for format=source")
        return reading.picture

    def _source_bytes(self, row: Row) -> bytes:
        if self._source is None:
            raise NotShown("there is no source here: start the viewer with --source")
        key = row["key"]
        if problem := self._source.problem_with_key(key):
            raise NotShown(f"{key!r} cannot be a file in {self._source.url}: {problem}")
        (got,) = self._source.fetch([key], _MAX_SOURCE)
        if isinstance(got, FetchFailed):
            raise NotShown(f"the source of {key!r} cannot be read: {got.reason}")
        if hashlib.sha256(got.data).hexdigest() != row["source_sha256"]:
            raise NotShown(f"the source of {key!r} has changed since it was compressed")
        return got.data


class _SandboxPerThread:
    """A sandbox for each thread that asks, so that threads do not wait for each other's child processes."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._local = limits, threading.local()
        self._all: list[Sandbox] = []

    def own(self) -> Sandbox:
        """The calling thread's sandbox."""
        sandbox: Sandbox | None = getattr(self._local, "sandbox", None)
        if sandbox is None:
            sandbox = self._local.sandbox = Sandbox(self._limits)
            self._all.append(sandbox)
        return sandbox

    def close(self) -> None:
        """End all child processes."""
        for sandbox in self._all:
            sandbox.close()


def tag_of(row: Row, wanted: Wanted) -> str:
    """A strong entity tag: equal only if the bytes are equal."""
    facts = ("source_sha256", "status", "codec", "model", "quality", "payload_bytes", "etag")
    made_of = tuple(row[name] for name in facts)
    words = repr((made_of, wanted, *_MADE_BY))
    return f'"{hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'


def _scale_for(row: Row, width: int | None) -> float:
    """The smallest scale at which a row's image is decoded for a width, however it is turned.

    1/16 is left out: it is read from a part of the payload, and is less faithful.
    """
    if width is None or row["status"] != LATENT:
        return 1
    side = min(row["width"], row["height"])
    return next((1 / d for d in (8, 4, 2) if side >= d * width), 1)


def _drawn(picture: Picture, wanted: Wanted, tag: str) -> Rendition:
    """A picture as a file: whole with its metadata, or rotated upright and no wider than requested."""
    kind: Any = wanted.kind
    if kind not in ("webp", "png", "jpeg", "avif"):
        raise NotShown(f"format={kind} does not fit this image")
    if wanted.width is None:
        kind = format_for(picture, kind)
        return Rendition(tag, _whole(picture, kind), MEDIA[kind], SUFFIXES[kind])
    image = _upright(picture)
    shrunk = min(wanted.width / image.width, LARGEST / image.height, 1.0)
    if shrunk < 1:
        size = max(1, round(image.width * shrunk)), max(1, round(image.height * shrunk))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if kind == "jpeg" and image.mode in ("LA", "RGBA"):
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
    made = attempt(lambda: _saved(image, kind, picture.icc))
    data = _saved(image, kind, b"") if isinstance(made, Fault) else made
    return Rendition(tag, data, MEDIA[kind], SUFFIXES[kind])


def _saved(image: Image.Image, kind: str, icc: bytes) -> bytes:
    options: dict[str, Any] = {"icc_profile": icc} if icc else {}
    options |= {
        "png": {"compress_level": 3},
        "jpeg": {"quality": 88},
        "webp": {"quality": 84, "method": 3},
        "avif": {"quality": 72, "speed": 9, "max_threads": 1},
    }[kind]
    file = io.BytesIO()
    image.save(file, kind.upper(), **options)
    return file.getvalue()


def _whole(picture: Picture, kind: Any) -> bytes:
    """The whole picture as a file, without its metadata where they cannot be written."""
    made = attempt(lambda: write_picture(picture, kind))
    return write_picture(Picture(picture.pixels, picture.alpha), kind) if isinstance(made, Fault) else made


def _upright(picture: Picture) -> Image.Image:
    image = to_image(picture)
    if picture.exif:
        image.info["exif"] = picture.exif
        with contextlib.suppress(Exception):  # an EXIF block that Pillow cannot parse gives no rotation
            return ImageOps.exif_transpose(image)
    return image


class Cache:
    """The most recently requested files, up to a number of bytes. Used on the event loop only."""

    def __init__(self, most: int) -> None:
        """Args: most: capacity in bytes."""
        self._most, self.bytes = most, 0
        self._files: OrderedDict[str, Rendition] = OrderedDict()

    def get(self, tag: str) -> Rendition | None:
        """A cached file, or None."""
        found = self._files.get(tag)
        if found is not None:
            self._files.move_to_end(tag)
        return found

    def put(self, made: Rendition) -> None:
        """Add a file, unless it takes over a quarter of the capacity, and drop the least recently requested ones."""
        if len(made.data) > self._most // 4 or made.tag in self._files:
            return
        self._files[made.tag] = made
        self.bytes += len(made.data)
        while self.bytes > self._most:
            _, dropped = self._files.popitem(last=False)
            self.bytes -= len(dropped.data)
