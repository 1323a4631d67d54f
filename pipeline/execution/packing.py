"""Any Python object as a cell of an Arrow column, which Ray moves through shared memory.

A row holds one object, so no row can be split into parts, and pictures of all sizes share a column without a tensor
type that would have to fit them all. A pickle copies pixels once on either side, some ten milliseconds for ten
megapixels.
"""

import pickle
from typing import Any

import pyarrow as pa


def pack(cargo: object) -> bytes:
    """Cargo to bytes."""
    return pickle.dumps(cargo, protocol=5)


def unpack(cell: pa.LargeBinaryScalar) -> Any:
    """Bytes to cargo, from Ray's shared memory without another copy of the bytes."""
    return pickle.loads(cell.as_buffer())
