"""Training crops: random rectangles of images, at random scales, from bounded pools of decoded images.

Each batch slot has its own pool with its own random numbers, and each rank has some of the slots. So a batch holds the
same crops for any number of ranks.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from model.core.boundary import Fault, attempt
from model.core.errors import MaepressError
from pipeline.images.decode_rgb import decode_rgb
from pipeline.images.window import GRID, Window
from pipeline.storage.base import Outage

logger = logging.getLogger(__name__)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
"""Suffixes of files to learn from."""
POOL_BYTES = 2 << 30
"""Bytes of decoded images that all workers together keep; beside it each reads one image at a time."""
CROPS_AN_IMAGE = 16
"""Crops drawn per image read; the new image replaces another once the pool is full."""
FIRST_IMAGES = 2
"""Images that each slot reads before its first crop is drawn."""
FEW_IMAGES = 8
"""Images per slot from which on each slot has its own images; with fewer, each has all, so that none repeats often."""


def usable_image(
    fetch: Callable[[str], bytes], key: str, side: float, window: Window | None = None
) -> Image.Image | None:
    """An image to learn from; None, and a line in the log, when it is unreadable or too small.

    Args:
        fetch: reads the bytes of a key.
        key: of the image.
        side: smallest width and height in pixels.
        window: the part of a large image to take; None: all of it.

    Raises:
        Outage: when the store is to blame; any other exception concerns this image alone.
    """
    image = attempt(lambda: decode_rgb(fetch(key), window), passes=(Outage,))
    if isinstance(image, Image.Image) and min(image.size) >= side:
        return image
    why = image.reason if isinstance(image, Fault) else "unreadable" if image is None else "too small"
    logger.info("not used for training: %s (%s)", key, why)
    return None


class CropPool:
    """Draws crops from a pool of decoded images that is refreshed as it is used."""

    def __init__(
        self,
        keys: Sequence[str],
        fetch: Callable[[str], bytes],
        *,
        crop: int,
        scales: tuple[float, float],
        seed: Sequence[int],
        pool_bytes: int,
        others: Sequence[str] = (),
    ) -> None:
        """Nothing is read before the first crop.

        Args:
            keys: keys of this pool's images.
            fetch: reads the bytes of a key.
            crop: side of a crop in pixels.
            scales: smallest and largest factor by which images are shrunk (JPEG artefacts shrink away below 0.85).
            seed: seed of this pool's random numbers.
            pool_bytes: largest number of bytes of decoded pixels to keep. An image that takes more than its part of
                them is cut: each time that it is read, to another rectangle.
            others: keys to use if none of `keys` is usable.
        """
        self._keys, self._fetch, self._crop, self._scales, self._limit = list(keys), fetch, crop, scales, pool_bytes
        self._others = list(others)
        self._side = math.ceil(crop / scales[0])
        self._most_pixels = max(pool_bytes // (3 * FIRST_IMAGES), self._side**2)
        self._rng = np.random.default_rng(seed)
        self._pool: list[Image.Image] = []
        self._bytes = 0
        self._cut = False
        self._credit = FIRST_IMAGES * CROPS_AN_IMAGE
        self._upcoming = self._shuffled()

    def _shuffled(self) -> Iterator[str]:
        while True:
            yield from (self._keys[i] for i in self._rng.permutation(len(self._keys)))

    def _read_one(self) -> None:
        """Add an image, in place of others if the pool is full; do nothing if it holds all of every image."""
        if len(self._pool) == len(self._keys) and not self._cut:
            return
        while self._keys:
            key = next(self._upcoming)
            window = Window(self._most_pixels, self._side, *self._rng.random(2).tolist())
            image = usable_image(self._fetch, key, self._crop, window)
            if image is not None:
                self._take(image)
                return
            self._keys.remove(key)
            if not self._keys:
                self._keys, self._others = self._others, []
            self._upcoming = self._shuffled()

    def _take(self, image: Image.Image) -> None:
        size = _bytes_of(image)
        while self._pool and (self._bytes + size > self._limit or len(self._pool) == len(self._keys)):
            self._bytes -= _bytes_of(self._pool.pop(int(self._rng.integers(len(self._pool)))))
        self._pool.append(image)
        self._bytes += size
        self._cut = self._cut or image.width * image.height + min(image.size) > self._most_pixels

    def _one(self) -> NDArray[np.uint8]:
        image = self._pool[int(self._rng.integers(len(self._pool)))]
        largest = min(image.size) / self._crop
        scale = max(self._rng.uniform(*self._scales), 1 / largest)
        side = min(self._crop / scale, *image.size)  # the quotient may be a rounding error too wide
        x, y = self._rng.uniform(0, image.width - side), self._rng.uniform(0, image.height - side)
        if scale == 1:
            piece = _on_grid(image, x, y, self._crop, self._crop)
        else:
            piece = image.resize((self._crop, self._crop), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
        pixels = np.asarray(piece)
        if self._rng.integers(2):
            pixels = pixels[:, ::-1]
        if scale != 1 and self._rng.integers(2):  # JPEG rounds rows and columns differently
            pixels = pixels.transpose(1, 0, 2)
        return pixels

    def next(self) -> NDArray[np.uint8]:
        """A crop, uint8 `[crop, crop, 3]`.

        Raises:
            MaepressError: if no image is usable.
        """
        self._credit += 1
        while self._credit >= CROPS_AN_IMAGE:
            self._read_one()
            self._credit -= CROPS_AN_IMAGE
        if not self._pool:
            raise MaepressError(
                f"no image to train on is readable and at least {self._crop} pixels wide and high: lower --crop"
            )
        return self._one()


class Crops:
    """A rank's share of every batch."""

    def __init__(
        self,
        keys: Sequence[str],
        fetch: Callable[[str], bytes],
        *,
        batch: int,
        places: range,
        crop: int,
        scales: tuple[float, float],
        seed: Sequence[int],
    ) -> None:
        """Nothing is read before the first batch.

        Args:
            keys: all images to learn from.
            fetch: reads the bytes of a key.
            batch: number of crops in a whole batch.
            places: this rank's slots of the batch.
            crop: side of a crop in pixels.
            scales: smallest and largest factor by which images are shrunk.
            seed: seed of the run and step from which it resumes: a resumed run must not repeat crops.
        """
        own = len(keys) >= FEW_IMAGES * batch
        self._pools = [
            CropPool(
                keys[place::batch] if own else keys,
                fetch,
                crop=crop,
                scales=scales,
                seed=[*seed, place],
                pool_bytes=POOL_BYTES // batch,
                others=keys if own else (),
            )
            for place in places
        ]

    def next(self) -> Tensor:
        """The share of the next batch, float `[len(places), crop, crop, 3]` in 0..1.

        Raises:
            MaepressError: when not one image is usable.
        """
        return torch.from_numpy(np.stack([pool.next() for pool in self._pools])).to(torch.float32) / 255


def _bytes_of(image: Image.Image) -> int:
    return 3 * image.width * image.height


def _on_grid(image: Image.Image, x: float, y: float, width: int, height: int) -> Image.Image:
    """Crop without resampling, from the grid point at or above and left of (x, y)."""
    left, top = (int(n) // GRID * GRID for n in (x, y))
    return image.crop((left, top, left + width, top + height))


def validation_crop(image: Image.Image, side: int, scale: float = 1.0) -> Tensor:
    """The centre of the image shrunk by `scale`, float `[1, H, W, 3]` in 0..1; sides: multiples of 64 up to `side`."""
    w, h = (max(64, min(side, int(n * scale)) // 64 * 64) for n in image.size)
    x, y = (image.width - w / scale) / 2, (image.height - h / scale) / 2
    if scale == 1:
        crop = _on_grid(image, x, y, w, h)
    else:
        crop = image.resize((w, h), Image.Resampling.BICUBIC, box=(x, y, x + w / scale, y + h / scale))
    return torch.from_numpy(np.array(crop)[None]).to(torch.float32) / 255
