"""Mean curves of the standard codecs on photographs: where a search for a quality begins.

`python -m bench.auto FOLDER --curves` measures them and prints this table. They decide how many
trials a search takes, and nothing of its result.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.images.standard_codecs import STANDARD

MEASURES = ("psnr", "ms_ssim", "ssimulacra2", "bytes")
"""In dB (`decibels` of each metric), and the natural logarithm of bits per pixel."""

_QUALITIES = {
    "jxl": (5.0, 16.75, 28.75, 40.5, 52.5, 64.25, 76.25, 88.0, 100.0),
    "webp": (1.0, 13.0, 25.0, 38.0, 50.0, 62.0, 75.0, 87.0, 100.0),
    "avif": (0.0, 11.0, 24.0, 36.0, 49.0, 62.0, 74.0, 87.0, 100.0),
}
_MEANS = {
    "jxl": {
        "psnr": (29.75, 32.33, 34.33, 34.98, 35.79, 36.89, 38.58, 41.51, 51.86),
        "ms_ssim": (12.55, 14.75, 16.57, 17.2, 17.96, 18.95, 20.59, 23.23, 35.16),
        "ssimulacra2": (-19.14, -17.6, -16.28, -15.83, -15.26, -14.53, -13.26, -11.2, -4.83),
        "bytes": (-2.27, -1.81, -1.44, -1.3, -1.13, -0.94, -0.62, -0.1, 1.34),
    },
    "webp": {
        "psnr": (30.29, 32.61, 33.86, 35.06, 35.95, 36.74, 37.67, 40.91, 45.53),
        "ms_ssim": (12.29, 14.21, 15.35, 16.38, 17.11, 17.91, 18.75, 21.71, 26.06),
        "ssimulacra2": (-19.42, -18.06, -17.24, -16.57, -16.05, -15.56, -14.98, -12.91, -10.37),
        "bytes": (-2.47, -1.97, -1.69, -1.44, -1.25, -1.09, -0.91, -0.32, 0.63),
    },
    "avif": {
        "psnr": (29.76, 31.14, 33.11, 34.89, 37.31, 39.41, 41.7, 44.4, 49.48),
        "ms_ssim": (12.43, 13.6, 15.34, 16.94, 19.19, 21.15, 23.26, 25.78, 31.6),
        "ssimulacra2": (-19.69, -18.89, -17.69, -16.58, -15.05, -13.63, -12.31, -10.78, -8.61),
        "bytes": (-2.85, -2.59, -2.18, -1.79, -1.24, -0.79, -0.37, 0.13, 1.42),
    },
}


def mean_curve(codec: str, measure: str, pixels: int) -> NDArray[np.float64]:
    """The expected value at each of a codec's qualities, rising.

    Args:
        codec: one of `STANDARD`.
        measure: one of MEASURES.
        pixels: of the picture, for "bytes": the result is the logarithm of its bytes.
    """
    curve: NDArray[np.float64] = np.interp(STANDARD[codec].qualities, _QUALITIES[codec], _MEANS[codec][measure])
    return curve + np.log(pixels / 8) if measure == "bytes" else curve
