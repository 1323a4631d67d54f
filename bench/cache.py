"""A cache of other codecs' curves between runs: AVIF and JPEG XL are slow."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

from bench.butteraugli import PROGRAM
from bench.rd_points import RdPoint, measure_codec
from pipeline.evaluate.baseline_codecs import BaselineCodec
from pipeline.evaluate.points import Pixels

FORMAT = 2
"""Number of the file's format: raised whenever a point holds other measurements."""


class Cache:
    """Points by codec, library version, image content and quality, in a file of the system's temporary folder."""

    def __init__(self) -> None:
        self._path = Path(tempfile.gettempdir()) / f"maepress-bench-rd-{FORMAT}.json"
        written = self._path.read_text() if self._path.exists() else "{}"
        self._points: dict[str, dict[str, float | None]] = json.loads(written)

    def measure(self, codec: BaselineCodec, pixels: Pixels, quality: int) -> RdPoint:
        """The point, measured unless the file has it."""
        what = f"{codec.name} {codec.version} {quality} {pixels.shape} {PROGRAM is None}"
        key = hashlib.sha256(what.encode() + pixels.tobytes()).hexdigest()
        if key not in self._points:
            self._points[key] = measure_codec(codec, pixels, quality).to_dict()
        return RdPoint.of(self._points[key])

    def save(self) -> None:
        """Write the file, atomically."""
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(self._points))
        draft.replace(self._path)
