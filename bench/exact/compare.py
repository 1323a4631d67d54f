"""Differences between two observations."""

from dataclasses import dataclass

import numpy as np

from bench.exact.observe import Observation


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences of a set-up from the reference.

    Attributes:
        payloads: how many of its own payloads are other bytes than the reference's.
        written: whole numbers that it wrote otherwise than the reference.
        of: whole numbers in all.
        read: whole numbers that it reads otherwise in the plain one's payloads. Must be 0.
        levels: largest difference of a sample that both decoded from the plain one's payloads. Must be at most 1.
        samples: share of the samples that differ at all.
    """

    payloads: int
    written: int
    of: int
    read: int
    levels: int
    samples: float

    @property
    def is_exact(self) -> bool:
        """Whether the guarantee holds."""
        return not self.read and self.levels <= 1


def compare(plain: Observation, other: Observation, reference: Observation | None = None) -> Difference:
    """Compare observations.

    Args:
        plain: what the reference set-up wrote, and read of that.
        other: what another wrote, and read in the plain one's payloads.
        reference: whose payloads the other's should be byte by byte; the plain one's unless given.
    """
    reference = reference or plain
    levels = [np.abs(a.astype(np.int16) - b) for a, b in zip(plain.pixels, other.pixels, strict=True)]
    return Difference(
        payloads=sum(a != b for a, b in zip(reference.payloads, other.payloads, strict=True)),
        written=sum(int((a != b).sum()) for a, b in zip(reference.written, other.written, strict=True)),
        of=sum(a.size for a in plain.written),
        read=sum(int((a != b).sum()) for a, b in zip(plain.written, other.read, strict=True)),
        levels=max(int(difference.max()) for difference in levels),
        samples=float(np.mean([(difference > 0).mean() for difference in levels])),
    )
