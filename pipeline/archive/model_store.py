"""Models as folders at any URL, and their local copies.

A model is a few files (`model.safetensors`, `config.json`); torch reads them from a local folder. Copies are kept by
fingerprint below the user's cache folder, so that a machine fetches a model once. `config.json` is written last: a
folder that has it has everything.
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
"""The names that `model.checkpoint` gives them, in the order in which they are written."""


def local_model(url: str) -> Path:
    """A local folder with the model at a URL; "base" is the one that maepress ships.

    A model that is not local is copied to a temporary folder that lasts as long as this process.

    Raises:
        StorageError: when there is no model.
    """
    if url == "base":
        from model.checkpoint import BASE  # torch takes seconds, which the jobs that need no codec should not

        return BASE
    store = open_store(url)
    missing = f"{url} is no model: it has no {CONFIG} (train one with `maepress train`)"
    local = store.local_path()
    if local is not None:
        if not store.exists(CONFIG):
            raise StorageError(missing)
        return local
    folder = Path(tempfile.mkdtemp(prefix="maepress-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _download(store, folder, missing)
    return folder


def publish_model(folder: str | Path, store: Store) -> None:
    """Copy a local model's files to a store, unless it has a whole model already."""
    if store.exists(CONFIG):
        return
    for name in FILES:
        store.put(name, (Path(folder) / name).read_bytes())


def cached_model(store: Store, fingerprint: str) -> Path:
    """A local folder with the model in a store, from the cache where an earlier call left it.

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
            except OSError:  # another process was faster, or an older copy is broken
                if not (folder / CONFIG).is_file():
                    raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def cache_folder() -> Path:
    """`maepress/models` below XDG_CACHE_HOME or ~/.cache; below the temporary folder for a user without a home."""
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
