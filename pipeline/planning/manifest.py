"""The manifest: a run's plan as Parquet files beside the archive.

    ARCHIVE/plans/RUN/00000.parquet     about PART_PIECES pieces, one row per piece
                      00001.parquet     ...

Each part becomes one Ray dataset. Ray keeps a record of every block until a dataset ends, so a
single dataset for the whole archive would fill the driver's memory. A part is short enough for that
memory, and long enough that the start of the next one costs little in comparison.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.planning.units import Piece
from pipeline.storage.base import Entry, Store

PART_PIECES = 16_384
"""Pieces per part, give or take a unit: some 32 GiB of source at the default 64 MiB per unit."""

_ROW_GROUP = 256

_OBJECT = pa.struct([pa.field("key", pa.string()), pa.field("size", pa.int64()), pa.field("etag", pa.string())])
_PIECE: dict[str, pa.DataType] = {
    "unit": pa.int64(),
    "base": pa.string(),
    "padding": pa.int32(),
    "objects": pa.list_(_OBJECT),
    "drop": pa.list_(pa.string()),
}
_SCHEMA = pa.schema(_PIECE)


class Manifest:
    """The plan of one run, on storage.

    The run removes it at its end. A run that was killed leaves it behind, which is harmless:
    nothing reads it again, and a vacuum removes it.
    """

    def __init__(self, root: Store, run: str) -> None:
        """Args: root: the archive's root store. run: the run's id."""
        self._store = root
        self._folder = f"plans/{run}"
        self._parts = 0

    def write(self, pieces: Iterable[Piece], part_pieces: int = PART_PIECES) -> range:
        """Write pieces, in order, as further parts. No unit is divided between two parts.

        Args:
            pieces: of consecutive units.
            part_pieces: a part ends with the unit that reaches this number of pieces.

        Returns:
            The numbers of the parts written.
        """
        first = self._parts
        with ExitStack() as part:
            writer, waiting, written, unit = None, list[Piece](), 0, -1
            for piece in pieces:
                if piece.unit != unit and written + len(waiting) >= part_pieces:
                    self._flush(writer, waiting)
                    part.close()
                    writer, waiting, written = None, [], 0
                if writer is None:
                    file = part.enter_context(self._store.open_output(self._name(self._parts)))
                    writer = part.enter_context(pq.ParquetWriter(file, _SCHEMA, compression="zstd"))
                    self._parts += 1
                unit = piece.unit
                waiting.append(piece)
                if len(waiting) == _ROW_GROUP:
                    self._flush(writer, waiting)
                    waiting, written = [], written + _ROW_GROUP
            self._flush(writer, waiting)
        return range(first, self._parts)

    def parts(self) -> Iterator[Iterator[Piece]]:
        """The pieces part by part; each part is read while it is iterated over."""
        return map(self.read, range(self._parts))

    def read(self, part: int) -> Iterator[Piece]:
        """The pieces of one part."""
        with self._store.open_input(self._name(part)) as file:
            for batch in pq.ParquetFile(file).iter_batches(_ROW_GROUP):
                for row in batch.to_pylist():
                    objects = tuple(Entry(**o) for o in row["objects"])
                    yield Piece(row["unit"], row["base"], objects, row["padding"], tuple(row["drop"]))

    def remove(self) -> None:
        """Remove all parts."""
        for number in range(self._parts):
            self._store.delete(self._name(number))

    def _name(self, part: int) -> str:
        return f"{self._folder}/{part:05d}.parquet"

    @staticmethod
    def _flush(writer: pq.ParquetWriter | None, pieces: list[Piece]) -> None:
        if writer is None or not pieces:
            return
        rows = [
            {
                "unit": p.unit,
                "base": p.base,
                "padding": p.padding,
                "objects": [{"key": e.key, "size": e.size, "etag": e.etag} for e in p.objects],
                "drop": p.drop,
            }
            for p in pieces
        ]
        writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
