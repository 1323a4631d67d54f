"""Which files a model has learned from, in bounded space: a Bloom filter over their names and sizes.

The filter is a note in the model's configuration, at most 88 kB of text for any number of files (a thousand files take
6 kB). It answers "surely not" or "perhaps", and how often "perhaps" comes by chance follows from its own fill: 0.0002 %
of other files after a thousand, 8 % after a hundred thousand. Bloom, "Space/time trade-offs in hash coding with
allowable errors", 1970.
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.storage.base import Entry

_BITS, _HASHES = 1 << 19, 3
_BYTES = _BITS // 8
_MOST_TEXT = 1 << 18
FILES, FILTER = "files", "filter"
"""Names in the note."""


@dataclass(frozen=True, slots=True)
class LearnedFiles:
    """Names and sizes of files, of which more can be added and none listed.

    Attributes:
        count: number of files that were added; one that the filter took for known already, as it does a
            file that is added again, does not count.
        bits: the filter, 64 KiB.
    """

    count: int = 0
    bits: bytes = bytes(_BYTES)

    def with_files(self, entries: Iterable[Entry]) -> "LearnedFiles":
        """These files and others."""
        bits, count = bytearray(self.bits), self.count
        for entry in entries:
            places = _places(entry)
            count += not all(bits[place // 8] >> place % 8 & 1 for place in places)
            for place in places:
                bits[place // 8] |= 1 << place % 8
        return LearnedFiles(count, bytes(bits))

    def known_among(self, entries: Iterable[Entry]) -> int:
        """How many of these files are among those learned from; 0 if it could be by chance."""
        listed = list(entries)
        found = sum(all(self.bits[place // 8] >> place % 8 & 1 for place in _places(entry)) for entry in listed)
        expected = len(listed) * (int.from_bytes(self.bits).bit_count() / _BITS) ** _HASHES
        return found if found > expected + 3 * expected**0.5 else 0

    def to_note(self) -> dict[str, object]:
        """The JSON value for a model's notes."""
        data = zlib.compress(self.bits, 9)
        return {FILES: self.count, FILTER: base64.b64encode(data).decode()}

    @classmethod
    def from_note(cls, note: Any) -> "LearnedFiles":
        """The files of a note, which may come from anyone; what is no such note holds no files."""
        if not isinstance(note, dict):
            return cls()
        count, text = note.get(FILES), note.get(FILTER)
        if not isinstance(count, int) or not isinstance(text, str) or len(text) > _MOST_TEXT or count < 0:
            return cls()
        try:
            data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), _BYTES)
        except (binascii.Error, ValueError, zlib.error):
            return cls()
        return cls(count, data) if len(data) == _BYTES else cls()


def _places(entry: Entry) -> list[int]:
    """Bits of a file. Its folder does not count, so that a copy elsewhere is the same file."""
    name = entry.key.rpartition("/")[2].encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(b"%d\0" % entry.size + name).digest()
    return [int.from_bytes(digest[4 * i : 4 * i + 4], "little") % _BITS for i in range(_HASHES)]
