"""What Ray's tasks run for the line: one function a stage, on tables whose rows are pieces.

Nothing here imports torch. A task's process imports what its function's module imports: without torch 170 MB in 0.9 s
of processor time, with it 400 MB in 2.5 s, and a node has as many of them as its cores take.
"""

import pickle

import pyarrow as pa

from model.bitstream.entropy_coder import EntropyCoder
from pipeline.archive.archive import Archive
from pipeline.encode import stages, wire
from pipeline.encode.settings import EncodeSettings
from pipeline.images.sandbox import shared
from pipeline.monitoring import metrics
from pipeline.storage.base import Store


@metrics.stage("load")
def load(table: pa.Table, source: Store, settings: EncodeSettings) -> pa.Table:
    """Objects to `stages.Loaded`."""
    sandbox = shared(settings.limits())
    return wire.each(
        table, lambda objects: stages.load(objects, source, sandbox, settings.max_pixels, settings.max_bytes)
    )


@metrics.stage("press")
def press(table: pa.Table, coder: EntropyCoder, run: str, settings: EncodeSettings) -> pa.Table:
    """`stages.Analysed` to `stages.Pressed`."""
    sandbox, target = shared(settings.limits()), settings.target()
    return wire.each(table, lambda items: stages.press(items, coder, target, sandbox, run))


@metrics.stage("write")
def write(table: pa.Table, archive: Archive) -> pa.Table:
    """A whole unit of `stages.Pressed` to its receipt, pickled."""
    unit, base, drop, pieces = wire.whole_unit(table)
    receipt = stages.write(unit, base, pieces, archive, drop)
    return pa.table({"receipt": pa.array([pickle.dumps(receipt)], pa.large_binary())})
