"""Gaussian means in windows, and other filters of rows and columns, as products with small matrices.

For crops of 128 x 128 pixels they are faster than depthwise convolutions.
"""

import functools

import torch
from torch import Tensor


def gaussian_means(x: Tensor, sigma: float, radius: float, stride: int = 1) -> Tensor:
    """Means in Gaussian windows: `[..., H, W]` to `[..., H / stride, W / stride]`, sides rounded up.

    Args:
        x: float `[..., H, W]`.
        sigma: standard deviation of a window, in pixels.
        radius: largest distance in rows or columns from the centre, in pixels; windows at the edge
            are cut and normalised.
        stride: rows and columns between the centres of neighbouring windows.
    """
    rows, columns = (_gaussian_rows(size, sigma, radius, stride) for size in x.shape[-2:])
    return filtered(x, rows, columns)


def filtered(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`rows @ x @ columns.T` for each of `[..., H, W]`, in the type and on the device of x."""
    rows, columns = rows.to(x), columns.to(x)
    return torch.matmul(rows, torch.matmul(x, columns.T))


# Made outside of inference mode, whoever asks first: what is made inside may take no part in a gradient later.
@functools.cache
@torch.inference_mode(False)
def _gaussian_rows(size: int, sigma: float, radius: float, stride: int) -> Tensor:
    """Weights `[size / stride rounded up, size]`."""
    centres = torch.arange(0, size, stride, dtype=torch.float64) + (stride - 1) / 2
    distance = torch.arange(size, dtype=torch.float64) - centres[:, None]
    weights = torch.exp(-distance.square() / (2 * sigma**2)) * (distance.abs() <= radius)
    return (weights / weights.sum(1, keepdim=True)).float()
