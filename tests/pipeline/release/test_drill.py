"""The drill: a thousand originals are released on a real S3 server while another process changes and adds objects.

The release is killed on the way and run again; a night of sync follows, and everything is restored. Then every key is
accounted for, and nothing that changed was deleted.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.demo.s3_server import S3Server
from pipeline.archive.archive import Archive
from pipeline.archive.schema import LATENT
from pipeline.decode.run import decode
from pipeline.decode.settings import DecodeSettings
from pipeline.encode.run import encode
from pipeline.encode.settings import EncodeSettings
from pipeline.release.run import release
from pipeline.release.settings import ReleaseSettings
from pipeline.storage.open import Store, open_store
from pipeline.sync.run import sync
from pipeline.sync.settings import SyncSettings
from pipeline.verify.run import verify
from pipeline.verify.settings import VerifySettings
from tests.pipeline.sources import BROKEN, encoded, mixed

OBJECTS = 1000
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def deep(seed: int) -> bytes:
    """A small PNG of 16 bits, which is kept as it is."""
    pixels = np.random.default_rng(seed).integers(0, 1 << 16, (6, 6), np.uint16)
    return encoded(Image.fromarray(pixels), "PNG")


def thousand() -> dict[str, bytes]:
    files = {key: data for key, data in mixed().items() if key not in BROKEN}
    return files | {f"deep/{number:04}.png": deep(number) for number in range(OBJECTS - len(files))}


@dataclass
class Changer:
    """Somebody else who changes and adds objects: from a thread, as the store's requests are what matters."""

    store: Store
    keys: list[str]
    changed: dict[str, bytes] = field(default_factory=dict)
    added: dict[str, bytes] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        rng = random.Random(1)
        for number in range(1 << 30):
            if self.stop.is_set():
                return
            known = number % 3 != 0
            key = rng.choice(self.keys) if known else f"new/{number:05}.png"
            data = deep(10_000 + number)
            self.store.put(key, data)
            (self.changed if known else self.added)[key] = data
            self.stop.wait(0.05)


def killed_release(source: str, archive: Archive) -> None:
    """A release in a process of its own, killed when the ledger has its first intents."""
    words = ["release", source, archive.url, "--delete", "--yes", "--quiet", "--executor", "local", "--keys", "deep/0*"]
    process = subprocess.Popen([sys.executable, "-m", "maepress", *words], stdout=subprocess.DEVNULL)
    while process.poll() is None and not archive.releases.files():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def rows_of(archive: Archive) -> dict[str, dict[str, Any]]:
    columns = ["key", "status", "source_sha256"]
    return {row["key"]: row for batch in archive.scan(columns) for row in batch.to_pylist()}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_after_a_release_under_change_every_key_is_accounted_for(
    s3: S3Server, tiny_model_folder: Path, tmp_path: Path
) -> None:
    bucket = s3.make_bucket("drill")
    source, url, files = f"{bucket}/photos", f"{bucket}-archive/a", thousand()
    s3.make_bucket("drill-archive")
    store = open_store(source)
    for key, data in files.items():
        store.put(key, data)
    common: dict[str, Any] = {"source": source, "archive": url, "model": str(tiny_model_folder), "executor": "local"}
    encode(EncodeSettings(**common, shard_mib=1), quiet=True)
    archive = Archive.open(url)
    assert rows_of(archive).keys() == files.keys()

    changer = Changer(store, sorted(files))
    thread = threading.Thread(target=changer.run)
    thread.start()
    killed_release(source, archive)
    done = release(ReleaseSettings(source=source, archive=url, delete=True, executor="local"), quiet=True)
    changer.stop.set()
    thread.join()
    night = sync(SyncSettings(**common), quiet=True)

    there = {got.key: got.data for got in store.fetch([entry.key for entry in store.entries()])}  # type: ignore[union-attr]
    released, rows = archive.releases.released_keys(), rows_of(archive)
    gone = files.keys() - there.keys()
    assert done.deleted > 500 and done.conditional and gone <= released
    for key, data in changer.changed.items():  # nothing that changed was deleted
        assert there[key] == data, key
    for key, data in files.items():
        assert key in rows, key
        if key in released:
            assert rows[key]["source_sha256"] == sha(data), key  # the only copy is the one of what was deleted
        else:
            assert rows[key]["source_sha256"] == sha(there[key]), key
    assert {key: rows[key]["source_sha256"] for key in changer.added} == {k: sha(d) for k, d in changer.added.items()}
    assert set(night.plan.reappeared_keys) <= released & changer.changed.keys()
    assert (night.plan.gone, night.plan.retire) == (0, 0)

    checked = verify(VerifySettings(archive=url, executor="local"), quiet=True)
    assert checked.ok, checked.problems
    restored = decode(DecodeSettings(archive=url, dest=str(tmp_path / "restored"), executor="local"), quiet=True)
    assert not restored.failures
    for key, row in rows.items():
        if row["status"] != LATENT:
            assert sha((tmp_path / "restored" / key).read_bytes()) == row["source_sha256"], key
    assert len([path for path in (tmp_path / "restored").rglob("*") if path.is_file()]) == len(rows)
    print(
        f"{len(files)} originals: {len(gone)} deleted and {len(changer.changed)} changed meanwhile, of these "
        f"{night.plan.reappeared} after the deletion; {len(changer.added)} added; {done.left} stayed in the last moment"
    )
