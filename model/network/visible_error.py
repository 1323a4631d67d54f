"""Visible error: differences in bands of frequency, each weighted by how visible it is; differentiable.

Training by `perceptual` distortion adds it to the squared and the structural error.

    sRGB --> light --> cone responses, adapted to their surroundings --> red-green X, luminance Y, blue B
         --> bands by Gaussian windows of 7.2, 3.2 and 1.6 pixels: low, middle, high, finest
         --> differences per band and colour; contrast that is lost or added counts more
         --> squares, summed in neighbourhoods --> less where the original is busy
         --> root: a map of distances, at full and at half size

An image's error is the square of the map's 3-norm. The model of the eye is butteraugli's
(Alakuijala et al., part of libjxl), made smaller: constants are rounded, sums over lines of pixels
in 16 directions became sums in Gaussian neighbourhoods, and limits on strong contrasts are left
out. Its distances follow butteraugli's (tests/model/network/test_visible_error.py), so butteraugli
is no independent test of what training minimises.

Larger images are measured in tiles, each as an image of its own.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network.windows import gaussian_means

LUMINANCE = 80.0
"""Of white, in candela per square metre."""
NORM = 3
"""Exponent of the norm of the map: higher values count the worst places more."""

TILE = 192
"""Largest side of a tile, in pixels."""

_MIXING = ((0.30, 0.63, 0.08), (0.22, 0.69, 0.10), (0.02, 0.02, 0.20))
_BIAS = (1.76, 1.76, 12.2)
"""Cone responses to darkness."""
_ADAPTATION = 1.2
"""Standard deviations in pixels: of the surroundings that a cone adapts to, here, of the bands, and so on below."""
_LOW, _MIDDLE, _HIGH = 7.2, 3.2, 1.6
_ACTIVITY = 2.7
_NEIGHBOURHOOD = 1.8

_LOW_WEIGHTS = (30000.0, 160.0, 1600.0)
"""Of squared differences in X, Y and B."""
_WEIGHTS = ((3300.0, 16.0, 16.0), (1250.0, 17.0), (19.0, 0.9))
"""Likewise, of the middle, high and finest band, summed in neighbourhoods; B has no finer bands."""
_LINE_WEIGHTS = ((6600.0, 30.0), (5600.0, 70.0), (180.0, 8.0))
"""Of squared means of differences in neighbourhoods, in X and Y: an error that goes on along an edge is seen more."""
_UNSEEN_MIDDLE, _UNSEEN_HIGH = 0.29, 1.5
"""Amplitudes of X in the middle and high band up to which it is not seen."""
_SATURATION = (10.0, 53.0)
"""Sums of amplitudes in X and Y of the finest band at which a difference counts half as much."""
_SCALE = 1 / 13
"""Makes a distance about 1 where it can just be seen."""
_TINY = 1e-4
"""Added to squared distances, so that the gradient of their root is bounded."""


class Bands(NamedTuple):
    """Bands of `[3 or 2, B, H, W]`: `low` and `middle` have X, Y and B, the others X and Y."""

    low: Tensor
    middle: Tensor
    high: Tensor
    finest: Tensor


def visible_error(output: Tensor, target: Tensor) -> Tensor:
    """Squared visible distance of each image, float `[B]`: 0 for equal images, about 1 where a difference is just seen.

    Values outside 0..1 count as 0 or 1 and get no gradient; gradients are finite everywhere.

    Args:
        output: float `[B, H, W, 3]`, sRGB, about 0..1.
        target: float `[B, H, W, 3]`, sRGB in 0..1: the original, which alone decides what is hidden.
    """
    total, pixels = output.new_zeros(output.shape[0]), output.shape[1] * output.shape[2]
    for one, other in zip(_tiles(output), _tiles(target), strict=True):
        total = total + distances(one, other).pow(NORM).mean((1, 2)) * (one.shape[1] * one.shape[2] / pixels)
    return (total + _TINY**NORM).pow(2 / NORM) - _TINY**2


def _tiles(image: Tensor) -> Iterator[Tensor]:
    rows = image.tensor_split(-(-image.shape[1] // TILE), 1)
    return (tile for row in rows for tile in row.tensor_split(-(-row.shape[2] // TILE), 2))


def distances(output: Tensor, target: Tensor) -> Tensor:
    """The map of distances at every second row and column, float `[B, H / 2, W / 2]`, sides rounded up."""
    one, other = _light(output), _light(target)
    full = _map(one, other)
    half = _map(*(F.avg_pool2d(light, 2, ceil_mode=True) for light in (one, other)))
    half = half.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, : full.shape[1], : full.shape[2]]
    return 0.85 * full + 0.5 * half


def _map(light: Tensor, target: Tensor) -> Tensor:
    """Distances of one size at every second row and column."""
    with torch.no_grad():
        original = _bands(target)
        activity = _activity(original)
        quietest = _quietest(activity)
        low_mask = (_SCALE * (1 + 0.5 / (3.9 * quietest + 0.2))).square()
        mask = (_SCALE * (1 + 2.55 / (0.45 * quietest + 0.83))).square()
    bands = _bands(light)
    low = _weighted(_LOW_WEIGHTS, (bands.low - original.low)[..., ::2, ::2])
    amplitudes = original.finest.abs() + bands.finest.abs()
    saturation = torch.tensor(_SATURATION).to(amplitudes)[:, None, None, None]
    differences = (
        _difference(bands.middle, original.middle),
        _difference(bands.high, original.high),
        _difference(bands.finest, original.finest) / (1 + amplitudes / saturation),
    )
    single = sum(_weighted(weights, difference) for weights, difference in zip(_WEIGHTS, differences, strict=True))
    lines = torch.cat([difference[:2] for difference in differences])
    means = _halving_blur(torch.cat([lines, single[None]]), _NEIGHBOURHOOD)  # type: ignore[index]
    along = _weighted(sum(_LINE_WEIGHTS, ()), means[:-1])
    squares = low * low_mask + (means[-1] + along + 10 * (_activity(bands) - activity).square()) * mask
    result: Tensor = (squares + _TINY).sqrt() - _TINY**0.5
    return result


def _difference(band: Tensor, original: Tensor) -> Tensor:
    """Differences; where less than 0.55 of the original's contrast is left, or more than 1.05, they count more."""
    sign, size = torch.where(original < 0, -1.0, 1.0), original.abs()
    contrast = band * sign
    excess = F.relu(contrast - 1.05 * size) - F.relu(0.55 * size - contrast)
    return band - original + 0.8 * sign * excess


