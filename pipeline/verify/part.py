"""A part of an archive's shards, for checks that go through the archive in many nights.

A shard belongs to the part that the SHA-256 of its path says. So a shard stays in its part, a new
one falls into some part, and after parts 1 to N each shard that was there all the time has been
checked once.
"""

import hashlib
from dataclasses import dataclass

MOST = 1000
"""Largest number of parts."""


@dataclass(frozen=True, slots=True)
class Part:
    """Part `number` of `of` parts, from 1 on."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, path: str) -> bool:
        """Whether a shard belongs to this part.

        Args:
            path: of the shard, relative to its table's root.
        """
        return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") % self.of == self.number - 1


def parse_part(text: str) -> Part | None:
    """The part in "3/30"; None for an empty text.

    Raises:
        ValueError: for anything else.
    """
    if not text:
        return None
    number, slash, of = text.partition("/")
    sound = slash and number.isdecimal() and of.isdecimal() and len(text) < 12
    if not (sound and 1 <= int(number) <= int(of) <= MOST):
        raise ValueError(f"{text!r} is not K/N with 1 <= K <= N <= {MOST}, such as 3/30")
    return Part(int(number), int(of))
