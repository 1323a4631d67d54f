"""Choice of the arithmetic of the blocks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def best_dtype(device: str | torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it faster than float32, else float32.

    It is faster on GPUs since Ampere and on CPUs with AVX512-BF16 or AMX.
    """
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    fast = torch.backends.cpu.get_cpu_capability().startswith("AVX512") and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


@contextmanager
def coarse_products() -> Iterator[None]:
    """Within it, float32 matrix products may round their factors to bfloat16 where that is faster.

    Sums stay in float32. Use it for gradients only: the scale path of the forward pass needs exact
    products of integers. It changes torch's setting for the whole process.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Within it, this thread treats float32 numbers below 1.2e-38 as zero.

    A processor computes with such numbers up to a hundred times slower. The moments of weights that
    get no gradient decay to them and stay there.
    """
    before = _denormals_are_zero()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _denormals_are_zero() -> bool:
    """Whether they are already; torch has no function that tells."""
    return bool(torch.tensor(2e-38, dtype=torch.float32, device="cpu") * 0.1 == 0)
