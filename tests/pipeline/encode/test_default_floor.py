"""Pictures that come back far worse than photographs do at the same quality are kept."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.codec import Codec
from model.core.target import Target
from pipeline.archive.schema import LATENT, ORIGINAL, UNLIKE
from pipeline.encode import stages
from pipeline.encode.default_floor import QUALITIES, default_floor
from pipeline.images.limits import READING
from pipeline.images.sandbox.sandbox import shared
from pipeline.storage.open import open_store
from tests.pipeline.sources import encoded, photo


@pytest.fixture
def rows_of(tmp_path: Path) -> object:
    """Encode a photograph, colour noise and an icon to a target; rows by key."""
    rng = np.random.default_rng(0)
    files = {
        "icon.png": encoded(Image.fromarray(rng.integers(0, 2, (6, 6, 3), np.uint8) * 255), "PNG"),
        "noise.png": encoded(Image.fromarray(rng.integers(0, 256, (128, 128, 3), np.uint8)), "PNG"),
        "photo.png": encoded(photo(1), "PNG"),
    }
    source = open_store(str(tmp_path))
    for key, data in files.items():
        source.put(key, data)

    def rows(codec: Codec, target: Target) -> dict[str, dict[str, object]]:
        loaded = stages.load(list(source.entries()), source, shared(READING), 1 << 24, 1 << 24)
        piece = stages.compress(stages.analyse(loaded, codec, target), codec.coder, target, shared(READING), "run")
        return {str(row["key"]): row for row in piece.rows.to_pylist()}

    return rows


def test_noise_and_icons_are_kept_and_photographs_are_compressed(tiny_codec: Codec, rows_of) -> None:  # type: ignore[no-untyped-def]
    rows = rows_of(tiny_codec, Target(quality=30))
    assert (rows["photo.png"]["status"], rows["photo.png"]["kept"]) == (LATENT, None)
    assert (rows["noise.png"]["status"], rows["noise.png"]["kept"]) == (ORIGINAL, UNLIKE)
    assert rows["icon.png"]["status"] == ORIGINAL and rows["icon.png"]["kept"] in (UNLIKE, "not smaller")


def test_who_asks_for_a_floor_gets_that_one(tiny_codec: Codec, rows_of) -> None:  # type: ignore[no-untyped-def]
    row = rows_of(tiny_codec, Target(min_psnr=8.0))["noise.png"]
    assert row["status"] == LATENT and 8.0 <= row["psnr"] < default_floor(30)


def test_floors_rise_with_the_quality() -> None:
    floors = [default_floor(quality) for quality in range(64)]
    assert floors == sorted(floors) and floors[0] > 0 and len(QUALITIES) == 5
