"""Models as folders at any URL, and their local copies.

A model is two files (`model.safetensors`, `config.json`), which torch reads from a local folder.
Copies are cached by fingerprint in the user's cache folder, so a machine fetches a model once.
`config.json` is written last: a folder that contains it is complete.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from pipeline.storage.base import StorageError, Store
from pipeline.storage.open import open_store

CONFIG = "config.json"
FILES = ("model.safetensors", CONFIG)
"""File names of `model.checkpoint`, in the order in which the files are written."""


def local_model(url: str) -> Path:
    """A local folder with the model at a URL; "base" is the model that maepress ships.

    A model that is not local is copied to a temporary folder, which is removed when this process
    ends.

    Raises:
        StorageError: when there is no model at the URL.
    """
    if url == "base":
        from model.checkpoint import BASE  # imports torch, which takes seconds: only when needed

        return BASE
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


def require_model(url: str) -> None:
    """Check that there is a model at a URL, as `local_model` names it; nothing is fetched or loaded.

    Raises:
        StorageError: when there is none.
    """
    if url != "base" and not open_store(url).exists(CONFIG):
        raise StorageError(_missing(url))


def publish_model(folder: str | Path, store: Store) -> None:
    """Copy a local model's files to a store, unless it has a complete model already."""
    if store.exists(CONFIG):
        return
    for name in FILES:
        store.put(name, (Path(folder) / name).read_bytes())


def cached_model(store: Store, fingerprint: str) -> Path:
    """A local folder with the model in a store, fetched unless it is in the cache.

    Raises:
        StorageError: when the store has no model.
    """
    folder = cache_folder() / fingerprint
    if not (folder / CONFIG).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{fingerprint}-", dir=folder.parent))
        try:
            _download(store, fresh, f"the model {fingerprint} is not at {store.url}: copy its folder there")
            try:
                fresh.rename(folder)
            except OSError:  # another process was faster, or an incomplete copy is in the way
                if not (folder / CONFIG).is_file():
                    raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _missing(url: str) -> str:
    return f"{url} is no model: it has no {CONFIG} (train one with `maepress train`)"


def cache_folder() -> Path:
    """`maepress/models` in XDG_CACHE_HOME or ~/.cache; below the temporary folder if that fails."""
    home = os.environ.get("XDG_CACHE_HOME")
    base = Path(home) if home else Path("~/.cache").expanduser()
    try:
        (base / "maepress" / "models").mkdir(parents=True, exist_ok=True)
    except OSError:
        base = Path(tempfile.gettempdir()) / f"maepress-{os.getuid()}"
        (base / "maepress" / "models").mkdir(parents=True, exist_ok=True)
    return base / "maepress" / "models"


def _download(store: Store, folder: Path, missing: str) -> None:
    if not store.exists(CONFIG):
        raise StorageError(missing)
    for name in FILES:
        (folder / name).write_bytes(store.get(name))