def _light(image: Tensor) -> Tensor:
    """Linear light `[3, B, H, W]` of sRGB `[B, H, W, 3]`; the linear part of sRGB's curve is left out."""
    return ((image.permute(3, 0, 1, 2).clamp(0, 1) + 0.055) / 1.055).pow(2.4)


def _bands(light: Tensor) -> Bands:
    """Bands of linear light `[3, B, H, W]`."""
    mixing, bias = torch.tensor(_MIXING).to(light), torch.tensor(_BIAS).to(light)[:, None]
    cones = torch.addmm(bias, mixing, light.reshape(3, -1), alpha=LUMINANCE).view(light.shape)
    around = _blur(cones, _ADAPTATION)
    cones = cones * (19.2 * torch.log(around + 10) - 23.2) / around
    luminance = cones[0] + cones[1]
    colours = torch.stack([cones[0] - cones[1], luminance, cones[2] - 0.36 * luminance])
    low = _blur(colours, _LOW)
    rest = colours - low
    middle = _blur(rest, _MIDDLE)
    finer = rest[:2] - middle[:2]
    high = _blur(finer, _HIGH)
    return Bands(low, _shrunk(middle, _UNSEEN_MIDDLE), _shrunk(high, _UNSEEN_HIGH), finer - high)


def _shrunk(band: Tensor, unseen: float) -> Tensor:
    return torch.cat([F.softshrink(band[:1], unseen), band[1:]])


def _activity(bands: Bands) -> Tensor:
    """How busy the surroundings of every second row and column are, `[B, H / 2, W / 2]`."""
    x = 8.75 * (bands.high[0] + bands.finest[0])
    y = 0.66 * bands.high[1] + 1.67 * bands.finest[1]
    return _halving_blur((6.2 * (x.square() + y.square() + 1e-6).sqrt() + 78).sqrt() - 78**0.5, _ACTIVITY)


def _quietest(activity: Tensor) -> Tensor:
    """Weighted mean of the three least values among nine neighbours: beside a quiet area nothing is hidden."""
    height, width = activity.shape[-2:]
    padded = F.pad(activity, (1, 1, 1, 1), value=torch.inf)
    neighbours = torch.stack([padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)])
    least, second, third = neighbours.topk(3, dim=0, largest=False).values
    quietest: Tensor = 0.45 * least + 0.3 * second + 0.25 * third
    return quietest


def _weighted(weights: tuple[float, ...], differences: Tensor) -> Tensor:
    """Weighted sum of squares over the first dimension."""
    return torch.einsum("c,c...->...", torch.tensor(weights).to(differences), differences.square())


def _blur(x: Tensor, sigma: float, stride: int = 1) -> Tensor:
    return gaussian_means(x, sigma, 2.25 * sigma + (stride - 1) / 2, stride)


def _halving_blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian means around every second row and column: `[..., H, W]` to `[..., H / 2, W / 2]`, rounded up."""
    return _blur(x, sigma, 2)
