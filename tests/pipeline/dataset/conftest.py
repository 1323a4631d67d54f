"""A small archive of several shards, some of whose rows have no latents."""

from pathlib import Path

import pytest

from model.codec import Codec
from pipeline.archive.archive import Archive
from tests.pipeline.making import add, compressed, image_file, original, transcoded

LATENTS, SHARDS = 30, 3


@pytest.fixture(scope="session")
def small_archive(
    tmp_path_factory: pytest.TempPathFactory, own_cache: None, tiny_model_folder: Path, tiny_codec: Codec
) -> Archive:
    """30 compressed images in three shards, keys `LETTER/NUMBER.png`, one JPEG in JPEG XL and one grey original."""
    archive = Archive.create(str(tmp_path_factory.mktemp("learning") / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    sizes = ((70, 50), (96, 64), (50, 70))
    for shard in range(SHARDS):
        rows = [
            compressed(
                tiny_codec,
                f"{'abc'[number % 3]}/{number:02}.png",
                image_file("PNG", seed=number, size=sizes[number % 3]),
                quality=20 + number,
            )
            for number in range(shard, LATENTS, SHARDS)
        ]
        add(archive, rows, run=f"run {shard}")
    kept = image_file("PNG", mode="L", seed=99)
    add(archive, [transcoded("j/kept.jpg", image_file("JPEG", size=(200, 160))), original("o/kept.png", kept)], "kept")
    return archive
