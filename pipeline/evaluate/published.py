"""Curves that others published, for the one set of images that all of them measured: Kodak's 24 photographs.

They are recognised by their pixels, whatever the files are called and however they are stored without loss.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.evaluate.points import Pixels, Point

_FILE = Path(__file__).with_name("kodak.json")


@dataclass(frozen=True, slots=True)
class Published:
    """Published curves of one set of images.

    Attributes:
        images: the set, in words.
        sources: where the points come from, in words.
        curves: name to points, mean over the set; their quality is only a running number.
    """

    images: str
    sources: tuple[str, ...]
    curves: dict[str, list[Point]]


def digest(pixels: Pixels) -> str:
    """What names a picture: SHA-256 of its RGB samples, 64 hex digits."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def kodak() -> Published:
    """The curves, whatever images are at hand."""
    known = json.loads(_FILE.read_text())
    curves = {name: [Point(i, *point) for i, point in enumerate(points)] for name, points in known["curves"].items()}
    return Published(known["images"], tuple(known["sources"]), curves)


def published_for(digests: Iterable[str]) -> Published | None:
    """The published curves that may stand beside measurements on these pictures; None unless they are just these."""
    whole = hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
    return kodak() if whole == json.loads(_FILE.read_text())["sha256"] else None
