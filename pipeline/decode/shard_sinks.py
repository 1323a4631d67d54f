"""Shards of an export: tar files for WebDataset, or Parquet files that Hugging Face's `datasets` opens as images.

A shard is made in memory and put into the destination as a whole, so none is ever half there. Each is the same bytes in
a second run, in which it stays as it is.
"""

import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.core.boundary import Fault, attempt
from pipeline.decode.layouts import Layout, Packed, sample_name, suffix_of
from pipeline.decode.result import Outcome
from pipeline.decode.sidecar_files import checked_files
from pipeline.decode.video_muxing import OCCUPIED
from pipeline.sources.sidecars.meta import without_files
from pipeline.storage.base import Occupied, StorageError, Store, Unwritable

_GROUP_BYTES = 32 << 20
"""Bytes of images per row group of Parquet: loaders read whole ones."""
_NO_IMAGE = "it is no image, and a table of images has no place for it"


class ShardSink(ABC):
    """Collects images, and writes a shard whenever one is full."""

    suffix: str

    def __init__(self, dest: Store, most_bytes: int, *, overwrite: bool, sidecars: bool = False) -> None:
        """No image is taken yet.

        Args:
            dest: receives shards.
            most_bytes: of a shard's images.
            overwrite: whether other shards give way.
            sidecars: whether shards hold the images' metas.
        """
        self._dest, self._most, self._overwrite, self.sidecars = dest, most_bytes, overwrite, sidecars
        self._held: list[Packed] = []
        self._size = self._number = 0

    def add(self, image: Packed) -> list[Outcome]:
        """Take an image. Returns the outcomes of all images of a shard that has been written, if one was full."""
        if (why := self.refusal(image)) is not None:
            return [_failed(image, why)]
        self._held.append(image)
        self._size += len(image.data)
        return self.flush() if self._size >= self._most else []

    def flush(self) -> list[Outcome]:
        """Write what is held. Returns the outcomes of its images."""
        held, self._held, self._size = self._held, [], 0
        if not held:
            return []
        name, self._number = self._name(self._number), self._number + 1
        data, members = self.content(held)

        def put() -> None:
            (self._dest.put if self._overwrite else self._dest.put_new)(name, data)

        try:
            done = attempt(put, passes=(Unwritable, Occupied))
        except Occupied:
            done = Fault(f"{name}: {OCCUPIED}")
        if isinstance(done, Fault):
            return [_failed(image, done.reason) for image in held]
        places = [f"{name}/{member}" if member else name for member in members]
        return [replace(image.outcome, name=place) for image, place in zip(held, places, strict=True)]

    def require_last(self) -> None:
        """Check that no shard of another export follows the last one.

        Raises:
            StorageError: when one does: loaders would read it, too.
        """
        if self._dest.exists(self._name(self._number)):
            raise StorageError(
                f"{self._dest.url} holds {self._name(self._number)} of another export, and loaders would read it, too: "
                "move it away, or give another place"
            )

    def refusal(self, image: Packed) -> str | None:
        """Why an image cannot be in a shard; None where it can."""
        return None

    @abstractmethod
    def content(self, images: Sequence[Packed]) -> tuple[bytes, list[str]]:
        """The bytes of a shard, and of each image its name in there, empty where it has none."""

    def _name(self, number: int) -> str:
        return f"images-{number:06d}.{self.suffix}"


def _failed(image: Packed, reason: str) -> Outcome:
    outcome = image.outcome
    return Outcome(outcome.key, outcome.status, outcome.payload_bytes, reason=f"it cannot be written: {reason}")


