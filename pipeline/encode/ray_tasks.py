"""The functions that Ray's tasks run, one per stage, on tables whose rows are pieces.

Nothing here imports torch. A task's process imports the modules that its function's module imports:
170 MB and 0.9 s of processor time without torch, 400 MB and 2.5 s with it, and a node runs several
such processes.
"""

import pickle
from typing import Any

import pyarrow as pa

from model.bitstream.entropy_coder import EntropyCoder
from pipeline.archive.archive import Archive
from pipeline.encode import stages, wire
from pipeline.encode.settings import EncodeSettings
from pipeline.encode.unit_writer import write_unit
from pipeline.images.sandbox.sandbox import shared
from pipeline.monitoring import metrics
from pipeline.storage.base import Store


@metrics.timed_stage("load")
def load(table: pa.Table, source: Store, settings: EncodeSettings) -> pa.Table:
    """Pieces of `Entry` to pieces of `stages.Loaded`."""
    sandbox = shared(settings.limits())
    return wire.each(
        table,
        lambda objects: stages.load(
            objects,
            source,
            sandbox,
            settings.max_pixels,
            settings.max_bytes,
            keep_unreadable=settings.keeps_unreadable,
        ),
    )


@metrics.timed_stage("compress")
def compress(table: pa.Table, coder: EntropyCoder | None, run: str, settings: EncodeSettings) -> pa.Table:
    """Pieces of `stages.Analysed` to `stages.CompressedPiece`."""
    sandbox, target = shared(settings.limits()), settings.target()
    by = (coder, target, sandbox, run)
    how: dict[str, Any] = {"keep": settings.keep, "codecs": settings.codecs, "effort": settings.effort_of_model}
    return wire.each(table, lambda items: stages.compress(items, *by, **how))


@metrics.timed_stage("write")
def write(table: pa.Table, archive: Archive) -> pa.Table:
    """A whole unit of `stages.CompressedPiece` to its receipt, pickled."""
    unit, base, drop, pieces = wire.whole_unit(table)
    receipt = write_unit(unit, base, pieces, archive, drop)
    return pa.table({"receipt": pa.array([pickle.dumps(receipt)], pa.large_binary())})
