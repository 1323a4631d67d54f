"""A data flow that records the node of each stage; its encoders hold a GPU and use cores.

The nodes of these tests offer GPUs that do not exist, with which the real encoder refuses to work
(`pipeline.execution.device`).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from pipeline.storage.local.store import LocalStore

VARIABLE = "MAEPRESS_TEST_RECORDS"
"""Environment variable that names the folder of records to all workers."""
UNIT_BYTES = 1 << 20


def _record(stage: str) -> None:
    Path(os.environ[VARIABLE], f"{stage} {ray.get_runtime_context().get_node_id()}").touch()


def nodes_of_stages(folder: Path) -> dict[str, set[str]]:
    """Ids of the nodes where each stage ran."""
    found: dict[str, set[str]] = {}
    for file in folder.iterdir():
        stage, node = file.name.split(" ")
        found.setdefault(stage, set()).add(node)
    return found


class RecordingSource(LocalStore):
    """Records where it is read."""

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        _record("load")
        return super().fetch(keys, max_bytes)


class RecordingEncoder(_Encoder):
    """Records where it encodes, and encodes on cores."""

    @staticmethod
    def device() -> str:
        assert ray.get_gpu_ids(), "an encoder that should hold a GPU holds none"
        return "cpu"

    def __call__(self, table: pa.Table) -> pa.Table:
        _record("encode")
        return super().__call__(table)


class RecordingCoder(EntropyCoder):
    """Records where it codes."""

    def encode(self, latents: Latents, **metadata: Any) -> bytes:
        _record("compress")
        return super().encode(latents, **metadata)


class RecordingImages(LocalStore):
    """Records where shards are written."""

    @contextmanager
    def open_output(self, key: str, *, new: bool = False) -> Iterator[BinaryIO]:
        _record("write")
        with super().open_output(key, new=new) as file:
            yield file


def encode_folder(settings: EncodeSettings) -> list[Receipt]:
    """Compress a whole folder, as an encode does between its plan and its commits."""
    source, archive, codec = (
        RecordingSource(settings.source),
        Archive.create(settings.archive),
        Codec.load(settings.model),
    )
    archive.images = RecordingImages(archive.images.url)
    archive.put_model(codec.fingerprint, Path(settings.model))
    coder = RecordingCoder(*codec.coder.__getstate__())
    dataflow = EncodeDataflow(source, archive, codec.fingerprint, coder, "run", settings, RecordingEncoder)
    return list(dataflow.run(units_of_new_keys(source.entries(), UNIT_BYTES)))
