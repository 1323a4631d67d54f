"""The plan of file names of a decode, made before anything is written.

Keys of an object store may be names that a folder cannot hold together: `a` beside `a/b`, `A` beside
`a` on a disk that ignores case, two spellings of `é` on a disk that ignores these. Which of them
collide is decided here, once, from the keys alone; else it would depend on which file is written
first. Without `portable`, the first key of each group in byte order is written and the others are
refused, each with its reason. With it, the others get names of their own.

Memory: a first pass over the keys holds 8 bytes per key and per folder, a hash of the name as the
destination compares it: 80 MB for 10^7 keys. Only where two hashes are equal, a second pass looks
at the names themselves, and holds those that collide, at most `MOST`.
"""

import fnmatch
import hashlib
import unicodedata
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.archive.archive import Archive
from pipeline.archive.selection import Selection
from pipeline.archive.shards.merge_reader import merged
from pipeline.decode.portable import marked, portable
from pipeline.storage.base import StorageError, Store
from pipeline.storage.keys import problem_with
from pipeline.storage.listing.temporary_names import ACCENTED, temporary_name

MOST = 100_000
"""Largest number of keys that may be refused or renamed because they collide."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a destination compares names.

    Attributes:
        folders: a file cannot have the name of a folder.
        case: capital and small letters are the same.
        spelling: all spellings of a letter in Unicode are the same.
    """

    folders: bool = False
    case: bool = False
    spelling: bool = False

    def of(self, name: str) -> str:
        """Equal for names that the destination takes for the same."""
        made = unicodedata.normalize("NFC", name) if self.spelling else name
        folded = made.casefold() if self.case else made
        return unicodedata.normalize("NFC", folded) if self.spelling else folded


@dataclass(frozen=True, slots=True)
class Names:
    """The plan.

    Attributes:
        taken: names that a key with a suffix may not get, because they are keys.
        folders: likewise, if `local`, because they are folders of keys.
        local: whether the destination is a folder.
        refused: keys that are not written, with the reason.
        marked: keys whose names get a hash, because they would collide.
        portable: whether names are changed so that every common file system can hold them.
    """

    taken: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    local: bool = False
    refused: dict[str, str] = field(default_factory=dict)
    marked: frozenset[str] = frozenset()
    portable: bool = False

    def of(self, key: str, name: str) -> str:
        """The name of a key's file.

        Args:
            key: of the row.
            name: the key, with a suffix where the file's format differs.

        Raises:
            StorageError: when there is none.
        """
        if key in self.refused:
            raise StorageError(self.refused[key])
        clash = "" if name == key else self._what_has(name)
        if self.portable:
            made = portable(name)
            return marked(made, key) if clash or key in self.marked else made
        if not clash and self.local and problem_with(key) is None and (why := problem_with(name)):
            clash = f"no file's here, as {why}"
        if clash:
            raise StorageError(f"its new name {name!r} is {clash}: --portable-names gives it another")
        return name

    def _what_has(self, name: str) -> str:
        """What has a name already; empty if nothing."""
        if name in self.taken:
            return "another image's key"
        return "the folder of another image" if self.local and name in self.folders else ""


def comparison_of(dest: Store) -> Comparison:
    """How a destination compares names; of a local folder it is tried out, with a file that is removed again."""
    folder = dest.local_path()
    if folder is None:
        return Comparison()
    path = folder / (temporary_name() + ACCENTED)
    try:
        path.touch(exist_ok=False)
        case = path.with_name(path.name.swapcase()).exists()
        spelling = path.with_name(unicodedata.normalize("NFD", path.name)).exists()
        path.unlink()
    except OSError:
        return Comparison(folders=True)
    return Comparison(True, case, spelling)


def plan_names(archive: Archive, selection: Selection, keys: str, compared: Comparison, portable_names: bool) -> Names:
    """Decide what each key's file may be called.

    Args:
        archive: to read; its keys alone.
        selection: the rows that are decoded.
        keys: the glob of these rows.
        compared: how the destination compares names.
        portable_names: whether names may be changed; then they are compared as the strictest file
            system does.

    Raises:
        StorageError: when more than `MOST` keys collide.
    """
    if portable_names:
        compared = Comparison(True, True, True)
    names = Names(selection.taken, selection.folders, compared.folders, portable=portable_names)
    if not (compared.folders or compared.case or compared.spelling):
        return names

    def listed() -> Iterator[tuple[str, str]]:
        rows = merged(archive.images, selection.shards, ("key",), unreadable=set())
        for (key,), _ in rows:
            if not isinstance(key, str) or not fnmatch.fnmatchcase(key, keys):
                continue
            if portable_names or problem_with(key) is None:  # others are no files here, whatever is beside them
                yield key, portable(key) if portable_names else key

    doubtful = _equal_hashes(listed(), compared.of)
    if not len(doubtful):
        return names
    refused = _collisions(listed(), compared.of, doubtful)
    return replace(names, marked=frozenset(refused)) if portable_names else replace(names, refused=refused)


def _equal_hashes(names: Iterator[tuple[str, str]], of: Callable[[str], str]) -> frozenset[int]:
    """Hashes that two files have, or a file and a folder."""
    files, folders = array("Q"), array("Q")
    above: list[int] = []
    for _, name in names:
        compared = of(name)
        files.append(_hash(compared))
        now = [_hash(folder) for folder in _folders(compared)]
        folders.extend(folder for folder in now if folder not in above)
        above = now
    own, theirs = np.asarray(files, np.uint64), np.asarray(folders, np.uint64)
    own.sort()
    twice = own[1:][own[1:] == own[:-1]]
    both = np.intersect1d(own, theirs)
    return frozenset(map(int, np.concatenate([twice, both])))


def _collisions(names: Iterator[tuple[str, str]], of: Callable[[str], str], doubtful: frozenset[int]) -> dict[str, str]:
    """The keys of which another one has the name, with the reason; the first of equal ones is not among them."""
    folders: dict[str, str] = {}
    files: dict[str, list[str]] = {}
    for key, name in names:
        compared = of(name)
        if _hash(compared) in doubtful:
            files.setdefault(compared, []).append(key)
        for folder in _folders(compared):
            if _hash(folder) in doubtful:
                folders.setdefault(folder, key)
        if len(files) + len(folders) > 2 * MOST:
            raise StorageError(f"more than {MOST:,} keys would have the name of another here: restore to a bucket")
    found: dict[str, str] = {}
    for compared, keys in files.items():
        if compared in folders:
            why = f"its name is that of the folder of {folders[compared]!r}: --portable-names gives it another"
            found |= dict.fromkeys(keys, why)
            continue
        why = f"its name is here the same as that of {keys[0]!r}: --portable-names gives it another"
        found |= dict.fromkeys(keys[1:], why)
    return found


def _folders(name: str) -> Iterator[str]:
    """Every folder above a file."""
    at = name.find("/")
    while at >= 0:
        yield name[:at]
        at = name.find("/", at + 1)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
