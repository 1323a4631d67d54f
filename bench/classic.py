"""JPEG, WebP and AVIF by Pillow, for comparison; results are kept between runs, since AVIF takes its time."""

import hashlib
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, __version__, features

from bench.fidelity import Point, compare


@dataclass(frozen=True, slots=True)
class Classic:
    """A codec of Pillow's: how to save at a quality, and the qualities that draw its curve."""

    name: str
    format: str
    library: str
    options: dict[str, Any]
    qualities: tuple[int, ...]

    def version(self) -> str:
        """What its results depend on, beside the image and the quality."""
        return f"{self.name} {self.options} pillow {__version__} {self.library} {features.version(self.library)}"

    def measure(self, pixels: NDArray[np.uint8], quality: int) -> Point:
        """Real bytes, and fidelity of what they decode to."""
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, self.format, quality=quality, **self.options)
        decoded = np.asarray(Image.open(file).convert("RGB"))
        return compare(quality, len(file.getvalue()), pixels, decoded)


CLASSICS = (
    Classic(
        "JPEG 4:2:0",
        "JPEG",
        "libjpeg_turbo",
        {"subsampling": "4:2:0", "optimize": True},
        (5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 93, 96, 98),
    ),
    Classic("WebP m4", "WEBP", "webp", {"method": 4}, (2, 10, 20, 35, 50, 65, 75, 82, 88, 92, 96, 98)),
    Classic("AVIF s6", "AVIF", "avif", {"speed": 6, "max_threads": 1}, (20, 30, 40, 50, 58, 66, 74, 80, 86, 91, 95)),
)


class Cache:
    """Points by codec, library version, image content and quality, in a file in the system's temporary folder."""

    def __init__(self) -> None:
        self._path = Path(tempfile.gettempdir()) / "maepress-bench-rd.json"
        self._points: dict[str, list[float | None]] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def measure(self, codec: Classic, pixels: NDArray[np.uint8], quality: int) -> Point:
        """The point, from the file when it was measured before."""
        key = hashlib.sha256(f"{codec.version()} {quality} {pixels.shape}".encode() + pixels.tobytes()).hexdigest()
        if key not in self._points:
            point = codec.measure(pixels, quality)
            self._points[key] = [point.bpp, point.psnr, point.ms_ssim]
        bpp, psnr, ms_ssim = self._points[key]
        assert bpp is not None and psnr is not None
        return Point(quality, bpp, psnr, ms_ssim)

    def save(self) -> None:
        """Write the file anew, at once or not at all."""
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(self._points))
        draft.replace(self._path)
