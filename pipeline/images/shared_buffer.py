"""Memory that a process shares with its child, for what is too large for a pipe: a nameless file that lives in memory.

One side puts, tells the other how much (through a pipe), which then takes; they take turns.
"""

import mmap
import os

import numpy as np
from numpy.typing import NDArray

KEPT_BYTES = 32 << 20
"""What stays allocated for the next use; a larger content's memory is given back as soon as it is taken."""


class SharedBuffer:
    """One side's view of the memory behind a file descriptor.

    Attributes:
        descriptor: of the file, for the child to inherit.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Args: descriptor: inherited from the parent; None makes a new buffer."""
        self.descriptor = os.memfd_create("maepress") if descriptor is None else descriptor
        self._view = np.empty(0, np.uint8)

    def put(self, data: NDArray[np.uint8]) -> None:
        """Replace the content."""
        self._map(data.size)[: data.size] = data.reshape(-1)

    def take(self, size: int) -> NDArray[np.uint8]:
        """A copy of the first `size` bytes, uint8 `[size]`; they are not there any more afterwards."""
        taken = self._map(size)[:size].copy()
        if self._view.size > KEPT_BYTES:
            self._view = np.empty(0, np.uint8)
            os.ftruncate(self.descriptor, KEPT_BYTES)
        return taken

    def close(self) -> None:
        """Let go of the memory; the other side keeps it as long as it has it open."""
        self._view = np.empty(0, np.uint8)
        os.close(self.descriptor)

    def _map(self, size: int) -> NDArray[np.uint8]:
        """The memory, at least so many bytes of it."""
        wanted = max(size, KEPT_BYTES)
        if self._view.size != wanted or os.fstat(self.descriptor).st_size < wanted:
            if os.fstat(self.descriptor).st_size < wanted:  # sparse: takes no memory before it is written
                os.ftruncate(self.descriptor, wanted)
            self._view = np.frombuffer(mmap.mmap(self.descriptor, wanted), np.uint8)
        return self._view