class TarSink(ShardSink):
    """Shards for WebDataset: of each image the file, and a JSON with its key, label, size and losses.

    With sidecars, the members beside an image are those of its source, such as NAME.json, and these facts with the
    rest of its meta are in NAME.maepress.json.
    """

    suffix = "tar"

    def refusal(self, image: Packed) -> str | None:
        """A meta that is none, as a damaged archive may hold it."""
        found = attempt(lambda: _sidecars(image))
        return found.reason if isinstance(found, Fault) else None

    def content(self, images: Sequence[Packed]) -> tuple[bytes, list[str]]:
        """A tar file in the format of POSIX, with fixed owners and the sources' times."""
        out, members = io.BytesIO(), list[str]()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
            for image in images:
                key, form = image.outcome.key, image.outcome.form
                name = sample_name(key)
                facts = {
                    "key": key,
                    "label": image.label,
                    "width": image.width,
                    "height": image.height,
                    "source_sha256": image.source_sha256,
                    "lost": list(image.outcome.lost),
                }
                members.append(f"{name}.{suffix_of(form, key)}")
                _member(tar, members[-1], image.data, image.modified_ns)
                files, rest = _sidecars(image)
                for suffix, data in files.items():
                    _member(tar, f"{name}.{suffix}", data, image.modified_ns)
                facts |= {"meta": rest} if rest else {}
                ending = "maepress.json" if self.sidecars else "json"
                _member(tar, f"{name}.{ending}", json.dumps(facts).encode(), image.modified_ns)
        return out.getvalue(), members


def _sidecars(image: Packed) -> tuple[dict[str, bytes], Any]:
    """The sidecar files of an image, and the rest of its meta."""
    if image.meta is None:
        return {}, None
    return checked_files(image.meta), json.loads(without_files(image.meta) or "null")


def _member(tar: tarfile.TarFile, name: str, data: bytes, modified_ns: int | None) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(data), (modified_ns or 0) // 10**9
    tar.addfile(entry, io.BytesIO(data))


_FEATURES = {
    "image": {"_type": "Image"},
    "key": {"dtype": "string", "_type": "Value"},
    "label": {"dtype": "string", "_type": "Value"},
    "width": {"dtype": "int32", "_type": "Value"},
    "height": {"dtype": "int32", "_type": "Value"},
    "source_sha256": {"dtype": "string", "_type": "Value"},
}
_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])),
    pa.field("key", pa.string()),
    pa.field("label", pa.string()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("source_sha256", pa.string()),
]


def _schema(fields: "list[pa.Field[Any]]", features: dict[str, dict[str, str]]) -> pa.Schema:
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


_SCHEMA = _schema(_FIELDS, _FEATURES)
"""What `datasets` takes for a column of images: bytes and a path, and the features as JSON in the metadata."""
_SCHEMA_WITH_META = _schema(
    [*_FIELDS, pa.field("meta", pa.string())], _FEATURES | {"meta": {"dtype": "string", "_type": "Value"}}
)


class ParquetSink(ShardSink):
    """Shards for `datasets.load_dataset("parquet", ...)`: the images as files, with keys and labels."""

    suffix = "parquet"

    def refusal(self, image: Packed) -> str | None:
        """A file that is no image would stop whoever reads the table as images."""
        return None if image.width else _NO_IMAGE

    def content(self, images: Sequence[Packed]) -> tuple[bytes, list[str]]:
        """A Parquet file with row groups of about 32 MiB."""
        out = pa.BufferOutputStream()
        schema = _SCHEMA_WITH_META if self.sidecars else _SCHEMA
        with pq.ParquetWriter(out, schema, compression={n: "zstd" for n in schema.names if n != "image"}) as writer:
            held: list[Packed] = []
            size = 0
            for image in images:
                held.append(image)
                size += len(image.data)
                if size >= _GROUP_BYTES:
                    writer.write_table(_table(held, schema))
                    held, size = [], 0
            if held:
                writer.write_table(_table(held, schema))
        return out.getvalue().to_pybytes(), [""] * len(images)


def _table(images: Sequence[Packed], schema: pa.Schema) -> pa.Table:
    rows = [
        {
            "image": {"bytes": image.data, "path": image.outcome.name},
            "key": image.outcome.key,
            "label": image.label,
            "width": image.width,
            "height": image.height,
            "source_sha256": image.source_sha256,
            "meta": image.meta,
        }
        for image in images
    ]
    return pa.Table.from_pylist(rows, schema)


def sink_of(
    layout: Layout, dest: Store, most_bytes: int, *, overwrite: bool, sidecars: bool = False
) -> ShardSink | None:
    """The sink of a packed layout; None for the others. The arguments are those of `ShardSink`."""
    kinds: dict[str, type[ShardSink]] = {"webdataset": TarSink, "parquet": ParquetSink}
    if layout not in kinds:
        return None
    return kinds[layout](dest, most_bytes, overwrite=overwrite, sidecars=sidecars)
