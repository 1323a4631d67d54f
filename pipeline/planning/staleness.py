"""Decides which rows a run would compress differently today, although their source is the same."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipeline.planning.diff import Mask

pc: Any = pyarrow.compute  # its stubs reject most mixes of columns and plain values

_ALONE = "mae"
"""What null in the column `candidates` means."""


@dataclass(frozen=True, slots=True)
class Staleness:
    """Marks rows that should be compressed again although their source is the same.

    A row is stale when it was compressed to another target, by another model, with another effort,
    or when other codecs were allowed. A row that keeps its source's bytes is stale only when its target had a part in
    that; a source that cannot be compressed at all is never stale. What a standard codec compressed
    does not become stale by another model.

    Attributes:
        fingerprint: of the model that compresses now.
        target: the target now, as in the column `target`; None: nothing is known of the rows.
        repress: whether such rows are stale; if not, `differs` still tells which they are.
        candidates: the codecs that are allowed now, as in the column `candidates`; None: the model
            alone.
        effort: of the model's encodes now, as in the column `effort`.
    """

    fingerprint: str
    target: str | None
    repress: bool = True
    candidates: str | None = None
    effort: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the archive that `__call__`, `differs` and the order by age need."""
        if self.target is None:
            return ()
        needed = ("model", "target", "candidates", "effort")
        return (*needed, "encoded_at") if self.repress else needed

    def __call__(self, rows: pa.Table) -> Mask:
        """A mask over the rows: true where a row is stale."""
        return self.differs(rows) if self.repress else np.zeros(rows.num_rows, bool)

    def differs(self, rows: pa.Table) -> Mask:
        """A mask over the rows: true where another model, target, effort or choice of codecs had a part in a row."""
        if self.target is None:
            return np.zeros(rows.num_rows, bool)
        other_target = pc.fill_null(pc.not_equal(rows["target"], self.target), False)
        other_model = pc.fill_null(pc.not_equal(rows["model"], self.fingerprint), False)
        others = pc.not_equal(pc.fill_null(rows["candidates"], _ALONE), self.candidates or _ALONE)
        others = pc.or_(others, pc.not_equal(pc.fill_null(rows["effort"], 0), self.effort))
        otherwise = pc.and_(others, pc.is_valid(rows["target"]))
        mask: Mask = pc.or_(pc.or_(other_target, other_model), otherwise).to_numpy()
        return mask


NEVER_STALE = Staleness("", None)
"""No row is stale."""
