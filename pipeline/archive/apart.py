"""An archive, its source and a destination are apart.

An archive inside its source would be listed with it, and its files would be rejected as images on
the next night. A destination inside the archive would add files that no job knows; one above it
could put an image over one of the archive's own files.
"""

from pipeline.storage.open import open_store
from pipeline.storage.places import require_outside, store_at

OWN_FOLDERS = (
    *("images", "rejections", "releases", "erasures", "models"),
    *("plans", "leases", "runs", "checks", "origin", "adapting"),
)
"""The folders of an archive."""


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
