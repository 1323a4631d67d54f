"""Training crops: random pieces of an archive's images, at random scales, from a bounded pool of decoded images."""

import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from model.errors import MaepressError

logger = logging.getLogger(__name__)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
"""Files that are images to learn from."""
POOL_BYTES = 1 << 30
"""Decoded images a worker keeps; an archive that fits is decoded once."""
CROPS_AN_IMAGE = 16
"""Crops drawn before one more image is read (into the pool, or in place of another once that is full)."""
FIRST_IMAGES = 16
"""Images read before the first crop is drawn."""


def is_held_out(key: str, share: float) -> bool:
    """Whether a key belongs to the validation split: by its hash, so that it stays there whatever comes and goes."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) < share * 2**64


def split(keys: list[str], share: float) -> tuple[list[str], list[str]]:
    """Keys to train on and keys held out, by hash of the key; neither is empty for two keys or more."""
    held_out = [k for k in keys if is_held_out(k, share)] or keys[:1]
    kept = [k for k in keys if k not in set(held_out)]
    return (kept, held_out) if kept else (keys[1:], keys[:1])


def decode_rgb(data: bytes) -> Image.Image | None:
    """The image as 8-bit RGB, or None when it cannot be read (training goes on without it)."""
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
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
        seed: int,
        pool_bytes: int = POOL_BYTES,
    ) -> None:
        """Nothing is read before the first crop.

        Args:
            keys: this worker's images.
            fetch: reads the bytes of a key.
            crop: side of a crop in pixels.
            scales: smallest and largest factor by which images are shrunk (JPEG artefacts shrink away below 0.85).
            seed: of this worker's own random numbers.
            pool_bytes: most bytes of decoded pixels to keep.
        """
        self._keys, self._fetch, self._crop, self._scales, self._limit = list(keys), fetch, crop, scales, pool_bytes
        self._rng = np.random.default_rng(seed)
        self._pool: list[Image.Image] = []
        self._bytes = 0
        self._credit = FIRST_IMAGES * CROPS_AN_IMAGE
        self._upcoming = self._shuffled()

    def _shuffled(self) -> Iterator[str]:
        while True:
            yield from (self._keys[i] for i in self._rng.permutation(len(self._keys)))

    def _read_one(self) -> None:
        """Add an image; once the pool is full, in exchange for another; once it holds every image, do nothing."""
        if len(self._pool) == len(self._keys):
            return
        if self._bytes >= self._limit:
            out = self._pool.pop(int(self._rng.integers(len(self._pool))))
            self._bytes -= out.width * out.height * 3
        while self._keys:
            key = next(self._upcoming)
            image = decode_rgb(self._fetch(key))
            if image is not None and min(image.size) >= self._crop:
                self._pool.append(image)
                self._bytes += image.width * image.height * 3
                return
            logger.info("not used for training: %s (%s)", key, "unreadable" if image is None else "too small")
            self._keys.remove(key)
            self._upcoming = self._shuffled()

    def _one(self) -> NDArray[np.uint8]:
        image = self._pool[int(self._rng.integers(len(self._pool)))]
        largest = min(image.size) / self._crop
        scale = max(self._rng.uniform(*self._scales), 1 / largest)
        side = min(self._crop / scale, *image.size)  # the quotient may be a rounding error too wide
        x, y = self._rng.uniform(0, image.width - side), self._rng.uniform(0, image.height - side)
        if scale == 1:
            piece = image.crop((int(x), int(y), int(x) + self._crop, int(y) + self._crop))
        else:
            piece = image.resize((self._crop, self._crop), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
        pixels = np.asarray(piece)
        if self._rng.integers(2):
            pixels = pixels[:, ::-1]
        if self._rng.integers(2):
            pixels = pixels.transpose(1, 0, 2)
        return pixels

    def batch(self, count: int) -> Tensor:
        """Float `[count, crop, crop, 3]` in 0..1.

        Raises:
            MaepressError: when not one image is usable.
        """
        self._credit += count
        while self._credit >= CROPS_AN_IMAGE:
            self._read_one()
            self._credit -= CROPS_AN_IMAGE
        if not self._pool:
            raise MaepressError(
                f"no image to train on is readable and at least {self._crop} pixels wide and high: lower --crop"
            )
        return torch.from_numpy(np.stack([self._one() for _ in range(count)])).to(torch.float32) / 255


def validation_crop(image: Image.Image, side: int, scale: float = 1.0) -> Tensor:
    """The centre of the image shrunk by `scale`, float `[1, H, W, 3]` in 0..1; sides: multiples of 64 up to `side`."""
    w, h = (max(64, min(side, int(n * scale)) // 64 * 64) for n in image.size)
    x, y = (image.width - w / scale) / 2, (image.height - h / scale) / 2
    if scale == 1:
        crop = image.crop((int(x), int(y), int(x) + w, int(y) + h))
    else:
        crop = image.resize((w, h), Image.Resampling.BICUBIC, box=(x, y, x + w / scale, y + h / scale))
    return torch.from_numpy(np.array(crop)[None]).to(torch.float32) / 255
