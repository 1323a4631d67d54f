"""A cache of other codecs' curves between runs: AVIF and JPEG XL are slow."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

from pipeline.evaluate.baseline_codecs import BaselineCodec
from pipeline.evaluate.points import Pixels, Point


class Cache:
    """Points by codec, library version, image content and quality, in a file of the system's temporary folder."""

    def __init__(self) -> None:
        self._path = Path(tempfile.gettempdir()) / "maepress-bench-rd.json"
        self._points: dict[str, list[float | None]] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def measure(self, codec: BaselineCodec, pixels: Pixels, quality: int) -> Point:
        """The point, measured unless the file has it."""
        what = f"{codec.name} {codec.version} {quality} {pixels.shape}"
        key = hashlib.sha256(what.encode() + pixels.tobytes()).hexdigest()
        if key not in self._points:
            point = codec.measure(pixels, quality)
            self._points[key] = [point.bpp, point.psnr, point.ms_ssim]
        bpp, psnr, ms_ssim = self._points[key]
        assert bpp is not None and psnr is not None
        return Point(quality, bpp, psnr, ms_ssim)

    def save(self) -> None:
        """Write the file, atomically."""
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(self._points))
        draft.replace(self._path)
