"""The bucket of images, which changes between runs, and a record of its contents."""

import io
import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from pipeline.storage.base import Store
from tests.conftest import photo_like

SIDE = 192


@dataclass
class Photos:
    """The contents of the source.

    Attributes:
        store: the source.
        rng: makes all random choices.
        copies: share of new images that are copies of another one.
        good: bytes by key, of the images.
        broken: bytes by key, of the files that are no images.
    """

    store: Store
    rng: random.Random
    copies: float = 0.0
    good: dict[str, bytes] = field(default_factory=dict)
    broken: dict[str, bytes] = field(default_factory=dict)
    _made: int = 0

    def change(self, new: int, changed: int, gone: int) -> None:
        """Add images and a file that is not an image, replace some images, remove some."""
        for key in self.rng.sample(sorted(self.good), min(gone, len(self.good))):
            self.store.delete(key)
            del self.good[key]
        names = self.rng.sample(sorted(self.good), min(changed, len(self.good)))
        names += [f"{self.rng.randrange(16):x}/{self._made + i:04d}.png" for i in range(new)]
        for key in names:
            self._made += 1
            copy = self.good and self.rng.random() < self.copies
            self.good[key] = self.good[self.rng.choice(sorted(self.good))] if copy else _image(self._made)
            self.store.put(key, self.good[key])
        key = f"broken/{self._made:04d}.jpg"
        self.broken[key] = b"no image " * 9
        self.store.put(key, self.broken[key])


def _image(seed: int) -> bytes:
    """A PNG of some 80 kB: a dozen of them fill a shard of 1 MiB."""
    noise = np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise // 2 + photo_like(SIDE, SIDE, seed=seed) // 2).save(file, "PNG")
    return file.getvalue()
