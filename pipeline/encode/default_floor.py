"""The PSNR below which a picture is kept although no floor was asked for.

A quality is a step size, and what fidelity it gives depends on the picture. On photographs that
varies little. Icons of a few pixels, screenshots and noise can come back much worse, which nobody
who chose a quality by photographs would expect. So a result below a floor that no photograph
misses is not used: the source is kept.
"""

import numpy as np

QUALITIES = (0, 16, 32, 48, 63)
"""Qualities at which the floors are set; they are linear in between."""
_FLOORS = (15.0, 18.4, 22.5, 23.2, 23.2)
"""In dB: at least a decibel below the worst of the photographs of `python -m bench.default_floor`."""


def default_floor(quality: float) -> float:
    """The floor in dB at a quality of 0..63."""
    return float(np.interp(quality, QUALITIES, _FLOORS))
