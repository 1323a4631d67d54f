"""JPEG XL files as Pillow opens files of other formats: the header first, pixels when they are asked for.

imagecodecs decodes them, which comes with maepress for transcodes of JPEGs.
"""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from pipeline.containers import jxl
from pipeline.containers.contents import Unexpected

FORMAT = "jxl"
"""The name of the format, as `kind_of` and the column `source_format` give it."""
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class JxlFile(ImageFile.ImageFile):
    """A JPEG XL file. Before it is loaded, its mode is a guess unless it is plain."""

    format = FORMAT.upper()

    def _open(self) -> None:
        assert self.fp is not None
        source = self.fp.read()
        self._source: bytes | None = source
        self._size = jxl.size_of(source)
        try:
            self._mode = _MODES[jxl.read(source).bands]
        except Unexpected:
            self._mode = "RGB"
        self.tile = []

    def load(self) -> Any:
        """Decode the pixels."""
        if self._source is not None:
            import imagecodecs

            pixels = np.asarray(imagecodecs.jpegxl_decode(self._source, numthreads=1))
            self._source = None
            made = Image.fromarray(pixels.squeeze() if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
            self.im, self._mode, self._size = made.im, made.mode, made.size
        return super().load()


def opened(source: bytes) -> Image.Image | None:
    """A JPEG XL file, opened and not yet decoded; None for other files."""
    return JxlFile(io.BytesIO(source)) if source.startswith((jxl.START, jxl.CONTAINER)) else None
