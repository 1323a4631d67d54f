"""Files for which real decoders need far more time or memory than their size suggests."""

import io

import numpy as np
from PIL import Image


def scan_bomb(side: int = 6000, scans: int = 20_000) -> bytes:
    """A valid progressive JPEG that repeats one of its scans: a few hundred kilobytes that decode for minutes.

    Each repeated scan goes over all of the image's coefficients again (JPEG sets no limit to their number).
    """
    file = io.BytesIO()
    Image.new("L", (side, side), 90).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
    last = data[starts[-1] : -2]
    return data[:-2] + last * scans + data[-2:]


def photo_png(side: int) -> bytes:
    """A PNG of some megapixels that is small: smooth rows."""
    file = io.BytesIO()
    ramp = np.broadcast_to(np.arange(side, dtype=np.uint32)[None, :, None] >> 3 & 255, (side, side, 3))
    Image.fromarray(ramp.astype(np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()
