"""The user's cache folder, for what can be made or fetched again."""

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pipeline.storage.base import StorageError


def cache_folder_of(name: str) -> Path:
    """`maepress/NAME` in XDG_CACHE_HOME or ~/.cache; below the temporary folder if that fails.

    Raises:
        StorageError: when there is no folder to write to, or the one below the temporary folder
            belongs to somebody else.
    """
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        base = Path(home) if home else Path("~/.cache").expanduser()
        (base / "maepress" / name).mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # it cannot be written; or there is neither HOME nor an entry in /etc/passwd
        base = Path(tempfile.gettempdir()) / f"maepress-{os.getuid()}"
        try:
            base.mkdir(mode=0o700, exist_ok=True)
            if base.is_symlink() or base.stat().st_uid != os.getuid():
                raise StorageError(f"{base} belongs to another user: set XDG_CACHE_HOME to a folder of your own")
            (base / "maepress" / name).mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise StorageError(f"{base} cannot be written ({e.strerror}): set XDG_CACHE_HOME") from None
    return base / "maepress" / name


def remove_least_recently_used(paths: Iterable[Path], most_bytes: int) -> None:
    """Remove files of a cache, those with the oldest times of change first, until the others fit.

    Args:
        paths: the files; other processes may remove them meanwhile.
        most_bytes: of all together.

    Raises:
        OSError: when a file cannot be removed.
    """
    files = []
    for path in paths:
        with suppress(FileNotFoundError):
            facts = path.stat()
            files.append((facts.st_mtime_ns, path, facts.st_size))
    over = sum(size for _, _, size in files) - most_bytes
    for _, path, size in sorted(files):
        if over <= 0:
            return
        over -= size
        path.unlink(missing_ok=True)
