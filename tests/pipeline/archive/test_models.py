"""One model in memory for all threads, however many need it at once."""

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.models import Models
from pipeline.storage.open import StorageError

THREADS = 4


def test_threads_that_need_a_model_at_once_get_the_same_one(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    load, fingerprint = Codec.load, Codec.load(tiny_model_folder).fingerprint
    archive.put_model(fingerprint, tiny_model_folder)

    def slowly(folder: str | Path, *, device: str) -> Codec:
        time.sleep(0.2)  # all threads ask before the first has loaded it
        return load(folder, device=device)

    monkeypatch.setattr(Codec, "load", slowly)
    models = Models(archive)
    with ThreadPoolExecutor(THREADS) as pool:
        found = set(pool.map(models.codec, [fingerprint] * THREADS))
    assert [codec.fingerprint for codec in found] == [fingerprint]
    assert pickle.loads(pickle.dumps(models)).codec(fingerprint) not in found


def test_a_model_that_is_missing_is_named_each_time(tmp_path: Path) -> None:
    models = Models(Archive.create(str(tmp_path / "archive")))
    for _ in range(2):
        with pytest.raises(StorageError, match="0123456789abcdef"):
            models.codec("0123456789abcdef")
