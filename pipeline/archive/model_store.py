"""Models as folders at any URL, and their local copies.

A model is two files (`model.safetensors`, `config.json`), which torch reads from a local folder.
Copies are cached by fingerprint in the user's cache folder, so a machine fetches a model once.
`config.json` is written last: a folder that contains it is complete. In an archive, `SHA256SUMS`
beside the two holds their checksums, as `sha256sum -c` reads them.

An archive may come from others. So a fingerprint is 16 hex digits before it becomes a path, and a
model enters the cache, or is used from there, only if its contents have the fingerprint that is
asked for.
"""

import atexit
import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.core.errors import MaepressError
from model.core.model_files import CONFIG, FILES, MOST_BYTES, SHIPPED, read_config
from pipeline.storage.base import Outage, StorageError, Store
from pipeline.storage.cache_folder import cache_folder_of
from pipeline.storage.local.disk_errors import cannot_write
from pipeline.storage.open import open_store

SUMS = "SHA256SUMS"
"""Checksums of FILES in an archive. The fingerprint alone does not cover the notes in CONFIG."""

_CACHE_REMEDY = "free space there, or set XDG_CACHE_HOME to a folder on another disk"


def local_model(url: str) -> Path:
    """A local folder with the model at a URL; "base" and "base-psnr" are those that maepress ships.

    A model that is not local is copied to a temporary folder, which is removed when this process
    ends.

    Raises:
        StorageError: when there is no model at the URL.
    """
    if url in SHIPPED:
        return SHIPPED[url]
    store = open_store(url)
    local = store.local_path()
    if local is not None:
        if not store.exists(CONFIG):
            raise StorageError(_missing(url))
        return local
    folder = Path(tempfile.mkdtemp(prefix="maepress-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _download(store, folder, _missing(url))
    return folder


def model_config(url: str) -> dict[str, Any]:
    """What the configuration of the model at a URL says, as `read_config`; its weights are not fetched.

    Raises:
        MaepressError: when there is no model at the URL, or its configuration is damaged.
    """
    if url in SHIPPED or open_store(url).local_path() is not None:
        return read_config(local_model(url))
    require_model(url)
    with tempfile.TemporaryDirectory(prefix="maepress-model-") as folder:
        (Path(folder) / CONFIG).write_bytes(open_store(url).get(CONFIG, MOST_BYTES[CONFIG]))
        return read_config(Path(folder))


def require_model(url: str) -> None:
    """Check that there is a model at a URL, as `local_model` names it; nothing is fetched or loaded.

    Raises:
        StorageError: when there is none.
    """
    if url not in SHIPPED and not open_store(url).exists(CONFIG):
        raise StorageError(_missing(url))


def publish_model(folder: str | Path, store: Store) -> None:
    """Copy a local model's files to a store, unless it has that model already.

    A damaged or another model in its place is replaced: rows that need it would be worthless.
    """
    if store.exists(CONFIG) and _is_published(Path(folder), store):
        return
    files = {name: (Path(folder) / name).read_bytes() for name in FILES}
    store.put(SUMS, checksums(files))
    for name, data in files.items():
        store.put(name, data)


def checksums(files: Mapping[str, bytes]) -> bytes:
    """The content of SUMS for the files of a model, by name."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()


def is_fingerprint(text: object) -> bool:
    """Whether a value is a fingerprint: 16 hex digits, and so a safe name of a folder."""
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{16}", text) is not None


def checked_fingerprint(text: str) -> str:
    """The fingerprint, unchanged.

    Raises:
        StorageError: when it is none.
    """
    if not is_fingerprint(text):
        raise StorageError(f"{text[:80]!r} names no model: a fingerprint has 16 hex digits; the archive is damaged")
    return text


def cached_model(store: Store, fingerprint: str) -> Path:
    """A local folder with the model in a store, fetched unless an intact copy is in the cache.

    A copy whose contents have another fingerprint is fetched again.

    Raises:
        StorageError: for what is no fingerprint, and when the store has no such model; `Unwritable` when the cache's
            disk is full.
    """
    folder = cache_folder() / checked_fingerprint(fingerprint)
    if _has_model(folder, fingerprint):
        return folder
    try:
        return _fetched(store, fingerprint, folder)
    except OSError as e:
        raise cannot_write(f"the cache of models, {folder.parent},", e, _CACHE_REMEDY) from e


def _fetched(store: Store, fingerprint: str, folder: Path) -> Path:
    fresh = Path(tempfile.mkdtemp(prefix=f".{fingerprint}-", dir=folder.parent))
    try:
        _download(store, fresh, f"the model {fingerprint} is not at {store.url}: copy its folder there")
        if (found := _fingerprint_of(fresh, store)) != fingerprint:
            raise StorageError(f"the model at {store.url} is {found}, not {fingerprint}: restore its files")
        _move_into_place(fresh, folder, fingerprint)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _missing(url: str) -> str:
    return f"{url} is no model: it has no {CONFIG} (train one with `maepress train`)"


def _is_published(folder: Path, store: Store) -> bool:
    from model.checkpoint import fingerprint_of

    with tempfile.TemporaryDirectory(prefix="maepress-model-") as copy:
        try:
            _download(store, Path(copy), "")
        except Outage:
            raise
        except StorageError:  # too large, or half of it is gone
            return False
        return _has_model(Path(copy), fingerprint_of(folder))


def _has_model(folder: Path, fingerprint: str) -> bool:
    from model.checkpoint import fingerprint_of  # imports torch, which takes seconds: only when needed

    try:
        return (folder / CONFIG).is_file() and fingerprint_of(folder) == fingerprint
    except MaepressError:
        return False


def _fingerprint_of(folder: Path, store: Store) -> str:
    from model.checkpoint import fingerprint_of

    try:
        return fingerprint_of(folder)
    except MaepressError as e:  # name the archive's files and not the temporary copy
        raise StorageError(str(e).replace(str(folder), store.url)) from None


def _move_into_place(fresh: Path, folder: Path, fingerprint: str) -> None:
    """Rename a complete model to its name in the cache; a damaged copy that is in the way is removed."""
    for _ in range(3):
        try:
            fresh.rename(folder)
            return
        except OSError:
            if _has_model(folder, fingerprint):  # another process was faster
                return
            damaged = Path(tempfile.mkdtemp(prefix=f".{fingerprint}-", dir=folder.parent))
            try:
                folder.rename(damaged / "damaged")
            except FileNotFoundError:
                pass  # another process has removed it
            finally:
                shutil.rmtree(damaged, ignore_errors=True)
    raise StorageError(f"{folder} cannot be replaced: remove it")


def cache_folder() -> Path:
    """`maepress/models` in the user's cache folder (`pipeline.storage.cache_folder`)."""
    return cache_folder_of("models")


def _download(store: Store, folder: Path, missing: str) -> None:
    if not store.exists(CONFIG):
        raise StorageError(missing)
    for name in FILES:
        (folder / name).write_bytes(store.get(name, MOST_BYTES[name]))
