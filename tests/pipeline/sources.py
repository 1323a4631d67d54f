"""Folders of images of mixed kinds, for tests of the whole pipeline."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.storage.open import open_store
from tests.conftest import photo_like

BROKEN = ("broken/cut.jpg", "broken/not-an-image.png")
"""Keys of `mixed` that cannot be read."""

TRANSCODED = "odd/noise.jpg"
"""The key of `mixed` whose JPEG cannot be beaten, and becomes JPEG XL."""

KEPT = ("odd/cmyk.jpg", "odd/deep.png", "odd/moving.gif")
"""Keys of `mixed` that are kept as their original bytes."""


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file's bytes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(seed: int, height: int = 96, width: int = 128, channels: int = 3) -> Image.Image:
    """A photograph-like image, grey or RGB."""
    pixels = photo_like(height, width, channels, seed=seed)
    return Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])


def mixed() -> dict[str, bytes]:
    """About sixty files of every kind that a bucket may hold, by key."""
    files = {f"photos/{i % 3}/{i:02d}.jpg": encoded(photo(i, 80 + i, 120), "JPEG", quality=92) for i in range(30)}
    files |= {f"photos/png/{i:02d}.png": encoded(photo(i), "PNG") for i in range(12)}
    files |= {f"photos-{i}.webp": encoded(photo(i), "WEBP", quality=95) for i in range(6)}
    files |= {f"grey/{i}.png": encoded(photo(i, channels=1), "PNG") for i in range(6)}
    with_alpha = photo(3).convert("RGBA")
    with_alpha.putalpha(photo(4, channels=1))
    exif = Image.Exif()
    exif[274] = 6
    files["alpha/ä.png"] = encoded(with_alpha, "PNG")
    files["meta/rotated.jpg"] = encoded(
        photo(5), "JPEG", quality=95, exif=exif, icc_profile=b"profile" * 20, xmp=b"<x/>"
    )
    files["palette.png"] = encoded(photo(6).quantize(200), "PNG")
    files["odd/cmyk.jpg"] = encoded(photo(7).convert("CMYK"), "JPEG")
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    files["odd/noise.jpg"] = encoded(Image.fromarray(noise), "JPEG", quality=8)
    files["odd/deep.png"] = encoded(Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 99), "PNG")
    files["odd/moving.gif"] = encoded(photo(8), "GIF", save_all=True, append_images=[photo(9)])
    files["odd/tiny.png"] = encoded(Image.new("RGB", (1, 1), (9, 9, 9)), "PNG")
    files["broken/cut.jpg"] = files["photos/0/00.jpg"][:900]
    files["broken/not-an-image.png"] = b"<html>404</html>"
    return files


def put_all(url: str, files: dict[str, bytes]) -> None:
    """Write files to a folder or bucket."""
    store = open_store(url)
    for key, data in files.items():
        store.put(key, data)


def large_pngs(folder: Path, count: int) -> list[str]:
    """Noisy photographs of some 150 kB each, so that a few of them fill a shard of 1 MiB; their keys."""
    folder.mkdir()
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 255, (256, 256, 3), np.uint8)
        Image.fromarray(noise // 4 + photo_like(256, 256, seed=i) // 2).save(folder / f"{i:03d}.png")
    return [f"{i:03d}.png" for i in range(count)]
