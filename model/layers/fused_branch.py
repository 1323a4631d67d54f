"""A block's branch with weights made ready for inference on a CPU.

oneDNN does what follows a product (rectify, multiply) in the same pass, over weights that it laid out once. These are
the operators that torch's own compiler puts in for such layers; where a build of torch lacks them, the same is done by
one operator after the other.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 2048
"""Positions that a CPU takes through a branch together: with 2 x 128 channels what a core's cache holds."""


class ReadyBranch:
    """`project(relu(gate) * value)`, where `expand` gives gate and value; copies of the weights in one dtype.

    A copy or a pickle of it is None: weights of a copied network may change.
    """

    def __init__(self, expand: nn.Linear, project: nn.Linear, dtype: torch.dtype, *, final: bool = True) -> None:
        """Take over the weights.

        Args:
            expand: `C -> 2C`, on a CPU.
            project: `C -> C`, on a CPU.
            dtype: of their products.
            final: it is used often enough to lay the weights out for it.
        """
        self._dtype = dtype
        layers = (expand.weight, expand.bias), (project.weight, project.bias)
        (wide, wide_bias), last = ((w.detach().to(dtype), b.detach().to(dtype)) for w, b in layers)
        self._plain = (*zip(wide.chunk(2), wide_bias.chunk(2), strict=True), last)
        self._laid_out: list[tuple[Tensor, Tensor]] = []
        if final and _has_fused(dtype):
            reorder = torch.ops.mkldnn._reorder_linear_weight
            self._laid_out = [(reorder(w.contiguous(), ROWS), b.contiguous()) for w, b in self._plain]

    def add(self, x: Tensor, sums: Tensor) -> None:
        """Replace `sums` by `x + branch(sums)`, float32 `[N, C]` both, a few rows at a time.

        What follows the depthwise sums looks at one position: a few rows stay in the cache, and the sums' memory, which
        nobody needs again, becomes the output's.
        """
        branch = self._fused if self._laid_out and torch.backends.mkldnn.enabled else self._by_steps
        for begin in range(0, len(x), ROWS):
            part = sums[begin : begin + ROWS]
            # Two passes: a sum of two dtypes in one is torch's slow path.
            part.copy_(branch(part.to(self._dtype))).add_(x[begin : begin + ROWS])

    def _fused(self, rows: Tensor) -> Tensor:
        gate, value, project = self._laid_out
        linear: Any = torch.ops.mkldnn._linear_pointwise
        gated = linear.binary(rows, linear(rows, *gate, "relu", [], ""), *value, "mul")
        out: Tensor = linear(gated, *project, "none", [], "")
        return out

    def _by_steps(self, rows: Tensor) -> Tensor:
        gate, value, project = self._plain
        return F.linear(F.linear(rows, *value).mul_(F.linear(rows, *gate).relu_()), *project)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def _has_fused(dtype: torch.dtype) -> bool:
    """Whether this build of torch has the operators, and this processor what they take in that dtype."""
    if not (torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
