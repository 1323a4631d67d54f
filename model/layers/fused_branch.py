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
UNITS = 16
"""Units are computed in multiples of this many, which fill the registers of every processor."""


class PreparedBranch:
    """`project(relu(gate) * value)`, where `expand` computes gate and value, with copies of the weights in one dtype.

    Units whose gate can never open (`model.network.idle_units`) are left out.

    Copying or pickling one gives None, because the weights of a copied network may change.

    Attributes:
        dtype: of the matrix products.
    """

    def __init__(self, expand: nn.Linear, project: nn.Linear, dtype: torch.dtype, *, final: bool = True) -> None:
        """Copy the weights.

        Args:
            expand: `C -> 2U`, on a CPU.
            project: `U -> C`, on a CPU.
            dtype: of the matrix products.
            final: it is used often enough to pay for changing the layout of the weights.
        """
        self.dtype = dtype
        units = computed_units(expand) if final else slice(None)
        weights, biases = expand.weight.detach().to(dtype).chunk(2), expand.bias.detach().to(dtype).chunk(2)
        last = project.weight.detach().to(dtype)[:, units], project.bias.detach().to(dtype)
        self._plain = (*((w[units], b[units]) for w, b in zip(weights, biases, strict=True)), last)
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


def computed_units(expand: nn.Linear) -> Tensor:
    """Numbers of the units that are computed: those whose gate can open, and others up to a multiple of `UNITS`."""
    gate, bias = expand.weight.detach().chunk(2)[0], expand.bias.detach().chunk(2)[0]
    opens = gate.any(1) | (bias > 0)
    count = min(len(opens), max(1, -(-int(opens.sum()) // UNITS)) * UNITS)
    return torch.argsort(opens, descending=True, stable=True)[:count].sort().values


def _has_fused(dtype: torch.dtype) -> bool:
    """Whether this build of torch has the fused operators, and this processor the instructions for that dtype."""
    if not (torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
