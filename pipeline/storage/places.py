"""Whether two places are apart: for every job that has two, such as a source and an archive.

Places are compared as they are resolved (`Store.place`): `./photos/`, `file://`, a symbolic link,
`..` and `.` all name the same folder. Local folders are also compared by device and inode, for file
systems that ignore case, and for folders that are mounted twice.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage.address import parse
from pipeline.storage.base import StorageError, Store
from pipeline.storage.open import open_store


def store_at(url: str | os.PathLike[str]) -> Store:
    """The store at a URL; of a view (`pipeline.storage.address`), the one that is viewed. Nothing is contacted."""
    return open_store(parse(url).place)


def is_within(inner: Store, outer: Store) -> bool:
    """Whether `inner` is `outer` itself or lies inside it."""
    place, above = inner.place(), outer.place()
    if place[: len(above)] == above:
        return True
    return place[0] == above[0] == "file" and _is_within_folder(Path(*place[1:]), Path(*above[1:]))


def require_outside(inner: Store, what: str, outer: Store, whose: str, why: str) -> None:
    """Refuse a place that is, or lies in, another one.

    Args:
        inner: the place that must be outside.
        what: its name in the error, such as "the archive".
        outer: the other place.
        whose: its name in the error, such as "its source".
        why: what would happen, as the end of a sentence.

    Raises:
        StorageError: in one line.
    """
    if is_within(inner, outer):
        where = "is" if is_within(outer, inner) else "lies inside"
        raise StorageError(f"{what} {inner.url} {where} {whose} {outer.url}, {why}: give another place")


def file_in_both(one: Store, other: Store) -> str | None:
    """The key of a file that two folders share, as by a hard link: it is on the disk once, and lost for both at once.

    Returns:
        The first that is found; None where there is none, or one of the two is no folder of this machine.
    """
    ours, theirs = one.local_path(), other.local_path()
    if ours is None or theirs is None:
        return None
    known = {(facts.st_dev, facts.st_ino) for _, facts in _files_below(theirs)}
    shared = (path for path, facts in _files_below(ours) if (facts.st_dev, facts.st_ino) in known)
    found = next(shared, None)
    return None if found is None else found.relative_to(ours).as_posix()


def _files_below(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for above, _, names in os.walk(folder):
        for path in (Path(above, name) for name in names):
            with contextlib.suppress(FileNotFoundError):  # removed just now
                yield path, path.lstat()


def _is_within_folder(place: Path, above: Path) -> bool:
    try:
        facts = above.stat()
    except OSError:  # what does not exist holds nothing
        return False
    for folder in (place, *place.parents):
        try:
            if os.path.samestat(folder.stat(), facts):
                return True
        except OSError:  # not made yet
            continue
    return False
