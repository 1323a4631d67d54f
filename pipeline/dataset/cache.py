"""A cache of latents on a local disk: read from payloads once, memory-mapped in every epoch afterwards.

    cache = LatentCache.of("cache/photos", "s3://archive/photos", content="prefix")
    loader = DataLoader(cache, batch_size=64, shuffle=True, collate_fn=...)

The cached prefix takes about three times the bytes of its payload, as it is no longer entropy-coded (docs/learning.md).
In return any image is read in some microseconds, in any order, by any number of processes, which share the page cache.
"""

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch.utils.data import Dataset

from model.core.boundary import Fault
from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.dataset.samples import GRIDS, Grid, Samples
from pipeline.dataset.torch_dataset import DECODED_AT_ONCE, ArchiveImages, Content
from pipeline.storage.base import StorageError
from pipeline.storage.local.disk_errors import cannot_write
from pipeline.storage.open import open_store

logger = logging.getLogger(__name__)
FILE = "grids.arrow"
_ABOUT = b"maepress"
_COLUMNS: dict[str, pa.DataType] = {
    "key": pa.string(),
    "facts": pa.string(),
    "rows": pa.int32(),
    "columns": pa.int32(),
    "kind": pa.string(),
    "numbers": pa.large_binary(),
    "scale": pa.binary(),
}


class LatentCache(Dataset[dict[str, Any]]):
    """Latents of an archive's images by index, as grids (see `pipeline.dataset.samples`).

    Attributes:
        keys: keys of the images, by index.
        nbytes: size of the file.
    """

    def __init__(self, folder: str | Path) -> None:
        """Map the cache that `of` or `write` made in a folder.

        Raises:
            MaepressError: when the folder has no cache, or something else or a damaged one in its place.
        """
        self._folder = Path(folder)
        path = self._folder / FILE
        if _about(path) is None:
            raise MaepressError(f"the cache {path} is not there: make it with LatentCache.of")
        self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self.keys = [str(key) for key in self._table["key"].to_pylist()]
        self.nbytes = path.stat().st_size
        self._starts = np.cumsum([0, *(len(chunk) for chunk in self._table["key"].chunks)])

    def __reduce__(self) -> tuple[type["LatentCache"], tuple[Path]]:
        return LatentCache, (self._folder,)  # a data loader's worker maps the file itself

    @classmethod
    def of(
        cls,
        folder: str | Path,
        archive: str | Archive,
        *,
        content: Content = "prefix",
        keys: str = "*",
        columns: Sequence[str] = (),
        done: Callable[[int], None] = lambda count: None,
    ) -> "LatentCache":
        """Open the cache of an archive's latents, and make it first unless the folder has it for this archive version.

        Args:
            folder: local folder, made if missing.
            archive: the archive, or its URL.
            content: sketch, prefix or latents.
            keys: only keys that match this glob.
            columns: additional columns to keep.
            done: called with the number of images so far, while the cache is made.

        Raises:
            StorageError: for a folder that is not local or cannot be written, or one in which something else, or a
                damaged cache, has the name of the cache's file.
            MaepressError: as `ArchiveImages` does, and for another content.
        """
        if content not in GRIDS:
            raise MaepressError(f"a cache holds {', '.join(GRIDS)}, and no {content}")
        place = open_store(str(folder)).local_path()
        if place is None:
            raise StorageError(f"{folder} is no local folder, and a cache of latents needs one")
        images = ArchiveImages(archive, content=content, keys=keys, columns=columns, shuffle=False)
        about = {
            "table": images.archive.table().metadata().id,
            "version": images.version,
            "content": content,
            "keys": keys,
            "columns": list(columns),
        }
        if _about(place / FILE) != about:
            write(place, grids_of(images), about, done)
        return cls(place)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """`key`, the additional columns, and `latents`, float32 `[rows, columns, C]`."""
        text, grid = self._read(number)
        facts: dict[str, Any] = json.loads(text)
        return facts | {"key": self.keys[number], "latents": grid.values()}

    def grid(self, number: int) -> Grid:
        """The grid as integers, not copied from the file."""
        return self._read(number)[1]

    def _read(self, number: int) -> tuple[str, Grid]:
        if not 0 <= number < len(self.keys):
            raise IndexError(f"image {number} of {len(self.keys)}")
        chunk = int(np.searchsorted(self._starts, number, side="right")) - 1
        at = number - int(self._starts[chunk])
        row = {name: self._table[name].chunk(chunk)[at] for name in _COLUMNS}
        numbers = np.frombuffer(row["numbers"].as_buffer(), row["kind"].as_py())
        shape = (row["rows"].as_py(), row["columns"].as_py(), -1)
        return row["facts"].as_py(), Grid(numbers.reshape(shape), np.frombuffer(row["scale"].as_buffer(), np.float32))


def grids_of(images: ArchiveImages) -> Iterator[tuple[str, Mapping[str, Any], Grid]]:
    """Key, columns and grid of each image of a data set of latents, in its order.

    An image that does not decode is left out, and named in the log.
    """
    samples = Samples(images.archive, images.content)
    for rows in images.batches(DECODED_AT_ONCE):
        for row, grid in zip(rows, samples.grids_or_faults(rows), strict=True):
            if isinstance(grid, Fault):
                logger.warning("not learned from: %r does not decode: %s", row["key"], grid.reason)
                continue
            yield row["key"], {name: row[name] for name in images.columns}, grid


def write(
    folder: str | Path,
    grids: Iterable[tuple[str, Mapping[str, Any], Grid]],
    about: Mapping[str, Any],
    done: Callable[[int], None] = lambda count: None,
) -> None:
    """Write grids as a cache, atomically.

    Args:
        folder: local folder, made if missing.
        grids: key, additional columns (JSON values) and grid of each image.
        about: description of the source, stored in the file.
        done: called with the number of images so far.

    Raises:
        StorageError: when the folder cannot be made or written.
    """
    target = Path(folder)
    schema = pa.schema(_COLUMNS, metadata={_ABOUT: json.dumps(about).encode()})
    try:
        target.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{FILE}-", dir=target)
    except OSError as e:
        raise cannot_write(
            f"the cache of latents, {target},", e, "give a folder of this machine that can be written"
        ) from e
    os.close(handle)
    try:
        with pa.OSFile(name, "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for count, (key, facts, grid) in enumerate(grids, 1):
                rows, columns, _ = grid.numbers.shape
                values = (
                    key,
                    json.dumps(facts, default=str),
                    rows,
                    columns,
                    str(grid.numbers.dtype),
                    np.ascontiguousarray(grid.numbers).tobytes(),
                    grid.scale.astype(np.float32).tobytes(),
                )
                row = [pa.array([value], kind) for value, kind in zip(values, _COLUMNS.values(), strict=True)]
                writer.write_batch(pa.record_batch(row, schema=schema))
                done(count)
        Path(name).replace(target / FILE)
    finally:
        Path(name).unlink(missing_ok=True)


def _about(path: Path) -> object:
    """The description of a cache's source; None if there is no cache.

    Raises:
        StorageError: when something else has its name: it may be the user's.
    """
    if not path.is_file():
        return None
    try:
        with pa.memory_map(str(path)) as file:
            found = pa.ipc.open_file(file)
            about = json.loads((found.schema.metadata or {})[_ABOUT])
            found.read_all()  # maps its parts, and copies none
            return about
    except (pa.ArrowException, OSError, ValueError, KeyError):
        raise StorageError(f"{path} is no cache of latents, or damaged: remove it, or give another folder") from None
