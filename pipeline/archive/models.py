"""An archive's models, loaded for all threads of a process."""

import threading

from model.codec import Codec
from model.core.boundary import reason_of
from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.storage.base import StorageError, Unwritable


class Models:
    """Each model is loaded once, by the thread that needs it first. Pickles as the archive alone."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._loaded: dict[tuple[str, str], Codec | StorageError] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["Models"], tuple[Archive]]:
        return Models, (self._archive,)

    def codec(self, fingerprint: str, device: str = "cpu") -> Codec:
        """The codec of a model, whose methods any number of threads may call.

        Raises:
            StorageError: when the archive lacks the model or its files are damaged; each time, as a
                model is read once.
            Unwritable: when this machine's cache of models takes none.
        """
        with self._lock:
            if (fingerprint, device) not in self._loaded:
                self._loaded[fingerprint, device] = self._load(fingerprint, device)
            found = self._loaded[fingerprint, device]
        if isinstance(found, StorageError):
            raise StorageError(found.message)
        return found

    def _load(self, fingerprint: str, device: str) -> Codec | StorageError:
        try:
            folder = self._archive.get_model(fingerprint)
            codec = Codec.load(folder, device=device)
        except Unwritable:  # our own cache
            raise
        except Exception as e:  # a model comes with the archive, perhaps from others
            return StorageError(str(e) if isinstance(e, MaepressError) else f"the model cannot be read: {reason_of(e)}")
        if codec.fingerprint != fingerprint:
            return StorageError(f"the model in {folder} is {codec.fingerprint}, not {fingerprint}: restore its files")
        return codec
