"""Where the benchmarks find their images."""

import os
from pathlib import Path

from model.core.errors import MaepressError

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MAEPRESS_DATA", ROOT.parent / "shared" / "data"))
"""Folder with `kodak`, `train` and `clothing`."""
KODAK = DATA / "kodak"
PHOTOGRAPHS = 71
"""Number of the photographs in `train/photos`: with others there, more or fewer are chosen."""


def kodak(number: int) -> list[Path]:
    """The first of the Kodak photographs.

    Raises:
        MaepressError: when there are none.
    """
    files = sorted(KODAK.glob("*.png"))[:number]
    if not files:
        raise MaepressError(f"no images in {KODAK} (set MAEPRESS_DATA)")
    return files


def photographs(number: int) -> list[Path]:
    """The first of the Kodak photographs, and about half as many of `train/photos`, evenly spread.

    Raises:
        MaepressError: when there are none.
    """
    step = max(1, PHOTOGRAPHS // max(1, number // 2))
    return kodak(number) + sorted((DATA / "train" / "photos").glob("*.jpg"))[::step]
