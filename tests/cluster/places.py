"""A line that notes on which node each stage worked, and whose encoders run on cores although they hold a GPU.

On a cluster whose nodes claim GPUs that are not there the line's own encoder refuses to work
(`pipeline.execution.device`).
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import ray

from model.bitstream.entropy_coder import EntropyCoder, Latents
from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt
from pipeline.encode.dataflow import EncodeDataflow, _Encoder
from pipeline.encode.settings import EncodeSettings
from pipeline.planning.units import units_of_new_keys
from pipeline.storage.base import Fetched, FetchFailed
from pipeline.storage.local_store import LocalStore

VARIABLE = "MAEPRESS_TEST_NOTES"
"""Names the folder of notes to all workers."""
UNIT_BYTES = 1 << 20


def _note(stage: str) -> None:
    Path(os.environ[VARIABLE], f"{stage} {ray.get_runtime_context().get_node_id()}").touch()


def places(folder: Path) -> dict[str, set[str]]:
    """Ids of the nodes where each stage worked."""
    found: dict[str, set[str]] = {}
    for file in folder.iterdir():
        stage, node = file.name.split(" ")
        found.setdefault(stage, set()).add(node)
    return found


class NotedSource(LocalStore):
    """Notes where it is read."""

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        _note("load")
        return super().fetch(keys, max_bytes)


class NotedEncoder(_Encoder):
    """Notes where it encodes, on cores."""

    @staticmethod
    def device() -> str:
        assert ray.get_gpu_ids(), "an encoder that should hold a GPU holds none"
        return "cpu"

    def __call__(self, table: pa.Table) -> pa.Table:
        _note("encode")
        return super().__call__(table)


class NotedCoder(EntropyCoder):
    """Notes where it codes."""

    def encode(self, latents: Latents, **metadata: Any) -> bytes:
        _note("compress")
        return super().encode(latents, **metadata)


class NotedImages(LocalStore):
    """Notes where shards are written."""

    def open_output(self, key: str) -> AbstractContextManager[BinaryIO]:
        _note("write")
        return super().open_output(key)


def pressed(settings: EncodeSettings) -> list[Receipt]:
    """Press a whole folder, as an encode does between its plan and its commits, on the Ray that is connected."""
    source, archive, codec = NotedSource(settings.source), Archive.create(settings.archive), Codec.load(settings.model)
    archive.images = NotedImages(archive.images.url)
    archive.put_model(codec.fingerprint, Path(settings.model))
    coder = NotedCoder(*codec.coder.__getstate__())
    line = EncodeDataflow(source, archive, codec.fingerprint, coder, "run", settings, NotedEncoder)
    return list(line.run(units_of_new_keys(source.entries(), UNIT_BYTES)))
