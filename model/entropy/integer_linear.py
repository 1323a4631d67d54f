"""Products of the integer path by a CPU's 8-bit instructions: the same integers as in float32, several times as fast.

oneDNN multiplies unsigned by signed bytes, sums in 32-bit integers, and scales, shifts and rounds the
sums to bytes in the same pass. Weights of the integer path have 8 bits and a sign
(`model.layers.fixed_point`): an input whose weights exceed a signed byte is given twice, with a part of
each weight.

Everything here is exact: a sum is an integer below 2^24, scales are powers of two, and what is rounded
is never halfway between two integers. Processors without such instructions, whose 8-bit sums may
saturate, keep float32; so does a build of torch whose results differ from integer arithmetic on a probe.
"""

import numpy as np
import torch
from torch import Tensor

_LARGEST = 127
"""Of a signed byte."""
_PROBED = 48
"""Rows of the probe."""


class IntegerLinear:
    """`clamp(floor(x @ weight.T * 2^-shift + row), 0, 255)` for integers x in 0..255.

    Attributes:
        again: the inputs that are given a second time, after all others, int64 `[E]`.
    """

    def __init__(self, weight: Tensor, shift: int) -> None:
        """Lay out the weights; use `made` instead.

        Args:
            weight: integers in float `[O, I]`, absolute values below 255.
            shift: the scale of the sums is 2^-shift.
        """
        first = weight.clamp(-_LARGEST, _LARGEST)
        second = weight - first
        twice = second.abs().amax(0).nonzero()[:, 0]
        self.again = twice.numpy()
        bytes_ = torch.cat([first, second[:, twice]], 1).to(torch.int8).contiguous()
        self._weight = torch.ops.onednn.qlinear_prepack(bytes_, None)
        self._scale = torch.full((len(weight),), 2.0**-shift)
        self._zero = torch.zeros(len(weight), dtype=torch.int64)
        # Multiples of 2^-shift are rounded down by rounding to nearest what is moved by almost a half.
        self._down = 2.0 ** -(shift + 2) - 0.5

    @classmethod
    def made(cls, weight: Tensor, shift: int) -> "IntegerLinear | None":
        """The layer, or None where this processor or this torch does not compute it exactly; arguments as above."""
        if weight.device.type != "cpu" or not _is_supported() or int(weight.abs().max()) > 2 * _LARGEST:
            return None
        layer = cls(weight, shift)
        return layer if layer._is_exact(weight, shift) else None

    def __call__(self, x: Tensor, row: Tensor) -> Tensor:
        """Map uint8 `[N, I + E]` to uint8 `[N, O]`; `row` is what is added, float `[O]`, multiples of 2^-shift."""
        constants = 1.0, 0, self._weight, self._scale, self._zero, row + self._down, 1.0, 0, torch.uint8
        out: Tensor = torch.ops.onednn.qlinear_pointwise(x, *constants, "none", [], "")
        return out

    def _is_exact(self, weight: Tensor, shift: int) -> bool:
        """Whether a probe, with the largest sums among it, gives the results of integer arithmetic."""
        x = np.random.default_rng(0).integers(0, 256, (_PROBED, weight.shape[1]))
        signs = (weight.numpy()[: _PROBED // 4] > 0) * 255
        x[: len(signs)], x[len(signs) : 2 * len(signs)] = signs, 255 - signs
        row = np.arange(len(weight)) % 97 * 2 - 60
        exact = np.clip((x @ weight.numpy().astype(np.int64).T >> shift) + row, 0, 255)
        given = torch.from_numpy(np.concatenate([x, x[:, self.again]], 1).astype(np.uint8))
        found = self(given, torch.from_numpy(row.astype(np.float32)))
        return bool(np.array_equal(found.numpy(), exact))


def _is_supported() -> bool:
    """Whether 8-bit products are summed in 32 bits at once, as by VNNI and AMX: earlier instructions saturate at 16."""
    if not (torch._C._has_mkldnn and hasattr(torch.ops.onednn, "qlinear_pointwise")):
        return False
    return bool(torch.backends.mkldnn.enabled) and bool(torch.cpu._is_vnni_supported())
