"""A block's branch prepared for inference on a CPU.

oneDNN fuses what follows a matrix product (rectify, multiply) into the product, with weights in a
layout chosen once. These are the operators that torch's own compiler uses for such layers; where a
build of torch lacks them, separate operators compute the same.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 2048
"""Typical number of rows, for which the weights are laid out."""


class PreparedBranch:
    """`project(relu(gate) * value)`, where `expand` computes gate and value, with copies of the weights in one dtype.

    Copying or pickling one gives None, because the weights of a copied network may change.

    Attributes:
        dtype: of the matrix products.
    """

    def __init__(self, expand: nn.Linear, project: nn.Linear, dtype: torch.dtype, *, final: bool = True) -> None:
        """Copy the weights.

        Args:
            expand: `C -> 2C`, on a CPU.
            project: `C -> C`, on a CPU.
            dtype: of the matrix products.
            final: it is used often enough to pay for changing the layout of the weights.
        """
        self.dtype = dtype
        layers = (expand.weight, expand.bias), (project.weight, project.bias)
        (wide, wide_bias), last = ((w.detach().to(dtype), b.detach().to(dtype)) for w, b in layers)
        self._plain = (*zip(wide.chunk(2), wide_bias.chunk(2), strict=True), last)
        self._laid_out: list[tuple[Tensor, Tensor]] = []
        if final and _has_fused(dtype):
            reorder = torch.ops.mkldnn._reorder_linear_weight
            self._laid_out = [(reorder(w.contiguous(), ROWS), b.contiguous()) for w, b in self._plain]

    def __call__(self, sums: Tensor) -> Tensor:
        """The branch's output, `[N, C]`, for `[N, C]`, both in its dtype."""
        return (self._fused if self._laid_out and torch.backends.mkldnn.enabled else self._by_steps)(sums)

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
    """Whether this build of torch has the fused operators, and this processor the instructions for that dtype."""
    if not (torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
