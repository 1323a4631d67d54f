"""Storage that Ray writes to itself, given as a URL: runs of training, trials of tuning."""

from typing import Any

import fsspec
from pyarrow.fs import FSSpecHandler, PyFileSystem


def ray_storage(url: str) -> dict[str, Any]:
    """`storage_path` and `storage_filesystem` of a Ray run configuration."""
    filesystem, root = fsspec.core.url_to_fs(url)
    return {
        "storage_path": root,
        "storage_filesystem": PyFileSystem(FSSpecHandler(filesystem)),  # type: ignore[abstract]  # the stubs are wrong
    }


def remove(url: str) -> None:
    """Remove a file, or a folder with its content; does nothing if it is absent."""
    filesystem, root = fsspec.core.url_to_fs(url)
    if filesystem.exists(root):
        filesystem.rm(root, recursive=True)
