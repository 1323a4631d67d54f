"""Which rows were pressed otherwise than they would be now."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipeline.encoding_settings import EncodeSettings
from pipeline.planning import Mask
from pipeline.schema import LATENT

pc: Any = pyarrow.compute  # its stubs refuse most mixes of columns and plain values


def staleness(fingerprint: str, settings: EncodeSettings) -> Callable[[pa.Table], Mask]:
    """What `decide` takes for `is_stale`.

    A row is stale when another model or quality pressed it and the settings ask for that to be mended. A row that
    is kept as its source's bytes never is: pressing it has not made it smaller before.

    Args:
        fingerprint: of the model that presses now.
        settings: with `repress` and the quality.
    """

    def is_stale(rows: pa.Table) -> Mask:
        if not settings.repress:
            return np.zeros(rows.num_rows, bool)
        pressed_so = pc.and_(pc.equal(rows["model"], fingerprint), pc.equal(rows["quality"], settings.quality))
        otherwise = pc.invert(pc.fill_null(pressed_so, False))
        mask: Mask = pc.and_(pc.equal(rows["status"], LATENT), otherwise).to_numpy()
        return mask

    return is_stale
