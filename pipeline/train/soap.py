"""SOAP, one-sided and distributed over the ranks: Adam in the eigenbasis of the gradients' covariance.

Vyas et al., "SOAP: improving and stabilizing Shampoo using Adam", 2024. For each matrix `W [m, n]` with gradient `G`:

    covariance of the smaller side   C <- beta2 C + (1 - beta2) G G^T        [s, s], s = min(m, n)
    its eigenbasis                   Q, by one power iteration and a QR every `EVERY` steps
    Adam on Q^T G, and back          W <- W - rate * Q (first moment / sqrt(second moment))

Parameters other than large matrices (biases, depthwise kernels, rows by quality) get plain Adam.

Products with Q and of gradients may be in bfloat16: their errors are far below the noise of a gradient. The power
iteration stays in float32, or it would mix the directions of small eigenvalues anew each time.

Preconditioning only the smaller side costs a third of preconditioning both. Under DDP each rank updates its share of
the matrices and all exchange the results, so that the cost per step falls with the number of ranks.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.layers.precision import coarse_products

LEAST_SIDE = 32
"""Matrices with a smaller side below this gain nothing from an eigenbasis."""
EVERY = 10
"""Steps between two updates of the eigenbases (the paper's choice)."""
PARTS = ("step", "exp_avg", "exp_avg_sq", "covariance", "basis")
"""Names in the optimiser's state of a parameter."""


def is_matrix(parameter: Tensor) -> bool:
    """Whether a parameter gets an eigenbasis."""
    return parameter.ndim == 2 and min(parameter.shape) >= LEAST_SIDE


def owners(parameters: Sequence[Tensor], ranks: int) -> list[int]:
    """The rank that updates each parameter: the most expensive first, each to the rank with the least work."""
    load = [0] * ranks
    owner = [0] * len(parameters)
    for i in sorted(range(len(parameters)), key=lambda i: -_cost(parameters[i])):
        owner[i] = load.index(min(load))
        load[owner[i]] += _cost(parameters[i])
    return owner


def _cost(parameter: Tensor) -> int:
    """Approximate multiply-adds of an update."""
    return parameter.numel() * (min(parameter.shape) if is_matrix(parameter) else 1)


class Soap(torch.optim.Optimizer):
    """Updates only the parameters that this rank owns; the others arrive from their ranks.

    State of a matrix: `step`, `covariance` and `basis` `[s, s]`, `exp_avg` and `exp_avg_sq` `[s, l]` (smaller side
    first; the second moment lives in the eigenbasis). State of anything else: `step`, `exp_avg`, `exp_avg_sq`.

    Args:
        parameters: all of the network's, in the same order on every rank.
        lr: learning rate; values that suit Adam suit SOAP.
        betas: decay per step of the first moment, and of the second moment and the covariance.
        eps: added to the square root of the second moment.
        rank: rank of this process.
        world: number of ranks; with more than one, a process group must exist.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        *,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})
        everything = [p for group in self.param_groups for p in group["params"]]
        self._owner: dict[Tensor, int] = dict(zip(everything, owners(everything, world), strict=True))
        self._rank, self._world = rank, world

    def owns(self, parameter: Tensor) -> bool:
        """Whether this rank updates a parameter, and so keeps its state."""
        return self._owner[parameter] == self._rank

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # a closure would be of no use
        """One step from the gradients, which must be the same on every rank (as DDP leaves them)."""
        for group in self.param_groups:
            mine = [p for p in group["params"] if self.owns(p) and p.grad is not None]
            with coarse_products():
                for parameter in mine:
                    change = _matrix if is_matrix(parameter) else _plain
                    change(parameter, self.state[parameter], group["lr"], group["betas"], group["eps"])
            for state in (self.state[p] for p in mine if is_matrix(p)):
                if int(state["step"]) % EVERY == 0 and int(state["step"]):
                    _turn(state)
            if self._world > 1:
                self._exchange(group["params"])

    def _exchange(self, parameters: list[nn.Parameter]) -> None:
        """Send all results to all ranks: the sum of buffers that are zero where another rank owns the values."""
        flat = torch.cat([p.flatten() if self.owns(p) else torch.zeros_like(p).flatten() for p in parameters])
        dist.all_reduce(flat)
        for parameter, values in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.copy_(values.view_as(parameter))


def _plain(p: Tensor, state: dict[str, Tensor], lr: float, betas: tuple[float, float], eps: float) -> None:
    """Adam."""
    assert p.grad is not None
    if not state:
        state.update(step=torch.zeros(()), exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
    state["step"] += 1
    state["exp_avg"].lerp_(p.grad, 1 - betas[0])
    state["exp_avg_sq"].lerp_(p.grad.square(), 1 - betas[1])
    p.addcdiv_(state["exp_avg"], state["exp_avg_sq"].sqrt() + eps, value=-_rate(lr, betas, int(state["step"])))


def _matrix(p: Tensor, state: dict[str, Tensor], lr: float, betas: tuple[float, float], eps: float) -> None:
    """Adam in the eigenbasis of the smaller side."""
    assert p.grad is not None
    tall = p.shape[0] > p.shape[1]
    gradient = p.grad.T if tall else p.grad
    if not state:  # the first gradient gives a basis and no update, as in the paper
        covariance = gradient @ gradient.T
        basis = _first_basis(covariance)
        zero = torch.zeros_like(gradient, memory_format=torch.contiguous_format)
        state.update(step=torch.zeros(()), covariance=covariance, basis=basis, exp_avg=zero, exp_avg_sq=zero.clone())
        return
    state["step"] += 1
    basis = state["basis"]
    state["exp_avg"].lerp_(gradient, 1 - betas[0])
    state["exp_avg_sq"].lerp_((basis.T @ gradient).square_(), 1 - betas[1])
    change = basis @ ((basis.T @ state["exp_avg"]) / (state["exp_avg_sq"].sqrt() + eps))
    p.add_(change.T if tall else change, alpha=-_rate(lr, betas, int(state["step"])))
    state["covariance"].lerp_(gradient @ gradient.T, 1 - betas[1])


def _first_basis(covariance: Tensor) -> Tensor:
    """Eigenvectors, largest eigenvalue first; the identity if they cannot be computed.

    A first gradient may be nearly zero, or of very low rank: then LAPACK's solver does not always converge. `_turn`
    converges from any orthonormal basis.
    """
    matrix = covariance.double()
    scale = matrix.diagonal().mean()
    if scale > 0:
        matrix = matrix / scale
    matrix.diagonal().add_(1e-9)
    try:
        vectors: Tensor = torch.linalg.eigh(matrix).eigenvectors
        return vectors.flip(1).to(covariance.dtype)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # documented, and not in __all__
        return torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)


def _turn(state: dict[str, Tensor]) -> None:
    """One power iteration towards the covariance's eigenbasis, largest first; reorders the second moment, too."""
    product = state["covariance"] @ state["basis"]
    order = (state["basis"] * product).sum(0).argsort(descending=True)
    state["exp_avg_sq"] = state["exp_avg_sq"][order]
    state["basis"] = torch.linalg.qr(product[:, order]).Q


def _rate(lr: float, betas: tuple[float, float], step: int) -> float:
    """The learning rate with Adam's bias correction of both moments."""
    return lr * math.sqrt(1 - betas[1] ** step) / (1 - betas[0] ** step)
