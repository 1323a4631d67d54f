"""Memory shared by a process and its child, for data too large for a pipe.

It is an anonymous file in memory (memfd). One side puts data and sends its size through a pipe; the
other side then takes the data. They take turns.
"""

import mmap
import os

import numpy as np
from numpy.typing import NDArray

KEPT_BYTES = 32 << 20
"""Size that stays allocated between uses; memory beyond it is freed as soon as the content is
taken."""


class SharedBuffer:
    """One side's view of the memory behind a file descriptor.

    Attributes:
        descriptor: file descriptor, for the child to inherit.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Args: descriptor: inherited from the parent; None makes a new buffer."""
        self.descriptor = os.memfd_create("maepress") if descriptor is None else descriptor
        self._view = np.empty(0, np.uint8)

    def put(self, data: NDArray[np.uint8]) -> None:
        """Replace the content."""
        self._map(data.size)[: data.size] = data.reshape(-1)

    def take(self, size: int) -> NDArray[np.uint8]:
        """A copy of the first `size` bytes, uint8 `[size]`.

        The buffer's content is undefined afterwards.
        """
        taken = self._map(size)[:size].copy()
        if self._view.size > KEPT_BYTES:
            self._view = np.empty(0, np.uint8)
            os.ftruncate(self.descriptor, KEPT_BYTES)
        return taken

    def close(self) -> None:
        """Close this side; the memory is freed when the other side closes, too."""
        self._view = np.empty(0, np.uint8)
        os.close(self.descriptor)

    def _map(self, size: int) -> NDArray[np.uint8]:
        """The memory, at least `size` bytes of it."""
        wanted = max(size, KEPT_BYTES)
        if self._view.size != wanted or os.fstat(self.descriptor).st_size < wanted:
            if os.fstat(self.descriptor).st_size < wanted:  # sparse: uses no memory until it is written
                os.ftruncate(self.descriptor, wanted)
            self._view = np.frombuffer(mmap.mmap(self.descriptor, wanted), np.uint8)
        return self._view
