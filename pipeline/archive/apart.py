"""An archive, its source and a destination are apart.

An archive inside its source would be listed with it, and its files would be rejected as images on
the next night. A destination inside the archive would add files that no job knows; one above it
could put an image over one of the archive's own files. The same holds for a model, a report and other
results: they do not go into any archive, and a new archive goes where nothing else is.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.storage.base import StorageError, Store
from pipeline.storage.open import open_store
from pipeline.storage.places import is_within, require_outside, store_at

OWN_FOLDERS = (
    *("images", "rejections", "releases", "erasures", "models"),
    *("plans", "leases", "runs", "checks", "origin", "adapting"),
)
"""The folders of an archive."""
WORK_FOLDER = "adapting"
"""The one of them in which a nightly job trains."""
_TABLES = ("images", "rejections", "releases", "leases")


def require_source_apart(source: str, archive: str) -> None:
    """Check that an archive is not in its source, nor the source in the archive's own folders.

    Args:
        source: URL of the images.
        archive: URL of the archive; it need not exist.

    Raises:
        StorageError: when they are not apart, however they are spelled.
    """
    images, root = store_at(source), open_store(archive)
    why = "where the next run would take its files for images"
    require_outside(root, "the archive", images, "its source", why)
    for name in OWN_FOLDERS:
        require_outside(images, "the source", root.child(name), "the archive's own folder", "which holds no images")


def require_destination_apart(dest: str, archive: str) -> None:
    """Check that neither of an archive and a destination lies in the other.

    Args:
        dest: URL that files are written to; it need not exist.
        archive: URL of the archive.

    Raises:
        StorageError: when they are not apart, however they are spelled.
    """
    there, root = open_store(dest), open_store(archive)
    require_outside(there, "the destination", root, "the archive", "whose own files could be overwritten")
    require_outside(root, "the archive", there, "the destination", "where its own files could be overwritten")


def require_no_archive(out: Store, what: str) -> None:
    """Check that results do not go into an archive, nor into a folder inside of one.

    Args:
        out: where they go; it need not exist.
        what: its name in the error, such as "the output folder".

    Raises:
        StorageError: when it is an archive, or lies in one.
    """
    for above in _and_above(out):
        if _is_archive(above) and not is_within(out, above.child(WORK_FOLDER)):
            require_outside(out, what, above, "the archive", "which would hold files that are none of its own")


def require_new_or_own(root: Store) -> None:
    """Check that an archive is at a place, or can be made there: nothing else is there, and no archive is above it.

    Args:
        root: of the archive; it need not exist.

    Raises:
        StorageError: naming what is there.
    """
    if _is_archive(root):
        return
    require_no_archive(root, "the archive")
    if not root.root_exists():
        return
    begun = tuple(f"{name}/_delta_log/" for name in _TABLES)  # of an archive that was being made
    other = None
    with contextlib.suppress(StorageError):  # a folder that cannot be read, such as a disk's lost+found
        other = next((entry.key for entry in root.entries() if not entry.key.startswith(begun)), None)
    if other is not None and not _is_archive(root):  # nor has another job made one in the meantime
        raise StorageError(f"{root.url} is no archive, and holds other files ({other[:80]!r}): give an empty place")


def _is_archive(root: Store) -> bool:
    """Whether a table of images is there; a place that cannot be listed is none that a job could write to."""
    log = root.child("images/_delta_log")
    with contextlib.suppress(StorageError):
        return log.root_exists() and next(log.entries(), None) is not None
    return False


def _and_above(store: Store) -> Iterator[Store]:
    """A place, and each one that it lies in."""
    if store.local_path() is not None:
        folder = Path(*store.place()[1:])
        yield from (open_store(folder) for folder in (folder, *folder.parents))
        return
    url = store.absolute_url
    while True:
        yield open_store(url)
        if not urlsplit(url, allow_fragments=False).path.strip("/"):
            return
        url = url.rpartition("/")[0].rstrip("/")
