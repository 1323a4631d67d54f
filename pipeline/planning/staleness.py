"""Which rows were pressed otherwise than they would be now."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipeline.planning.diff import Mask

pc: Any = pyarrow.compute  # its stubs refuse most mixes of columns and plain values


@dataclass(frozen=True, slots=True)
class Staleness:
    """Says of rows whether they should be pressed again although their source is the same.

    A row is stale when it was pressed to another target or by another model. A row that keeps its source's bytes is
    stale only when its target had a part in that; whatever is not smaller or cannot be pressed stays as it is.

    Attributes:
        fingerprint: of the model that presses now.
        target: what is pressed to now, in the words of the column `target`; None: nothing is stale.
    """

    fingerprint: str
    target: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the archive that `__call__` needs, and with them the rows' age."""
        return ("model", "target", "encoded_at") if self.target is not None else ()

    def __call__(self, rows: pa.Table) -> Mask:
        """A mask over the rows."""
        if self.target is None:
            return np.zeros(rows.num_rows, bool)
        other_target = pc.fill_null(pc.not_equal(rows["target"], self.target), False)
        other_model = pc.fill_null(pc.not_equal(rows["model"], self.fingerprint), False)
        mask: Mask = pc.or_(other_target, other_model).to_numpy()
        return mask


FRESH = Staleness("", None)
"""Nothing is stale."""
