"""A rectifier whose closed units can open again in training.

A unit that is closed for every image gets no gradient, so it stays closed for good. Optimisers that
divide by the gradients' size move biases by the learning rate at each step, however small the
inputs are; so where inputs vary by hundredths, most units were closed after some hours. In training
a closed unit gets a small share of the gradient. Such an optimiser makes up for its size.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LEAK = 0.01
"""Share of the gradient that closed units get in training."""


def relu(x: Tensor, *, training: bool) -> Tensor:
    """The positive part of x.

    Args:
        x: float, of any shape.
        training: whether negative values get `LEAK` of the gradient, else none.
    """
    out: Tensor = _Leaky.apply(x) if training else F.relu(x)  # type: ignore[no-untyped-call]
    return out


class _Leaky(torch.autograd.Function):
    """Exact forwards, the gradient of a leaky rectifier backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.relu(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        out: Tensor = torch.ops.aten.leaky_relu_backward(gradient, x, LEAK, False)
        return out
